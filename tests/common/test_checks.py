"""Inputs are what their annotations say, and their type decides no number."""

import inspect
from contextlib import suppress
from functools import partial
from importlib import import_module

import numpy as np
import pytest
import torch
from conftest import MADE, P, random_transcoder
from hypothesis import given, settings
from hypothesis import strategies as st

from faithnb import measures
from faithnb.common.checks import checked
from faithnb.common.errors import InputError
from faithnb.data import inputs
from faithnb.measures import circuits, interventions
from faithnb.measures.circuits import CircuitMap
from faithnb.model import handmade
from faithnb.model.layers import AbsoluteValue, SmoothAbsolute
from faithnb.model.networks import Superposed
from faithnb.model.transcoder import Transcoder
from faithnb.training import watch

D = 6
X = inputs.without_one(2 * inputs.fixed("uniform", 40, D) - 1)[0]
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def of_inputs(module):
    """Public measures, by the names of what they take."""
    found = {}
    for name, function in vars(module).items():
        if inspect.isfunction(function) and function.__module__ == module.__name__:
            names = list(inspect.signature(function).parameters)
            if names[0] == "transcoder" and not name.startswith("_"):
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = function
    return found


MEASURES = {}
for of in ("activity", "circuits", "conjunctions", "error", "interventions", "jacobian",
           "memorization", "off_data"):  # fmt: skip
    MEASURES |= of_inputs(import_module(f"faithnb.measures.{of}"))
MEASURES |= of_inputs(watch)
INPUTS = {
    "x": X, "p": P, "changed": inputs.without_one(X)[1], "target": AbsoluteValue(D), "y_p": P,
    "silent": 0.9, "kind": "near_point", "scale": 0.1, "n": 512, "threshold": 0.01, "small": 0.05,
    "at": 0.5, "repeat_frac": 0.1, "per_feature": False, "per_subset": False, "assign_on": X,
}  # fmt: skip


def arguments(function, **changes):
    given = INPUTS | changes
    names = list(inspect.signature(function).parameters)[1:]
    return {name: given[name] for name in names}


def numbers(result):
    """A result as one array of numbers or words."""
    if isinstance(result, CircuitMap):
        return np.concatenate([result.gain.ravel(), result.loading.ravel(), result.size.ravel()])
    if isinstance(result, tuple):
        return np.concatenate([np.ravel(np.asarray(part)) for part in result])
    return np.asarray(result)


def test_all_measures_are_here():
    assert len(MEASURES) > 30
    assert {"error.fvu", "interventions.patching_error", "circuits.mechanism_error",
            "watch.bias"} <= set(MEASURES)  # fmt: skip


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=8)
@given(
    weights=st.sampled_from(TYPES),
    inputs=st.sampled_from(TYPES),
    scale=st.sampled_from([1.0, 300.0]),
    made=st.sampled_from([None, *MADE]),
)
def test_a_measure_does_not_depend_on_types(name, weights, inputs, scale, made):
    """What is given in any type is measured as the same numbers in float64 are."""
    function = MEASURES[name]
    t = Transcoder.from_circuits(MADE[made]) if made else random_transcoder(3, D, 9)
    t = Transcoder.from_arrays(*(w.to(weights) for w in (t.W_enc, t.b_enc, t.W_dec * scale)))

    class Scaled(AbsoluteValue):
        def __call__(self, x):
            return scale * x.abs()

    tensors = {k: v.to(inputs) for k, v in INPUTS.items() if torch.is_tensor(v)}
    given = arguments(function, **tensors, target=Scaled(D))
    exact = {k: v.double() if torch.is_tensor(v) else v for k, v in given.items()}
    before = {k: v.clone() for k, v in given.items() if torch.is_tensor(v)}
    found = function(t, **given)
    wanted = function(t.in_float64(), **exact)
    np.testing.assert_array_equal(numbers(found), numbers(wanted))
    assert all(torch.equal(given[k], v) for k, v in before.items())
    assert {w.dtype for w in t.parameters()} == {weights}


def spoilt(value):
    """A tensor in every shape and type that it must not have."""
    yield value.long()
    yield value > 0
    yield value.to(torch.complex64)
    yield value[None, None]
    yield value[..., :0]
    yield value[..., None]
    yield value[0]
    yield value.numpy()
    yield value.tolist()
    yield None
    yield "x"


@pytest.mark.parametrize("name", MEASURES)
def test_what_an_annotation_forbids_is_refused_in_a_sentence(name):
    function, t = MEASURES[name], random_transcoder(3, D, 9)
    given = arguments(function)
    for parameter, value in given.items():
        if not torch.is_tensor(value):
            continue
        for wrong in spoilt(value):
            if wrong is None and inspect.signature(function).parameters[parameter].default is None:
                continue
            with pytest.raises(InputError, match=f"^{parameter} = .* is not allowed: it") as said:
                function(t, **given | {parameter: wrong})
            assert len(str(said.value).splitlines()) == 1
        if parameter in ("x", "changed", "p"):
            wider = torch.cat([value, value[..., :1]], dim=-1)
            with pytest.raises(ValueError, match="is not allowed|has 7 coordinates"):
                function(t, **given | {parameter: wider})
    with pytest.raises(InputError, match=r"^transcoder = .* it must be Transcoder\.$"):
        function("t", **given)


def test_a_layer_of_another_width_is_refused():
    for layer in (AbsoluteValue(D - 1), AbsoluteValue(D + 1)):
        with pytest.raises(InputError, match=r"target has d_in = \d, what comes before"):
            measures.fvu(random_transcoder(3, D, 9), layer, X)


def test_shapes_that_gave_wrong_numbers():
    t = Transcoder.random([0, 1, 2], D, 9, D)
    with pytest.raises(InputError, match=r"x = a tensor of shape \[6\] .* shape \[B, d_in\]"):
        measures.l0(t, torch.tensor([1.0, 1, 1, 0, 0, 0]))
    with pytest.raises(InputError, match=r"x = a tensor of shape \[3, 5, 6\]"):
        measures.fvu(t, AbsoluteValue(D), torch.rand(3, 5, D))
    for wrong in (torch.rand(D), torch.rand(2, 5, D), torch.rand(1, 3, 5, D)):
        with pytest.raises(InputError, match=r"x of shape .* \[n_inst, B, d_in\] with n_inst = 3"):
            t(wrong)
    assert torch.equal(t(X), t(X.expand(3, -1, -1)))


def test_large_half_precision_outputs_are_measured():
    W = torch.eye(16)
    t = Transcoder.from_arrays(
        torch.cat([W, -W], 1).half(), torch.zeros(32).half(), torch.cat([W, W]).half() * 240
    )

    class Layer(AbsoluteValue):
        def __call__(self, x):
            return 300 * x.abs()

    x = 2 * inputs.fixed("uniform", 2000, 16) - 1
    for kind in (torch.float16, torch.float32):
        error = measures.relative_error(t, Layer(16), x.to(kind)).item()
        assert error == pytest.approx(0.04, rel=1e-3)
        fvu = measures.fvu(t, Layer(16), x.to(kind)).item()
        assert fvu > 0.04
        assert measures.explained_variance(t, Layer(16), x.to(kind)).item() == 1 - fvu
        assert measures.masking_index(t, x.to(kind)).isfinite().all()


def test_a_torch_module_as_the_layer_keeps_its_type():
    linear = torch.nn.Linear(D, D)
    t = random_transcoder(2, D, 9)
    with torch.no_grad():
        wanted = (t(X) - linear(X).double()).square().sum(-1).mean(-1)
    assert torch.allclose(measures.mse(t, linear, X.double()), wanted)
    assert linear.weight.dtype == torch.float32
    assert interventions.change_error(t, linear, X, INPUTS["changed"]).isfinite().all()


@given(value=st.floats(1e-3, 1e3), n=st.integers(2, 50), kind=st.sampled_from(TYPES[2:]))
def test_constants_are_told_up_to_rounding(value, n, kind):
    t, layer = random_transcoder(2, D, 9), SmoothAbsolute(D)
    x = torch.full((n, D), value, dtype=kind)
    with pytest.raises(ValueError, match="fvu needs inputs on which the target's output varies"):
        measures.fvu(t, layer, x)
    with pytest.raises(ValueError, match="it is the same as at x"):
        interventions.patching_error(t, layer, x, x)


def test_what_is_undefined_is_said_and_no_number():
    t, layer, zeros = random_transcoder(2, D, 9), AbsoluteValue(D), torch.zeros(4, D)
    for measure, sentence in {
        measures.relative_error: "output is not 0",
        measures.jacobian_error: "Jacobian is not 0",
        measures.jacobian_cosine: "Jacobian is not 0",
        circuits.mechanism_error: "circuit of the target acts",
    }.items():
        with pytest.raises(ValueError, match=sentence):
            measure(t, layer, zeros)
    for measure in (measures.off_diagonal_norm, measures.off_diagonal_share, measures.memorization):
        with pytest.raises(ValueError, match="not 0"):
            measure(t, torch.zeros(D))


DEGENERATE = {
    "no weights": lambda d: (torch.zeros(d, 8), torch.zeros(8), torch.zeros(8, d)),
    "biases alone": lambda d: (torch.zeros(d, 8), torch.ones(8), torch.ones(8, d)),
    "equal features": lambda d: (torch.ones(d, 8), torch.zeros(8), torch.ones(8, d)),
    "one feature": lambda d: (torch.ones(d, 1), torch.zeros(1), torch.ones(1, d)),
    "huge": lambda d: (torch.ones(d, 8) * 1e30, torch.zeros(8), torch.ones(8, d)),
    "tiny": lambda d: (torch.ones(d, 8) * 1e-30, torch.zeros(8), torch.ones(8, d)),
}
SAMPLES = {
    "zeros": lambda d: torch.zeros(5, d),
    "one input": lambda d: torch.eye(d)[:1],
    "twice the same": lambda d: torch.ones(2, d),
    "negative": lambda d: -torch.ones(3, d),
    "sparse": lambda d: torch.eye(d)[[0, 0, 0]] * 1e-3,
}


@pytest.mark.parametrize("weights", DEGENERATE)
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("d", [1, D])
def test_degenerate_systems_have_an_answer(weights, sample, d):
    t = Transcoder.from_arrays(*DEGENERATE[weights](d))
    x, p = SAMPLES[sample](d), torch.ones(d)
    layers = [AbsoluteValue(d)] + ([Superposed.trained(d)] if d > 1 else [])
    for layer in layers:
        for points in ([], [p]):
            found = CircuitMap.of(t, layer, x, points)
            assert found.loading.shape == (1, len(layer.circuits()) + len(points), t.d_sae)
            assert np.isfinite(found.loading).all()
            assert (found.circuit_match() <= 1).all()
            found.order()
            found.median_residual()
        for name, function in MEASURES.items():
            ask = partial(function, t, **arguments(
                function, target=layer, x=x, changed=x / 2, p=p, y_p=p, assign_on=x
            ))  # fmt: skip
            with suppress(ValueError):
                assert numbers(ask()).size >= 0, name


def test_masks_are_planted_into_degenerate_transcoders():
    for make in DEGENERATE.values():
        planted = handmade.plant(Transcoder.from_arrays(*make(D)), AbsoluteValue(D), P)
        assert planted.d_in == D


def test_a_call_that_python_refuses_says_so_itself():
    with pytest.raises(TypeError, match=r"l0\(\) missing 1 required positional argument: 'x'"):
        measures.l0(random_transcoder())


def test_words_and_numbers_are_checked_too():
    t, layer = random_transcoder(1, D, 9), AbsoluteValue(D)
    with pytest.raises(InputError, match="kind = 'wet' .* must be one of 'dense', 'near_point'"):
        measures.off_distribution_fvu(t, layer, "wet")
    with pytest.raises(InputError, match="threshold = 'low' .* must be a number"):
        measures.l0(t, X, threshold="low")
    assert measures.l0(t, X, threshold=0).shape == (1,)


def test_inside_the_package_nothing_is_checked_twice():
    seen = []

    @checked
    def inner(x: float) -> float:
        return x

    @checked
    def outer(x: float) -> float:
        seen.append(inner("no number"))  # type: ignore[arg-type]
        return x

    assert outer(1.0) == 1.0
    assert seen == ["no number"]
    with pytest.raises(InputError):
        inner("no number")


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_no_zeros(name, value):
    """A comparison with NaN is false, and would count as silence."""
    function, t = MEASURES[name], random_transcoder(3, D, 9)
    given = arguments(function)
    for parameter, usual in given.items():
        if torch.is_tensor(usual) or type(usual) is float:
            wrong = usual * value if type(usual) is float else torch.full_like(usual, value)
            with pytest.raises(InputError, match=f"^{parameter} = .* not finite"):
                function(t, **given | {parameter: wrong})
    with pytest.raises(InputError, match="points = .* not finite"):
        CircuitMap.of(t, AbsoluteValue(D), X, [P, P * value])


def test_inputs_follow_the_transcoder_to_its_device():
    """The device ``meta`` stands for a GPU: it has no values, and mixes with no other."""
    elsewhere, layer = random_transcoder(3, D, 9).to("meta"), AbsoluteValue(D)
    assert measures.l0(elsewhere, X).is_meta
    assert measures.mse(elsewhere, layer, X).is_meta
    assert measures.masking_index(transcoder=elsewhere, x=X).is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", MEASURES)
def test_measures_on_a_gpu_are_those_on_the_cpu(name):
    function, t = MEASURES[name], random_transcoder(3, D, 9)
    given = arguments(function)
    on_gpu = function(t[:].cuda(), **given)
    moved = on_gpu.cpu() if torch.is_tensor(on_gpu) else on_gpu
    if isinstance(moved, tuple):
        moved = tuple(part.cpu() if torch.is_tensor(part) else part for part in moved)
    wanted = numbers(function(t, **given))
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(numbers(moved), wanted, rtol=1e-9, atol=1e-12)
    else:
        assert (numbers(moved) == wanted).all()
