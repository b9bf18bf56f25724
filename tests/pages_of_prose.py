"""What the pages of the book say, beside their code."""

import json

from faithnb.book.contents import ROOT


def texts():
    """Prose and captions of every page, in pieces."""
    for path in sorted((ROOT / "book").rglob("*.md")):
        yield path.stem, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.stem, "".join(cell["source"])
            yield path.stem, cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
