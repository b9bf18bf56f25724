"""Files written whole or not at all, and folders held by one run."""

import os
import threading
import time
from pathlib import Path

import pytest

from faithnb.common.errors import ParameterError
from faithnb.common.files import (
    DAY,
    BusyError,
    alone,
    clear_parts,
    folder_named,
    part_of,
    read_file,
    read_json,
    write_whole,
)


def test_a_reader_sees_old_or_new_whatever_writers_do(tmp_path):
    path = tmp_path / "table.csv"
    texts = [letter * 100_000 for letter in "ab"]
    write_whole(path, texts[0])
    errors = []

    def write():
        try:
            for k in range(50):
                write_whole(path, texts[k % 2])
        except OSError as error:
            errors.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in texts
    assert errors == []
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    write_whole(path, "before")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "after")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_text_is_utf_8_and_line_ends_stay(tmp_path):
    write_whole(tmp_path / "x", "é→\r\n\n")
    assert (tmp_path / "x").read_bytes() == "é→\r\n\n".encode()


def test_only_old_parts_are_cleared(tmp_path):
    old, young = part_of(tmp_path / "n.ipynb", ".ipynb"), part_of(tmp_path / "n.ipynb")
    other = tmp_path / "apart.txt"
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, time.time() - 2 * DAY))
    clear_parts(tmp_path)
    assert set(tmp_path.iterdir()) == {young, other}
    clear_parts(tmp_path / "nowhere")


def test_a_folder_is_held_by_one(tmp_path):
    out, sentence = tmp_path / "out", "another sweep is writing to .*out"
    with alone(out, "sweep"), pytest.raises(BusyError, match=sentence), alone(out, "sweep"):
        pass
    with alone(out, "sweep"):
        pass


def test_folders_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder_named("store", "~/x") == tmp_path / "home" / "x"
    assert folder_named("store", " rel ") == tmp_path / "rel"
    assert folder_named("store", Path("a/../b")) == tmp_path / "b"
    for wrong in ("", "   ", "a\0b", "~nobody-of-this-name/x", 5, b"x", None, "\ud800"):
        with pytest.raises(ParameterError, match="store = .* is not allowed"):
            folder_named("store", wrong)


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    pipe = tmp_path / "x.ipynb"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="x.ipynb is no file"):
        read_file(pipe)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nowhere")
    write_whole(tmp_path / "y", b"\0")
    assert read_file(tmp_path / "y") == b"\0"


def test_json_that_says_a_thing_twice_is_none():
    assert read_json('{"a": [1, {"b": 2}]}') == {"a": [1, {"b": 2}]}
    for wrong in ('{"a": 1, "a": 2}', "{", "[" * 200_000):
        with pytest.raises(ValueError, match=r"twice|nested|Expecting"):
            read_json(wrong)
