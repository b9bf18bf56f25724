"""An environment with the libraries whose files are read and written here, on top of the one that
this runs in.

    python tests/interop/environment.py FOLDER [pip's arguments]

What is installed below, torch above all, is seen and not installed again.
"""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent


def make(folder: Path, pip_args: list[str]) -> None:
    """From nothing, so that no version of yesterday stays.

    Raises:
        SystemExit: with a sentence, if it cannot be had.
    """
    try:
        venv.create(folder, clear=True, with_pip=True)
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        below = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        (packages / "below.pth").write_text(below, encoding="utf-8")
        python = folder / Path(sys.executable).relative_to(sys.prefix)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        paper = HERE.parents[1] / "requirements.txt"
        for what in (
            ["-c", paper, "-r", HERE / "requirements.txt"],
            ["--no-deps", "-r", HERE / "requirements-alone.txt"],
        ):
            subprocess.run([*install, *pip_args, *what], check=True)
    except (OSError, subprocess.CalledProcessError):
        raise SystemExit(
            "The libraries could not be installed (pip's last words are above, if it came to "
            "that). Is the network reachable, and is there 1 GB of disk? Arguments for a proxy, a "
            "mirror or another index go into PIP_ARGS=…"
        ) from None


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute(), sys.argv[2:])
