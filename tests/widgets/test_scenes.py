"""A story in a browser: the picture follows the scrolling, and stands still where it should."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from front import LIGHT, portrait, put

from faithnb.widgets.scenes import five_scenes
from faithnb.widgets.story import Scene, story

FRAMES = {0: portrait(0.0), 50: portrait(0.2), 100: portrait(0.6, whole=True),
          200: portrait(0.7, whole=True), 300: portrait(0.9, whole=True, state="datapoint"),
          400: portrait(1.0, whole=True, state="datapoint")}  # fmt: skip
REMOVED = {400: FRAMES[400], 600: portrait(0.0, state="generalising")}
LEFT = {400: FRAMES[400], 600: portrait(0.9, whole=True, state="datapoint")}
LOST = {400: FRAMES[400], 600: portrait(0.9, state="lost the task", fvu=0.2)}
SEEDS = {"n": 16, "before": 15, "matched": 2, "plain": 14}
SHARES = {"without matching": 0.2, "with matching": 0.8}


SETTING = {"d_in": 16, "repeat_frac": 0.1, "jacobian_matching": "smoothed"}


def scenes(before=FRAMES, matched=REMOVED, plain=LEFT, lost=SHARES):
    return five_scenes(before, matched, plain, SETTING, SEEDS, lost)


def test_what_is_said_follows_from_what_happened():
    found = scenes()
    assert [s.title for s in found] == [
        "A transcoder begins", "The features turn towards p", "One feature for p",
        "Matching the Jacobian removes the feature", "The plain reading leaves the feature",
    ]  # fmt: skip
    assert [list(s.steps) for s in found] == [
        [0, 50], [50, 100, 200], [200, 300, 400], [400, 600], [400, 600]
    ]  # fmt: skip
    assert "from 20 % of a whole datapoint feature to 70 %, by step 200" in found[1].words[1]
    assert found[2].words[2].endswith("Of 16 seeds 15 memorize p by now.")
    assert "makes 80 % of the transcoders lose the task; 20 % do" in found[4].words[2]
    assert len(scenes(lost={})[4].words) == 2


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        (FRAMES, LOST, "loses the task"),
        (FRAMES | {400: portrait(0.3)}, LEFT | {400: portrait(0.3)}, "finds nothing to remove"),
    ],
)
def test_another_outcome_has_another_title(before, after, title):
    assert scenes(before, after)[3].title == f"Matching the Jacobian {title}"


@pytest.mark.parametrize(
    ("state", "title"),
    [("generalising", "A feature for each coordinate"), ("pair", "A feature for a part of p"),
     ("other", "Neither one nor the other"), ("lost the task", "The task is not learned")],
)  # fmt: skip
def test_every_state_at_the_end_has_its_words(state, title):
    assert scenes(FRAMES | {400: portrait(0.1, state=state)})[2].title == title


def test_features_that_do_not_turn_are_not_said_to():
    flat = {k: portrait(0.1) for k in FRAMES}
    assert scenes(flat)[1].title == "The features keep apart"


def test_a_scene_has_a_frame_a_step():
    with pytest.raises(ValueError, match="scene 0 needs as many steps as frames"):
        story([Scene("a", (), (1, 2), (portrait(0.0),))], 2)


SHOWN = "document.querySelector('.fn-stage output').textContent"


def test_the_picture_follows_the_scrolling_and_the_slider(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    errors = put(page, story(scenes(), 600))
    assert page.evaluate(SHOWN) == "step 0"
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function(f"{SHOWN} === 'step 600'")
    assert "memorization90 %" in page.inner_text(".fn-stage .fn-share").replace("\n", "")
    page.focus(".fn-stage input")
    page.keyboard.press("Home")
    page.wait_for_function(f"{SHOWN} === 'step 0' && scrollY < innerHeight")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)  # the scrolling that follows the keys must not move it on
    assert page.get_attribute(".fn-stage input", "aria-valuetext") == "scene 3, step 300"
    assert not page.locator(".fn-still").first.is_visible()
    assert errors == []


@pytest.mark.parametrize("why", ["narrow", "no motion", "no scripts"])
def test_the_pictures_stand_where_nothing_moves(browser, why):
    context = browser.new_context(
        viewport={"width": 390 if why == "narrow" else 1280, "height": 800},
        reduced_motion="reduce" if why == "no motion" else "no-preference",
        java_script_enabled=why != "no scripts",
    )
    page = context.new_page()
    put(page, story(scenes(), 600))
    assert page.locator(".fn-still").count() == 5
    assert all(still.is_visible() for still in page.locator(".fn-still").all())
    assert page.locator(".fn-stage").count() == 0
    assert "step 600 of 600" in page.locator(".fn-still").last.inner_text()
    context.close()


def test_a_window_that_becomes_narrow_shows_the_pictures(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    put(page, story(scenes(), 600))
    page.set_viewport_size({"width": 500, "height": 800})
    page.wait_for_function("!document.querySelector('.fn-stage')")
    assert page.locator(".fn-still").first.is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_it_can_be_read_by_everybody(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    put(page, story(scenes(), 600), LIGHT)
    found = Axe().run(page).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_arrows_of_a_portrait_end_where_features_write():
    from faithnb.widgets.portraits import ENDS, arrows

    one = portrait(1.0, whole=True)
    end = np.sum(ENDS, axis=0)
    assert f'cx="{end[0]:.0f}" cy="{end[1]:.0f}"' in arrows(one)
