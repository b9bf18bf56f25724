"""Notebooks that run: what is reused, and what is refused."""

import json
import os
import time
from pathlib import Path

import nbformat
import pytest
from made import answer, notebook, write

from faithnb.book import kept, running
from faithnb.book.contents import BuildError
from faithnb.common.errors import ParameterError
from faithnb.common.files import DAY


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return tmp_path


@pytest.mark.book
def test_a_notebook_is_run_once_and_again_when_its_code_changes(sandbox):
    parameters = {"a": 2}
    sources = ("a = 1  # a number", "print(a, id(object()))", "# prose")
    path = write(sandbox / "n.ipynb", notebook(*sources, tags=["parameters"]))
    first = running.execute(path, parameters, sandbox / "failed")
    assert first.cells[1].outputs[0].text.startswith("2 ")
    assert first.cells[0].source == "a = 2  # a number"

    write(path, notebook(*sources[:2], "# other prose", tags=["parameters"]))
    again = running.execute(path, parameters, sandbox / "failed")
    assert again.cells[1].outputs == first.cells[1].outputs
    assert again.cells[2].source == "# other prose"

    next(kept.cache().iterdir()).write_text("{")
    rerun = running.execute(path, parameters, sandbox / "failed")
    assert rerun.cells[1].outputs[0].text.startswith("2 ")
    assert len(list(kept.cache().glob("*.damaged"))) == 1

    write(path, notebook(sources[0], "print(a, 'new')", tags=["parameters"]))
    assert (
        running.execute(path, parameters, sandbox / "failed").cells[1].outputs[0].text == "2 new\n"
    )
    assert running.execute(path, {"a": 3}, sandbox / "failed").cells[1].outputs[0].text == "3 new\n"
    assert len(list(kept.cache().glob("*.ipynb"))) == 3


@pytest.mark.book
def test_a_failing_cell_stops_the_build_and_keeps_the_report(sandbox):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", "1 / 0", tags=["parameters"]))
    with pytest.raises(BuildError, match="n.ipynb failed in a cell with ZeroDivisionError"):
        running.execute(path, {}, sandbox / "failed")
    assert "ZeroDivisionError" in (sandbox / "failed" / "n.ipynb").read_text(encoding="utf-8")
    assert list(kept.cache().iterdir()) == []


@pytest.mark.book
def test_notebooks_run_side_by_side_and_readers_last(sandbox, monkeypatch):
    """A reader comes first in the table of contents, runs last and sees what the other gave."""
    code = {
        "reader": "from faithnb.notebook import read_records\nprint(read_records()['runs'])",
        "giver": "from faithnb.notebook import hand_over\nhand_over('runs', {'a': 0.5})",
        "other": "import os\nprint(os.environ['OMP_NUM_THREADS'])",
    }
    for module in (running, kept):
        monkeypatch.setattr(module, "ROOT", sandbox)
    monkeypatch.setattr(running, "pages", lambda _: [f"notebooks/{name}" for name in code])
    (sandbox / "notebooks").mkdir()
    (sandbox / "requirements.txt").touch()
    for name, line in code.items():
        write(
            sandbox / "notebooks" / f"{name}.ipynb",
            notebook("a = 1  # a", line, tags=["parameters"]),
        )
    for _ in range(2):  # the second time from the cache
        done = {path.stem: nb for path, nb in running.execute_all({"a": 2}, sandbox / "_build")}
        assert list(done) == ["giver", "other", "reader"]
        assert done["reader"].cells[-1].outputs[0].text == "{'giver': {'a': 0.5}}\n"
        assert done["giver"].cells[-1].outputs == []
        assert int(done["other"].cells[-1].outputs[0].text) >= 1
    assert "FAITHNB_RECORDS" not in os.environ


def test_a_parameter_that_a_notebook_lacks_stops_the_build(sandbox):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", tags=["parameters"]))
    with pytest.raises(BuildError, match="n.ipynb has no parameter b; it has a"):
        running.execute(path, {"b": 1}, sandbox / "failed")


def test_outputs_are_not_kept_if_the_package_changed_meanwhile(sandbox, monkeypatch, capsys):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", tags=["parameters"]))
    for before, after, names in (("b", "c", []), ("a", "a", ["n-a"])):
        keys = iter(before + after)
        monkeypatch.setattr(running, "code_key", lambda *_, keys=keys: next(keys))
        assert running.execute(path, {"a": 2}, sandbox / "failed").cells
        assert [p.name.rpartition("-")[0] for p in kept.cache().iterdir()] == names
    assert "not kept, because the package changed" in capsys.readouterr().out


def stands_in(monkeypatch, then=lambda path: None):
    """Papermill's place is taken: every notebook prints 5."""

    def execute_notebook(given, path, **_):
        path = Path(path.format())
        executed = json.loads(Path(given.format()).read_text(encoding="utf-8"))
        path.write_text("half")
        then(path)
        executed["metadata"]["papermill"]["duration"] = 1.0
        executed["cells"][-1]["outputs"] = [nbformat.v4.new_output("stream", text="5\n")]
        return nbformat.from_dict(executed)

    monkeypatch.setattr(running.papermill, "execute_notebook", execute_notebook)


def test_notebooks_that_run_have_names_of_their_own_and_old_halves_are_cleared(
    sandbox, monkeypatch
):
    names = []
    stands_in(monkeypatch, lambda path: names.append(path.name))
    folder = sandbox / "store" / "notebooks"
    folder.mkdir(parents=True)
    halves = [
        folder / name for name in ("n-a.ipynb.1f.part.ipynb", "n-a.7-8.part.ipynb", "young.part")
    ]
    for half in halves:
        half.touch()
    for half in halves[:2]:
        os.utime(half, (0, time.time() - 2 * DAY))
    for name in ("a{b}[c]*" + "é" * 100, "n"):
        path = write(sandbox / f"{name}.ipynb", notebook("a = 1", "b", tags=["parameters"]))
        for _ in range(2):
            assert answer(running.execute(path, {"a": 2}, sandbox / "failed")) == "5\n"
    assert len(set(names)) == 2
    left = set(folder.iterdir())
    assert halves[2] in left
    assert len(left) == 3


def test_a_disk_that_fills_up_while_a_notebook_runs_is_said(sandbox, monkeypatch, capsys):
    path = write(sandbox / "n.ipynb", notebook("a = 1", "b", tags=["parameters"]))

    def full(_):
        raise OSError(28, "No space left on device")

    stands_in(monkeypatch, full)
    with pytest.raises(
        BuildError, match=r"n.ipynb did not run .*No space left.* written to .*notebooks"
    ):
        running.execute(path, {}, sandbox / "failed")
    assert list(kept.cache().iterdir()) == []
    stands_in(monkeypatch)

    def no_room_to_keep(path, content):
        return path.write_text(content) if ".part" in path.suffixes else full(path)

    monkeypatch.setattr(running, "write_whole", no_room_to_keep)  # what ran is used all the same
    assert answer(running.execute(path, {}, sandbox / "failed")) == "5\n"
    assert "n: not kept, because" in capsys.readouterr().out


def test_a_store_that_is_no_folder_is_said(sandbox, monkeypatch):
    path = write(sandbox / "n.ipynb", notebook("a = 1"))
    monkeypatch.setenv("FAITHNB_STORE", "   ")
    with pytest.raises(ParameterError, match="FAITHNB_STORE = '   ' is not allowed"):
        running.execute(path, {}, sandbox / "failed")


def in_a_row(monkeypatch, sandbox, names):
    """A book of such notebooks, which run one after the other; the last reads records."""
    for module in (running, kept):
        monkeypatch.setattr(module, "ROOT", sandbox)
    monkeypatch.setattr(running, "side_by_side", lambda: 1)
    monkeypatch.setattr(running, "pages", lambda _: [f"notebooks/{name}" for name in names])
    (sandbox / "notebooks").mkdir()
    (sandbox / "requirements.txt").touch()
    for name in names:
        path = sandbox / "notebooks" / f"{name}.ipynb"
        code = "read_records(" if name == names[-1] else name
        write(path, notebook("a = 1", f"'{code}'", tags=["parameters"]))


def test_a_build_that_was_interrupted_goes_on_where_it_was(sandbox, monkeypatch):
    names = ["first", "second", "third"]
    in_a_row(monkeypatch, sandbox, names)
    ran = []

    def interrupted(path):
        ran.append(path.name.partition("-")[0])
        if "second" in ran:
            raise KeyboardInterrupt

    stands_in(monkeypatch, interrupted)
    build = running.execute_all({"a": 2}, sandbox / "_build")
    assert next(build)[0].stem == "first"
    with pytest.raises(KeyboardInterrupt):
        next(build)
    running.remove_unfinished()
    assert not list(kept.cache().glob("*.part*"))
    paths = [sandbox / "notebooks" / f"{name}.ipynb" for name in names]
    assert running.is_kept(paths[0], {"a": 2})
    assert not running.is_kept(paths[0], {"a": 3})
    assert not running.is_kept(paths[1], {"a": 2})
    ran.clear()
    stands_in(monkeypatch, lambda path: ran.append(path.name.partition("-")[0]))
    again = [path.stem for path, _ in running.execute_all({"a": 2}, sandbox / "_build")]
    assert again == names
    assert ran == ["second", "third"]
