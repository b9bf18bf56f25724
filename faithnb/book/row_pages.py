"""Rows as pages: each executed notebook, and the table of all."""

from __future__ import annotations

import html
import sys
from copy import deepcopy
from pathlib import Path

import pandas as pd
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from faithnb.book.assets import NoParts, vendor
from faithnb.notebook import RECORD

PAGE = """\
{%- extends "index.html.j2" -%}
{%- block html_head_js_requirejs -%}
{%- if "widgets" in nb.metadata and resources.scripts -%}
<script src="vendor/require.js"></script>
<script src="vendor/widget-paths.js"></script>
<script src="vendor/embed-amd.js" data-jupyter-widgets-cdn="/no-cdn/"></script>
{%- endif -%}
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
{%- if resources.scripts -%}
<script>
window.MathJax = {
  tex: { inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true, tags: "ams" },
};
</script>
<script defer src="vendor/mathjax/tex-svg.js"></script>
{%- endif -%}
{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
"""nbconvert's page with the scripts that lie beside it, and none from elsewhere."""


def page(notebook: NotebookNode, title: str, scripts: bool) -> str:
    """An executed notebook as a page that asks nothing of a network.

    Args:
        notebook: with its outputs; what is meant for programs is left out.
        title: of the page.
        scripts: whether the folder ``vendor`` lies beside the page. Without it formulas are text,
            and there are no widgets.
    """
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _for_programs(o)]
    exporter = HTMLExporter(exclude_input_prompt=True, raw_template=PAGE)
    about = {"scripts": scripts, "metadata": {"name": title}}
    return exporter.from_notebook_node(notebook, about)[0]


def scripts_of_pages(out: Path) -> bool:
    """Put what pages run beside them, if it was fetched."""
    try:
        vendor(out, fetch=False)
    except (NoParts, OSError) as error:
        print(f"Pages show formulas as text, and no widgets: {error}.", file=sys.stderr)
        return False
    return True


def _for_programs(output: NotebookNode) -> bool:
    return "scrapbook" in output.get("metadata", {}) or RECORD in output.get("data", {})


INDEX = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark }}
body {{ font: 15px system-ui, sans-serif; margin: 2em }}
table {{ border-collapse: collapse }}
td, th {{
  padding: .3em .8em; text-align: left; border-bottom: 1px solid #8885; vertical-align: top
}}
th {{ position: sticky; top: 0; background: Canvas }}
</style><h1>{title}</h1>
<p>{rows} rows; all of it in <a href="table.csv">table.csv</a>.</p>
<div style="overflow-x:auto">{table}</div></html>
"""


def index(table: pd.DataFrame, title: str) -> str:
    """A page of all rows, each with a link to its own if it ran.

    Args:
        table: a line a row, with the columns ``row``, ``error``, which is "" if it ran, and then
            ``seconds``.
        title: of the page.
    """
    ran = table["error"] == ""
    seconds = table.get("seconds", pd.Series("", table.index))
    shown = table.where(table.notna(), "").astype(str).map(html.escape)
    name, first_line = shown["row"], shown["error"].str.partition("\n")[0]
    shown["row"] = name.where(~ran, '<a href="' + name + '.html">' + name + "</a>")
    result = first_line.where(~ran, seconds.astype(str) + " s")
    shown.insert(1, "result", result, allow_duplicates=True)
    shown = shown.drop(columns=["error", "seconds"], errors="ignore")
    shown.columns = shown.columns.map(html.escape)
    with pd.option_context("display.max_colwidth", None):
        written = shown.to_html(index=False, escape=False, border=0)
    return INDEX.format(title=html.escape(title), rows=len(table), table=written)
