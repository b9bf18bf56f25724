"""What the pages run, served from the book itself, so that no page asks anything of a network.

The parts are npm packages, pinned in ``package.json`` and ``package-lock.json``, and anywidget's
own script; Node comes from a wheel. They are fetched once, kept in the virtual environment and
never committed. ``python -m faithnb.book.assets`` fetches them, as ``make`` does after installing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anywidget

from faithnb.book.processes import clean_environment, print_anything
from faithnb.common.errors import ParameterError
from faithnb.common.files import CHECKOUT, DAY, part_of, write_whole
from faithnb.common.npm import NpmError, npm

MANAGER = "@jupyter-widgets/html-manager/dist"
PARTS = {
    "mathjax/tex-svg.js": "mathjax/es5/tex-svg.js",
    "require.js": "requirejs/require.js",
    "embed-amd.js": f"{MANAGER}/embed-amd.js",
    f"{MANAGER}/1551f4f60c37af51121f.woff2": f"{MANAGER}/1551f4f60c37af51121f.woff2",
}
"""Files of a page's ``_static/vendor``, and where npm puts them."""

WIDGET_PATHS = """\
// Where the widgets' scripts lie: beside this one, and nowhere else.
requirejs.config({ baseUrl: new URL(".", document.currentScript.src).href });
"""

CONFIG = {
    "mathjax_path": "vendor/mathjax/tex-svg.js",
    "nb_ipywidgets_js": {  # in this order
        "vendor/require.js": {},
        "vendor/widget-paths.js": {},
        "vendor/embed-amd.js": {"data-jupyter-widgets-cdn": "/no-cdn/"},
    },
}
"""What Sphinx must be told to use them."""

HOME = Path(sys.prefix) / "share" / "faithnb"
"""Where the parts are kept: in the environment."""

PINS = (CHECKOUT / "package.json", CHECKOUT / "package-lock.json")


class NoParts(Exception):
    """The parts could not be fetched; the message says why."""


def parts(home: Path) -> Path:
    """The folder with npm's files, fetched if need be.

    Args:
        home: where to keep it; its name says for which pins.

    Raises:
        NoParts: if npm is missing, or fails, for example without a network.
        OSError: if they cannot be kept.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    folder = _folder(home)
    if not is_whole(folder):
        _clear_parts(home)
        shutil.rmtree(folder, ignore_errors=True)
        part = part_of(folder)
        try:
            with TemporaryDirectory() as whole:
                npm_ci(Path(whole))
                _copy(Path(whole) / "node_modules", part)
            os.replace(part, folder)
        except OSError:
            if not is_whole(folder):  # unless another build was quicker
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _folder(home: Path) -> Path:
    wanted = hashlib.sha256(b"".join(f.read_bytes() for f in PINS) + repr(PARTS).encode())
    return home / f"npm-{wanted.hexdigest()[:16]}"


def is_whole(folder: Path) -> bool:
    """Whether a folder holds every part."""
    return all((folder / name).is_file() for name in PARTS)


def _clear_parts(home: Path) -> None:
    """Remove what was being fetched when its process was killed, a day ago or earlier."""
    for part in home.glob("npm-*.part"):
        if time.time() - part.stat().st_mtime > DAY:
            shutil.rmtree(part, ignore_errors=True)


def npm_ci(folder: Path, tools: bool = False) -> None:
    """Put what is pinned into ``node_modules`` of a folder.

    Args:
        folder: an empty one.
        tools: whether to add what only looks at the pages' scripts, and is in no page.

    Raises:
        NoParts: if npm is missing, or fails, for example without a network.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    command = ["ci", "--ignore-scripts", *([] if tools else ["--omit=dev"])]
    try:
        for file in PINS:
            shutil.copy(file, folder)
        with clean_environment() as environment:
            npm(command, folder, environment)
    except (NpmError, OSError) as error:
        raise NoParts(str(error)) from None


def _copy(source: Path, into: Path) -> None:
    if missing := [file for file in PARTS.values() if not (source / file).is_file()]:
        raise NoParts(f"npm's packages lack {', '.join(missing)}")
    for name, file in PARTS.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, into / name)


def vendor(static: Path, home: Path = HOME, fetch: bool = True) -> dict[str, Any]:
    """Put the parts under ``static/vendor``; what Sphinx must be told.

    Args:
        static: a page's folder.
        home: where the parts are kept.
        fetch: whether to ask npm for them if they are not there.

    Raises:
        NoParts: if they cannot be had.
        OSError: if they cannot be copied.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    folder = parts(home) if fetch else _folder(home)
    if not is_whole(folder):
        raise NoParts("they were not fetched (python -m faithnb.book.assets fetches them)")
    into = static / "vendor"
    copied = {into / name: folder / name for name in PARTS}
    copied[into / "anywidget.js"] = Path(anywidget.__file__).parent / "nbextension" / "index.js"
    for copy, part in copied.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, part.read_bytes())
    write_whole(into / "widget-paths.js", WIDGET_PATHS)
    return CONFIG


def main() -> int:
    """Fetch the parts; without them the book is built for the public CDN."""
    print_anything()
    try:
        parts(HOME)
    except (NoParts, OSError, ParameterError) as error:
        print(f"Pages will need a network for formulas and widgets: {error}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
