"""The steps of one ensemble."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from conftest import TRAINED_KINDS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from faithnb.data.sources import DATA
from faithnb.data.variations import VARIATIONS
from faithnb.experiment import Experiment, ParameterError
from faithnb.matching import MATCHING as EVERY_FORM
from faithnb.matching import PROBES
from faithnb.model.layer import LAYERS
from faithnb.training.loop import Loop, most_in_a_chunk, rate

SMALL = Experiment(d_in=6, d_sae=16, batch_size=64, steps=40, repeat_frac=0.1)


MATCHED = replace(SMALL, jacobian_matching="smoothed", jacobian_coefficient=0.1)


CPU = torch.device("cpu")


class OnTheDevice(TorchDispatchMode):
    """Refuses arrays on the host, single numbers apart: a GPU would wait while they are copied."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = tree_leaves((args, kwargs))
        from_host = [g.shape for g in given if isinstance(g, torch.Tensor) and g.is_cpu and g.ndim]
        assert not from_host, f"{function} is given an array on the host: {from_host}"
        return function(*args, **(kwargs or {}))


def steps_without_values(experiments):
    """On tensors without values: whatever looks at one, and would wait for a GPU, fails."""
    loop = Loop(experiments, torch.device("meta"))
    for _ in range(loop.batches.ahead):  # what stays on the device is moved there once
        loop.draw()
    with OnTheDevice():
        for _ in range(3):
            loop.draw()
            loop.gradient()
            loop.stages[0][2].settle()
        assert {found.device.type for found in loop.terms()} == {"meta"}
    return loop


@pytest.mark.parametrize("matching", ["none", *EVERY_FORM])
@pytest.mark.parametrize("kink", ["zero", "masked"])
@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_step_never_waits_for_a_value(matching, kink, estimator):
    try:
        form = replace(SMALL, jacobian_matching=matching, kink=kink, jacobian_estimator=estimator,
                       contribution_coefficient=0.1)  # fmt: skip
    except ParameterError:
        return
    loop = steps_without_values([replace(form, seed=s) for s in (0, 0, 1, 2, 2)])
    with pytest.raises(RuntimeError, match="meta"):
        loop.weights[0].sum().item()


@pytest.mark.parametrize("kind", TRAINED_KINDS)
@pytest.mark.parametrize("matching", ["none", "plain"])
def test_no_architecture_waits_for_a_value(kind, matching):
    aux = 0.1 * ("molt" not in kind)
    form = replace(SMALL, aux_coefficient=aux, jacobian_matching=matching, **TRAINED_KINDS[kind])
    steps_without_values([replace(form, seed=s) for s in (0, 1)])


@pytest.mark.parametrize("target", LAYERS)
@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("changes", [{}, {"skip": True}, {"turn": 3}], ids=str)
def test_no_layer_waits_for_a_value(target, estimator, changes):
    try:
        form = replace(MATCHED, d_in=16, target=target, jacobian_matching="plain",
                       jacobian_estimator=estimator, **changes)  # fmt: skip
    except ParameterError:
        return
    steps_without_values([replace(form, seed=s) for s in (0, 1)])


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("variation", ["none", *VARIATIONS])
@pytest.mark.parametrize("changes", [{}, {"sampling": "bernoulli"}, {"turn": 3}], ids=str)
def test_no_draw_waits_for_a_value(probe, variation, changes):
    try:
        form = replace(MATCHED, probe=probe, point_variation=variation, **changes)
    except ParameterError:
        return
    steps_without_values([replace(form, seed=s, density=0.1 + 0.2 * s) for s in (0, 0, 1, 2)])


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("turn", [0, 3])
def test_no_source_waits_for_a_value(data, probe, turn):
    try:
        form = replace(MATCHED, d_in=16, data=data, probe=probe, turn=turn)
    except ParameterError:
        return
    steps_without_values([replace(form, seed=s) for s in (0, 1)])


def test_chunks_fill_the_cache_and_hold_at_least_one():
    assert most_in_a_chunk(Experiment(), CPU) == 16
    assert most_in_a_chunk(Experiment(dtype="float64"), CPU) == 8
    assert most_in_a_chunk(Experiment(d_sae=100_000), CPU) == 1
    assert most_in_a_chunk(Experiment(d_sae=1024), CPU) == 1
    wide = Experiment(d_sae=1024, batch_size=64)
    assert most_in_a_chunk(replace(wide, jacobian_estimator="exact"), CPU) == 1
    assert most_in_a_chunk(wide, CPU) == 8
    sizes = [c.stop - c.start for c in Loop([Experiment()] * 60, CPU).chunks]
    assert sizes == [15, 15, 15, 15]


@pytest.mark.parametrize("kink", ["zero", "masked"])
@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_loop_that_is_done_with_is_gone(kink, estimator):
    """Without waiting for the garbage collector: the next ensemble may need the memory."""
    form = replace(MATCHED, kink=kink, jacobian_estimator=estimator, contribution_coefficient=0.1)
    gc.disable()
    try:
        loop = Loop([form], CPU)
        loop.draw()
        loop.update()
        gone = [weakref.ref(loop.batches), weakref.ref(loop.stages[0][2])]
        del loop
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


def test_the_rate_rises_stays_and_falls():
    e = Experiment(steps=100, warmup_frac=0.1, decay_frac=0.2)
    assert [rate(e, s) for s in (0, 4, 9, 50, 80, 90, 99)] == pytest.approx(
        [0.1, 0.5, 1, 1, 1, 0.5, 0.05]
    )
    assert rate(replace(e, warmup_frac=0, decay_frac=0), 99) == 1
