"""Executed notebooks: what is kept, and what of it is believed."""

import json
import random
from functools import partial

import nbformat
import pytest
from made import answer, notebook, write

from faithnb.book import cells, kept, running


def ran(source, parameters, answer):
    """What papermill would have kept of a notebook whose last cell prints a number."""
    executed = cells.asked_for(source, parameters)
    executed.metadata.papermill["duration"] = 1.0
    executed.cells[-1].outputs = [nbformat.v4.new_output("stream", text=f"{answer}\n")]
    return executed


@pytest.fixture
def two_kept(tmp_path, monkeypatch):
    """Two rows of a notebook in the cache, seed 11 and 12; and how each is read, by its seed."""
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    source = cells.read_notebook(
        write(tmp_path / "n.ipynb", notebook("seed = 1", "print(2 * seed)", tags=["parameters"]))
    )
    files, read = {}, {}
    for seed in (11, 12):
        parameters = {"seed": seed}
        key = kept.code_key(source, parameters)
        content = nbformat.writes(ran(source, parameters, 2 * seed)).encode()
        files[seed] = kept.kept_as(kept.cache() / f"n-{key}", content)
        files[seed].parent.mkdir(parents=True, exist_ok=True)
        files[seed].write_bytes(content)
        asked = cells.asked_for(source, parameters)
        read[seed] = partial(kept.read_kept, source=source, asked=asked, parameters=parameters)
    return files, read


def test_a_kept_notebook_is_believed_if_it_is_what_was_kept(two_kept, capsys):
    files, read = two_kept
    for seed, file in files.items():
        assert answer(read[seed](file)) == f"{2 * seed}\n"
    files[12].write_bytes(files[11].read_bytes())  # another row's, under this one's name
    assert read[12](files[12]) is None
    assert read[12](files[12]) is None  # it is no longer there
    said = capsys.readouterr().out
    assert said.count("cannot be used (its content is not what its name says); it was set") == 1
    assert [p.suffix for p in kept.cache().iterdir() if p != files[11]] == [".damaged"]


def test_a_whole_notebook_that_is_another_one_is_set_aside(two_kept, capsys):
    """Its name fits its content, and still it is no run of what was asked for."""
    files, read = two_kept
    whole = json.loads(files[11].read_bytes())
    others = {
        "fewer cells": whole | {"cells": whole["cells"][:2]},
        "no cells": whole | {"cells": []},
        "a list": [1, 2],
        "no metadata": {k: v for k, v in whole.items() if k != "metadata"},
        "no duration": whole | {"metadata": {}},
        "another seed": json.loads(json.dumps(whole).replace("seed = 11", "seed = 13")),
        "nothing": None,
        "deep": "[" * 100_000,
    }
    beginning = files[11].with_name(files[11].name.rpartition("-")[0])
    for what, other in others.items():
        content = (other if what == "deep" else json.dumps(other)).encode()
        file = kept.kept_as(beginning, content)
        file.write_bytes(content)
        assert read[11](file) is None, what
        assert not file.exists()
        assert len(capsys.readouterr().out.splitlines()) == 1
    assert len(list(kept.cache().glob("*.damaged"))) == len(others)


def test_no_bit_that_flips_in_the_cache_changes_a_number(two_kept):
    files, read = two_kept
    file, content, chance = files[11], files[11].read_bytes(), random.Random(0)
    for k in range(1200):
        at = chance.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        file.write_bytes(flipped if k < 1000 else content[:at])
        assert read[11](file) is None
    file.write_bytes(content)
    assert answer(read[11](file)) == "22\n"
    assert len(list(kept.cache().glob("*.damaged"))) == 1200


def test_of_several_kept_runs_the_first_that_is_whole_is_taken(two_kept, tmp_path, monkeypatch):
    files, _ = two_kept
    damaged = files[11].with_name(f"{files[11].name.rpartition('-')[0]}-0.ipynb")
    damaged.write_text("{")
    monkeypatch.setattr(running.papermill, "execute_notebook", None)
    found = running.execute(tmp_path / "n.ipynb", {"seed": 11}, tmp_path / "failed")
    assert answer(found) == "22\n"
    assert found.cells[0].source == "seed = 11"
    assert len(found.cells) == 2
    assert not damaged.exists()


def test_the_key_follows_the_package_and_the_pins(monkeypatch, tmp_path):
    nb = notebook("1 + 1")
    for name in ("faithnb/x.py", "requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    keys = [kept.code_key(nb, {})]
    for name in ("faithnb/x.py", "requirements.txt"):
        (tmp_path / name).write_text("b")
        keys.append(kept.code_key(nb, {}))
    runs_it = notebook("from benchmarks import record")
    for text in "ab":
        (tmp_path / "tests" / "benchmarks").mkdir(exist_ok=True, parents=True)
        (tmp_path / "tests" / "benchmarks" / "x.py").write_text(text)
        keys.append(kept.code_key(runs_it, {}))
    assert kept.code_key(nb, {}) == keys[2]
    (tmp_path / "book" / "static").mkdir(parents=True)
    for name in ("gpu.json", "bench-gpu.json"):
        (tmp_path / "book" / "static" / name).write_text("{}")
        keys.append(kept.code_key(runs_it, {}))
    keys += [kept.code_key(nb, {"p": 1}), kept.code_key(notebook("1 + 2"), {})]
    assert len(set(keys)) == 9
