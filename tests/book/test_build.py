"""The build: what it reuses, what it refuses, and the built pages in a real browser."""

import json
import os
import random
import re
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import nbformat
import papermill
import pytest
from axe_playwright_python.sync_playwright import Axe
from pypdf import PdfReader

from faithnb.book import build, cells
from faithnb.claims import CLAIMS
from faithnb.common.errors import ParameterError
from faithnb.common.files import DAY, alone

HARMLESS = ("classList", "theme mode")
"""The theme's own console errors."""


def notebook(*sources, **metadata):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    for source in sources:
        make = (
            nbformat.v4.new_markdown_cell if source.startswith("#") else nbformat.v4.new_code_cell
        )
        nb.cells.append(make(source))
    nb.cells[0].metadata.update(metadata)
    return nb


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return tmp_path


def write(path, nb):
    nbformat.write(nb, path)
    return path


def test_pages_are_read_from_the_table_of_contents():
    assert build.pages(build.ROOT / "_toc.yml")[:3] == [
        "book/index", "book/background", "notebooks/01_absolute_value"
    ]  # fmt: skip


@pytest.mark.book
def test_a_notebook_is_run_once_and_again_when_its_code_changes(sandbox):
    parameters = {"a": 2}
    sources = ("a = 1  # a number", "print(a, id(object()))", "# prose")
    path = write(sandbox / "n.ipynb", notebook(*sources, tags=["parameters"]))
    first = build.execute(path, parameters, sandbox / "failed")
    assert first.cells[1].outputs[0].text.startswith("2 ")
    assert first.cells[0].source == "a = 2  # a number"

    write(path, notebook(*sources[:2], "# other prose", tags=["parameters"]))
    again = build.execute(path, parameters, sandbox / "failed")
    assert again.cells[1].outputs == first.cells[1].outputs
    assert again.cells[2].source == "# other prose"

    next(build.cache().iterdir()).write_text("{")
    rerun = build.execute(path, parameters, sandbox / "failed")
    assert rerun.cells[1].outputs[0].text.startswith("2 ")
    assert len(list(build.cache().glob("*.damaged"))) == 1

    write(path, notebook(sources[0], "print(a, 'new')", tags=["parameters"]))
    assert build.execute(path, parameters, sandbox / "failed").cells[1].outputs[0].text == "2 new\n"
    assert build.execute(path, {"a": 3}, sandbox / "failed").cells[1].outputs[0].text == "3 new\n"
    assert len(list(build.cache().glob("*.ipynb"))) == 3


@pytest.mark.book
def test_a_failing_cell_stops_the_build_and_keeps_the_report(sandbox):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", "1 / 0", tags=["parameters"]))
    with pytest.raises(build.BuildError, match="n.ipynb failed in a cell with ZeroDivisionError"):
        build.execute(path, {}, sandbox / "failed")
    assert "ZeroDivisionError" in (sandbox / "failed" / "n.ipynb").read_text(encoding="utf-8")
    assert list(build.cache().iterdir()) == []


@pytest.mark.book
def test_notebooks_run_side_by_side_and_readers_last(sandbox, monkeypatch):
    """A reader comes first in the table of contents, runs last and sees what the other gave."""
    code = {
        "reader": "from faithnb.notebook import read_records\nprint(read_records()['runs'])",
        "giver": "from faithnb.notebook import hand_over\nhand_over('runs', {'a': 0.5})",
        "other": "import os\nprint(os.environ['OMP_NUM_THREADS'])",
    }
    monkeypatch.setattr(build, "ROOT", sandbox)
    monkeypatch.setattr(build, "pages", lambda _: [f"notebooks/{name}" for name in code])
    (sandbox / "notebooks").mkdir()
    (sandbox / "requirements.txt").touch()
    for name, line in code.items():
        write(
            sandbox / "notebooks" / f"{name}.ipynb",
            notebook("a = 1  # a", line, tags=["parameters"]),
        )
    for _ in range(2):  # the second time from the cache
        done = {path.stem: nb for path, nb in build.execute_all({"a": 2}, sandbox / "_build")}
        assert list(done) == ["giver", "other", "reader"]
        assert done["reader"].cells[-1].outputs[0].text == "{'giver': {'a': 0.5}}\n"
        assert done["giver"].cells[-1].outputs == []
        assert int(done["other"].cells[-1].outputs[0].text) >= 1
    assert "FAITHNB_RECORDS" not in os.environ


def test_a_parameter_that_a_notebook_lacks_stops_the_build(sandbox):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", tags=["parameters"]))
    with pytest.raises(build.BuildError, match="n.ipynb has no parameter b; it has a"):
        build.execute(path, {"b": 1}, sandbox / "failed")


def test_outputs_are_not_kept_if_the_package_changed_meanwhile(sandbox, monkeypatch, capsys):
    path = write(sandbox / "n.ipynb", notebook("a = 1  # n", tags=["parameters"]))
    for before, after, kept in (("b", "c", []), ("a", "a", ["n-a"])):
        keys = iter(before + after)
        monkeypatch.setattr(build, "code_key", lambda *_, keys=keys: next(keys))
        assert build.execute(path, {"a": 2}, sandbox / "failed").cells
        assert [p.name.rpartition("-")[0] for p in build.cache().iterdir()] == kept
    assert "not kept, because the package changed" in capsys.readouterr().out


def ran(source, parameters, answer):
    """What papermill would have kept of a notebook whose last cell prints a number."""
    executed = cells.asked_for(source, parameters)
    executed.metadata.papermill["duration"] = 1.0
    executed.cells[-1].outputs = [nbformat.v4.new_output("stream", text=f"{answer}\n")]
    return executed


@pytest.fixture
def kept(sandbox):
    """Two rows of a notebook in the cache, seed 11 and 12; and how each is read, by its seed."""
    source = cells.read_notebook(
        write(sandbox / "n.ipynb", notebook("seed = 1", "print(2 * seed)", tags=["parameters"]))
    )
    files, read = {}, {}
    for seed in (11, 12):
        parameters = {"seed": seed}
        key = build.code_key(source, parameters)
        content = nbformat.writes(ran(source, parameters, 2 * seed)).encode()
        files[seed] = build.kept_as(build.cache() / f"n-{key}", content)
        files[seed].parent.mkdir(parents=True, exist_ok=True)
        files[seed].write_bytes(content)
        asked = cells.asked_for(source, parameters)
        read[seed] = partial(build.read_kept, source=source, asked=asked, parameters=parameters)
    return files, read


def answer(executed):
    return executed and executed.cells[-1].outputs[0].text


def test_a_kept_notebook_is_believed_if_it_is_what_was_kept(kept, capsys):
    files, read = kept
    for seed, file in files.items():
        assert answer(read[seed](file)) == f"{2 * seed}\n"
    files[12].write_bytes(files[11].read_bytes())  # another row's, under this one's name
    assert read[12](files[12]) is None
    assert read[12](files[12]) is None  # it is no longer there
    said = capsys.readouterr().out
    assert said.count("cannot be used (its content is not what its name says); it was set") == 1
    assert [p.suffix for p in build.cache().iterdir() if p != files[11]] == [".damaged"]


def test_a_whole_notebook_that_is_another_one_is_set_aside(kept, capsys):
    """Its name fits its content, and still it is no run of what was asked for."""
    files, read = kept
    whole = json.loads(files[11].read_bytes())
    others = {
        "fewer cells": whole | {"cells": whole["cells"][:2]},
        "no cells": whole | {"cells": []},
        "a list": [1, 2],
        "no metadata": {k: v for k, v in whole.items() if k != "metadata"},
        "no duration": whole | {"metadata": {}},
        "another seed": json.loads(json.dumps(whole).replace("seed = 11", "seed = 13")),
        "nothing": None,
        "deep": "[" * 100_000,
    }
    beginning = files[11].with_name(files[11].name.rpartition("-")[0])
    for what, other in others.items():
        content = (other if what == "deep" else json.dumps(other)).encode()
        file = build.kept_as(beginning, content)
        file.write_bytes(content)
        assert read[11](file) is None, what
        assert not file.exists()
        assert len(capsys.readouterr().out.splitlines()) == 1
    assert len(list(build.cache().glob("*.damaged"))) == len(others)


def test_no_bit_that_flips_in_the_cache_changes_a_number(kept):
    files, read = kept
    file, content, chance = files[11], files[11].read_bytes(), random.Random(0)
    for k in range(1200):
        at = chance.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        file.write_bytes(flipped if k < 1000 else content[:at])
        assert read[11](file) is None
    file.write_bytes(content)
    assert answer(read[11](file)) == "22\n"
    assert len(list(build.cache().glob("*.damaged"))) == 1200


def test_of_several_kept_runs_the_first_that_is_whole_is_taken(kept, sandbox, monkeypatch):
    files, _ = kept
    damaged = files[11].with_name(f"{files[11].name.rpartition('-')[0]}-0.ipynb")
    damaged.write_text("{")
    monkeypatch.setattr(build.papermill, "execute_notebook", None)
    found = build.execute(sandbox / "n.ipynb", {"seed": 11}, sandbox / "failed")
    assert answer(found) == "22\n"
    assert found.cells[0].source == "seed = 11"
    assert len(found.cells) == 2
    assert not damaged.exists()


def stands_in(monkeypatch, then=lambda path: None):
    """Papermill's place is taken: every notebook prints 5."""

    def execute_notebook(given, path, **_):
        path = Path(path.format())
        executed = json.loads(Path(given.format()).read_text(encoding="utf-8"))
        path.write_text("half")
        then(path)
        executed["metadata"]["papermill"]["duration"] = 1.0
        executed["cells"][-1]["outputs"] = [nbformat.v4.new_output("stream", text="5\n")]
        return nbformat.from_dict(executed)

    monkeypatch.setattr(build.papermill, "execute_notebook", execute_notebook)


def test_notebooks_that_run_have_names_of_their_own_and_old_halves_are_cleared(
    sandbox, monkeypatch
):
    names = []
    stands_in(monkeypatch, lambda path: names.append(path.name))
    folder = sandbox / "store" / "notebooks"
    folder.mkdir(parents=True)
    halves = [
        folder / name for name in ("n-a.ipynb.1f.part.ipynb", "n-a.7-8.part.ipynb", "young.part")
    ]
    for half in halves:
        half.touch()
    for half in halves[:2]:
        os.utime(half, (0, time.time() - 2 * DAY))
    for name in ("a{b}[c]*" + "é" * 100, "n"):
        path = write(sandbox / f"{name}.ipynb", notebook("a = 1", "b", tags=["parameters"]))
        for _ in range(2):
            assert answer(build.execute(path, {"a": 2}, sandbox / "failed")) == "5\n"
    assert len(set(names)) == 2
    left = set(folder.iterdir())
    assert halves[2] in left
    assert len(left) == 3


def test_a_disk_that_fills_up_while_a_notebook_runs_is_said(sandbox, monkeypatch, capsys):
    path = write(sandbox / "n.ipynb", notebook("a = 1", "b", tags=["parameters"]))

    def full(_):
        raise OSError(28, "No space left on device")

    stands_in(monkeypatch, full)
    with pytest.raises(
        build.BuildError, match=r"n.ipynb did not run .*No space left.* written to .*notebooks"
    ):
        build.execute(path, {}, sandbox / "failed")
    assert list(build.cache().iterdir()) == []
    stands_in(monkeypatch)

    def no_room_to_keep(path, content):
        return path.write_text(content) if ".part" in path.suffixes else full(path)

    monkeypatch.setattr(build, "write_whole", no_room_to_keep)  # what ran is used all the same
    assert answer(build.execute(path, {}, sandbox / "failed")) == "5\n"
    assert "n: not kept, because" in capsys.readouterr().out


def test_one_build_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "stage", None)
    with (
        alone(tmp_path / "_build", "build"),
        pytest.raises(
            build.BuildError, match="another build is writing to .*_build; wait for its end."
        ),
    ):
        build.build_book("quick", tmp_path / "_build")


def test_a_store_that_is_no_folder_is_said(sandbox, monkeypatch):
    path = write(sandbox / "n.ipynb", notebook("a = 1"))
    monkeypatch.setenv("FAITHNB_STORE", "   ")
    with pytest.raises(ParameterError, match="FAITHNB_STORE = '   ' is not allowed"):
        build.execute(path, {}, sandbox / "failed")


def test_the_key_follows_the_package_and_the_pins(monkeypatch, tmp_path):
    nb = notebook("1 + 1")
    for name in ("faithnb/x.py", "requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    keys = [build.code_key(nb, {})]
    for name in ("faithnb/x.py", "requirements.txt"):
        (tmp_path / name).write_text("b")
        keys.append(build.code_key(nb, {}))
    runs_it = notebook("from benchmarks import record")
    for text in "ab":
        (tmp_path / "tests" / "benchmarks").mkdir(exist_ok=True, parents=True)
        (tmp_path / "tests" / "benchmarks" / "x.py").write_text(text)
        keys.append(build.code_key(runs_it, {}))
    assert build.code_key(nb, {}) == keys[2]
    keys += [build.code_key(nb, {"p": 1}), build.code_key(notebook("1 + 2"), {})]
    assert len(set(keys)) == 7


def made_page(folder, article, source="# Title\n\n![x](y.svg)\n"):
    (folder / "src" / "book").mkdir(parents=True)
    (folder / "html" / "book").mkdir(parents=True)
    (folder / "src" / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (folder / "src" / "book" / "index.md").write_text(source)
    (folder / "html" / "book" / "index.html").write_text(f"<article>{article}</article>")
    return folder / "html", folder / "src"


@pytest.mark.parametrize(
    ("article", "wrong"),
    [
        ('<img src="y.svg">', None),
        ("no picture", "0 pictures where 1 belong"),
        ('<img src="y"> {glue:text}`n`', "was not filled in"),
        ('<img src="y"> {numref}`fig`', "was not filled in"),
        ('<img src="y"> <div class="output stderr highlight">', "prints warnings"),
    ],
)
def test_pages_are_checked_for_pictures_and_values(tmp_path, article, wrong):
    html, src = made_page(tmp_path, article)
    if wrong is None:
        build.check(html, src)
    else:
        with pytest.raises(build.BuildError, match=wrong):
            build.check(html, src)
    (html / "book" / "index.html").unlink()
    with pytest.raises(build.BuildError, match="the page is missing"):
        build.check(html, src)


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://a.org/x.js">',
        "<link rel=preconnect href=//a.org/x.js>",
        '<source title="a > b" srcset="x.png, https://a.org/x.js 2x">',
        '<svg><image xlink:href="https://a.org/x.js"/></svg>',
        '<p style="background: url(https://a.org/x.js)">',
        "<style>@import 'https://a.org/x.js';</style>",
        '<script>const FROM = "https://a.org/x.js"</script>',
        '<script type="application/json">{"a": "https://a.org/x.js\\n"}</script>',
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(tmp_path, page):
    html, src = made_page(tmp_path, f'<img src="y.svg">{page}')
    build.check(html, src)  # a book that can only be had with a network
    (html / "_static" / "vendor").mkdir(parents=True)
    with pytest.raises(build.BuildError, match=r"index.html: it would load .*//a\.org/x\.js$"):
        build.check(html, src)


def test_links_names_and_what_lies_beside_are_not_from_elsewhere(tmp_path):
    page = """<img src="y.svg"><a href="https://a.org/">x</a> <code>src="https://a.org/"</code>
        <!-- <script src="https://a.org/x.js"> --><svg xmlns="http://www.w3.org/2000/svg"></svg>
        <script>const NAME = "http://www.w3.org/2000/svg";</script>
        <source src="data:image/png;base64,//a"><link href="../x.css">"""
    assert build.FromElsewhere(page).found == []
    html, src = made_page(tmp_path, page)
    (html / "_static" / "vendor").mkdir(parents=True)
    build.check(html, src)
    (html / "_static" / "x.css").write_text("p { background: url(//a.org/x.png) }")
    with pytest.raises(build.BuildError, match=r"x.css: it would load //a.org/x.png"):
        build.check(html, src)


@pytest.mark.book
@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("# T\n\n{numref}`fig-nowhere`\n", "fig-nowhere"),
        ("# T\n\n{glue:text}`nothing`\n", "nothing"),
        ("# T\n\n{cite}`nobody1999`\n", "nobody1999"),
        ("# T\n\n[x](missing.md)\n", "missing"),
    ],
)
def test_what_does_not_resolve_fails_the_rendering(tmp_path, page, complaint):
    src = tmp_path / "_build" / "src"
    (src / "book").mkdir(parents=True)
    shutil.copy(build.ROOT / "_config.yml", src)
    shutil.copytree(build.ROOT / "book" / "static", src / "book" / "static")
    shutil.copy(build.ROOT / "book" / "references.bib", src / "book")
    (src / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (src / "book" / "index.md").write_text(page)
    with pytest.raises(build.BuildError, match=complaint):
        build.render(src, tmp_path / "_build")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """The whole book at ``quick``; notebooks that ran already are reused."""
    index = build.build_book("quick", tmp_path_factory.mktemp("book") / "_build")
    return index.parent


@pytest.mark.book
def test_the_book_says_what_it_was_built_with(html):
    freeze = (html.parent / "src" / "book" / "freeze.txt").read_text()
    assert "torch==" in freeze
    assert "faithnb" not in freeze
    page = (html / "book" / "reproduce.html").read_text()
    assert "profile <code" in page
    assert "torch==" in re.sub("<[^>]+>", "", page)


@pytest.mark.book
@pytest.mark.parametrize("page", build.pages(build.ROOT / "_toc.yml"))
def test_pages_without_images_stay_small(html, page):
    assert (html / f"{page}.html").stat().st_size < 2_000_000


def opened(browser, address, width=1200, mode="light"):
    """A page with what went wrong in it, from which nothing elsewhere can be reached."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    tab = context.new_page()
    errors = []
    tab.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: errors.append(str(e)))
    here = ("file:", "data:", "blob:", "http://127.0.0.1:")

    def elsewhere(route):
        errors.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(here), elsewhere)
    tab.goto(address, wait_until="load")
    return tab, errors


def real(errors, html):
    """Errors that are ours: not the theme's nor, without npm, what a public CDN did not give."""
    if not (html / "_static" / "vendor").exists():  # the build said so
        errors = [e for e in errors if "http" not in e and "net::ERR" not in e]
    return [e for e in errors if not any(known in e for known in HARMLESS)]


NOT_OURS = [".citation-list"]
"""What axe-core finds in elements of Sphinx and its theme."""

WIDTHS = (320, 1000, 1600)
"""The first is a screen of 1280 at 400 %, or a small telephone."""


@pytest.mark.book
@pytest.mark.parametrize("page", build.pages(build.ROOT / "_toc.yml"))
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_open_in_a_browser(html, browser, page, mode):
    """Loaded as on a telephone, then made wider."""
    tab, errors = opened(browser, (html / f"{page}.html").as_uri(), WIDTHS[0], mode)
    if (html / "_static" / "vendor").exists():
        if tab.locator("article .math").count():
            tab.wait_for_selector("article .math mjx-container")
        for widget in range(tab.locator("[type*='widget-view']").count()):
            tab.wait_for_selector(f".faithnb >> nth={widget}")
    assert tab.evaluate("document.documentElement.dataset.theme") == mode
    broken = "[...document.querySelectorAll('article img')].filter(i => !i.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    without_alt = "[...document.querySelectorAll('article img')].filter(i => !i.alt).length"
    assert tab.evaluate(without_alt) == 0
    assert tab.locator("article h1").count() == 1
    shots = Path(os.environ.get("FAITHNB_SCREENSHOTS", html.parent / "screenshots"))
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.screenshot(path=shots / f"{page.replace('/', '-')}-{width}-{mode}.png", full_page=True)
    assert real(errors, html) == []  # before axe asks for style sheets, which file:// refuses
    assert grave(tab) == []
    if mode == "light":
        tab.set_viewport_size({"width": WIDTHS[0], "height": 900})
        assert grave(tab) == []
    tab.context.close()


def grave(tab):
    """What axe-core finds to be serious in a page as it stands."""
    found = Axe().run(tab, context={"exclude": NOT_OURS}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], [n["target"] for n in v["nodes"]]) for v in serious]


class Quiet(SimpleHTTPRequestHandler):
    """Sends the security policy that the address asks for."""

    def log_message(self, *_):
        pass

    def end_headers(self):
        for policy in parse_qs(urlsplit(self.path).query).get("policy", []):
            self.send_header("Content-Security-Policy", policy)
        super().end_headers()


@pytest.fixture(scope="module")
def served(html):
    """The book's address on a server of this machine."""
    handler = partial(Quiet, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["file", "server"])
def address(request, html, served):
    if not (html / "_static" / "vendor").exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have the widgets' parts in the book: npm could not be reached")
        pytest.skip("npm could not be reached, and the build said so")
    return html.as_uri() if request.param == "file" else served


@pytest.mark.book
def test_a_browser_finds_the_book_s_icon(html):
    """One that does not asks the server for a file that is not there."""
    for page in build.pages(build.ROOT / "_toc.yml"):
        (icon,) = re.findall(
            r'<link rel="icon" href="([^"]+)"', (html / f"{page}.html").read_text()
        )
        assert (html / page).parent.joinpath(icon).resolve().is_file()


@pytest.mark.book
def test_a_page_without_kernel_and_network_trains(html, browser, address):
    tab, errors = opened(browser, f"{address}/notebooks/explorer.html")
    widget = tab.locator(".faithnb").first
    done = "document.querySelector('.fn-status').textContent.startsWith('Trained')"
    ended = {}
    for story in ("10 % repeats", "10 % repeats, Jacobians matched"):
        widget.get_by_role("button", name=story, exact=True).click()
        tab.wait_for_function(f"!({done})")
        tab.wait_for_function(done, timeout=120_000)
        ended[story] = widget.get_attribute("data-state")
        terms = widget.locator(".fn-picture").first.get_attribute("aria-label")
        assert float(re.search(r"loss ([\d.]+)", terms)[1]) < 1  # it starts above 2
    assert ended["10 % repeats"] in ("datapoint", "pair")
    assert ended["10 % repeats, Jacobians matched"] == "generalising"
    assert real(errors, html) == []
    tab.set_viewport_size({"width": WIDTHS[0], "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= WIDTHS[0]
    assert grave(tab) == []
    tab.context.close()


@pytest.mark.book
def test_the_page_stays_responsive_while_it_trains(html, browser, address):
    tab, _ = opened(browser, f"{address}/notebooks/explorer.html")
    widget = tab.locator(".faithnb").first
    tab.wait_for_selector(".faithnb[data-step='0']")
    widget.get_by_role("button", name="10 % repeats", exact=True).click()
    widget.get_by_role("button", name="pause").click()
    step = int(widget.get_attribute("data-step"))
    assert step < 2000
    assert widget.get_by_role("button", name="train", exact=True).is_enabled()
    tab.context.close()


@pytest.mark.book
def test_the_other_widgets_answer_in_a_built_page(html, browser, address):
    tab, errors = opened(browser, f"{address}/notebooks/explorer.html")
    mechanism = tab.locator("section[aria-label^='Move the input']")
    mechanism.get_by_role("button", name="one coordinate missing").click()
    assert "it should be 0.00" in mechanism.inner_text()
    diagram = tab.locator("section[aria-label^='A phase diagram']")
    diagram.get_by_role("button", name="train all").click()
    tab.wait_for_function("document.querySelector('.faithnb progress').value > 0")
    diagram.get_by_role("button", name="stop").click()
    assert diagram.locator(".fn-status").inner_text().startswith("Stopped: ")
    tab.goto(f"{address}/notebooks/01_absolute_value.html")
    chapter = tab.locator("section[aria-label^='Train']")
    chapter.get_by_role("button", name="one step", exact=True).click()
    tab.wait_for_function("document.querySelector('.faithnb').dataset.step === '1'")
    assert real(errors, html) == []
    tab.context.close()


@pytest.mark.book
def test_the_atlas_answers_pointer_and_keyboard(html, browser, address):
    tab, errors = opened(browser, f"{address}/notebooks/atlas.html")
    tab.wait_for_selector("tbody tr")
    atlas = tab.locator(".faithnb")
    seen = [atlas.get_attribute("data-cell")]
    atlas.locator(".fn-cells").focus()
    for key in ("ArrowLeft", "ArrowDown"):
        tab.keyboard.press(key)
        seen.append(atlas.get_attribute("data-cell"))
    atlas.locator(".fn-cells rect").first.click()
    seen.append(atlas.get_attribute("data-cell"))
    assert len(set(seen)) == 4
    scans = atlas.locator("option").count()
    assert scans == 4
    for scan in range(scans):
        tab.select_option("[name=scan]", str(scan))
        assert atlas.locator("tbody tr").count() >= 2
        assert "circuits have a feature" in atlas.locator(".fn-wide [role=img]").get_attribute(
            "aria-label"
        )
    assert real(errors, html) == []
    tab.context.close()


@pytest.mark.book
def test_without_scripts_there_are_pictures(html, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    for page in ("explorer", "atlas", "02_when_do_datapoint_features_form"):
        tab.goto((html / "notebooks" / f"{page}.html").as_uri())
        assert tab.locator("article figure img, article img").count() >= 1
        assert "needs scripts" in tab.locator("article noscript").first.text_content()
    context.close()


@pytest.mark.book
def test_search_and_download_work(html, browser):
    tab = browser.new_context().new_page()
    tab.goto((html / "search.html").as_uri() + "?q=datapoint")
    tab.wait_for_selector("#search-results li a")
    assert "datapoint" in tab.inner_text("#search-results").lower()
    tab.goto((html / "notebooks" / "01_absolute_value.html").as_uri())
    assert tab.locator("a[href$='01_absolute_value.ipynb']").count() >= 1
    tab.goto((html / "index.html").as_uri())
    tab.wait_for_url("**/book/index.html")


@pytest.mark.book
def test_a_downloaded_notebook_runs_as_it_is(html, tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    downloaded = html / "_sources" / "notebooks" / "explorer.ipynb"
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(downloaded), str(out), kernel_name="python3", progress_bar=False,
        cwd=str(tmp_path), start_timeout=120, execution_timeout=300,
    )  # fmt: skip
    shown = [o for c in nbformat.read(out, as_version=4).cells for o in c.get("outputs", [])]
    assert sum("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown) == 4


@pytest.mark.book
def test_the_ledger_is_written_for_programs(html):
    rows = json.loads((html / "claims.json").read_text())
    assert [row["id"] for row in rows] == list(CLAIMS)
    assert {"id", "kind", "verdict", "value", "interval", "n"} <= set(rows[0])
    assert all(row["evidence"] for row in rows)  # at quick not all of it can be judged
    few = [r for r in rows if r["kind"] == "empirical" and r["id"] != "C28" and r["interval"]]
    assert few
    assert all("too few seeds" in row["caveats"] for row in few)
    page = (html / "notebooks" / "claims.html").read_text()
    assert all(f"<td>{row['id']}</td>" in page for row in rows)


PLAIN = ("genindex", "py-modindex", "search")
"""Pages that Sphinx adds."""


@pytest.mark.book
def test_no_page_scrolls_sideways_at_400_percent(html, browser):
    """The pages of the contents are looked at above, with all else."""
    tab, errors = opened(browser, (html / "genindex.html").as_uri(), WIDTHS[0])
    for page in PLAIN:
        tab.goto((html / f"{page}.html").as_uri())
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= WIDTHS[0]
    assert real(errors, html) == []
    tab.context.close()


PAPER = 672  # pixels of A4 between the margins
ON_PAPER = """() => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = (colour) => {
        const linear = colour.map((c) => ((c / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor);
            if (a > 0) return light([r, g, b]);
        }
        return 1;
    };
    const contrast = (e) =>
        (behind(e) + 0.05) / (light(numbers(getComputedStyle(e).color)) + 0.05);
    const hasWords = ({ childNodes }) =>
        [...childNodes].some(({ nodeType, data }) => nodeType === 3 && data.trim());
    const shown = [...document.querySelectorAll("article *")].filter((e) =>
        !e.closest("svg, script, noscript") && e.checkVisibility());
    const words = shown.filter(hasWords);
    const named = (elements) => elements.map((e) => e.outerHTML.slice(0, 80));
    return {
        pale: named(words.filter((e) => contrast(e) < 7)),
        cut: named(shown.filter((e) => e.getBoundingClientRect().right > innerWidth + 1)),
        folded: document.querySelectorAll("article details:not([open], .hide)").length,
        words: words.length,
    };
}"""


@pytest.mark.book
@pytest.mark.parametrize("page", build.pages(build.ROOT / "_toc.yml"))
def test_on_paper_all_is_dark_on_white_whole_and_unfolded(html, browser, page):
    """Printed from dark mode, which comes back with what was folded."""
    tab, _ = opened(browser, (html / f"{page}.html").as_uri(), PAPER, "dark")
    state = """[document.documentElement.dataset.theme,
        [...document.querySelectorAll("article details")].map((d) => d.open)]"""
    before = tab.evaluate(state)
    assert before[0] == "dark"
    tab.emulate_media(media="print", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'light'")
    found = tab.evaluate(ON_PAPER)
    assert found.pop("words") > 5
    assert found == {"pale": [], "cut": [], "folded": 0}
    tab.emulate_media(media="screen", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert tab.evaluate(state) == before
    tab.context.close()


@pytest.mark.book
def test_a_printed_ledger_has_its_evidence_and_no_knobs_are_printed(html, browser):
    """In a real PDF, for which the browser says that it prints."""
    words = {}
    for page in ("claims", "explorer"):
        tab, _ = opened(browser, (html / "notebooks" / f"{page}.html").as_uri(), mode="dark")
        if (html / "_static" / "vendor").exists() and page == "explorer":
            tab.wait_for_selector(".faithnb")
        sheets = PdfReader(BytesIO(tab.pdf())).pages
        words[page] = " ".join("".join(sheet.extract_text() for sheet in sheets).split())
        tab.context.close()
    rows = json.loads((html / "claims.json").read_text())
    assert words["claims"].count("rule and evidence") == len(rows)
    shown = words["claims"].replace(" ", "")
    assert all(row["evidence"][0].replace(" ", "")[:10] in shown for row in rows)
    assert "as fast as it goes" not in words["explorer"]


@pytest.mark.book
@pytest.mark.parametrize(
    ("policy", "comes"),
    [
        ("default-src 'self' 'unsafe-inline' 'unsafe-eval' blob:", True),
        ("worker-src 'none'", True),
        ("script-src 'self' 'unsafe-inline'", False),
        ("script-src 'self' 'unsafe-inline' 'unsafe-eval'", False),
        ("script-src 'self'", False),
    ],
)
def test_what_a_security_policy_forbids_is_said(html, browser, served, policy, comes):
    """In place of each widget, or by the widget, if only its training is forbidden."""
    if not (html / "_static" / "vendor").exists():
        pytest.skip("npm could not be reached, and the build said so")
    tab = browser.new_context().new_page()
    tab.goto(f"{served}/notebooks/explorer.html?policy={quote(policy)}")
    said = tab.locator("article p.no-widget:visible")
    if comes:
        tab.wait_for_selector(".faithnb >> nth=4")
        assert said.count() == 0
        widget = tab.locator(".faithnb").first
        widget.get_by_role("button", name="one step", exact=True).click()
        word = "forbids background scripts" if "worker" in policy else "step 1 of"
        tab.wait_for_function(f"document.querySelector('.faithnb').innerText.includes('{word}')")
    else:
        said.first.wait_for()
        assert said.count() == tab.locator("[type*='widget-view']").count() == 4
        assert tab.locator(".faithnb").count() == 0
        assert "a security policy" in said.last.inner_text()
        assert "forbids the scripts that it needs" in said.last.inner_text()
    tab.context.close()


@pytest.mark.book
def test_a_widget_that_does_not_come_for_another_reason_is_said(html, browser, served):
    """Here its scripts are not on the server; one that comes after all takes the word away."""
    context = browser.new_context()
    context.route("**/embed-amd.js*", lambda route: route.abort())
    tab = context.new_page()
    tab.clock.install()
    tab.goto(f"{served}/notebooks/explorer.html")
    said = tab.locator("article p.no-widget:visible")
    assert said.count() == 0
    tab.clock.run_for(40_000)
    assert said.count() == 4
    assert "did not run" in said.first.inner_text()
    tab.evaluate("""() => {
        const late = document.createElement("div");
        late.className = "widget-subarea";
        late.innerHTML = "<section class='faithnb'></section>";
        document.querySelector("[type*='widget-view']").before(late);
    }""")
    assert said.count() == 3
    context.close()


@pytest.mark.book
def test_a_finger_finds_what_to_press_and_the_scheme_may_change(html, browser):
    context = browser.new_context(
        has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740}
    )
    tab = context.new_page()
    tab.goto((html / "notebooks" / "claims.html").as_uri())
    sizes = tab.evaluate("""() => [...document.querySelectorAll("summary, .bd-header-article .btn")]
        .filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect())
        .map(({ width, height }) => Math.min(width, height))""")
    assert len(sizes) > 10
    assert min(sizes) >= 44
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    context.close()
