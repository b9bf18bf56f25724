"""Built pages in a real browser."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from axe_playwright_python.sync_playwright import Axe

HARMLESS = ("classList", "theme mode")
"""The theme's own console errors."""

WIDTHS = (320, 1000, 1600)
"""The first is a screen of 1280 at 400 %, or a small telephone."""

PAPER = 672  # pixels of A4 between the margins

PLAIN = ("genindex", "py-modindex", "search")
"""Pages that Sphinx adds."""


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


def wait_for_widgets(tab, html):
    """Until every widget of a page has come, where the build has what they need."""
    if (html / "_static" / "vendor").exists():
        wanted = tab.locator("article script[type*='widget-view']").count()
        came = "n => document.querySelectorAll('article .faithnb').length >= n"
        tab.wait_for_function(came, arg=wanted)


def real(errors, html):
    """Errors that are ours: not the theme's nor, without npm, what a public CDN did not give."""
    if not (html / "_static" / "vendor").exists():  # the build said so
        errors = [e for e in errors if "http" not in e and "net::ERR" not in e]
    return [e for e in errors if not any(known in e for known in HARMLESS)]


NOT_OURS = [".citation-list"]
"""What axe-core finds in elements of Sphinx and its theme."""


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


@contextmanager
def served_at(html):
    """The address of a folder on a server of this machine."""
    handler = partial(Quiet, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


THEME_AND_FOLDS = """[document.documentElement.dataset.theme,
    [...document.querySelectorAll("article details")].map((d) => d.open)]"""

TO_PRESS = """() => [...document.querySelectorAll("summary, .bd-header-article .btn")]
    .filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect())
    .map(({ width, height }) => Math.min(width, height))"""
"""Sizes in pixels of what a finger must find."""

COMES_LATE = """() => {
    const late = document.createElement("div");
    late.className = "widget-subarea";
    late.innerHTML = "<section class='faithnb'></section>";
    document.querySelector("[type*='widget-view']").before(late);
}"""
"""A widget is drawn after all."""
