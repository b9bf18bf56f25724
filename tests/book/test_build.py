"""A build: one at a time, and what it leaves where."""

import pytest

from faithnb.book import build
from faithnb.common.files import alone


def test_one_build_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "stage", None)
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
