"""The widgets of the built book, in a real browser."""

import re
from urllib.parse import quote

import browsing
import pytest
from browsing import grave, opened, real

from faithnb import Experiment, certify, train

SMALL = {"d_in": 8, "d_sae": 32, "batch_size": 128, "repeat_frac": 0.1}


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
    tab.set_viewport_size({"width": browsing.WIDTHS[0], "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= browsing.WIDTHS[0]
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
    tab.wait_for_function("document.querySelector('progress[aria-label=trained]').value > 0")
    diagram.get_by_role("button", name="stop").click()
    assert diagram.locator(".fn-status").inner_text().startswith("Stopped: ")
    tab.goto(f"{address}/notebooks/01_absolute_value.html")
    chapter = tab.locator("section[aria-label^='Train']")
    chapter.get_by_role("button", name="one step", exact=True).click()
    tab.wait_for_function("document.querySelector('.faithnb').dataset.step === '1'")
    assert real(errors, html) == []
    tab.context.close()


@pytest.mark.book
def test_a_page_proves_what_the_package_does_and_draws_the_witness(html, browser, address):
    tab, errors = opened(browser, f"{address}/notebooks/explorer.html")
    widget = tab.locator(".faithnb").first
    tab.wait_for_selector(".faithnb[data-step='0']")
    e = Experiment(**SMALL, steps=100)
    for name, value in (SMALL | {"steps": e.steps, "seed": e.seed}).items():
        widget.locator(f"[name={name}]").fill(str(value))
    widget.get_by_role("button", name="train", exact=True).click()
    status = "document.querySelector('.fn-status').textContent"
    tab.wait_for_function(f"{status}.startsWith('Trained')", timeout=120_000)
    widget.get_by_role("button", name="certify worst error").click()
    told = "document.querySelector('.fn-certified').textContent"
    tab.wait_for_function(f"{told}.startsWith('Certified')")
    p = e.p.nonzero()[:, 0].tolist()
    expected = certify.worst_error(train(e, progress=False).transcoder, e.make_target(), p)
    shown = float(re.match(r"Certified worst error: ([\d.]+), of output", tab.evaluate(told))[1])
    assert expected.bound - 1e-4 < shown < expected.bound + 1.1e-3  # three digits, rounded up
    rows = [row.split("\t") for row in widget.locator("tbody").inner_text().splitlines()]
    certified, sampled, at_p = (float(row[1]) for row in rows)
    assert certified == shown >= max(sampled, at_p)
    bars = widget.locator("[aria-label^='At p: y1 ']").get_attribute("aria-label")
    assert "At the witness: y1" in bars
    way = widget.locator("[aria-label*='to the witness: the']").get_attribute("aria-label")
    drawn = float(re.search(r"they are ([\d.]+) apart", way)[1])
    assert shown - 1.5e-3 < drawn <= shown
    tab.set_viewport_size({"width": browsing.WIDTHS[0], "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= browsing.WIDTHS[0]
    assert real(errors, html) == []  # before axe asks for style sheets, which file:// refuses
    assert grave(tab) == []
    widget.get_by_role("button", name="one step", exact=True).click()
    tab.wait_for_function(f"{told} === ''")
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
    tab.goto(f"{address}/notebooks/atlas.html?r=0.3&lambda=0.5&scan=2")  # as chapter 4 links to it
    tab.wait_for_selector("tbody tr")
    assert tab.locator("[name=scan]").input_value() == "1"
    assert atlas.get_attribute("data-cell") == "r = 0.30, λ = 0.50"
    assert real(errors, html) == []
    tab.context.close()


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
    tab.evaluate(browsing.COMES_LATE)
    assert said.count() == 3
    context.close()
