"""Rows of parameters: what is read, and what is refused before anything runs."""

import re

import nbformat
import pytest
from made import small_notebook

from faithnb.book import cells, kept, many, rows
from faithnb.book.contents import ROOT


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return small_notebook(tmp_path)


def rows_of(tmp_path, text, **options):
    (tmp_path / "params.yaml").write_text(text)
    return rows.read_rows(tmp_path / "params.yaml", **options)


def test_rows_and_products(tmp_path):
    assert rows_of(tmp_path, "- {density: 0.1}\n- {density: 0.2, steps: 5}\n") == [
        {"density": 0.1}, {"density": 0.2, "steps": 5}
    ]  # fmt: skip
    product = rows_of(tmp_path, "density: [0.1, 0.2]\nsteps: [1, 2, 3]\nprofile: quick\n")
    assert len(product) == 6
    assert product[1] == {"density": 0.1, "steps": 2, "profile": "quick"}
    points = rows_of(tmp_path, "points: [[[1, 1]], [[1, 1, 1]]]")
    assert points == [{"points": [[1, 1]]}, {"points": [[1, 1, 1]]}]
    hundred = ", ".join(map(str, range(100)))
    text = f"a: [{hundred}]\nb: [{hundred}]\nc: [{hundred}]\n"
    with pytest.raises(rows.RowsError, match="asks for 1,000,000 runs, more than 100,000.*MANY=1"):
        rows_of(tmp_path, text)
    assert len(rows_of(tmp_path, text, many=True)) == 10**6


BAD = [
    ("", "is empty"),
    ("[]", "is empty"),
    ("{}", "is empty"),
    ("3", "holds 3"),
    ("density: [0.1", "is not YAML in line"),
    ("density: [0.1]\n\tsteps: 3", "is not YAML in line 2"),
    ("!!python/object/apply:os.system ['touch x']", "is not YAML in line 1"),
    ("- density", "row 1 is 'density'"),
    ("- {density: 0.1}\n- {}", "row 2 is {}"),
    ("density: []", "density has no values"),
    ("- {density: 0.1}\n- {density: 0.2}\n- {density: 0.1}", "rows 1 and 3 are the same"),
    ("densty: [0.1]", "row 1: densty = 0.1 .* Did you mean density"),
    ("seed: [1]", "row 1: seed = 1 .* there is no parameter seed"),
    ("density: [0.1, 0.7]", r"row 2: density = 0.7 .* \(0, 0.5\]"),
    ("density: [high]", "row 1: density = 'high'"),
    ("points: [[[0, 0]]]", "row 1: points = "),
    ("profile: [quick, huge]", "row 2: profile = 'huge'"),
    ("steps: [2.5]", "row 1: steps = 2.5"),
    ("\x00", "is not YAML"),
    (
        "density: [0.1]\nsteps: [1]\ndensity: [0.2]",
        "is not YAML in line 3: density stands there twice",
    ),
    ("- {steps: 1, steps: 2}", "is not YAML in line 1: steps stands there twice"),
    ("density: [!!bool foo]", "is not YAML"),
    ("density: [!!timestamp x]", "is not YAML"),
    ("density: [!!int '']", "is not YAML"),
    ("a: &a [*a]", "is not allowed in line 1: it has an alias"),
    ("- seed: &a 1\n- {seed: *a}", "is not allowed in line 2: it has an alias"),
    ("[" * 100_000, "is not allowed in line 1: it has more than 20 lists within lists"),
    ("- " * 100_000, "is not allowed in line 1: it has more than 20 lists within lists"),
    ("{a: " * 100_000, "is not allowed in line 1: it has more than 20 lists within lists"),
    ("density: [0.1, 1.0e-1]", "rows 1 and 2 are the same"),
    ("steps: [10, 1.0e+1]", "rows 1 and 2 are the same"),
    ("- {density: 0.1}\n- {density: 0.1, steps: null}", "rows 1 and 2 are the same"),
    ("steps: [1:30]", "row 1: steps = '1:30' .* it arrived as text"),
    ("interactive: yes", "row 1: interactive = 'yes' .* it must be True or False"),
    ("steps: " + "9" * 5000, "is not YAML"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_a_bad_file_stops_in_a_sentence_before_anything_runs(path, text, sentence, capfd):
    (path.parent / "params.yaml").write_text(text)
    out = path.parent / "out"
    arguments = [str(path), str(path.parent / "params.yaml"), "--out", str(out)]
    assert many.main(arguments) == 2
    said = capfd.readouterr().err
    assert re.search(sentence, said), said
    assert said.startswith("Nothing was started: ")
    assert len(said.splitlines()) == 1
    assert not out.exists()
    assert not kept.cache().exists()


def test_numbers_as_people_write_them(tmp_path):
    found = rows_of(tmp_path, "learning_rate: [1e-3, 1E3, .5e1, 2.e-2, 3.0e-3]")
    assert [row["learning_rate"] for row in found] == [1e-3, 1e3, 5.0, 0.02, 3e-3]
    assert rows_of(tmp_path, "name: [e3, 1e, x1e3]")[1] == {"name": "1e"}
    for text in ("steps: [010, 1:30, 0o10]", "%YAML 1.1\n---\nsteps: [010, 1:30, 0o10]"):
        assert [row["steps"] for row in rows_of(tmp_path, text)] == [10, "1:30", 8]


def test_many_rows_are_checked_with_a_bar_and_few_without(path, monkeypatch, capfd):
    content = cells.read_notebook(path)
    many_rows = [{"steps": k} for k in range(1, 6)]
    rows.check(content, "n", many_rows, progress=True)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(rows, "MANY_TO_CHECK", 5)
    rows.check(content, "n", many_rows, progress=True)
    assert "checking: 100%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("import no_such_package", "what n takes cannot be read .* No module named"),
        ("limit = 1\nread_parameters(globals(), density=limit)", "limits made of imports"),
        ("1 + 1", "n reads no parameters with"),
    ],
)
def test_a_notebook_whose_parameters_cannot_be_known_is_said(path, cell, sentence):
    content = cells.read_notebook(path)
    content.cells[2:] = [nbformat.v4.new_code_cell(cell)]
    with pytest.raises(rows.RowsError, match=sentence):
        rows.check(content, "n", [{"density": 0.1}])


def test_lines_for_ipython_and_other_ways_to_call_are_read(path):
    content = cells.read_notebook(path)
    content.cells[2].source = "%matplotlib inline\nimport faithnb as f"
    content.cells[
        3
    ].source = "!true\nf.read_parameters(globals(), density=f.parameters.Range(0, .2))"
    rows.check(content, "n", [{"density": 0.1}])
    with pytest.raises(rows.RowsError, match=r"row 1: density = 0.3 .* \[0, 0.2\]"):
        rows.check(content, "n", [{"density": 0.3}])


def test_what_each_notebook_of_the_book_takes():
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        content = cells.read_notebook(notebook)
        rows.check(content, notebook.name, [{"profile": "quick"}])
        with pytest.raises(rows.RowsError, match="row 1: profile = 'x'"):
            rows.check(content, notebook.name, [{"profile": "x"}])
    content = cells.read_notebook(many.find_notebook("02"))
    with pytest.raises(rows.RowsError, match=r"row 2: density = 0.5 .* \(0, 0.333333\]"):
        rows.check(content, "02", [{"density": 0.3}, {"density": 0.5}])
