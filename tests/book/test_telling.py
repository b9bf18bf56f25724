"""What a build says while it runs."""

import re

import nbformat
import pytest

from faithnb.book import telling
from faithnb.book.costs import Cost
from faithnb.book.so_far import SoFar, exported, title_of
from faithnb.book.telling import RENDERING, Telling

V4 = nbformat.v4


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def chapter():
    """An executed notebook with a value in its prose, a folded cell and what it hands over."""
    glued = V4.new_output(
        "display_data", {"application/papermill.record/text/plain": "0.1234"},
        metadata={"scrapbook": {"name": "share"}},
    )  # fmt: skip
    hidden = V4.new_code_cell("secret = 1", metadata={"tags": ["hide-input"]})
    code = V4.new_code_cell("shown = 2", outputs=[glued, V4.new_output("stream", text="printed\n")])
    prose = (
        "# A <chapter>\n\nIt is {glue:text}`share:.2f`, elsewhere {glue:text}`../b.ipynb::x:.1f` "
        "{cite}`olah`; see {py:func}`~faithnb.train`."
    )
    view = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "a widget"}
    code.outputs.append(V4.new_output("display_data", view))
    cells = [V4.new_markdown_cell(prose), hidden, code]
    return V4.new_notebook(cells=cells, metadata={"widgets": {"state": "of a widget"}})


def told(tmp_path, clock, weights=None, expected=100.0):
    weights = weights or {"01_a": 30.0, "b": 60.0, "old": 0.0, RENDERING: 10.0}
    page = SoFar(tmp_path, {name: f"The {name}" for name in weights})
    return Telling(weights, {"b": Cost(60.0, (0.5, 0.5))}, expected, page, clock)


def states(tmp_path):
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", page)
    return {re.sub("<.*?>", "", name): state for name, state in rows}, page


def test_the_page_follows_the_build(tmp_path, capsys):
    clock = Clock()
    with told(tmp_path, clock) as build:
        assert states(tmp_path)[0] == {
            "The 01_a": "waits", "The b": "waits", "The old": "finished before, used again",
        }  # fmt: skip
        assert "about 2 min left" in states(tmp_path)[1]
        build.begins("01_a")
        build.ends("01_a", chapter())
        build.begins("b")
        clock.now = 30.0
        build.reaches("b", 1, 2, "What <comes> out")
        found, page = states(tmp_path)
        assert found["The b"] == "runs: What &lt;comes&gt; out"
        assert '<a href="01_a.html">The 01_a</a>' in page
        assert "The b</a>" not in page
        assert "refresh" in page
        assert 'value="0.600"' in page
    found, page = states(tmp_path)
    assert "refresh" not in page
    assert '<a href="../html/index.html">' in page
    assert "30% done" in capsys.readouterr().out


def test_an_interrupted_build_says_so_and_keeps_its_pages(tmp_path):
    with told(tmp_path, Clock()) as build:
        build.begins("01_a")
        build.ends("01_a", chapter())
        build.begins("b")
    build.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    found, page = states(tmp_path)
    assert "was interrupted" in page
    assert found["The b"] == "waits"
    assert (tmp_path / "01_a.html").exists()


def test_the_time_left_is_first_foretold_and_then_follows_the_work(tmp_path):
    clock = Clock()
    build = told(tmp_path, clock, {"a": 50.0, "b": 50.0}, expected=100.0)
    assert build.left == 100
    build._done["a"], clock.now = 0.1, 15.0  # three times as slow as foretold, and half believed
    assert build.left == pytest.approx(0.5 * 15 / 0.05 * 0.95 + 0.5 * 95)
    build._done["a"], clock.now = 1.0, 200.0
    assert build.left == pytest.approx(200)
    unknown = told(tmp_path, clock, {"a": 1.0}, expected=0.0)
    assert unknown.left == 0


def test_in_a_terminal_there_is_one_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(telling.sys.stderr, "isatty", lambda: True, raising=False)
    with told(tmp_path, Clock()) as build:
        build.begins("b")
        build.reaches("b", 1, 2, "Sizes")
        build.say("b: running")
        bar = build._bar
        assert bar.n == 30.0
        assert "b Sizes" in bar.desc
    assert "done" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "about 10 s"), (44, "about 40 s"), (125, "about 2 min"), (7300, "about 2.0 h")],
)
def test_times_are_said_roughly(seconds, words):
    assert telling.in_minutes(seconds) == words


def test_a_chapter_can_be_read_without_the_book():
    page = exported(chapter())
    assert "It is 0.12, elsewhere …" in page
    assert "<code>train</code>" in page
    assert "shown" in page
    assert "printed" in page
    assert "secret" not in page
    assert "widget" not in page
    assert not re.search(r"\{\w+[:\w]*\}`|0\.1234|cite", page)
    assert not re.search(r"(?:src|href)=.https?:", page)
    assert title_of(chapter()) == "A <chapter>"
