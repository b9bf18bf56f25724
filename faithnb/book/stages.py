"""How far a notebook has run: papermill's engine, with somebody to tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

Reaches = Callable[[int, int, str], None]
"""Called with how many cells with code have run, of how many, and the section of the next."""

ENGINE = "faithnb"


class Stages(NBClientEngine):
    """Papermill's own engine; ``reaches`` is told of each cell with code that has run."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        reaches: Reaches | None = None,
        **options: Any,
    ) -> Any:
        if reaches is not None:
            complete, heard = nb_man.cell_complete, reaches

            def cell_complete(cell: NotebookNode, *given: Any, **named: Any) -> None:
                complete(cell, *given, **named)
                if cell.cell_type == "code":
                    heard(*reached(nb_man.nb, cell))

            nb_man.cell_complete = cell_complete
        return super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register(ENGINE, Stages)


def reached(notebook: NotebookNode, cell: NotebookNode) -> tuple[int, int, str]:
    """How many cells with code have run when this one has, of how many, and the heading above the
    next one."""
    code = [c for c in notebook.cells if c.cell_type == "code"]
    n_done = next(i for i, c in enumerate(code, 1) if c is cell)
    heading = ""
    for c in notebook.cells:
        if n_done < len(code) and c is code[n_done]:
            break
        if c.cell_type == "markdown" and (found := re.findall(r"^#+ +(.+)$", c.source, re.M)):
            heading = found[-1]
    return n_done, len(code), heading
