import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import MADE, P
from matplotlib.collections import QuadMesh
from matplotlib.text import Text

from faithnb import CircuitMap, Experiment, figures, train
from faithnb.data.sampling import evaluation_sample
from faithnb.figures.outcomes import FILLED, OUTCOMES, outcomes
from faithnb.figures.style import SMALLEST, WIDEST
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

X = evaluation_sample(6, 0.3)
M = Transcoder.from_circuits(MADE["datapoint"])


def frontier():
    table = xr.Dataset({"fvu": ("inst", [0.1, 0.2, 0.1, 0.3]), "n": ("inst", [1.0, 1.1, 2.0, 2.2])})
    return table.assign_coords(
        sparsity_penalty=("inst", ["tanh", "tanh", "l1", "l1"]),
        sparsity_coefficient=("inst", [0.1, 0.2, 0.1, 0.2]),
    )


SCAN = xr.DataArray(
    np.eye(3),
    coords={"repeat_frac": [0, 0.01, 0.1], "sparsity_coefficient": [0, 0.1, 1]},
    dims=("repeat_frac", "sparsity_coefficient"),
)
CURVE = xr.Dataset(
    {k: (("repeat_frac", "seed"), [[0, 1], [1, 1], [1, 1]]) for k in ("m", "fvu", "n", "l0")},
    coords={"repeat_frac": [0, 0.1, 0.3], "seed": [0, 1]},
)
LADDER = xr.Dataset(
    {name: (("sparsity_coefficient", "seed"), values) for name, values in (
        ("l0", [[3, 4], [1, 2]]), ("fvu", [[0.1, 0.2], [0.3, 0.4]]), ("fails", [[0, 0], [1, 0]])
    )},
    coords={"sparsity_coefficient": [0.01, 0.1]},
)  # fmt: skip
OF_CONDITIONS = xr.Dataset(
    {name: (("condition", "seed"), values) for name, values in (
        ("v", [[0.1, 0.2], [0.3, 0.4]]), ("state", [["pair", ""], ["other", "datapoint"]])
    )},
    coords={"condition": ["a", "b"], "seed": [5, 6]},
)  # fmt: skip
ENDS = xr.Dataset(
    {
        "state": (("repeat_frac", "sparsity_coefficient", "seed"), [
            [["generalising", "generalising"], ["other", "datapoint"]],
            [["datapoint", "pair"], ["datapoint", "other"]],
        ]),
        "fvu": (("repeat_frac", "sparsity_coefficient", "seed"), [
            [[0.01, 0.02], [0.01, 0.02]], [[0.01, 0.02], [0.5, np.nan]],
        ]),
    },
    coords={"repeat_frac": [0.01, 0.1], "sparsity_coefficient": [0.1, 1]},
)  # fmt: skip
FOUND = pd.DataFrame({"drawn": [0.1, 0.2], "climbed": [0.2, 0.2], "proved": [0.3, np.nan]})
DRAWN = {
    "two_relus": lambda: figures.two_relus(),
    "data": lambda: figures.data(X[:9], P, [2]),
    "penalties": lambda: figures.penalties(4.0),
    "circuit_map": lambda: figures.circuit_map(CircuitMap.of(M, AbsoluteValue(6), X, [P])),
    "feature_weights": lambda: figures.feature_weights(M, {"one": 0, "two": 12}, n_coordinates=6),
    "feature_activity": lambda: figures.feature_activity(M, 12, P, X),
    "states_by_condition": lambda: figures.states_by_condition(
        {"a": ["pair", "other"], "b": ["datapoint"]}
    ),
    "history": lambda: figures.history(
        train(Experiment(d_in=4, d_sae=8, steps=3, batch_size=4), progress=False).history
    ),
    "frontier": lambda: figures.frontier(
        frontier(), "sparsity_penalty", "n", "n", {"tanh": "t", "l1": "l"}
    ),
    "widths": lambda: figures.widths([1, 2], np.ones((2, 3)), np.ones((2, 3))),
    "phase_maps": lambda: figures.phase_maps(
        {"a": SCAN, "b": SCAN}, (10.0, 1.0, 1.5), label="share"
    ),
    "outcome_maps": lambda: figures.outcome_maps(dict.fromkeys("abcde", ENDS)),
    "collapse": lambda: figures.collapse({"a": SCAN}),
    "collapse without zeros": lambda: figures.collapse({"a": SCAN[1:, 1:], "b": SCAN[1:2, 1:2]}),
    "blind_spots": lambda: figures.blind_spots(),
    "jacobians": lambda: figures.jacobians({"a": np.eye(3), "b": -np.ones((3, 3))}),
    "changes": lambda: figures.jacobians({k: 2 * np.eye(3) for k in "abcde"}, "∂y"),
    "four maps": lambda: figures.phase_maps(dict.fromkeys("abcd", SCAN), label="lost", lost=True),
    "five maps of their own": lambda: figures.phase_maps(
        {k: SCAN[: i + 1] for i, k in enumerate("abcde")}, label="share"
    ),
    "four jacobians": lambda: figures.jacobians(dict.fromkeys("abcd", np.eye(3))),
    "wide maps": lambda: figures.effect_maps(
        {"a": np.eye(40), "b": np.eye(40)}, dict.fromkeys("ab", ["x"] * 40), range(40)
    ),
    "four curves": lambda: figures.curves(
        {"a": CURVE}, "repeat_frac", dict.fromkeys(("m", "fvu", "n", "l0"), "m"), "r"
    ),
    "curves": lambda: figures.curves(
        {"a": CURVE}, "repeat_frac", {"m": "m", "fvu": "f (log)"}, "r"
    ),
    "against_l0": lambda: figures.against_l0(
        {"none": LADDER, "smoothed": LADDER}, "sparsity_coefficient", {"fvu": "FVU (log)"}
    ),
    "spectra": lambda: figures.spectra({"a": np.linspace(1, 0, 12).reshape(3, 4)}),
    "circuit_code": lambda: figures.circuit_code(M, AbsoluteValue(6), 10, X, P),
    "dumbbells": lambda: figures.dumbbells(
        {"one": {"a": FOUND, "b": FOUND}, "two": {"a": FOUND, "b": FOUND}}, "error"
    ),
    "strips": lambda: figures.strips(
        {"a": [0.1, np.nan], "b": []}, "v", {"a": ["pair", ""], "b": []}
    ),
    "ratios": lambda: figures.ratios(
        {k: {"v": (2.0, (1.0, 3.0)), "w": (np.nan, (np.nan, np.nan))} for k in "ab"}, "a / b"
    ),
    "margins": lambda: figures.margins({"a": M, "b": Transcoder.from_circuits(MADE["pair"])}, P),
    "along_coordinate": lambda: figures.along_coordinate({"a": M, "b": M}, 2),
    "contributions": lambda: figures.contributions({"a": np.eye(6, 3), "b": -np.eye(6, 3)}),
    "states of a comparison": lambda: figures.states_by_condition(OF_CONDITIONS.state),
    "strips of a comparison": lambda: figures.strips(OF_CONDITIONS.v, "v", OF_CONDITIONS.state),
    "two_axes": lambda: figures.two_axes([1, 2], [0.1, 1], ["pair", "datapoint"], [0.01, 0.5]),
    "nothing on two axes": lambda: figures.two_axes([], [], [], []),
    "effect_maps": lambda: figures.effect_maps(
        {"a": np.eye(4)[:, :2], "b": -np.eye(4)}, {"a": "xy", "b": "1234"}, [0, 3, 6, 9]
    ),
    "estimates": lambda: figures.estimates({"a": (np.eye(3), 2 * np.eye(3))}, "true", "estimated"),
    "residual_stream": lambda: figures.residual_stream([0, 1, 3], [[0.5, 0.5], [1, 1]]),
    "series": lambda: figures.series([0, 1], {"a": [1, 2], "b": [2, 1]}, "x", "y"),
    "lines": lambda: figures.lines([0.1, 1], {"a": [1, 2], "b": [2, 1]}, "x", "y"),
    "durations": lambda: figures.durations({"loops": {"a": 1500.0}, "ours": {"b": 90.0, "c": 9}}),
    "portrait": lambda: figures.portrait(M, P, "memorising"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_shows_itself_as_svg_whatever_the_backend(name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    figure = DRAWN[name]()
    svg = figure._repr_mimebundle_()["image/svg+xml"]
    assert ET.fromstring(svg.encode()).tag.endswith("svg")
    assert len(svg) < 1_000_000
    labels = [t for ax in figure.axes for t in (ax.get_xlabel(), ax.get_ylabel()) if t]
    assert labels


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_fits_a_page_and_its_words_are_readable_on_a_telephone(name):
    figure = DRAWN[name]()
    assert figure.get_figwidth() <= WIDEST
    words = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert min(t.get_fontsize() for t in words) >= SMALLEST


def test_many_cells_are_one_image_and_few_are_shapes():
    many, few = ({"a": np.eye(n)} for n in (20, 3))
    columns = {"a": ["x"] * 20}
    drawn = [figures.effect_maps(many, columns, range(20)), figures.jacobians(few)]
    for figure, images in zip(drawn, (1, 0), strict=True):
        (mesh,) = (m for m in figure.axes[0].collections if isinstance(m, QuadMesh))
        assert bool(mesh.get_rasterized()) == bool(images)


def test_a_figure_is_the_same_twice():
    once, twice = (DRAWN["two_relus"]()._repr_mimebundle_() for _ in range(2))
    assert once == twice


def test_the_largest_contributions_come_first_and_nothing_is_lost_from_the_sum():
    written = np.array([[0.1, 0], [0, 0.2], [3, 0], [0, -2], [0.3, 0]])
    ax, _ = figures.contributions({"a": written}, most=2).axes
    shown = [float(text.get_text()) for text in ax.texts]
    assert shown == [3, 0, 0, -2, 0.4, 0.2, 3.4, -1.8]


def test_selected_features_are_the_ones_one_would_choose():
    chosen = figures.selected_features(M, P)
    assert chosen == {
        "datapoint feature": 12,
        "writes $y_{1}$": 9,
        "writes $y_{2}$": 10,
        "writes $y_{3}$": 11,
    }
    assert "datapoint feature" not in figures.selected_features(
        Transcoder.from_circuits(MADE["generalising"]), P
    )


def test_marks_are_open_where_half_fail_and_stand_at_the_means():
    (ax,) = DRAWN["against_l0"]().axes
    for line, marks in zip(ax.lines, ax.collections, strict=True):
        np.testing.assert_allclose(line.get_xydata(), [[3.5, 0.15], [1.5, 0.35]])
        np.testing.assert_allclose(marks.get_offsets(), line.get_xydata())
        assert [tuple(face) == (1, 1, 1, 1) for face in marks.get_facecolors()] == [False, True]


def test_every_cell_with_repeats_and_a_penalty_is_in_the_collapse():
    fig = figures.collapse({"with zeros": SCAN, "without": SCAN[1:, 1:]})
    for ax in fig.axes:
        drawn = [line.get_xdata() for line in ax.lines]
        np.testing.assert_allclose(drawn, [[0.001, 0.01], [0.01, 0.1]])


def test_every_transcoder_of_a_scan_ends_as_one_thing():
    shares = outcomes(ENDS).transpose("repeat_frac", "sparsity_coefficient", "outcome")
    assert list(shares.outcome.values) == list(OUTCOMES)
    expected = [[[1, 0, 0], [0.5, 0.5, 0]], [[0, 1, 0], [0, 0, 1]]]  # lost, whatever it does at p
    assert shares.values.tolist() == expected


def test_the_bars_of_a_cell_are_its_shares():
    (ax,) = figures.outcome_maps({"a": ENDS}).axes
    tops = {}
    for bar in ax.patches:
        tops.setdefault(bar.get_facecolor(), []).append(round(bar.get_height() / FILLED, 9))
    assert list(tops.values()) == [[1, 0, 0.5, 0], [0, 1, 0.5, 0], [0, 0, 0, 1]]


def test_each_cell_of_a_scan_that_the_atlas_holds_is_a_link_to_it():
    found = figures.outcome_links({"a": ENDS, "b": ENDS}, {"b": 3})
    links = re.findall(r'<a href="atlas.html(.*?)">(.*?)</a>', found)
    assert links == [
        ("?r=0.01&amp;lambda=1&amp;scan=3", "1/2"), ("?r=0.1&amp;lambda=1&amp;scan=3", "0/2"),
        ("?r=0.01&amp;lambda=0.1&amp;scan=3", "2/2"), ("?r=0.1&amp;lambda=0.1&amp;scan=3", "0/2"),
    ]  # fmt: skip


def test_a_long_label_stays_in_the_picture():
    label = "share of what is written at the window by features of its own"
    fig = figures.strips({"BatchTopK, k = 5, wide, without": [0.1, 0.2]}, label)
    fig.draw_without_rendering()
    (ax,) = fig.axes
    edge = ax.xaxis.label.get_window_extent()
    assert "\n" in ax.get_xlabel()
    assert edge.x0 >= 0
    assert edge.x1 <= fig.bbox.x1
