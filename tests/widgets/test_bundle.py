"""What a page measures is what the package measures; its widgets do what their buttons say."""

import base64
import json
import re
import urllib.parse
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import yaml
from conftest import MADE, MEMORIZATION, D, P

from faithnb import CircuitMap, Experiment, Store, Transcoder, explore, measures, sweep, train
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.figures import style
from faithnb.model.layers import AbsoluteValue
from faithnb.widgets.bundle import STYLE, script
from faithnb.widgets.explorer import Atlas, Mechanism, PhaseDiagram

STORY = Experiment(d_in=8, d_sae=32, batch_size=128, steps=1500, repeat_frac=0.1)


def module(name):
    return "data:text/javascript;base64," + base64.b64encode(script(name).encode()).decode()


def network(transcoder):
    names = ("W_enc", "b_enc", "W_dec")
    weights = {name: getattr(transcoder, name)[0].flatten().tolist() for name in names}
    return {"d": transcoder.d_in, "H": transcoder.d_sae, **weights}


@pytest.fixture(scope="module")
def trained():
    return train([replace(STORY, seed=s, repeat_frac=r) for s, r in ((0, 0.0), (1, 0.1), (2, 0.1))],
                 progress=False).transcoder  # fmt: skip


def measured(page, transcoder, p, density=0.1):
    code = """async ([module, net, p, density]) => {
        const m = await import(module);
        for (const name of ["W_enc", "b_enc", "W_dec"]) net[name] = Float64Array.from(net[name]);
        const sample = m.evaluationSample(net.d, density, 300);
        const map = m.circuitMap(net, [p], sample);
        return {
            sample: sample.map((row) => Array.from(row)),
            quality: m.quality(net, sample),
            contributions: Array.from(m.contributions(net, p)),
            jacobian: m.contributingJacobian(net, p, m.support(p)),
            memorization: m.memorization(net, p),
            state: m.state(net, p),
            loadings: map.loadings.map((row) => Array.from(row)),
            order: map.order,
            names: map.names,
        };
    }"""
    return page.evaluate(code, [module("measures.js"), network(transcoder), p.tolist(), density])


def compare(page, t, p, target):
    found = measured(page, t, p)
    x = evaluation_sample(t.d_in, 0.1)[:300]
    assert np.allclose(found["sample"], x)
    assert found["quality"]["fvu"] == pytest.approx(measures.fvu(t, target, x).item(), rel=1e-3)
    assert found["quality"]["l0"] == pytest.approx(measures.l0(t, x).item(), abs=0.01)
    sizes = measures.contribution_sizes(t, p[None])[0, 0]
    assert np.allclose(found["contributions"], sizes, atol=1e-5)
    at = p.nonzero()[:, 0]
    jacobian = measures.contributing_jacobian(t, p)[0][at][:, at]
    assert np.allclose(found["jacobian"], jacobian, atol=1e-4)
    m = measures.memorization(t, p).item()
    assert found["memorization"]["total"] == pytest.approx(m, abs=1e-4)
    assert found["state"] == measures.state(t, target, p)[0]
    expected = CircuitMap.of(t, target, x, [p])
    assert np.abs(np.array(found["loadings"]) - expected.loading[0]).max() < 2e-3
    assert tuple(found["names"]) == expected.names
    return found


@pytest.mark.parametrize("name", MADE)
def test_measures_of_transcoders_made_by_hand(page, name):
    t = Transcoder.from_circuits(MADE[name])
    found = compare(page, t, P, AbsoluteValue(D))
    assert found["memorization"]["total"] == pytest.approx(MEMORIZATION[name], abs=1e-6)


@pytest.mark.parametrize("inst", [0, 1, 2])
def test_measures_of_trained_transcoders(page, trained, inst):
    t = trained[inst]
    found = compare(page, t, pad_points(STORY.points, 8)[0], AbsoluteValue(8))
    live = [i for i in found["order"] if max(row[i] for row in found["loadings"]) > 0.9]
    best = [int(np.argmax([row[i] for row in found["loadings"]])) for i in live]
    assert best == sorted(best)


def test_a_point_of_one_coordinate_has_no_state(page, trained):
    p = torch.zeros(8)
    p[0] = 1.0
    assert measured(page, trained[0], p)["state"] is None


def show(page, widget, head=""):
    """A widget in a page of its own, with its model played by a plain object."""
    state = {
        name: getattr(widget, name)
        for name in widget.trait_names(sync=True)
        if not name.startswith("_") and name not in ("layout", "comm", "tabbable", "tooltip")
    }
    page.set_content(f"{head}<style>{STYLE}</style><div id='here'></div>")
    errors = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("request", lambda r: r.url.startswith(("data:", "blob:")) or errors.append(r.url))
    page.evaluate(
        """async ([source, state]) => {
            const heard = {};
            window.sent = [];
            window.hear = (message) => heard["msg:custom"](message);
            window.model = {
                get: (name) => state[name],
                set: (name, value) => { state[name] = value; },
                save_changes: () => {},
                on: (name, callback) => { heard[name] = callback; },
                send: (message) => window.sent.push(message),
            };
            const view = (await import(source)).default;
            await view.render({ model: window.model, el: document.getElementById("here") });
        }""",
        [f"data:text/javascript;base64,{base64.b64encode(widget._esm.encode()).decode()}",
         json.loads(json.dumps(state))],
    )  # fmt: skip
    return errors


def until(page, what, timeout=60_000):
    page.wait_for_function(what, timeout=timeout)


def memorization_shown(page):
    return float(page.get_attribute(".fn-track", "aria-valuenow")) * (3**0.5 - 1)


TRAINED = "document.querySelector('.fn-status').textContent.startsWith('Trained')"
STEP = "Number(document.querySelector('.faithnb').dataset.step)"
STATE = "document.querySelector('.faithnb').dataset.state"


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


def test_a_mechanism_follows_the_input(page, trained):
    p = pad_points(STORY.points, 8)[0]
    errors = show(page, Mechanism({"no repeats": trained[0], "repeats": trained[1]}, p))
    pictures = page.locator("[aria-label*='Jacobian row by row']")
    assert pictures.count() == 2
    jacobian = measures.contributing_jacobian(trained[0], p)[0, :3, :3]
    rows = "; ".join(" ".join(f"{v:.2f}".replace("-0.00", "0.00") for v in row) for row in jacobian)
    assert rows in pictures.first.get_attribute("aria-label").replace("-0.00", "0.00")
    page.click("text=one coordinate missing")
    assert "it should be 0.00, 1.00, 1.00" in page.inner_text(".fn-column >> nth=0")
    page.focus("input >> nth=1")
    page.keyboard.press("End")
    assert "it should be 1.20, 1.00, 1.00" in page.inner_text(".fn-column >> nth=1")
    box = page.locator(".fn-pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert "it should be 1.1" in page.inner_text(".fn-column >> nth=0")
    assert errors == []


def test_a_phase_diagram_fills_in(page):
    small = replace(STORY, steps=300)
    widget = PhaseDiagram(
        small,
        {"plain": {}, "matched": {"jacobian_matching": "smoothed", "jacobian_coefficient": 0.1}},
        **GRID,
    )
    errors = show(page, widget)
    page.click(".fn-primary")
    until(page, "document.querySelector('.fn-status').textContent.startsWith('8 of 8')")
    page.focus(".fn-cells >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    told = page.inner_text("[aria-live=polite]")
    assert told.startswith("plain, r = 0.30, λ = 0.30: ")
    e = replace(small, repeat_frac=0.3, sparsity_coefficient=0.3)
    m = train(e, progress=False).metrics()
    assert f": {m.state.item()};" in told
    shown = float(re.search(r"memorization ([\d.]+)", told)[1])
    assert shown == pytest.approx(m.memorization.item(), abs=2e-3)
    page.fill("[name=seed]", "3")  # the cells were another seed's
    assert "8 transcoders to go" in page.inner_text(".fn-status")
    assert page.inner_text("[aria-live=polite]") == ""
    assert {"#fbfbfb", "none"} == set(page.evaluate(FILLS))
    assert errors == []


def test_a_phase_diagram_is_stopped_while_it_trains(page):
    endless = replace(STORY, steps=1_000_000)
    errors = show(page, PhaseDiagram(endless, {"plain": {}}, **GRID))
    page.click(".fn-primary")
    assert page.inner_text(".fn-status").startswith("Training 4 transcoders, ")
    assert page.inner_text(".fn-primary") == "stop"
    page.click(".fn-primary")
    assert page.inner_text(".fn-status") == "Stopped: 0 of 4 transcoders are trained."
    assert page.inner_text(".fn-primary") == "train all"
    assert errors == []


GRID = {"repeat_frac": [0.0, 0.3], "sparsity_coefficient": [0.01, 0.3]}
FILLS = "[...document.querySelectorAll('.fn-cells rect')].map((r) => r.getAttribute('fill'))"


def test_a_phase_diagram_trains_what_it_is_given(page):
    """Also what its knobs have no place for; and says what diverged."""
    e = replace(STORY, density=0.12, seed=2000, sparsity_penalty="l1", steps=100)
    axes = {"repeat_frac": [0.1], "sparsity_coefficient": [0.05]}
    show(page, PhaseDiagram(e, {"plain": {}, "wild": {"learning_rate": 1e200}}, **axes))
    assert page.inner_text("label:has([name=density]) output") == "0.12"
    assert page.input_value("[name=sparsity_penalty]") == "l1"
    page.click(".fn-primary")
    until(page, "document.querySelector('.fn-status').textContent.startsWith('2 of 2')")
    page.click(".fn-cells >> nth=0 >> rect >> nth=0")
    e = replace(e, repeat_frac=0.1, sparsity_coefficient=0.05)
    x = evaluation_sample(8, 0.12)[:1024]
    fvu = measures.fvu(train(e, progress=False).transcoder, AbsoluteValue(8), x).item()
    told = page.inner_text("[aria-live=polite]")
    assert float(re.search(r"FVU ([\d.]+)", told)[1]) == pytest.approx(fvu, abs=2e-4)
    page.click(".fn-cells >> nth=1 >> rect >> nth=0")
    assert page.inner_text("[aria-live=polite]").endswith("diverged.")
    assert page.evaluate(FILLS)[2] == style.INK
    assert style.INK not in style.STATE_COLOURS.values()


def test_an_atlas_answers_keyboard_and_pointer(page, tmp_path):
    base = replace(STORY, steps=300)
    axes = {"repeat_frac": [0.0, 0.3], "sparsity_coefficient": [0.01, 0.3], "seed": [1, 2]}
    options = {"store": Store(tmp_path), "progress": False, "weights": True}
    scans = {
        "one": sweep(base, **axes, **options),
        "two": sweep(replace(base, density=0.3), **axes, **options),
    }
    errors = show(page, Atlas(scans, Store(tmp_path), progress=False))
    until(page, "document.querySelectorAll('tbody tr').length === 2")

    def expect(name, r, c):
        text = page.inner_text(".fn-numbers")
        assert text.startswith(f"{name}, r = {r}, λ = {c}")
        cell = scans[name].sel(repeat_frac=float(r), sparsity_coefficient=float(c))
        for row, seed in enumerate((1, 2)):
            line = page.inner_text(f"tbody tr >> nth={row}")
            assert cell.state.sel(seed=seed).item() in line
            shown = float(line.split()[2])
            assert shown == pytest.approx(cell.memorization.sel(seed=seed).item(), abs=1e-3)
        shown = memorization_shown(page)
        assert shown == pytest.approx(cell.memorization.sel(seed=1).item(), abs=2e-3)

    expect("one", "0.30", "0.30")
    page.focus(".fn-cells")
    page.keyboard.press("ArrowLeft")
    expect("one", "0.0", "0.30")
    page.select_option("[name=scan]", "1")  # the same cell of the other
    expect("two", "0.0", "0.30")
    page.click(".fn-cells rect >> nth=1")
    expect("two", "0.30", "0.010")
    assert errors == []


def test_the_explorer_s_start_is_the_experiment():
    assert explore(STORY).start == asdict(STORY)


@pytest.mark.parametrize("name", ["explorer.js", "mechanism.js", "diagram.js", "atlas.js"])
def test_a_script_asks_for_nothing_else(name):
    module = script(name)
    assert 'from "./' not in module
    assert "const METRICS = {" in module
    assert module.count("export default {") == 1


def test_only_what_starts_a_worker_carries_one():
    assert "const WORKER = " in script("explorer.js")
    assert "const WORKER = " not in script("atlas.js")


def lightness(colour):
    """The relative luminance of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"[0-9]+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    dark, light = sorted((lightness(a), lightness(b)))
    return (light + 0.05) / (dark + 0.05)


WORDS = """[...document.querySelectorAll(".fn-picture text")].map((word) => {
    const cell = word.parentElement.tagName === "g" && word.previousElementSibling;
    const behind = cell ? getComputedStyle(cell).fill : "rgb(255, 255, 255)";
    return [word.textContent, getComputedStyle(word).fill, behind];
})"""


def test_words_in_pictures_can_be_read(page, trained):
    """Contrast of 4.5 to 1 on white, and on the colours of cells."""
    show(page, explore(replace(STORY, steps=50)))
    until(page, f"{STEP} === 0")
    words = page.evaluate(WORDS)
    page.click(".fn-primary")
    until(page, TRAINED)
    words += page.evaluate(WORDS)
    show(page, Mechanism({"one": trained[1]}, pad_points(STORY.points, 8)[0]))
    words += page.evaluate(WORDS)
    assert {"no steps yet", "sparsity", "datapoint p", "training step"} <= {w for w, _, _ in words}
    assert [w for w, colour, behind in words if contrast(colour, behind) < 4.5] == []


@pytest.fixture
def small_grid():
    return PhaseDiagram(replace(STORY, steps=60), {"plain": {}}, **GRID)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_colour_says_stays_where_the_system_gives_the_colours(page, small_grid, scheme):
    colours = """(where) => [...document.querySelectorAll(where)].map(
        (e) => getComputedStyle(e).backgroundColor)"""
    page.emulate_media(forced_colors="active", color_scheme=scheme)
    show(page, explore(replace(STORY, steps=60)))
    page.click(".fn-primary")
    until(page, TRAINED)
    bar, track = page.evaluate(colours, ".fn-bar, .fn-track")[::-1]
    assert contrast(bar, track) > 3
    assert set(page.evaluate(colours, ".fn-card")) == {"rgb(255, 255, 255)"}
    assert all(contrast(c, b) > 4.5 for w, c, b in page.evaluate(WORDS))
    show(page, small_grid)
    states = page.evaluate(colours, ".fn-legend i")
    assert len(set(states)) == len(style.STATE_COLOURS) + 1
    words = page.evaluate("getComputedStyle(document.querySelector('.fn-legend')).color")
    ground = page.evaluate("getComputedStyle(document.querySelector('.faithnb')).backgroundColor")
    assert contrast(words, ground) > 7


@pytest.mark.parametrize(("finger", "least"), [(False, 24), (True, 44)])
def test_what_one_presses_is_large_enough(browser, trained, small_grid, finger, least):
    context = browser.new_context(
        has_touch=finger, is_mobile=finger, viewport={"width": 360, "height": 740}
    )
    page = context.new_page()
    p = pad_points(STORY.points, 8)[0]
    for widget in (explore(STORY), Mechanism({"one": trained[1]}, p), small_grid):
        show(page, widget)
        sizes = page.evaluate("""() => [...document.querySelectorAll("button, select, input, a")]
            .filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect())
            .map(({ width, height }) => Math.min(width, height))""")
        assert len(sizes) >= 4
        assert min(sizes) >= least
    context.close()


POLICY = "<meta http-equiv='Content-Security-Policy' content=\"worker-src 'none'\">"
NO_WORKER = "<script>Worker = class { constructor() { throw new Error('no'); } };</script>"


@pytest.mark.parametrize("head", [POLICY, NO_WORKER], ids=["by an event", "at once"])
def test_a_policy_against_workers_is_said_each_time(page, small_grid, head):
    for widget, name in ((explore(STORY), "train"), (small_grid, "train all")):
        page.goto("about:blank")
        errors = show(page, widget, head)
        for _ in range(2):
            page.evaluate("document.querySelector('.fn-status').textContent = ''")
            page.click(".fn-primary")
            until(page, "document.querySelector('.fn-status').textContent.includes('forbids')")
            assert "forbids background scripts" in page.inner_text(".fn-status")
            assert page.inner_text(".fn-primary") == name
        assert errors == []


def test_where_the_keyboard_is_can_be_seen(page, small_grid):
    """On the theme's surfaces, light and dark, and on the white of pictures."""
    for widget in (explore(STORY), small_grid):
        show(page, widget)
        seen = set()
        for _ in range(5):
            page.keyboard.press("Tab")
            seen.add(
                page.evaluate("""() => {
                const { outlineStyle, outlineWidth, outlineColor } =
                    getComputedStyle(document.activeElement);
                return `${outlineStyle} ${outlineWidth} ${outlineColor}`;
            }""")
            )
        assert len(seen) == 1
        style, width, colour = seen.pop().split(" ", 2)
        assert (style, width) == ("solid", "3px")
        assert all(
            contrast(colour, behind) > 3
            for behind in ("rgb(243, 244, 245)", "rgb(41, 49, 61)", "rgb(255, 255, 255)")
        )
