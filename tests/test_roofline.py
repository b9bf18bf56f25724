"""What is counted of a training step, by hand for a small one, and what then bounds it."""

from dataclasses import replace

import pytest
import torch
from benchmarks import gpu, language, roofline, sizes, work
from benchmarks.work import Work

from faithnb.training.loop import Loop

CPU = torch.device("cpu")
BARE = replace(
    sizes.LIGHT, d_in=3, d_sae=4, batch_size=5, sparsity_penalty="none", sparsity_coefficient=0.0
)
FLOAT = 4


def counted(run, data=False):
    with work.Counter(data) as counter:
        run()
    return counter.parts


def test_a_small_step_is_counted_as_by_hand():
    """Two instances that see the same 5 rows and a point, 3 coordinates, 4 features."""
    loop = Loop([BARE, BARE], CPU)
    sizes.cycle(loop)
    found = {part: work.total(calls) for part, calls in work.of_step(loop).items()}
    x, y = 6 * 4, 6 * 3  # seen by both
    E, D, h, error = 2 * 4 * 4, 2 * 4 * 3, 2 * 6 * 4, 2 * 6 * 3
    encode, decode, back = x + E + h, h + D + error, error + D + h
    to_D, to_E = h + error + D, x + h + E
    products = encode + decode + back + to_D + to_E
    times = 2 * (2 * 6 * 4 * 4) + 3 * (2 * 6 * 4 * 3)
    assert found["products"] == Work(FLOAT * products, 2 * times, 5)
    relu, minus_y, mask = 2 * h, 2 * error + y, 3 * h
    weigh = 2 * error + 2 + 2  # base rows and points, each with a weight an instance
    passes = FLOAT * (relu + minus_y + weigh + mask)
    assert found["passes"] == Work(passes, 2 * h + error + error, 5)
    assert found["Adam"] == Work(FLOAT * 7 * (E + D), 13 * (E + D), 2)


def test_the_penalty_adds_passes_and_no_products():
    bare, penalised = (
        {k: work.total(calls) for k, calls in work.of_step(loop).items()}
        for loop in (Loop([BARE], CPU), Loop([replace(sizes.LIGHT, d_in=3, d_sae=4)], CPU))
    )
    assert penalised["products"].calls == bare["products"].calls
    assert penalised["passes"].calls > bare["passes"].calls


def test_batches_that_are_drawn_together_count_a_share():
    loop = Loop([replace(BARE, seed=seed) for seed in range(2)], CPU)
    assert loop.batches.ahead == 8
    sizes.cycle(loop)
    by_step = work.total(work.of_step(loop)["data"])
    eight = work.total(counted(lambda: [loop.draw() for _ in range(8)], data=True)["data"])
    assert tuple(by_step) == pytest.approx([amount / 8 for amount in eight])
    assert by_step.bytes > 0


def test_views_move_nothing_and_arrays_move_once():
    a, b, row, square = torch.ones(4, 3), torch.ones(4, 3), torch.ones(3), torch.ones(1, 3, 3)
    for run, floats, arithmetic in (
        (lambda: a.T[1:].expand(2, 2, 4), 0, 0),
        (lambda: a + b, 36, 12),
        (lambda: a.add_(b), 36, 12),
        (lambda: torch.add(a, b, out=b), 36, 12),
        (lambda: a + row.expand(4, 3), 27, 12),
        (lambda: a.copy_(b), 24, 0),
        (lambda: torch.mm(a.T, b), 33, 2 * 36),
        (lambda: torch.baddbmm(a[None], b[None], square), 45, 72),
        (lambda: a[None].baddbmm_(b[None], square, beta=0), 33, 72),
        (lambda: a.sum(1), 16, 12),
    ):
        found = work.total([call for calls in counted(run).values() for call in calls])
        assert found[:2] == (FLOAT * floats, arithmetic), run


MOST = {"bytes": 100.0, "arithmetic": 1000.0, "calls": 10.0}


@pytest.mark.parametrize(
    ("calls", "bound", "least"),
    [
        ([Work(100, 100), Work(100, 1900)], "arithmetic", 2.9),
        ([Work(300, 100), Work(100, 1900)], "memory", 4.9),
        ([Work(1, 1)] * 50, "launches", 5.0),
    ],
)
def test_the_largest_of_what_it_takes_at_least_bounds_a_step(calls, bound, least):
    first, second, whole = roofline.against({"a": calls[:1], "b": calls[1:]}, MOST, 10.0)
    assert (first["part"], second["part"], whole["part"]) == ("a", "b", roofline.WHOLE)
    assert whole["limited by"] == bound
    assert whole["at_least_ms"] == pytest.approx(1e3 * least)
    assert whole["share"] == pytest.approx(least / 10)
    assert whole["GB_per_s"] == pytest.approx(sum(call.bytes for call in calls) / 10 / 1e9)
    assert whole["calls"] == len(calls)
    assert first["memory_ms"] + second["memory_ms"] == pytest.approx(whole["memory_ms"])


def test_every_case_has_a_row_for_each_part_and_one_for_all():
    found = roofline.roofline(sizes.SIZES["tiny"], CPU)
    assert found.part.tolist() == [*work.PARTS, roofline.WHOLE] * 3
    assert (found[["GB", "GFLOP", "calls"]] > 0).all(axis=None)
    whole = found[found.part == roofline.WHOLE]
    assert (whole.share > 0).all()
    assert whole["limited by"].isin(["memory", "arithmetic", "launches"]).all()
    assert whole.copy_GB_per_s.nunique() == whole.product_GFLOP_per_s.nunique() == 1
    assert "roofline" in gpu.TABLES


def test_a_layer_takes_more_at_twice_the_width_as_counted():
    with language.transcoder_of_layer(sizes.SIZES["tiny"], ahead=2) as base:
        narrow, wide = (
            work.total(work.of_step(Loop([replace(base, d_sae=d_sae)], CPU))["products"])
            for d_sae in (48, 96)
        )
    assert wide.arithmetic == 2 * narrow.arithmetic
