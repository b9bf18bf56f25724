"""A notebook over many rows of parameters, as make sweep runs it."""

import csv
import os
import re
import subprocess
import sys

import nbformat
import pytest
from made import small_notebook

from faithnb.book import assets, cells, kept, many, row_pages
from faithnb.book.contents import ROOT
from faithnb.common.files import BusyError, alone


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return small_notebook(tmp_path)


def test_a_missing_file_and_a_notebook_that_is_none(path, capfd):
    assert many.main([str(path), "nowhere.yaml"]) == 2
    assert "nowhere.yaml cannot be read" in capfd.readouterr().err
    (path.parent / "p.yaml").write_text("density: [0.1]")
    for name in ("", "0", "99", "no.ipynb", "nowhere/02_when_do_datapoint_features_form.ipynb"):
        assert many.main([name, str(path.parent / "p.yaml")]) == 2
        assert "must begin the name of exactly one notebook" in capfd.readouterr().err
    assert many.main([str(path), str(path.parent / "p.yaml"), "--jobs", "0"]) == 2
    for name in ("02", "2", "02_when"):
        assert many.find_notebook(name).stem == "02_when_do_datapoint_features_form"
    assert many.find_notebook("1").stem == "01_absolute_value"
    capfd.readouterr()
    assert many.main([str(path), ""]) == 2
    assert "PARAMS is missing" in capfd.readouterr().err
    assert many.main([str(path), str(path.parent)]) == 2
    (path.parent / "broken.ipynb").write_text("{")
    assert many.main([str(path.parent / "broken.ipynb"), str(path.parent / "p.yaml")]) == 2
    assert "cannot be read as a notebook" in capfd.readouterr().err


def test_every_row_runs_a_failure_is_kept_and_said_and_nothing_runs_twice(path, capfd):
    (path.parent / "params.yaml").write_text("density: [0.1, 0.3, 0.2]\n")
    out = path.parent / "out"
    arguments = [str(path), str(path.parent / "params.yaml"), "--out", str(out), "--jobs", "2"]
    assert many.main(arguments) == 1
    said = capfd.readouterr()
    assert "2 of 3 rows ran" in said.out
    assert "row-2 failed: small.ipynb failed in a cell with RuntimeError: no luck" in said.err
    assert "3/3" in said.err
    table = list(csv.DictReader((out / "table.csv").open()))
    assert [row["density"] for row in table] == ["0.1", "0.3", "0.2"]
    assert [row["twice"] for row in table] == ["0.2", "", "0.4"]
    assert [row["word"] for row in table] == ["yes", "", "yes"]
    assert [bool(row["error"]) for row in table] == [False, True, False]
    index = (out / "index.html").read_text(encoding="utf-8")
    assert index.count("<tr") == 4
    assert 'href="row-1.html"' in index
    assert "no luck with 0.3" in index
    assert "A small one" in (out / "row-1.html").read_text(encoding="utf-8")
    assert (out / "failed" / "row-2" / "small.ipynb").exists()
    row = nbformat.read(out / "row-3.ipynb", as_version=4)
    assert [cell.source for cell in row.cells if "density = " in cell.source] == [
        cells.read_notebook(path).cells[1].source.replace("0.1", "0.2").replace("True", "False")
    ]

    before = {p: p.stat().st_mtime_ns for p in kept.cache().iterdir()}
    (path.parent / "params.yaml").write_text("- {density: 0.2}\n- {density: 0.4}\n")
    assert many.main(arguments) == 0
    after = {p: p.stat().st_mtime_ns for p in kept.cache().iterdir()}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def stands_in(monkeypatch, *outputs, then=lambda _: None):
    """The place of running is taken: every row shows these outputs."""

    def execute(path, parameters, *_, **__):
        then(parameters)
        done = cells.read_notebook(path)
        done.metadata["seconds"] = 1.0
        done.cells[-1].outputs = list(outputs)
        return done

    monkeypatch.setattr(many, "execute", execute)
    monkeypatch.setattr(row_pages, "vendor", no_parts)


def no_parts(*_, **__):
    raise assets.NoParts("they were not fetched")


def test_two_runs_into_one_folder_are_refused_before_anything_is_touched(path, capfd):
    (path.parent / "p.yaml").write_text("density: [0.1]")
    out = path.parent / "out"
    with alone(out, "sweep"):
        before = sorted(out.iterdir())
        assert many.main([str(path), str(path.parent / "p.yaml"), "--out", str(out)]) == 2
        assert sorted(out.iterdir()) == before
        with pytest.raises(BusyError):
            many.run(path, [{"density": 0.1}], out)
    said = capfd.readouterr().err
    assert said.startswith("Nothing was started: another sweep is writing to ")
    assert len(said.splitlines()) == 1


def test_folders_may_begin_at_home(path, monkeypatch, capfd):
    stands_in(monkeypatch)
    monkeypatch.setenv("HOME", str(path.parent))
    (path.parent / "p.yaml").write_text("density: [0.1]")
    assert many.main(["~/small.ipynb", "~/p.yaml", "--out", "~/there"]) == 0
    assert (path.parent / "there" / "index.html").exists()
    capfd.readouterr()
    for wrong in ("", "  "):
        assert many.main(["~/small.ipynb", "~/p.yaml", "--out", wrong]) == 2
        assert f"Nothing was started: OUT = {wrong!r}" in capfd.readouterr().err


def test_a_full_disk_leaves_no_torn_file_and_the_other_rows_run(path, monkeypatch, capfd):
    stands_in(monkeypatch)
    real, full = many.write_whole, {"row-2.html"}

    def write(file, content):
        if file.name in full:
            raise OSError(28, "No space left on device")
        real(file, content)

    monkeypatch.setattr(many, "write_whole", write)
    (path.parent / "p.yaml").write_text("density: [0.1, 0.2, 0.25]")
    out = path.parent / "out"
    arguments = [str(path), str(path.parent / "p.yaml"), "--out", str(out)]
    assert many.main(arguments) == 1
    said = capfd.readouterr().err
    assert f"row-2 failed: {out} cannot be written (No space left on device)" in said
    table = list(csv.DictReader((out / "table.csv").open()))
    assert [bool(row["error"]) for row in table] == [False, True, False]
    full.add("table.csv")
    before = (out / "table.csv").read_bytes()
    assert many.main(arguments) == 1
    said = capfd.readouterr().err
    assert f"Stopped: {out} cannot be written (No space left on device). What had" in said
    assert str(kept.cache()) in said
    assert (out / "table.csv").read_bytes() == before


def test_a_row_that_fails_in_whatever_way_leaves_the_others(path, monkeypatch):
    def fails(parameters):
        if parameters["density"] == 0.2:
            raise StopIteration

    stands_in(monkeypatch, then=fails)
    rows = [{"density": 0.1}, {"density": 0.2}, {"density": 0.3}]
    found = many.run(path, rows, path.parent / "out", progress=False)
    assert [record["error"] for record in found] == ["", "StopIteration: ", ""]


FOREIGN = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//""")


@pytest.mark.parametrize("fetched", [True, False])
def test_pages_ask_nothing_of_other_hosts(path, monkeypatch, fetched, capfd):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a", "version_major": 2}}
    stands_in(monkeypatch, nbformat.v4.new_output("display_data", view))
    content = cells.read_notebook(path)
    content.cells[0].source = "# A $x^2$ one"
    nbformat.write(content, path)
    read = cells.read_notebook

    def with_widgets(path):
        found = read(path)
        found.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
        return found

    monkeypatch.setattr(cells, "read_notebook", with_widgets)
    if fetched:
        monkeypatch.setattr(row_pages, "vendor", lambda out, fetch: (out / "vendor").mkdir())
    many.run(path, [{"density": 0.1}, {"density": 0.2}], path.parent / "out", progress=False)
    page = (path.parent / "out" / "row-1.html").read_text(encoding="utf-8")
    assert "$x^2$" in page
    assert not FOREIGN.search(page)
    assert "cdnjs" not in page
    assert "unpkg" not in page
    scripts = re.findall(r'<script[^>]* src="([^"]*)"', page)
    of_page = ["require.js", "widget-paths.js", "embed-amd.js", "mathjax/tex-svg.js"]
    assert scripts == [f"vendor/{name}" for name in of_page] * fetched
    said = capfd.readouterr().err.count("Pages show formulas as text, and no widgets: they were")
    assert said == (not fetched)
    assert FOREIGN.search('<script src="//x.org">')


def test_pages_find_what_was_fetched_beside_them(path, monkeypatch, tmp_path):
    home = tmp_path / "home"
    monkeypatch.setattr(assets.vendor, "__defaults__", (home, True))
    assert not row_pages.scripts_of_pages(tmp_path / "out")
    for name in assets.PARTS:
        part = assets._folder(home) / name
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("script")
    assert row_pages.scripts_of_pages(tmp_path / "out")
    for script in re.findall(r'src="(vendor/[^"]*)"', row_pages.PAGE):
        assert (tmp_path / "out" / script).exists(), script


@pytest.mark.book
def test_a_machine_that_knows_only_ascii_runs_rows(path):
    """Parameters, what is glued, and names of files in UTF-8."""
    content = cells.read_notebook(path)
    content.cells[-1].source = 'glue(word="→ é")'
    there = path.parent / "ä→"
    there.mkdir()
    nbformat.write(content, there / "n.ipynb")
    (there / "p.yaml").write_text("# → é\ndensity: [0.1, 0.3]\n", encoding="utf-8")
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "faithnb.book.many", there / "n.ipynb", there / "p.yaml",
               "--out", there / "out", "--jobs", "2"]  # fmt: skip
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True)
    assert done.returncode == 1, done.stderr
    assert b"row-2 failed: n.ipynb failed in a cell with RuntimeError: no luck" in done.stderr
    assert b"1 of 2 rows ran" in done.stdout
    assert b"Traceback" not in done.stderr
    with (there / "out" / "table.csv").open(encoding="utf-8") as table:
        assert next(csv.DictReader(table))["word"] == "→ é"


def test_the_slower_the_table_the_seldomer_it_is_written():
    assert many.when_next(10.0, 10.01) == 10.01 + many.SECONDS_BETWEEN_TABLES
    assert many.when_next(10.0, 13.0) == pytest.approx(13 + 3 / many.SHARE_OF_TABLES)


@pytest.mark.book
def test_the_table_is_whole_also_where_nothing_is_shown(path):
    """Rows from the cache are done faster than tables are written."""
    rows, out = [{"density": 0.1}, {"density": 0.2}], path.parent / "out"
    for _ in range(2):
        found = many.run(path, rows, out, progress=False)
        assert [record["error"] for record in found] == ["", ""]
        table = list(csv.DictReader((out / "table.csv").open()))
        assert [row["twice"] for row in table] == ["0.2", "0.4"]


@pytest.mark.book
def test_make_sweep(tmp_path):
    (tmp_path / "p.yaml").write_text("steps: [20]\nprofile: quick\ngrid: [2]\nscan_seeds: [1, 2]\n")
    store = {"FAITHNB_STORE": str(tmp_path / "store")}
    command = ["make", "sweep", "NB=02", f"PARAMS={tmp_path / 'p.yaml'}", f"OUT={tmp_path / 'out'}",
               "JOBS=2"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | store)
    assert done.returncode == 0, done.stdout + done.stderr
    table = list(csv.DictReader((tmp_path / "out" / "table.csv").open()))
    assert [row["scan_seeds"] for row in table] == ["1", "2"]
    assert all(row["C9"] for row in table)


def test_a_pipe_is_not_waited_for(path, capfd):
    """In place of the parameters, of the notebook, and of a notebook that was kept."""
    (path.parent / "p.yaml").write_text("density: [0.1]\n")
    for name in ("pipe.yaml", "pipe.ipynb"):
        os.mkfifo(path.parent / name)
    assert many.main([str(path), str(path.parent / "pipe.yaml")]) == 2
    assert "pipe.yaml is no file" in capfd.readouterr().err
    assert many.main([str(path.parent / "pipe.ipynb"), str(path.parent / "p.yaml")]) == 2
    assert "pipe.ipynb is no file" in capfd.readouterr().err
    source = cells.read_notebook(path)
    file = path.parent / "small-0123-0123.ipynb"
    os.mkfifo(file)
    assert kept.read_kept(file, source, source, {}) is None
    assert "is no file" in capfd.readouterr().out
