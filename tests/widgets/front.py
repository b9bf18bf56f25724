"""Pieces of the first pages in a page of their own."""

import numpy as np

from faithnb.widgets.portraits import Portrait

LIGHT = "<!doctype html><html lang='en'><title>x</title><meta charset='utf-8'>"


DARK = f"""{LIGHT}<script>document.documentElement.dataset.theme = "dark"</script><style>:root {{
    --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af; --pst-color-border: #48566b;
    --pst-color-surface: #29313d; --pst-color-background: #121212; background: #121212 }}</style>"""


def portrait(share, whole=False, state="other", fvu=0.01):
    """One feature for all of p, or one for each coordinate."""
    writes = np.ones((1, 3)) if whole else np.eye(3)
    jacobian = np.full((3, 3), 1 / 3) if whole else np.eye(3)
    return Portrait((1, 2, 3), writes, (whole,) * len(writes), jacobian, share, state, fvu)


def put(page, piece, head=LIGHT):
    """Show a piece; what goes wrong in it, and what it asks for."""
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    own = ("data:", "blob:", "about:")
    page.on("request", lambda r: r.url.startswith(own) or errors.append(r.url))
    page.set_content(f"{head}<main><h1>x</h1>{piece._repr_html_()}</main>")
    return errors
