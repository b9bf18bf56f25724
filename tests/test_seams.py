"""What a stranger adds in one file, and nothing else: each goes through training, sweep, store and
table as if it were the package's own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import faithnb as fb
from faithnb import Experiment, ParameterError, Store, Transcoder, sweep, train
from faithnb.claims import CLAIMS, as_rows, claim, judge
from faithnb.claims.grid import judge as judge_on_grid
from faithnb.claims.rules import Bound, Often
from faithnb.common.extensions import digests
from faithnb.data.sampling import evaluation_sample
from faithnb.data.sources import DATA, Data
from faithnb.data.variations import VARIATIONS, variation
from faithnb.matching import MATCHING, PROBES, Matching, Plain, Probe
from faithnb.measures.registry import MEASURES, measure
from faithnb.model.inits import INITS, Init
from faithnb.model.layer import LAYERS, Layer, Unknown
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.notebook import Run
from faithnb.penalties import PENALTIES, Penalty, Tanh, contributions

D = 6
BASE = Experiment(d_in=D, d_sae=16, batch_size=32, steps=30, repeat_frac=0.1)


@pytest.fixture(scope="module", autouse=True)
def added():
    """What a stranger's file would hold. Other tests see the package as it is."""

    class AbsoluteTopK(Transcoder):
        """Of each input the k pre-activations that are largest in size, with their signs."""

        architecture = "absolute_topk"
        settings = ("k",)

        def activate(self, z):
            return z * torch.zeros_like(z).scatter(-1, z.abs().topk(self.k, dim=-1).indices, 1.0)

    class Small(Layer):
        """A torch module with more outputs than inputs, of which nothing else is said."""

        name = "small"

        def __init__(self, d_in, kink="zero"):
            generator = torch.Generator().manual_seed(7)
            self.read = torch.randn(d_in, 9, generator=generator)
            self.write = torch.randn(9, d_in + 2, generator=generator)
            self.d_in, self.d_out = d_in, d_in + 2

        def __call__(self, x):
            return torch.nn.functional.silu(x @ self.read.to(x)) @ self.write.to(x)

    @measure("share of features")
    def share_negative(transcoder, x):
        return (transcoder.encode(x) < 0).double().mean((1, 2))

    class Columns(Matching):
        """The Jacobians' column of the largest coordinate."""

        name = "columns"
        draws = ()

        def distance(self, batch):
            v = torch.zeros_like(batch.x)
            v.scatter_(-1, batch.x.abs().argmax(-1, keepdim=True), 1.0)
            residual = batch.transcoder.push(v, batch.slopes) - batch.target.jvp(batch.x, v)
            return (batch.weight * residual.square().sum(-1)).sum(-1)

    class Bump(Penalty):
        """Σ a² / (1 + a²) of what a feature contributes."""

        name = "bump"

        def of(self, h, norms, weight, scale):
            a = contributions(h, norms).square()
            return (weight * (a / (1 + a)).sum(-1)).sum(-1)

    class Axes(Probe):
        """One coordinate alone, √d in size."""

        name, isotropic = "axes", True

        def draw(self, on):
            chosen = on.normal().abs().argmax(-1, keepdim=True)
            return torch.zeros_like(on.x).scatter(-1, chosen, on.x.shape[-1] ** 0.5)

    class Heavy(Data):
        """Cubes of uniform numbers on (−1, 1)."""

        name = "heavy"

        def __init__(self, d_in):
            self.d_in = d_in

        def draw(self, u):
            return (2 * u - 1) ** 3

    class Halved(Init):
        """The layer's circuits, read half as strongly."""

        name = "halved"

        @staticmethod
        def circuits(layer, points):
            return [replace(c, read=c.read / 2) for c in layer.circuits()]

    @variation
    def stretched(points, scale, stream, step):
        return points * (1 + scale * stream.uniform(step, (len(points), 1), points.dtype))

    yield SimpleNamespace(AbsoluteTopK=AbsoluteTopK, Small=Small, share_negative=share_negative,
                          Columns=Columns, Bump=Bump)  # fmt: skip
    del ARCHITECTURES["absolute_topk"], MEASURES["share_negative"], LAYERS["small"]
    del MATCHING["columns"], PENALTIES["bump"], PROBES["axes"], DATA["heavy"], INITS["halved"]
    del VARIATIONS["stretched"]


def test_an_architecture_is_trained_kept_swept_and_measured(added, tmp_path):
    cells = [replace(BASE, architecture="absolute_topk", k=3, seed=s) for s in range(2)]
    store = Store(tmp_path)
    trained = train(cells, device="cpu", progress=False, store=store)
    assert type(trained.transcoder) is added.AbsoluteTopK
    again = train(cells, device="cpu", progress=False, store=store)
    assert torch.equal(again.transcoder.W_enc, trained.transcoder.W_enc)

    x = evaluation_sample(D, BASE.density)
    table = trained.metrics()
    for i in range(2):
        t = trained[i]
        error = (t(x)[0] - x.abs()).square().sum(-1).mean()
        variance = (x.abs() - x.abs().mean(0)).square().sum(-1).mean()
        assert table.fvu[i].item() == pytest.approx((error / variance).item(), rel=1e-4)
        assert table.n_on[i] <= 3
        J = torch.func.vmap(torch.func.jacrev(lambda x, t=t: t(x[None])[0, 0]))(x[:200])
        torch.testing.assert_close(t.jacobian(x[:200])[0], J)
    assert (table.share_negative > 0).all()

    grid = sweep(cells[0], store=store, device="cpu", progress=False, k=[1, 3], seed=range(2))
    assert grid.fvu.notnull().all()
    assert np.allclose(grid.fvu.sel(k=3), table.fvu, rtol=1e-5)
    trained[0].save(tmp_path / "one")
    loaded = Transcoder.load(tmp_path / "one")
    assert type(loaded) is added.AbsoluteTopK
    assert torch.equal(loaded(x), trained[0](x))


@pytest.mark.parametrize("changes", [
    {}, {"jacobian_matching": "smoothed", "jacobian_coefficient": 0.1},
    {"jacobian_matching": "finite", "jacobian_coefficient": 0.1}, {"probe": "top_k",
    "jacobian_matching": "plain", "jacobian_coefficient": 0.1}, {"skip": True},
    {"architecture": "absolute_topk", "k": 3},
])  # fmt: skip
def test_a_layer_is_explained_by_all_there_is(added, changes, tmp_path):
    cells = [replace(BASE, target="small", seed=s, **changes) for s in range(2)]
    store = Store(tmp_path)
    table = train(cells, device="cpu", progress=False, store=store).metrics()
    trained = train(cells, device="cpu", progress=False, store=store)
    assert trained.transcoder.d_out == D + 2
    layer, x = added.Small(D), evaluation_sample(D, BASE.density)
    t, y = trained[0], layer(x)
    error = (t(x)[0] - y).square().sum() / (y - y.mean(0)).square().sum()
    assert table.fvu[0].item() == pytest.approx(error.item(), rel=1e-4)
    J, M = t.jacobian(x[:50])[0], torch.func.vmap(torch.func.jacrev(layer))(x[:50])
    torch.testing.assert_close(layer.jacobian(x[:50]), M)
    of_both = fb.measure(t, layer, x[:50])
    expected = ((J - M).square().sum() / M.square().sum()).item()
    assert of_both.jacobian_error.item() == pytest.approx(expected, rel=1e-4)
    grid = sweep(cells[0], store=store, device="cpu", progress=False, seed=range(2))
    assert np.allclose(grid.fvu, table.fvu, rtol=1e-5)


WORDS = {
    "jacobian_matching": "columns", "sparsity_penalty": "bump", "probe": "axes", "data": "heavy",
    "init": "halved", "point_variation": "stretched",
}  # fmt: skip


@pytest.mark.parametrize("field", WORDS)
def test_every_other_word_is_one_class_or_function(field, tmp_path):
    """Trained, kept, found again, swept beside the package's own word, and measured."""
    mu = 0.1 if field in ("jacobian_matching", "probe") else 0.0
    base = replace(BASE, jacobian_matching="plain" if mu else "none", jacobian_coefficient=mu)
    cells = [replace(base, seed=s, **{field: WORDS[field]}) for s in range(2)]
    store = Store(tmp_path)
    trained = train(cells, device="cpu", progress=False, store=store)
    again = train(cells, device="cpu", progress=False, store=store)
    assert torch.equal(again.transcoder.W_enc, trained.transcoder.W_enc)
    alone = train(cells[1], device="cpu", progress=False)
    assert torch.allclose(alone.transcoder.W_enc[0], trained.transcoder.W_enc[1], atol=1e-6)
    other = train(replace(base, seed=0), device="cpu", progress=False)
    assert not torch.allclose(other.transcoder.W_enc[0], trained.transcoder.W_enc[0], atol=1e-4)
    words = [getattr(base, field), WORDS[field]]
    grid = sweep(base, store=store, device="cpu", progress=False, seed=range(2), **{field: words})
    table = trained.metrics()
    assert np.allclose(grid.sel({field: WORDS[field]}).fvu, table.fvu, rtol=1e-5)
    assert digests("layer") != [] != cells[0].added()


def test_an_eighth_form_has_a_look_and_a_place_among_the_others(added):
    from faithnb import figures
    from faithnb.matching import variants
    from faithnb.sweeps.conditions import ladder, matched

    assert [*variants()][-1] == "columns"
    assert matched(BASE, "columns", 0.3).matching == added.Columns()
    run = {"store": None, "progress": False}
    found = ladder(BASE, ["plain", "columns"], [0.1, 1.0], range(2), run)
    figures.curves(found, "jacobian_coefficient", {"fvu": "FVU (log)"}, "μ")
    assert not added.Columns.says("gradient")


def test_a_form_from_outside_does_not_inherit_the_gradient_of_another(added):
    """Nor does a penalty; what says its own is believed."""

    class Half(Plain):
        def distance(self, batch):
            return super().distance(batch) / 2

    class Tenth(Tanh):
        def of(self, h, norms, weight, scale):
            return super().of(h, norms, weight, scale) / 10

    assert Plain.says("gradient")
    assert not Half.says("gradient")
    assert Tanh.says("gradient")
    assert not Tenth.says("gradient")


def test_a_file_of_activations_is_a_source(tmp_path):
    x = torch.randn(200, D, generator=torch.Generator().manual_seed(1)).half()
    np.save(tmp_path / "x.npy", x.numpy())
    base = replace(BASE, data=str(tmp_path / "x.npy"), target="small")
    store = Store(tmp_path / "store")
    grid = sweep(base, store=store, device="cpu", progress=False, seed=range(2))
    trained = train(replace(base, seed=1), store=store, device="cpu", progress=False)
    assert grid.fvu[1].item() == pytest.approx(trained.metrics().fvu.item(), rel=1e-5)
    layer, held_out = LAYERS["small"](D), x[160:].float()
    error = (trained[0](held_out)[0] - layer(held_out)).square().sum()
    variance = (layer(held_out) - layer(held_out).mean(0)).square().sum()
    assert grid.fvu[1].item() == pytest.approx((error / variance).item(), rel=1e-4)


def test_a_claim_about_what_was_added_reaches_the_ledger(monkeypatch, tmp_path):
    monkeypatch.setattr("faithnb.claims.ledger.hand_over", lambda kind, data: handed.update(data))
    handed, before = {}, dict(CLAIMS)
    fewer = claim("D1", "empirical", "Columns do no harm.", {"FVU": Often(Bound("<", 1e6))})
    try:
        fewer.on_grid(lambda base, matched: {"matched": matched})(
            lambda setting: {"FVU": setting.tables["matched"].fvu}
        )
        matched = replace(BASE, jacobian_matching="columns", jacobian_coefficient=0.1)
        found = judge_on_grid([fewer], [(BASE, matched)], range(3), Store(tmp_path), False)
        assert found == [{"D1": True}]
        table = train([replace(matched, seed=s) for s in range(6)], progress=False).metrics()
        judge(Run(), "D1", {"FVU": table.fvu})
        *_, row = as_rows(handed, {"D1": "notebooks/x"}, {})
        assert (row["id"], row["verdict"], row["n"]) == ("D1", "holds", 6)
    finally:
        CLAIMS.clear()
        CLAIMS.update(before)


def test_a_distance_that_needs_what_is_not_there_is_refused(added):
    with pytest.raises(ParameterError, match="jacobian_estimator = 'exact' is not allowed with"):
        replace(BASE, jacobian_matching="columns", jacobian_estimator="exact")
    with pytest.raises(ParameterError, match="kink = 'masked' is not allowed with .*'columns'"):
        replace(BASE, jacobian_matching="columns", kink="masked")
    with pytest.raises(ParameterError, match="density = 0.5 is not allowed with data = 'heavy'"):
        replace(BASE, data="heavy", density=0.5)


def test_a_layer_from_a_file_follows_what_is_in_it(tmp_path):
    class FromFile(Layer):
        name = "from_file"
        files = (str(tmp_path / "w.npy"),)

        def __init__(self, d_in, kink="zero"):
            self.W = torch.from_numpy(np.load(self.files[0], allow_pickle=False))
            self.d_in, self.d_out = self.W.shape

        def __call__(self, x):
            return torch.tanh(x @ self.W.to(x))

    try:
        with pytest.raises(ParameterError, match=r"target = 'from_file' .* no file '.*w.npy'"):
            replace(BASE, target="from_file")
        store, keys = Store(tmp_path / "store"), []
        for size in (1.0, 2.0):
            np.save(tmp_path / "w.npy", size * np.eye(D, 4, dtype="f4"))
            e = replace(BASE, target="from_file")
            keys += Store.keys([e], torch.device("cpu"), "trained")
            table = train(e, device="cpu", progress=False, store=store).metrics()
            assert table.fvu.notnull().all()
        assert keys[0] != keys[1]
    finally:
        del LAYERS["from_file"]


def test_what_a_layer_does_not_say_is_not_made_up(added):
    layer, p = added.Small(D), torch.tensor([1.0, 1, 1, 0, 0, 0])
    x = evaluation_sample(D, 0.1, 64)
    table = fb.measure(Transcoder.random([0], D, 9, D + 2), layer, x, p)
    unknown = {name for name, column in table.items() if name != "state" and column.isnull().all()}
    assert unknown == {"circuit_match", "circuit_match_with_p", "mechanism_error",
                       "mechanism_error_at_p", "off_diagonal_norm", "off_diagonal_share",
                       "rotation", "absorption"}  # fmt: skip
    for changes, sentence in (
        ({"jacobian_estimator": "exact"}, "target = 'small' .* does not say its units"),
        ({"kink": "masked"}, "kink = 'masked' is not allowed with target = 'small'"),
    ):
        with pytest.raises(ParameterError, match=sentence):
            replace(BASE, target="small", jacobian_matching="plain", **changes)
    with pytest.raises(Unknown, match="circuits of small are not known"):
        fb.circuit_match(Transcoder.random([0], D, 9, D + 2), layer)


def test_anybodys_transcoder_gets_the_whole_table():
    layer, p = AbsoluteValue(D, "masked"), torch.tensor([1.0, 1, 1, 0, 0, 0])
    t = Transcoder.from_circuits(layer.circuits())
    x = evaluation_sample(D, 0.1, 512)
    table = fb.measure(t, layer, x, p)
    assert {"fvu", "l0", "circuit_match", "mechanism_error", "patching_error", "state",
            "share_negative"} <= set(table)  # fmt: skip
    assert table.fvu.item() < 1e-12
    assert table.circuit_match.item() == 1
    assert table.mechanism_error.item() < 1e-12
    assert table.state.item() == "generalising"
    assert all(column.attrs["units"] or name == "state" for name, column in table.items())
    without = fb.measure(t, layer, x)
    assert "memorization" not in without
    assert without.fvu.item() == table.fvu.item()
    assert list(fb.measure(t, layer, x, measures=["l0"])) == ["l0"]
