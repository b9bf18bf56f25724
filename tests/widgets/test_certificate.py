"""The explorer's certificate: what the package proves, in the page, by another method."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from showing import STEP, STORY, TRAINED, module, network, show, three_trained, until

from faithnb import Transcoder, certify, explore, train
from faithnb.model.layers import AbsoluteValue

FOUND = """async ([module, net, p, at]) => {
    const m = await import(module);
    for (const name of ["W_enc", "b_enc", "W_dec"]) net[name] = Float64Array.from(net[name]);
    const search = m.certificate(net, p, at);
    let turn = search.next();
    while (!turn.done) turn = search.next();
    return turn.value;
}"""
CERTIFIED = "document.querySelector('.fn-certified').textContent.startsWith('Certified')"
PRESSED = "button:text-is('certify worst error')"


def in_page(page, t, at, p=None):
    net = network(t.in_float64())
    return page.evaluate(FOUND, [module("certificate.js"), net, p or [1.0] * t.d_in, at])


def random(seed, d=5, n=12, scale=1.0):
    rng = np.random.default_rng(seed)
    weights = {"W_enc": (d, n), "b_enc": (n,), "W_dec": (n, d)}
    return Transcoder.from_arrays(
        **{name: torch.from_numpy(scale * rng.normal(size=s)) for name, s in weights.items()}
    )


def repeated(t):
    """Every feature twice, once with a scale of its own, and some that are never on or silent."""
    silent, off = torch.zeros_like(t.W_dec), torch.full_like(t.b_enc, -100.0)
    return Transcoder.from_arrays(
        torch.cat([t.W_enc[0], 3 * t.W_enc[0], t.W_enc[0], t.W_enc[0]], 1),
        torch.cat([t.b_enc[0], 3 * t.b_enc[0], t.b_enc[0], off[0]]),
        torch.cat([t.W_dec[0], t.W_dec[0] / 9, silent[0], t.W_dec[0]]),
    )


def cases():
    trained = three_trained()
    for inst in range(3):
        yield trained[inst], [0, 1, 2]
    yield trained[1], [3, 6]
    yield trained[1], [4]
    yield trained[1], [0, 1, 2, 3]
    for seed in range(4):
        yield random(seed), [0, 2, 4]
    yield random(4, n=1), [1, 2, 3]
    yield random(5, scale=1e3), [0, 1, 2]
    yield repeated(random(6, n=6)), [0, 1, 2]
    yield Transcoder.from_circuits(AbsoluteValue(4).circuits()), [0, 1, 2]


def test_the_page_certifies_what_the_package_does(page):
    for t, at in cases():
        found = in_page(page, t, at)
        expected = certify.worst_error(t, AbsoluteValue(t.d_in), at)
        size = max(1.0, expected.bound)
        assert found["error"] == pytest.approx(expected.bound, abs=1e-6 * size)
        x = torch.zeros(1, t.d_in, dtype=torch.float64)
        x[0, at] = torch.tensor(found["witness"], dtype=torch.float64)
        error = (t.in_float64()(x)[0] - x.abs())[0].abs()
        assert error[found["output"]].item() == pytest.approx(found["error"], abs=1e-9 * size)
        assert found["sampled"]["error"] <= found["error"] + 1e-12 * size
        assert found["point"]["error"] <= found["error"] + 1e-12 * size
        end = found["line"][-1]
        assert abs(end["transcoder"] - end["layer"]) == pytest.approx(found["error"], abs=1e-9)


def test_the_witness_is_by_hand_where_that_is_known(page):
    """|x| and a feature that is on where p · x > 2, 1 at p, and writes to the second output."""
    t = Transcoder.from_circuits(AbsoluteValue(4).circuits())
    read = torch.tensor([1.0, 1, 1, 0])
    planted = Transcoder.from_arrays(
        torch.cat([t.W_enc[0], read[:, None]], 1),
        torch.cat([t.b_enc[0], torch.tensor([-2.0])]),
        torch.cat([t.W_dec[0], torch.tensor([[0, -0.5, 0, 0]])]),
    )
    found = in_page(page, planted, [0, 1, 2], read.tolist())
    assert (found["error"], found["output"], found["witness"]) == (0.5, 1, [1, 1, 1])
    assert found["fromP"] is False
    assert [one["transcoder"] for one in found["line"][::100]] == [0, 0.5, 0.5]


def test_what_is_too_large_or_not_finite_is_refused(page):
    assert (
        "corners would have to be visited"
        in in_page(page, random(0, 8, 60), [*range(6)])["refused"]
    )
    code = FOUND.replace("const search", "net.b_enc[3] = Infinity; const search")
    net = network(random(0))
    refused = page.evaluate(code, [module("certificate.js"), net, [1.0] * 5, [0, 1, 2]])["refused"]
    assert refused == "Nothing can be certified: some weights are not finite."


def test_the_button_proves_and_what_it_showed_goes_when_training_goes_on(page):
    e = replace(STORY, steps=300)
    errors = show(page, explore(e))
    page.click(".fn-primary")
    until(page, TRAINED)
    page.focus(PRESSED)
    page.keyboard.press("Enter")
    until(page, CERTIFIED)
    t = train(e, progress=False).transcoder
    expected = certify.worst_error(t, AbsoluteValue(8), [0, 1, 2]).bound
    told = page.inner_text(".fn-certified")
    shown = float(
        re.match(r"Certified worst error: ([\d.]+), of output y\d, at \(x1, x2, x3\)", told)[1]
    )
    assert expected - 1e-4 < shown < expected + 1.1e-3
    rows = [row.split("\t") for row in page.inner_text(".faithnb tbody").splitlines()]
    assert [row[0] for row in rows] == ["certified", "20,000 random inputs", "p"]
    assert shown >= float(rows[1][1]) > 0.5 * shown
    assert page.evaluate("document.activeElement.textContent") == "certify worst error"
    assert page.locator("[aria-label^='At p: y1 ']").count() == 1
    assert f"they are {shown:.2f}" in page.get_attribute(
        "[aria-label*='on the line from']", "aria-label"
    )
    assert page.is_hidden("progress")
    page.click("text=one step")
    until(page, f"{STEP} === 1")
    assert page.inner_text(".fn-certified") == ""
    assert page.locator(".fn-card").count() == 3
    assert errors == []


def test_nothing_is_certified_while_training_or_without_a_point(page):
    show(page, explore(replace(STORY, steps=6000)))
    page.select_option("[aria-label=speed]", "50 steps a second")
    page.click(".fn-primary")
    assert page.is_disabled(PRESSED)
    page.click(".fn-primary")
    page.click(PRESSED)  # in the middle of a training
    until(page, CERTIFIED)
    page.fill("[name=repeat_frac]", "0.3")  # changes no weight
    assert page.evaluate(CERTIFIED)
    page.fill("[name=seed]", "7")
    assert page.inner_text(".fn-certified") == ""
    show(page, explore(replace(STORY, points=(), repeat_frac=0.0)))
    assert page.is_hidden(PRESSED)


def test_a_long_search_is_given_up_when_training_goes_on(page):
    """The page answers meanwhile, and shows nothing of what was given up."""
    show(page, explore(replace(STORY, d_sae=80, points=((1, 1, 1, 1),), steps=200)))
    until(page, f"{STEP} === 0")
    page.evaluate("""() => {
        window.told = [];
        const said = document.querySelector(".fn-certified");
        new MutationObserver(() => window.told.push(said.textContent)).observe(
            said, { childList: true });
    }""")
    page.click(PRESSED)
    until(page, "document.querySelector('.faithnb progress').value > 0")
    assert page.is_visible("progress")
    page.click("text=one step")
    until(page, f"{STEP} === 1", 5_000)
    page.wait_for_timeout(200)
    assert set(page.evaluate("window.told")) == {"Computing the worst error …", ""}
    assert page.is_hidden("progress")


THEME = (
    "<style>body {{ background: {}; --pst-color-text-base: {}; --pst-color-surface: {}; }}</style>"
)
THEMES = {"light": ("#fff", "#222", "#f3f4f5"), "dark": ("#14181e", "#ced6dd", "#29313d")}


@pytest.mark.parametrize("scheme", THEMES)
def test_a_certificate_can_be_read_by_everybody_on_a_narrow_screen(page, scheme):
    page.set_viewport_size({"width": 320, "height": 700})
    show(page, explore(replace(STORY, steps=20)), THEME.format(*THEMES[scheme]))
    until(page, f"{STEP} === 0")
    page.click(PRESSED)
    until(page, CERTIFIED)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    found = Axe().run(page, context={"include": [[".faithnb"]]}).response["violations"]
    page_s_own = ("document-title", "html-has-lang")
    assert [
        v["id"]
        for v in found
        if v["impact"] in ("serious", "critical") and v["id"] not in page_s_own
    ] == []
