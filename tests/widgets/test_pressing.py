"""The explorer in a page: its buttons and knobs do what they say."""

import re
import urllib.parse
from dataclasses import replace

import pytest
import yaml
from showing import STATE, STEP, STORY, TRAINED, memorization_shown, show, until

from faithnb import Experiment, explore, measures, train
from faithnb.data.sampling import evaluation_sample
from faithnb.model.layers import AbsoluteValue


def test_the_page_trains_and_matching_changes_the_story(page):
    errors = show(page, explore(STORY))
    page.click(".fn-primary")
    until(page, TRAINED)
    assert page.evaluate(STATE) in ("datapoint", "pair")
    assert "datapoint" in page.inner_text(".fn-status") or "pair" in page.inner_text(".fn-status")
    loss = page.get_attribute(".fn-card >> nth=0 >> .fn-picture", "aria-label")
    assert "reconstruction" in loss
    page.select_option("[name=jacobian_matching]", "smoothed")
    page.fill("[name=jacobian_coefficient]", "0.1")
    page.click(".fn-primary")
    until(page, f"{TRAINED} && {STATE} === 'generalising'")
    assert page.evaluate("window.model.get('fields').jacobian_coefficient") == 0.1
    assert errors == []


def test_the_page_comes_to_the_package_s_weights(page):
    show(page, explore(replace(STORY, steps=150)))
    page.click(".fn-primary")
    until(page, TRAINED)
    t = train(replace(STORY, steps=150), progress=False)
    measured = t.metrics()
    x = evaluation_sample(8, 0.1)[:512]
    fvu = measures.fvu(t.transcoder, AbsoluteValue(8), x).item()
    assert f"FVU {fvu:.3f}" in page.inner_text(".fn-numbers")
    memorization = measured.memorization.item()
    shown = memorization_shown(page)
    assert shown == pytest.approx(memorization, abs=2e-3)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_the_page_trains_other_architectures(page, architecture):
    errors = show(page, explore(replace(STORY, steps=150)))
    page.select_option("[name=architecture]", architecture)
    is_topk = architecture == "topk"
    assert page.is_disabled("[name=k]") != is_topk
    words = "TopK: k is now 3. Not trained yet: press train."
    assert page.inner_text(".fn-status") == (words if is_topk else words[18:])
    assert page.is_hidden("button:text-is('certify worst error')")  # which knows ReLUs alone
    page.click(".fn-primary")
    until(page, TRAINED)
    e = replace(STORY, steps=150, architecture=architecture, k=3 if is_topk else 0)
    assert Experiment(**page.evaluate("window.model.get('fields')")) == e
    x = evaluation_sample(8, 0.1)[:512]
    fvu = measures.fvu(train(e, progress=False).transcoder, AbsoluteValue(8), x).item()
    assert f"FVU {fvu:.3f}" in page.inner_text(".fn-numbers")
    page.select_option("[name=architecture]", "relu")
    assert page.evaluate("window.model.get('fields').k") == 0
    assert errors == []


def test_steps_pause_reset_and_knobs_turned_meanwhile(page):
    errors = show(page, explore(STORY))
    page.click("text=one step")
    until(page, f"{STEP} === 1")
    page.click("text=50 steps")
    until(page, f"{STEP} === 51")
    page.select_option("[aria-label=speed]", "200 steps a second")
    page.click(".fn-primary")
    until(page, f"{STEP} > 70")
    page.fill("[name=repeat_frac]", "0.3")
    page.click(".fn-primary")
    page.wait_for_timeout(300)
    paused = page.evaluate(STEP)
    assert 70 < paused < 1500
    page.wait_for_timeout(300)
    assert page.evaluate(STEP) == paused
    assert page.evaluate("window.model.get('fields').repeat_frac") == 0.3
    page.fill("[name=seed]", "7")  # another transcoder: from the beginning
    until(page, f"{STEP} === 0")
    page.click("text=reset")
    until(page, f"{STEP} === 0")
    assert page.evaluate("window.model.get('fields').seed") == 7
    assert errors == []


def terms_shown(page):
    return page.get_attribute(".fn-card >> nth=0 >> .fn-picture", "aria-label")


def test_a_knob_reaches_the_training_that_goes_on(page):
    """Matching switched on late, and the derivative at 0 read otherwise."""
    show(page, explore(STORY))
    page.click("text=50 steps")
    until(page, f"{STEP} === 50")
    assert "jacobian" not in terms_shown(page)
    page.select_option("[name=jacobian_matching]", "plain")
    page.fill("[name=jacobian_coefficient]", "0.1")
    seen = []
    for step, kink in ((51, "zero"), (52, "one")):
        page.select_option("[name=kink]", kink)
        page.click("text=one step")
        until(page, f"{STEP} === {step}")
        seen.append(float(re.search(r"jacobian (\S+)\.$", terms_shown(page))[1]))
    assert seen[1] > 1.5 * seen[0] > 0  # most entries are 0, where a slope of 1 is missing


def test_nothing_of_a_training_that_was_given_up_is_shown(page):
    show(page, explore(replace(STORY, steps=6000)))
    page.evaluate(f"""() => {{
        window.steps = [];
        new MutationObserver(() => window.steps.push({STEP})).observe(
            document.querySelector(".faithnb"), {{ attributeFilter: ["data-step"] }});
    }}""")
    for _ in range(5):
        page.click(".fn-primary")
        until(page, f"{STEP} > 20")
        page.evaluate("""() => {
            window.steps.length = 0;
            [...document.querySelectorAll("button")].find((b) => b.textContent === "reset").click();
        }""")
        until(page, f"{STEP} === 0")
        page.wait_for_timeout(100)
        assert set(page.evaluate("window.steps")) == {0}
        assert terms_shown(page) == "No steps yet."


def test_a_pause_is_no_end(page):
    show(page, explore(replace(STORY, steps=6000)))
    page.select_option("[aria-label=speed]", "1,000 steps a second")
    for _ in range(2):
        page.click(".fn-primary")
        page.wait_for_timeout(150)
        page.click(".fn-primary")
    paused = page.evaluate(STEP)
    page.select_option("[aria-label=speed]", "as fast as it goes")
    page.click(".fn-primary")
    until(page, f"{TRAINED} && {STEP} === 6000")
    assert 0 < paused < 6000


@pytest.mark.parametrize("steps", [2, 1500])
def test_a_loss_that_leaves_all_bounds_is_said(page, steps):
    """At the last step as well, where the training would have ended."""
    show(page, explore(replace(STORY, learning_rate=1e200, steps=steps)))
    page.click(".fn-primary")
    until(page, "document.querySelector('.fn-status').textContent.includes('left all bounds')")
    page.wait_for_timeout(200)
    assert "left all bounds" in page.inner_text(".fn-status")
    assert page.inner_text(".fn-primary") == "train"


def test_a_slider_says_what_is_trained_where_it_has_no_place_for_it(page):
    show(page, explore(replace(STORY, d_sae=42, sparsity_coefficient=0.0123)))
    for name, value in (("d_sae", "42"), ("sparsity_coefficient", "0.0123")):
        assert page.inner_text(f"label:has([name={name}]) output") == value
        assert page.get_attribute(f"[name={name}]", "aria-valuetext") == value
    assert page.evaluate("window.model.get('fields').d_sae") == 42


def test_a_slider_that_is_dragged_is_followed_at_once(page):
    """Forty changes, each of which would take a look."""
    show(page, explore(STORY))
    page.evaluate("""() => {
        window.looks = 0;
        new MutationObserver(() => window.looks++).observe(
            document.querySelector(".faithnb"), { attributeFilter: ["data-step"] });
        const input = document.querySelector("[name=seed]");
        for (let seed = 1; seed <= 40; seed++) {
            input.value = seed;
            input.dispatchEvent(new Event("input"));
        }
    }""")
    page.click("text=one step")
    until(page, f"{STEP} === 1")
    assert page.evaluate("window.looks") < 20
    assert page.evaluate("window.model.get('fields').seed") == 40


def test_without_a_point_there_is_nothing_to_memorise(page):
    errors = show(page, explore(replace(STORY, points=(), repeat_frac=0.0, steps=60)))
    page.click(".fn-primary")
    until(page, TRAINED)
    assert page.is_hidden(".fn-meter")
    assert page.locator("[aria-label^='Circuit map']").count() == 1
    assert errors == []


def test_what_has_no_effect_is_off_and_parameters_can_be_saved(page):
    show(page, explore(STORY))
    assert page.is_disabled("[name=jacobian_coefficient]")
    page.select_option("[name=jacobian_matching]", "finite")
    assert page.is_enabled("[name=jacobian_coefficient]")
    assert page.is_disabled("[name=kink]")
    page.select_option("[name=sparsity_penalty]", "l1")
    assert page.is_disabled("[name=tanh_scale]")
    saved = urllib.parse.unquote(page.get_attribute("text=parameters as YAML", "href"))
    fields = yaml.safe_load(saved.split(",", 1)[1])
    assert fields["jacobian_matching"] == "finite"
    assert replace(STORY, **fields).sparsity_penalty == "l1"


def test_saved_parameters_are_the_whole_experiment(page):
    e = replace(STORY, points=((1, 0.5, 1),), learning_rate=2e-3)
    show(page, explore(e))
    saved = urllib.parse.unquote(page.get_attribute("text=parameters as YAML", "href"))
    fields = yaml.safe_load(saved.split(",", 1)[1])
    assert Experiment(**fields) == e
    assert "weight_decay" not in fields


def test_with_a_kernel_torch_trains(page):
    widget = explore(replace(STORY, steps=120))
    show(page, widget)
    assert page.is_hidden("text=train with torch")
    page.evaluate("window.hear({ kernel: true })")
    page.click("text=train with torch")
    assert page.evaluate("window.sent.at(-1)") == {"train": True}
    sent = []
    widget.send = sent.append
    widget._answer({"train": True})
    page.fill("[name=d_sae]", "16")  # meanwhile
    page.evaluate("(message) => window.hear(message)", sent[0])
    until(page, f"{STEP} === 120")
    assert page.input_value("[name=d_sae]") == "32"
    m = widget.trained.metrics().memorization.item()
    shown = memorization_shown(page)
    assert shown == pytest.approx(m, abs=2e-3)
    page.evaluate("window.hear({ refused: 'steps = 0 is not allowed' })")
    assert "not allowed" in page.inner_text(".fn-status")
