"""What a task gives to a recipe."""

import hashlib
from dataclasses import replace

import pytest
import torch

from faithnb import Transcoder, measures, train
from faithnb.benchmark.points import of_directions
from faithnb.benchmark.tasks import TASKS, task_named
from faithnb.common.errors import InputError
from faithnb.data.rng import Stream
from faithnb.data.structured import directions
from faithnb.model.turning import TurnedLayer

HIDDEN = {task.name: task for task in (t.hidden(5) for t in TASKS.values())}
EVERY = TASKS | HIDDEN


@pytest.mark.parametrize("task", EVERY.values(), ids=EVERY)
def test_a_task_gives_what_its_layer_does_to_its_data(task):
    x, y = next(task.batches(256, seed=1))
    assert x.shape == (256, task.d_in)
    assert y.shape == (256, task.d_out)
    assert torch.equal(y, task.layer(x))
    assert torch.isfinite(y).all()
    assert task.about.endswith(".")
    is_point = ((x / x.norm(dim=1, keepdim=True)) @ task.setting.p / task.setting.p.norm()) > 0.95
    assert abs(is_point.double().mean() - task.setting.repeat_frac) < 0.08
    repeated = torch.isclose(x, task.setting.p, atol=1e-5).all(1).double().mean()
    assert repeated == (0 if "coactivation" in task.name else is_point.double().mean())
    assert not torch.isclose(task.held_out(), task.setting.p, atol=1e-5).all(1).any()


@pytest.mark.parametrize("task", EVERY.values(), ids=EVERY)
def test_the_twin_of_a_twin_is_the_task(task):
    twin = EVERY[task.twin]
    assert twin.twin == task.name
    assert twin.has_mechanism != task.has_mechanism
    assert replace(twin.setting, target=task.setting.target) == task.setting
    p, x = task.setting.p, task.held_out()
    faithful, other = (task, twin) if task.has_mechanism else (twin, task)
    assert (faithful.layer(p) - other.layer(p)).norm() > 2 * other.layer(p).norm()
    differs = (task.layer(x) - twin.layer(x)).norm(dim=1) > 1e-4
    assert differs.double().mean() < 0.01
    assert len(faithful.layer.circuits()) == len(other.layer.circuits()) + 1


def test_the_budget_is_what_a_recipe_sees():
    task = replace(TASKS["abs-v1"], samples=1000)
    assert [len(x) for x, _ in task.batches(300, seed=0)] == [300] * 3


def test_steps_and_seeds_are_independent_and_come_again():
    task = TASKS["abs-v1"]
    first = task.sample(64, seed=1)
    assert torch.equal(first, task.sample(64, seed=1))
    for other in (task.sample(64, seed=2), task.sample(64, seed=1, step=1)):
        assert not torch.equal(first, other)


def ideal(task):
    """The layer's own circuits as a transcoder."""
    return Transcoder.from_circuits(task.layer.circuits())


SUMS = [n for n in EVERY if "smooth" not in n]


@pytest.mark.parametrize("name", SUMS)
def test_the_layers_own_circuits_are_the_ideal_on_the_task_and_on_its_hidden_variant(name):
    task = EVERY[name]
    x, p = task.upright.held_out(1024), task.upright.setting.p
    found, layer = task.canonical(ideal(task)), task.upright.layer
    assert measures.fvu(found, layer, x).item() < 1e-10
    assert measures.mechanism_error(found, layer, x).item() < 1e-9
    assert measures.mechanism_error(found, layer, p[None], torch.cat([x, p[None]])).item() < 1e-9
    assert task.setting.d_sae >= found.d_sae


@pytest.mark.parametrize("name", ["abs-v1", "rotated-v1", "combinations-v1"])
def test_a_hidden_variant_is_the_same_task_in_another_basis(name):
    task = TASKS[name].hidden(3)
    here = replace(task.setting, turn=0)
    x = here.evaluation_inputs(200).double()
    R = task.layer.of_inputs
    assert torch.allclose(R @ R.T, torch.eye(len(R)).double(), atol=1e-12)
    assert torch.allclose(task.held_out(200).double(), x @ R, atol=1e-6)
    assert torch.allclose(task.layer(x @ R) @ R.T, here.make_target()(x), atol=1e-6)
    assert torch.allclose(task.sample(50, 1) @ R.T.float(), task.upright.sample(50, 1), atol=1e-6)
    assert not torch.equal(task.layer.of_inputs, TASKS[name].hidden(4).layer.of_inputs)


def test_a_transcoder_of_a_hidden_variant_is_turned_back_exactly_and_so_is_any_module():
    task = TASKS["rotated-v1"].hidden(3)
    t = Transcoder.random([1, 2], task.d_in, 5, task.d_out, torch.float64, True)
    t.W_skip.copy_(torch.randn(2, task.d_in, task.d_out))
    t.b_dec.copy_(torch.randn(2, task.d_out))
    x = torch.randn(7, task.d_in).double()
    other = task.canonical(torch.nn.Sequential(t))
    found = task.canonical(t)
    assert torch.allclose(found(x), other(x), atol=1e-12)
    assert not hasattr(other, "encode")
    assert torch.allclose(found.encode(x), task.canonical(Encoding(t)).encode(x), atol=1e-12)
    assert TASKS["abs-v1"].canonical(t) is t


class Encoding(torch.nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x)

    def encode(self, x):
        return self.of.encode(x)


def test_measures_of_a_turned_experiment_are_those_before_the_rotation(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    task = TASKS["abs-v1"].hidden(2)
    e = replace(task.setting, steps=1500, d_in=8, d_sae=32, batch_size=128, points=((1, -1, 1),))
    table = train([e, replace(e, repeat_frac=0.0)]).metrics()
    assert (table.fvu < 0.1).all()
    assert table.memorization_share[0] > 0.6 > table.memorization_share[1]


def test_names():
    assert task_named("abs-v1") is TASKS["abs-v1"]
    assert task_named("abs-v1+7").name == "abs-v1+7"
    assert task_named("abs-v1+7") == TASKS["abs-v1"].hidden(7)
    for name in ("abs", "abs-v1+", "abs-v1+x", "abs-v1+-1"):
        with pytest.raises(InputError, match="abs-v1"):
            task_named(name)
    with pytest.raises(InputError, match=r"hidden\(2\) of abs-v1\+7"):
        task_named("abs-v1+7").hidden(2)
    with pytest.raises(InputError, match="seed = -1"):
        TASKS["abs-v1"].hidden(-1)


@pytest.mark.parametrize("seed", range(20))
def test_points_of_hidden_variants_are_of_the_same_kind(seed):
    for task in TASKS.values():
        drawn = task.hidden(seed).upright
        p, known = drawn.setting.p, task.setting.p
        acts, before = (
            sum(c.activation(t.setting.p).item() > 1e-6 for c in t.layer.circuits())
            for t in (drawn, task)
        )
        if "superposed" not in task.name:
            assert acts == before
            assert (drawn.layer(p) != 0).sum() == (task.layer(known) != 0).sum()
        assert 0.5 < p.norm() / known.norm() < 1.5


def test_a_point_of_directions_reaches_three_circuits():
    read = directions(24) @ of_directions(3, 24)
    assert (read > 0.5).sum() == 3
    overlap = (directions(24) @ directions(24).T).fill_diagonal_(0)
    assert 1.5 * overlap.max() < 0.5


OF_TASK = (
    "target", "d_in", "data", "density", "blur", "points", "repeat_frac", "point_variation",
    "variation_scale", "sampling", "turn",
)  # fmt: skip

FINGERPRINTS = {
    "abs-v1": ("032ff1712386211d", 239.511),
    "abs-point-v1": ("e5dc6813bc709c53", 250.321),
    "coactivation-v1": ("8ab92a8d0dedccc9", 239.511),
    "coactivation-point-v1": ("b78d416b959a5e75", 253.168),
    "rotated-v1": ("040ec835d1e7e470", -11.8426),
    "rotated-point-v1": ("b901553aa3d0a345", -6.71132),
    "smooth-v1": ("9762b9716c179204", 231.482),
    "smooth-point-v1": ("c69664eb51e434ce", 242.292),
    "superposed-v1": ("9ff66f310cfd7afe", 116.15),
    "superposed-point-v1": ("39cf9590c0470358", 122.559),
    "combinations-v1": ("75045c592a1f0ab5", 240.685),
    "combinations-point-v1": ("b53b3dde6a913ed8", 255.893),
    "layers-v1": ("34c2388f2d7ac79b", 290.273),
    "layers-point-v1": ("cd3a9999f36db963", 300.917),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_never_changes(name):
    """Where this fails, the changed task takes another name."""
    task = TASKS[name]
    setting, response = FINGERPRINTS[name]
    fields = {name: getattr(task.setting, name) for name in OF_TASK}
    said = f"{fields} {task.samples} {task.twin} {task.has_mechanism}"
    x = Stream([0], "evaluation").normal(1, (64, task.d_in), torch.float64)[0]
    x = torch.cat([x, task.setting.p[None].double(), task.held_out(64).double()])
    y = task.layer(x)
    weight = torch.linspace(0, 1, y.numel()).reshape(y.shape).double()
    assert hashlib.sha256(said.encode()).hexdigest()[:16] == setting
    assert (weight * y).sum().item() == pytest.approx(response, rel=1e-4)


def test_a_layer_that_is_turned_keeps_its_name():
    assert isinstance(TASKS["abs-v1"].hidden(1).layer, TurnedLayer)
    assert TASKS["abs-v1"].hidden(1).layer.name == "abs"
