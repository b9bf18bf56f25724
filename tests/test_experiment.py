import dataclasses
import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faithnb.data.sampling import evaluation_sample
from faithnb.experiment import Experiment, ParameterError
from faithnb.experiment.fields import Fields
from faithnb.notebook import read_parameters
from faithnb.parameters import Address, clean, host_and_port
from faithnb.training.ensemble import DivergenceWarning, train


def test_defaults_are_the_headline_setting():
    e = Experiment()
    headline = {
        "d_in": 16, "d_sae": 64, "density": 0.1, "points": ((1, 1, 1),), "repeat_frac": 0,
        "sparsity_penalty": "tanh", "sparsity_coefficient": 0.1, "tanh_scale": 1, "steps": 3000,
        "batch_size": 512, "learning_rate": 3e-3, "warmup_frac": 0.05, "decay_frac": 0.3,
        "perturbation_scale": 0.1, "jacobian_matching": "none", "jacobian_coefficient": 0,
        "jacobian_estimator": "sampled", "kink": "zero", "probe": "rademacher", "dtype": "float32",
    }  # fmt: skip
    assert {name: getattr(e, name) for name in headline} == headline


def test_frozen_and_hashable_and_normalised():
    a = Experiment(points=[[1, 1, 1]], seed=np.int64(3), repeat_frac=np.float32(0.5), density=1)
    assert a == Experiment(points=((1.0, 1.0, 1.0),), seed=3, repeat_frac=0.5, density=1.0)
    assert len({a, dataclasses.replace(a), dataclasses.replace(a, seed=4)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        a.seed = 5


@given(
    st.builds(
        Experiment,
        d_in=st.integers(3, 40),
        density=st.floats(0.01, 1),
        repeat_frac=st.floats(0, 1),
        points=st.lists(
            st.lists(st.floats(0.1, 2), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
            unique_by=tuple,
        ),
        sparsity_penalty=st.sampled_from(["tanh", "l1", "none"]),
        seed=st.integers(0, 10**9),
    )
)
def test_json_round_trip(experiment):
    assert Experiment.from_json(experiment.to_json()) == experiment


def test_json_of_something_else_is_refused():
    with pytest.raises(ParameterError, match="not a JSON object"):
        Experiment.from_json("[1]")
    with pytest.raises(ParameterError, match="'{' is not JSON"):
        Experiment.from_json("{")
    with pytest.raises(ParameterError, match=r"no parameter sedd.*Did you mean seed"):
        Experiment.from_json(json.dumps({"sedd": 1}))


BAD = [
    ({"density": 1.5}, r"density = 1.5 is not allowed: it must be a number in \(0, 1\]"),
    ({"density": 0}, "density = 0"),
    ({"density": float("nan")}, "density = nan"),
    ({"density": "0.1"}, "density = '0.1'"),
    ({"density": True}, "density = True"),
    ({"d_in": 0}, "d_in = 0 .* a whole number of at least 1"),
    ({"d_in": 2.5}, "d_in = 2.5"),
    ({"repeat_frac": -0.1}, "repeat_frac = -0.1"),
    (
        {"sparsity_penalty": "tan"},
        "sparsity_penalty = 'tan' .* one of 'tanh', 'l1', 'l0', 'l0_target', 'none'",
    ),
    ({"tanh_scale": 0}, "tanh_scale = 0 .* a number in \\(0, 1e6\\]"),
    ({"learning_rate": float("inf")}, "learning_rate = inf"),
    ({"points": [[0, 0]]}, "points = .* that are not 0"),
    ({"points": [[]]}, "points = "),
    ({"points": [["a"]]}, "points = "),
    ({"points": ["111"]}, "points = "),
    ({"points": [[10**400]]}, "points = "),
    ({"points": [[1, 1], [1, 1]]}, "different point"),
    ({"steps": 10**400}, "steps = 1000"),
    ({"seed": 2**62}, "seed = "),
    ({"points": "111"}, "points = '111'"),
    ({"points": [[1] * 17]}, "at most 16 fit"),
    ({"points": [], "repeat_frac": 0.1}, "nothing to repeat"),
    (
        {"point_variation": "ray", "sampling": "bernoulli"},
        "point_variation = .ray. .* rows of their own",
    ),
    ({"variation_scale": 1.5}, "variation_scale = 1.5"),
    ({"jacobian_coefficient": 0.1}, "jacobian_coefficient = 0.1 .* jacobian_matching = 'none'"),
    ({"jacobian_matching": "finite", "jacobian_estimator": "exact"}, "no closed form"),
    ({"jacobian_matching": "finite", "kink": "masked"}, "reads no derivative"),
    ({"target": "abs_with_point", "points": []}, "mechanism for exactly one point"),
    ({"target": "superposed", "d_in": 1, "points": [[1]]}, "d_in = 1 .* at least 2"),
    ({"probe": "active", "jacobian_estimator": "exact"}, "matches all directions alike"),
    ({"probe": "covariance", "point_variation": "ray"}, "covariance of exact repeats only"),
    ({"matching_at": "base", "sampling": "bernoulli"}, "matching_at = 'base' .* use 'exact'"),
    ({"matching_at": "points", "points": []}, "there are none"),
    ({"warmup_frac": 0.8}, "warmup_frac = 0.8 .* decay_frac = 0.3"),
    ({"seed": -1}, "seed = -1"),
    ({"target": "sign"}, "target = 'sign' .* one of 'abs'"),
    ({"densty": 0.1}, "densty = 0.1 .* Did you mean density"),
    ({"zzz": 1}, r"there is no parameter zzz\. Known are target, d_in"),
]


@pytest.mark.parametrize(("fields", "sentence"), BAD)
def test_a_bad_field_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises(ParameterError, match=sentence):
        Experiment(**fields)


AS_TEXT = [
    ("learning_rate", "1e-3", "learning_rate: 1.0e-3", 1e-3),
    ("learning_rate", "1E3", "learning_rate: 1.0e+3", 1e3),
    ("density", " .5 ", "density: 0.5", 0.5),
    ("steps", "100", "steps: 100", 100),
    ("points", "[[1,1,1]]", "points: [[1, 1, 1]]", [[1, 1, 1]]),
    ("points", "((1, 1e-3),)", "points: [[1, 1.0e-3]]", [[1, 1e-3]]),
    ("interactive", "true", "interactive: True", True),
]


@pytest.mark.parametrize(("name", "text", "spelled", "value"), AS_TEXT)
def test_what_arrived_as_text_is_said_with_the_spelling_that_papermill_takes(
    name, text, spelled, value
):
    import yaml  # papermill's own reader

    with pytest.raises(ParameterError) as refused:
        read_parameters({name: text})
    assert str(refused.value).endswith(
        f", and it arrived as text. With papermill, write -y '{spelled}'."
    )
    assert yaml.safe_load(spelled) == {name: value}
    read_parameters({name: value})


def test_text_that_is_no_value_gets_no_advice_and_long_values_are_cut():
    for name, text in (
        ("density", "high"),
        ("steps", "9" * 5000),
        ("points", "111"),
        ("steps", ""),
    ):
        with pytest.raises(ParameterError, match=r", and it arrived as text\.$") as refused:
            Experiment(**{name: text})
        assert len(str(refused.value)) < 500
    for value in (10**6000, [0.0] * 10**5):
        with pytest.raises(ParameterError, match=r"points = .* is not allowed") as refused:
            Experiment(points=value)
        assert len(str(refused.value)) < 500
    with pytest.raises(ParameterError, match=r"'l0_target', 'none'\.$"):
        Experiment(sparsity_penalty="1")


def test_every_field_is_documented():
    import ast
    import inspect
    from itertools import pairwise

    body = ast.parse(inspect.getsource(Fields)).body[0].body
    documented = {
        a.target.id
        for a, b in pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr)
    }
    assert documented == {f.name for f in dataclasses.fields(Experiment)}


@pytest.mark.parametrize("form", ["plain", "smoothed", "finite", "sigmoid_gate", "noise"])
def test_without_matching_all_that_belongs_to_it_is_as_by_default(form):
    base = Experiment(repeat_frac=0.1, seed=4)
    changes = {"kink": "masked"} if form == "plain" else {}
    matched = dataclasses.replace(
        base, jacobian_matching=form, jacobian_coefficient=0.1, jacobian_start=0.5, **changes
    )
    assert matched.unmatched() == base == base.unmatched()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_point_and_the_inputs_of_the_measures(dtype):
    e = Experiment(d_in=5, points=((1, 0.5),), density=0.3, blur=0.1, dtype=dtype)
    assert e.p.tolist() == [1, 0.5, 0, 0, 0]
    assert e.p.dtype == e.evaluation_inputs(4).dtype == e.torch_dtype
    x = evaluation_sample(5, 0.3, blur=0.1)
    assert (e.evaluation_inputs() == x).all()
    assert len(e.evaluation_inputs(100)) == 100
    for points in ((), ((1, 1), (0, 1))):
        with pytest.raises(ParameterError, match="must hold exactly one"):
            _ = dataclasses.replace(e, points=points).p


TINY = {"d_in": 6, "d_sae": 12, "steps": 5, "batch_size": 64, "repeat_frac": 0.1}


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"points": ((1e-46, 1e-46),)}, "none between 0 and 1e-06 in size"),
    ({"points": ((1e-7, 1),)}, "none between 0 and 1e-06 in size"),
    ({"points": ((1, 1), (1, 1 + 1e-12))}, "dtype = 'float32': two of them are the same point"),
    ({"points": ((1, 1), (1, 1, 0))}, "two of them are the same point"),
    ({"points": ((1, 1), (1, 1, 0)), "dtype": "float64"}, "two of them are the same point"),
    ({"density": 1e-9}, "density = 1e-09 .* It must be at least 0.0002"),
    ({"perturbation_scale": 1e-9}, "steps below 0.0001 drown in rounding"),
    ({"perturbation_scale": 1e-9, "dtype": "float64"}, "steps below 1e-08 drown"),
    ({"sparsity_coefficient": 1e38}, r"in \[0, 1e6\]"),
    ({"scheduler": "tcp://h:0"}, "there is no parameter scheduler"),
])  # fmt: skip
def test_settings_that_mean_nothing_in_their_type_are_refused(fields, sentence):
    with pytest.raises(ParameterError, match=sentence):
        Experiment(**TINY | fields)


@settings(max_examples=25)
@given(
    points=st.lists(st.lists(st.floats(width=64), min_size=1, max_size=6), min_size=1, max_size=3),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_points_that_are_taken_can_be_measured(points, dtype):
    """Whatever is given: a sentence before any training, or numbers after it."""
    try:
        e = Experiment(**TINY | {"points": points, "dtype": dtype})
    except ParameterError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        trained = train(e, device="cpu", progress=False)
    if not trained.diverged:
        found = trained.metrics()
        assert np.isfinite(found.error_at_p).all()
        several = np.array([sum(c != 0 for c in p) > 1 for p in e.points])
        assert (np.isfinite(np.atleast_1d(found.memorization_share.values)) == several).all()


@pytest.mark.parametrize("address", [
    "tcp://h:0", "tcp://h:65536", "tcp://h:٣", "tcp://::1:8786", "tcp://user@h:1", "tcp://h:1/x",
    "http://h:1", "tcp://", "tcp://');import_os#:1", "tcp://h:1\n",
])  # fmt: skip
def test_an_address_that_there_cannot_be(address):
    with pytest.raises(ParameterError, match="with a port from 1 to 65535"):
        clean("scheduler", address, Address())


def test_addresses():
    for address, parts in {"tcp://h:1": ("h", 1), "tls://[::1]:65535": ("::1", 65535),
                           "tcp://10.0.0.1:8786": ("10.0.0.1", 8786)}.items():  # fmt: skip
        assert host_and_port(clean("scheduler", address, Address())) == parts


@pytest.mark.parametrize("text", ["[" * 200_000, '{"seed": 1, "seed": 2}', None, "{", "3", b"\xff"])
def test_what_is_no_experiment_in_json(text):
    with pytest.raises(ParameterError, match=r"is not (a )?JSON") as said:
        Experiment.from_json(text)
    assert len(str(said.value)) < 400
