"""A build: one at a time, and what it leaves where."""

import shutil

import pytest

from faithnb.book import build, staging
from faithnb.book.contents import ROOT, plain_yaml
from faithnb.common.files import alone


def test_one_build_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "lay_out", None)
    with (
        alone(tmp_path / "_build", "build"),
        pytest.raises(
            build.BuildError, match="another build is writing to .*_build; wait for its end."
        ),
    ):
        build.build_book("quick", tmp_path / "_build")


def test_pictures_are_kept_when_asked_for(tmp_path, monkeypatch):
    src, static = tmp_path / "_build" / "src", tmp_path / "book" / "static"
    (src / "book" / "static").mkdir(parents=True)
    static.mkdir(parents=True)
    for picture in build.PICTURES:
        (src / "book" / "static" / picture).write_text("new")
        (static / picture).write_text("old")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "_build", lambda _, folder: folder / "html" / "index.html")
    for asked, found in (([], "old"), (["--pictures"], "new")):
        assert build.main(["--profile", "paper", *asked]) == 0
        assert {file.read_text() for file in static.iterdir()} == {found}


def test_a_draft_says_so_above_every_page(tmp_path):
    shutil.copy(ROOT / "_config.yml", tmp_path)
    staging.announce(tmp_path, build.draft_of("quick", 3300.0))
    config = plain_yaml().load((tmp_path / "_config.yml").read_text(encoding="utf-8"))
    said = config["sphinx"]["config"]["html_theme_options"]["announcement"]
    assert "profile quick" in said
    assert "PROFILE=paper” builds that, which takes about 55 min" in said
    assert config["execute"]["execute_notebooks"] == "off"
    assert "takes" not in build.draft_of("quick", 0.0)
