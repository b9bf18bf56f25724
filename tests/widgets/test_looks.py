"""The other widgets answer, and all can be seen, read and pressed."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from showing import (
    FILLS,
    GRID,
    STEP,
    STORY,
    TRAINED,
    memorization_shown,
    show,
    three_trained,
    until,
)

from faithnb import Store, explore, measures, sweep, train
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.figures import style
from faithnb.model.layers import AbsoluteValue
from faithnb.widgets.explorer import Atlas, Mechanism, PhaseDiagram


@pytest.fixture(scope="module")
def trained():
    return three_trained()


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
    state = "lost the task" if measures.lost(m).item() else m.state.item()
    assert f": {state};" in told
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
            state = cell.state.sel(seed=seed).item()
            lost = measures.lost(cell).sel(seed=seed).item()
            assert line.split("\t")[1] == ("lost the task" if lost else state)
            shown = float(line.split("\t")[2])
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
    assert len(set(states)) == len(style.STATE_COLOURS) + 2
    words = page.evaluate("getComputedStyle(document.querySelector('.fn-legend')).color")
    ground = page.evaluate("getComputedStyle(document.querySelector('.fn-legend')).backgroundColor")
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


@pytest.mark.parametrize(("theme", "ground"), [("light", 1.0), ("dark", 0.01)])
def test_pictures_are_dark_where_the_page_is(page, small_grid, theme, ground):
    """What one sees, filters included; colours of words are turned with those of cells."""
    show(page, small_grid)
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    for card in page.locator(".fn-card").all():
        with Image.open(io.BytesIO(card.screenshot())) as seen:
            corner = seen.convert("RGB").getpixel((4, seen.height // 2))
        assert lightness(f"rgb{corner}") == pytest.approx(ground, abs=0.01)
    assert page.locator(".fn-legend.fn-card").count() == 1


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
