"""What widgets say is so: no knob is silent, no broken transcoder is praised, nothing untrained is
shown as a result."""

import json
import re
from dataclasses import replace

import pytest
from showing import GRID, STATE, STEP, STORY, TRAINED, memorization_shown, module, show, until

from faithnb import Store, explore, measures, sweep, train
from faithnb.book.contents import ROOT
from faithnb.data.sampling import evaluation_sample
from faithnb.model.layers import AbsoluteValue
from faithnb.widgets.explorer import Atlas, PhaseDiagram
from faithnb.widgets.knobs import KNOBS, STORIES

WEIGHT = "[name=jacobian_coefficient]"
LOST = replace(STORY, steps=40, sparsity_coefficient=0.5)


def status(page):
    return page.inner_text(".fn-status")


def fields(page):
    return page.evaluate("window.model.get('fields')")


def test_a_form_of_matching_comes_with_a_weight_and_none_takes_it_back(page):
    errors = show(page, explore(STORY))
    assert page.is_disabled(WEIGHT)
    page.select_option("[name=jacobian_matching]", "smoothed")
    assert page.input_value(WEIGHT) == "0.1"
    assert fields(page)["jacobian_coefficient"] == 0.1
    assert status(page) == "Form smoothed: the weight μ is now 0.1."
    assert page.get_attribute(".fn-status", "role") == "status"  # which is read out
    page.fill(WEIGHT, "0.3")
    page.select_option("[name=jacobian_matching]", "plain")
    assert fields(page)["jacobian_coefficient"] == 0.3  # the reader's own stays
    page.select_option("[name=jacobian_matching]", "none")
    assert (page.input_value(WEIGHT), page.is_disabled(WEIGHT)) == ("0", True)
    assert status(page) == "Nothing is matched: the weight μ is 0."
    page.select_option("[name=jacobian_matching]", "finite")
    assert fields(page)["jacobian_coefficient"] == 0.3
    assert errors == []


def test_a_form_s_own_weight_is_the_experiment_s(page):
    e = replace(STORY, jacobian_matching="plain", jacobian_coefficient=0.03)
    show(page, explore(e))
    page.select_option("[name=jacobian_matching]", "none")
    page.select_option("[name=jacobian_matching]", "smoothed")
    assert fields(page)["jacobian_coefficient"] == 0.03


def test_matching_switched_on_late_removes_the_datapoint_feature(page):
    """The story that the explorer's page tells, from its button on."""
    show(page, explore(replace(STORY, seed=200)))
    page.select_option("[aria-label=speed]", "200 steps a second")
    page.click("button:text-is('10 % repeats')")
    until(page, f"{STEP} > 950 && {STATE} === 'datapoint'")
    page.click(".fn-primary")
    assert page.evaluate(STEP) < 1500
    page.select_option("[aria-label=speed]", "as fast as it goes")
    page.select_option("[name=jacobian_matching]", "smoothed")
    page.click(".fn-primary")
    until(page, TRAINED)
    assert page.evaluate(STATE) == "generalising"
    assert memorization_shown(page) < 0.01


@pytest.mark.parametrize(
    ("chosen", "off"),
    [
        ({}, {"jacobian_coefficient": "no form", "kink": "no form"}),
        ({"jacobian_matching": "smoothed"}, {"kink": "smoothed matching reads no derivative"}),
        ({"jacobian_matching": "finite"}, {"kink": "finite matching reads no derivative"}),
        ({"jacobian_matching": "plain"}, {}),
        (
            {"sparsity_penalty": "none"},
            {"sparsity_coefficient": "no penalty", "tanh_scale": "no penalty"},
        ),
        ({"sparsity_penalty": "l1"}, {"tanh_scale": "l1 has no scale"}),
    ],
    ids=str,
)
def test_knobs_without_effect_are_off_and_say_why(page, chosen, off):
    show(page, explore(STORY))
    for name, choice in chosen.items():
        page.select_option(f"[name={name}]", choice)
    off = off | {"k": "relu keeps no fixed number"}
    if "jacobian_matching" not in chosen:
        off = {"jacobian_coefficient": "no form", "kink": "no form"} | off
    names = [knob["name"] for group in KNOBS for knob in group["knobs"]]
    for name in names:
        title = page.get_attribute(f"label:has([name={name}])", "title")
        assert page.is_disabled(f"[name={name}]") == (name in off)
        assert title.startswith("No effect: ") and off[name] in title if name in off else title


def test_there_is_nothing_to_repeat_without_a_point(page):
    show(page, explore(replace(STORY, points=(), repeat_frac=0.0)))
    assert page.is_disabled("[name=repeat_frac]")


def test_a_knob_turned_after_the_end_begins_a_new_training(page):
    show(page, explore(replace(STORY, steps=60)))
    page.click(".fn-primary")
    until(page, TRAINED)
    page.fill("[name=repeat_frac]", "0.3")
    until(page, f"{STEP} === 0")
    assert status(page) == "Not trained yet: press train."
    page.click(".fn-primary")
    until(page, TRAINED)
    page.select_option("[name=jacobian_matching]", "smoothed")
    assert status(page) == "Form smoothed: the weight μ is now 0.1. Not trained yet: press train."


def test_what_is_not_trained_is_not_shown_as_a_result(page):
    show(page, explore(STORY))
    until(page, f"{STEP} === 0")
    assert page.inner_text(".fn-state") == "not trained"
    assert page.get_attribute(".fn-track", "aria-valuenow") == "0.000"
    assert page.evaluate("document.querySelector('.fn-bar').getBoundingClientRect().width") == 0
    assert "FVU" not in page.inner_text(".fn-result")
    labels = page.locator(".fn-picture").evaluate_all("all => all.map((e) => e.ariaLabel)")
    assert labels == ["No steps yet.", "Not trained yet.", "Not trained yet."]
    assert page.evaluate(STATE) == ""
    page.click("text=50 steps")
    until(page, f"{STEP} === 50")
    assert page.inner_text(".fn-state") == page.evaluate(STATE) == "not learned yet"
    assert "FVU" in page.inner_text(".fn-result")
    page.click("text=reset")
    until(page, f"{STEP} === 0")
    assert page.inner_text(".fn-state") == "not trained"


def test_who_lost_the_task_is_called_so_in_the_explorer(page):
    t = train(LOST, progress=False).transcoder
    x = evaluation_sample(8, 0.1)[:512]
    assert measures.fvu(t, AbsoluteValue(8), x).item() > measures.TASK_LOST
    show(page, explore(LOST))
    page.click(".fn-primary")
    until(page, TRAINED)
    assert page.inner_text(".fn-state") == page.evaluate(STATE) == "lost the task"
    assert status(page) == "Trained, and it lost the task: its FVU is not below 0.1."
    grey = page.evaluate("getComputedStyle(document.querySelector('.fn-bar')).backgroundColor")
    red, green, blue = re.findall(r"\d+", grey)
    assert red == green == blue


def test_the_page_s_bound_is_the_package_s(page):
    code = """async (m) => {
        const { hasLost } = await import(m);
        return [0, 0.0999, 0.1, 3, NaN].map(hasLost);
    }"""
    found = page.evaluate(code, module("measures.js"))
    assert found == [not v < measures.TASK_LOST for v in (0, 0.0999, 0.1, 3, float("nan"))]


def test_who_lost_the_task_is_called_so_in_the_phase_diagram(page):
    grid = {"repeat_frac": [0.1], "sparsity_coefficient": [0.5]}
    show(page, PhaseDiagram(replace(STORY, steps=40), {"plain": {}}, **grid))
    page.click(".fn-primary")
    until(page, "document.querySelector('.fn-status').textContent.startsWith('1 of 1')")
    page.click(".fn-cells rect >> nth=0")
    assert ": lost the task;" in page.inner_text("[aria-live=polite]")


QUICK = replace(STORY, steps=500, learning_rate=1e-2)
AXES = {"repeat_frac": [0.01, 0.1, 0.3], "sparsity_coefficient": [0.01, 0.1, 0.5], "seed": [1, 2]}
CELL = "document.querySelector('.faithnb').dataset.cell"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("atlas"))
    options = {"store": store, "progress": False, "weights": True}
    scans = {
        "one": sweep(QUICK, **AXES, **options),
        "two": sweep(replace(QUICK, density=0.3), **AXES, **options),
    }
    assert 0 < measures.lost(scans["one"]).mean() < 1
    return Atlas(scans, store, progress=False)


def opened(page, atlas, link=""):
    page.goto("about:blank" + link)
    errors = show(page, atlas)
    until(page, f"{CELL} !== undefined")
    return errors


def test_the_atlas_opens_near_the_border_and_says_where_it_ends(page, atlas):
    errors = opened(page, atlas)
    assert page.evaluate(CELL) == "r = 0.10, λ = 0.10"
    page.focus(".fn-cells")
    for key, words in (
        ("ArrowRight", "r = 0.3 is its largest"), ("ArrowUp", "λ = 0.5 is its largest"),
        ("ArrowLeft", "r = 0.01 is its smallest"), ("ArrowDown", "λ = 0.01 is its smallest"),
    ):  # fmt: skip
        for _ in range(3):
            page.keyboard.press(key)
        assert page.inner_text("[aria-live=polite]").endswith(f"The map ends here: {words}.")
    page.keyboard.press("ArrowUp")
    assert "ends here" not in page.inner_text("[aria-live=polite]")
    assert errors == []


def test_a_phase_diagram_says_where_it_ends(page):
    show(page, PhaseDiagram(STORY, {"plain": {}}, **GRID))
    page.focus(".fn-cells")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("[aria-live=polite]") == "The map ends here: r = 0 is its smallest."


def test_a_link_opens_its_cell_and_moving_changes_the_link(page, atlas):
    errors = opened(page, atlas, "#r=0.29&lambda=0.011&scan=2")
    assert page.evaluate(CELL) == "r = 0.30, λ = 0.010"
    assert page.input_value("[name=scan]") == "1"
    assert page.evaluate("document.activeElement.className") == "fn-picture fn-cells"
    page.keyboard.press("ArrowUp")
    until(page, "location.hash === '#r=0.3&lambda=0.1&scan=2'")
    assert page.get_attribute("a:text-is('link to this cell')", "href") == page.evaluate(
        "location.hash"
    )
    page.evaluate("location.hash = '#r=0.01&lambda=0.5'")
    until(page, f"{CELL} === 'r = 0.010, λ = 0.50'")
    assert page.input_value("[name=scan]") == "0"
    page.evaluate("location.hash = '#elsewhere'")  # of another part of the page
    page.wait_for_timeout(50)
    assert page.evaluate(CELL) == "r = 0.010, λ = 0.50"
    assert errors == []


def test_the_atlas_calls_lost_who_lost_the_task(page, atlas):
    opened(page, atlas)
    fvu = [m["label"] for m in atlas.scans[0]["measures"]].index("FVU")
    for i, c in enumerate(AXES["sparsity_coefficient"]):
        for j, r in enumerate(AXES["repeat_frac"]):
            page.evaluate(f"location.hash = '#r={r}&lambda={c}'")
            until(page, f"location.hash === '#r={r}&lambda={c}'")
            page.wait_for_timeout(20)
            rows = [row.split("\t")[1] for row in page.inner_text("tbody").splitlines()]
            values = atlas.scans[0]["measures"][fvu]["values"][i][j]
            assert [row == "lost the task" for row in rows] == [not v < 0.1 for v in values]
            assert (page.inner_text(".fn-state") == "lost the task") == (not values[0] < 0.1)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0864083, "0.0864"), (0.1, "0.1"), (2 / 3, "0.667"), (12345, "12345")]
)
def test_sliders_show_three_digits_and_whole_numbers_in_full(page, value, shown):
    name = "seed" if value > 1 else "repeat_frac"
    show(page, explore(replace(STORY, **{name: value})))
    assert page.inner_text(f"label:has([name={name}]) output") == shown
    assert fields(page)[name] == value


def test_every_chapter_s_widget_has_a_seed_of_the_chapter():
    """Seeds of the page would be those on which the settings were chosen."""
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = ["".join(cell["source"]) for cell in json.loads(file.read_text("utf-8"))["cells"]]
        shown = [cell for cell in cells if re.search(r"^explore\(", cell, re.MULTILINE)]
        if not any(re.search(r"^first_seed = ", cell, re.MULTILINE) for cell in cells):
            continue
        for cell in shown:
            assert re.search(r"seed=(run\.first_|example\.)seed|example\.experiment", cell), (
                file.name
            )


def test_a_story_trains_at_once_as_the_page_says(page):
    words = "".join((ROOT / "notebooks" / "explorer.ipynb").read_text("utf-8"))
    assert "A story sets the knobs and trains at once" in words
    show(page, explore(STORY))
    page.click(f"button:text-is('{STORIES[0]['name']}')")
    until(page, f"{STEP} > 0")
    assert page.inner_text(".fn-primary") == "pause"
