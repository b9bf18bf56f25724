"""Selected rows of a file of activations."""

import json

import numpy as np
import pytest
import torch

from faithnb import Experiment, ParameterError, train
from faithnb.data.selection import Selection, select
from faithnb.model.mlp import SwiGLU, as_target


@pytest.fixture
def rows(tmp_path):
    """A hundred rows whose first coordinate is their number."""
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float16)
    x[:, 0] = np.arange(100)
    np.save(tmp_path / "rows.npy", x)
    return tmp_path / "rows.npy"


def uniform(n):
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(0))


def test_repeated_rows_are_drawn_with_their_probability_and_others_left_out(rows):
    data = Selection(select(rows.with_name("s.json"), rows, 2.0, range(10), [50, 51], 0.25))
    drawn = (2 * data.draw(uniform(40_000))[:, 0]).round().int()
    assert drawn.min() >= 10
    for row in (50, 51):
        assert (drawn == row).float().mean().item() == pytest.approx(0.125, abs=0.01)
    others = set(range(10, 100)) - {50, 51}
    seen, held_out = (
        set(drawn.tolist()) - {50, 51},
        set((2 * data.evaluation()[:, 0]).int().tolist()),
    )
    assert seen | held_out == others
    assert not seen & held_out


def test_without_a_share_repeated_rows_are_not_drawn(rows):
    data = Selection(select(rows.with_name("s.json"), rows, repeated=[50]))
    assert 50 not in data.draw(uniform(10_000))[:, 0].tolist()


def test_rows_that_are_held_out_are_so_whatever_else_is_selected(rows):
    chosen = [([], []), (range(20), [30, 31]), (range(0, 90, 3), [40])]
    data = [Selection(select(rows.with_name("s.json"), rows, 1.0, *some)) for some in chosen]
    first = [d.evaluation()[:, 0].int().tolist() for d in data]
    assert first[0] == first[1] == list(range(80, 100))
    drawn = data[0].draw(uniform(10_000))[:, 0].int()
    assert set(first[2]) < set(first[0])
    assert drawn.max() < 80


def target(folder, name="mlp_for_selection"):
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(shape, generator=g) for shape in ((6, 4), (6, 4), (4, 6))]
    return as_target(name, SwiGLU(*weights), folder)


def test_outputs_from_the_table_are_the_layers(rows):
    name = target(rows.parent)
    e = Experiment(
        target=name, d_in=4, d_sae=8, points=(), steps=3, batch_size=8,
        data=select(rows.with_name("s.json"), rows, 3.0, [0], [7], 0.2),
    )  # fmt: skip
    data, layer, u = e.make_data(), e.make_target(), uniform(64)
    x = data.draw(u)
    torch.testing.assert_close(data.answered_by(layer)(u, x), layer(x))
    (table,) = rows.parent.glob("*.outputs.npy")
    before = table.stat().st_mtime_ns
    assert train(e, progress=False).diverged == ()
    assert table.stat().st_mtime_ns == before


def test_keys_follow_the_rows_and_what_is_selected(rows, tmp_path):
    def identity(frac):
        data = select(rows.with_name("s.json"), rows, repeated=[3], frac=frac)
        return Experiment(d_in=4, d_sae=8, points=(), data=data).identity()

    first = identity(0.1)
    assert identity(0.2) != first
    assert identity(0.1) == first
    x = np.load(rows)
    x[5, 1] += 1
    np.save(rows, x)
    assert identity(0.1) != first


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("{", "it cannot be read"),
        ('{"rows": "rows.npy"}', "it must say rows, scale, left_out, repeated, frac"),
        (json.dumps({"rows": "rows.npy", "scale": 1, "left_out": [100], "repeated": [],
                     "frac": 0}), "it names a row beyond the 100 that there are"),
        (json.dumps({"rows": "rows.npy", "scale": 1, "left_out": [*range(100)], "repeated": [],
                     "frac": 0}), "it leaves nothing to draw from"),
        (json.dumps({"rows": "gone.npy", "scale": 1, "left_out": [], "repeated": [],
                     "frac": 0}), "there is no such file"),
    ],
)  # fmt: skip
def test_what_is_no_selection_is_refused(rows, said, sentence):
    rows.with_name("s.json").write_text(said, encoding="utf-8")
    with pytest.raises(ParameterError, match=sentence):
        Experiment(d_in=4, points=(), data=str(rows.with_name("s.json")))


def test_another_width_is_refused(rows):
    with pytest.raises(ParameterError, match="d_in = 16 is not allowed with data.*4 coordinates"):
        Experiment(points=(), data=select(rows.with_name("s.json"), rows))
