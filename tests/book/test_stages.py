"""How far a notebook has run."""

import nbformat
import papermill
import pytest

from faithnb.book.stages import ENGINE, reached

V4 = nbformat.v4


def sections():
    return V4.new_notebook(
        cells=[
            V4.new_markdown_cell("# First"), V4.new_code_cell("1"),
            V4.new_markdown_cell("words\n\n## Second\n\nmore"), V4.new_code_cell("2"),
            V4.new_markdown_cell("no heading"), V4.new_code_cell("3"),
        ]
    )  # fmt: skip


def test_the_section_of_the_next_cell_is_named():
    notebook = sections()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert reached(notebook, code[0]) == (1, 3, "Second")
    assert reached(notebook, code[1]) == (2, 3, "Second")
    assert reached(notebook, code[2])[:2] == (3, 3)


@pytest.mark.book
def test_papermill_tells_of_each_cell(tmp_path):
    nbformat.write(sections(), tmp_path / "n.ipynb")
    heard = []
    papermill.execute_notebook(
        str(tmp_path / "n.ipynb"), None, kernel_name="python3", progress_bar=False,
        engine_name=ENGINE, reaches=lambda *told: heard.append(told),
    )  # fmt: skip
    assert [told[:2] for told in heard] == [(1, 3), (2, 3), (3, 3)]
