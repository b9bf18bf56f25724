"""Chapters that can be read while others still run: ``_build/html-so-far``."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from faithnb.book.choosing import BLOCK, chosen
from faithnb.common.files import write_whole
from faithnb.notebook import handed_over

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{refresh}<title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.55 system-ui, sans-serif; max-width: 54rem }}
body {{ margin: 2rem auto; padding: 0 1rem }}
pre, .output_html {{ overflow-x: auto }} pre {{ font-size: .85rem }}
img, svg {{ max-width: 100%; height: auto; background: white }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left }}
progress {{ width: 100% }} .prompt, .anchor-link {{ display: none }}
</style></head><body>
{body}
</body></html>
"""
STATES = {"waits": "waits", "kept": "finished before, used again", "finished": "finished"}
GLUED = re.compile(r"\{glue:text\}`([^`:]+):?([^`]*)`")
ROLE = re.compile(r"(?: \{cite|\{)[\w:]*\}`([^`]+)`")
GLUE = "application/papermill.record/text/plain"


class SoFar:
    """A first page that lists chapters with their state, and a page for each that is finished.

    Without a server: the first page loads itself again every few seconds.
    """

    def __init__(self, folder: Path, titles: Mapping[str, str]):
        """
        Args:
            folder: where; what was there before goes.
            titles: of the chapters, by the names of their notebooks.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.first = folder / "index.html"
        self._titles = titles

    def finished(self, name: str, notebook: NotebookNode) -> None:
        """Write a chapter's page."""
        body = f'<p><a href="index.html">All chapters</a></p>\n{exported(notebook)}'
        title = html.escape(self._titles[name])
        page = PAGE.format(refresh="", title=title, body=body)
        write_whole(self.first.with_name(f"{name}.html"), page)

    def write(self, states: Mapping[str, str], share: float, said: str, ended: str = "") -> None:
        """Write the first page.

        Args:
            states: of chapters: one of :data:`STATES`, or what runs in it.
            share: of the work that is done, 0 to 1.
            said: how long it takes.
            ended: HTML in place of that, once nothing changes any more.
        """
        rows = "\n".join(
            f"<tr><td>{self._linked(name, state)}</td>"
            f"<td>{html.escape(STATES.get(state, state))}</td></tr>"
            for name, state in states.items()
        )
        bar = f'<progress value="{share:.3f}">{share:.0%}</progress><p>{html.escape(said)}</p>'
        body = (
            f"<h1>The book so far</h1>\n{ended or bar}\n"
            "<p>Chapters can be read as soon as they have run. Their figures and numbers are "
            "final; references, the bibliography and what computes in the page come with the "
            f"finished book.</p>\n<table>{rows}</table>"
        )
        refresh = "" if ended else '<meta http-equiv="refresh" content="4">'
        page = PAGE.format(refresh=refresh, title="The book so far", body=body)
        write_whole(self.first, page)

    def _linked(self, name: str, state: str) -> str:
        title = html.escape(self._titles[name])
        there = state in ("finished", "kept") and self.first.with_name(f"{name}.html").exists()
        return f'<a href="{name}.html">{title}</a>' if there else title


def title_of(notebook: NotebookNode) -> str:
    """A notebook's first heading, or nothing."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    found = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def exported(notebook: NotebookNode) -> str:
    """An executed notebook as HTML: its own values filled into the prose, cells that the book
    folds away left out, and roles as plain words."""
    notebook = deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    values, own = _glued(notebook), handed_over(notebook).get("claims", {})
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = BLOCK.sub(
                lambda m: chosen(m[0], own, "so far") if m[1] in own else "…\n", cell.source
            )
            cell.source = ROLE.sub(_word, GLUED.sub(lambda m: _value(m, values), cell.source))
        else:
            cell.outputs = [o for o in cell.outputs if _shown(o)]
    folded = {"hide-input", "remove-input", "hide-cell", "remove-cell"}
    config = Config({"TagRemovePreprocessor": {"remove_input_tags": folded, "enabled": True}})
    exporter = HTMLExporter(template_name="basic", config=config)
    exporter.register_preprocessor(TagRemovePreprocessor(config=config), enabled=True)
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def _shown(output: NotebookNode) -> bool:
    left_out = ("faithnb.record", "papermill.record", "jupyter.widget-view")
    return not any(name in kind for kind in output.get("data", {}) for name in left_out)


def _glued(notebook: NotebookNode) -> dict[str, str]:
    """Values that a notebook glued, by name."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name and GLUE in output.get("data", {}):
                found[name] = "".join(output.data[GLUE])
    return found


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    name, shape = match[1], match[2]
    if name not in values:
        return "…"  # another page's
    text = values[name].strip("'\"")
    if shape in ("", "s"):
        return text
    try:
        return format(float(text), shape)
    except ValueError:
        return text


def _word(match: re.Match[str]) -> str:
    """What a role says, where nothing can be looked up."""
    words = re.sub(r"\s*<[^>]*>$", "", match[1]).removeprefix("~")
    role = match[0].lstrip()
    if role.startswith("{cite"):
        return ""
    if role.startswith(("{numref", "{ref")):
        begins = match.start() == 0 or match.string[match.start() - 1] == "\n"
        return "The figure or table" if begins else "the figure or table"
    return f"`{words.rpartition('.')[2]}`"
