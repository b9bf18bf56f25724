"""Base samples: the note's, and rows of a file that is never loaded whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import faithnb as fb
from faithnb import Experiment, ParameterError, Store, sweep, train
from faithnb.data.rng import Stream
from faithnb.data.sources import Activations, SparseUniform
from faithnb.data.structured import Pairs, Rotated, TwoLayers, directions
from faithnb.training.batches import Batches

D, N = 5, 400
CPU = torch.device("cpu")


def rows(kind="f4"):
    """Different rows, that tell their number in the first coordinate."""
    x = np.random.default_rng(0).normal(size=(N, D)).astype(kind)
    x[:, 0] = np.arange(N)
    return x


@pytest.fixture(params=["npy f2", "npy f4", "safetensors f2", "safetensors f4"])
def file(request, tmp_path):
    suffix, kind = request.param.split()
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        np.save(path, rows(kind))
    else:
        save_file({"activations": rows(kind)}, path, {"made": "here"})
    return path


def test_a_file_is_mapped_and_each_of_its_rows_drawn_alike(file):
    data = Activations(file)
    assert isinstance(data.rows, np.memmap)
    assert (data.d_in, data.n_held_out, data.n_train) == (D, N // 5, N - N // 5)
    u = Stream([0], "data").uniform(0, (64_000, data.uniforms))[0]
    x = data.draw(u)
    assert x.dtype == torch.float32
    counts = torch.bincount(x[:, 0].long(), minlength=N)
    assert counts[data.n_train :].sum() == 0
    assert (counts[: data.n_train] - 200).abs().max() < 6 * 200**0.5
    held_out = data.evaluation()
    assert held_out[:, 0].tolist() == list(range(data.n_train, N))
    assert torch.equal(data.evaluation(3), held_out[:3])
    assert torch.equal(held_out, torch.from_numpy(rows(data.rows.dtype)[data.n_train :]).float())


def test_covariances():
    sparse = SparseUniform(D, 0.3)
    normal = Stream([1], "probe").normal(0, (200_000, D), torch.float64)[0]
    v = sparse.directions(normal, 0.5)
    assert (v.T @ v / len(v) - 0.5 * sparse.covariance()).abs().max() < 1e-3
    assert sparse.covariance()[0, 0] == pytest.approx(0.1)


def test_covariance_of_a_file(tmp_path):
    x = rows() / N @ np.triu(np.ones((D, D), "f4"))
    np.save(tmp_path / "x.npy", x)
    data = Activations(tmp_path / "x.npy")
    of_rows = x[: data.n_train].astype(float).T @ x[: data.n_train].astype(float) / data.n_train
    assert np.allclose(data.covariance(), of_rows, rtol=1e-6)
    normal = Stream([1], "probe").normal(0, (400_000, D), torch.float64)[0]
    v = data.directions(normal)
    assert np.abs((v.T @ v / len(v)).numpy() - of_rows).max() < 0.02 * of_rows.max()


def test_a_file_is_trained_on_swept_kept_and_measured(file, tmp_path):
    base = Experiment(d_in=D, d_sae=8, steps=20, batch_size=32, data=str(file),
                      points=((400, 1, 1),), repeat_frac=0.1, learning_rate=1e-4)  # fmt: skip
    store = Store(tmp_path / "store")
    trained = train([replace(base, seed=s) for s in range(2)], device="cpu", progress=False,
                    store=store)  # fmt: skip
    batches = Batches([base], CPU)
    batches.draw()
    x = batches.now["x"][0, :, :-1]
    assert (x[:32, 0] < 320).all()
    assert x[-1].tolist() == [400, 1, 1, 0, 0]
    grid = sweep(base, store=store, device="cpu", progress=False, seed=range(2),
                 jacobian_matching=["none", "smoothed"])  # fmt: skip
    held_out = Activations(file).evaluation()
    t, y = trained[0], held_out.abs()
    error = (t(held_out)[0] - y).square().sum() / (y - y.mean(0)).square().sum()
    assert grid.fvu[0, 0].item() == pytest.approx(error.item(), rel=1e-4)
    assert grid.fvu.notnull().all()
    layer = base.make_target()
    assert fb.measure(t, layer, held_out).fvu.item() == pytest.approx(error.item(), rel=1e-4)


def test_results_follow_what_is_in_a_file_and_not_its_name(tmp_path):
    for name, x in {"a.npy": rows(), "b.npy": rows(), "c.npy": rows() + 1}.items():
        np.save(tmp_path / name, x)
    base = Experiment(d_in=D, points=())
    a, b, c, none = (
        Store.keys([e], CPU)[0]
        for e in (*(replace(base, data=str(tmp_path / f"{k}.npy")) for k in "abc"), base)
    )
    assert a == b
    assert len({a, c, none}) == 3


def bad_files(folder):
    """What cannot be read, and the sentence that says so."""
    names = iter(range(99))

    def new(suffix=".npy"):
        return folder / f"{next(names)}{suffix}"

    yield folder / "none.npy", "there is no such file"
    for array, sentence in (
        (rows("f8"), "its type is float64; it must be float16 or float32"),
        (rows().astype(int), "its type is int64"), (rows()[0], r"its shape is \[5\]"),
        (rows()[None], r"its shape is \[1, 400, 5\]"), (rows()[:1], r"its shape is \[1, 5\]"),
        (np.array([object()]), "it cannot be read"),
        (rows()[:, :4], "d_in = 5 is not allowed with data = .* have 4 coordinates"),
    ):  # fmt: skip
        path = new()
        np.save(path, array)
        yield path, sentence
    for content in (b"", b"no numbers", rows().tobytes()):
        for suffix in (".npy", ".safetensors"):
            path = new(suffix)
            path.write_bytes(content)
            yield path, "it cannot be read"
    for tensors, sentence in (
        ({"a": rows(), "b": rows()}, r"it holds the tensors \['a', 'b'\], not one"),
        ({"a": rows("f8")}, "its type is F64"), ({"a": rows()[0]}, r"its shape is \[5\]"),
    ):  # fmt: skip
        path = new(".safetensors")
        save_file(tensors, path)
        yield path, sentence
    whole = new(".safetensors")
    save_file({"a": rows()}, whole)
    cut = new(".safetensors")
    cut.write_bytes(whole.read_bytes()[:-8])
    yield cut, "it cannot be read"
    cut = new()
    np.save(cut, rows())
    cut.write_bytes(cut.read_bytes()[:-8])
    yield cut, "it cannot be read"


def test_a_bad_file_is_refused_in_a_sentence(tmp_path):
    for path, sentence in bad_files(tmp_path):
        with pytest.raises(ParameterError, match=sentence):
            Experiment(d_in=D, data=str(path))
    with pytest.raises(ParameterError, match="data = 'sparse' is not allowed: .*'sparse_uniform'"):
        Experiment(data="sparse")


def test_a_file_with_holes_is_refused_before_any_work(tmp_path):
    x = rows()
    x[17, 2] = np.nan
    np.save(tmp_path / "x.npy", x)
    e = Experiment(d_in=D, data=str(tmp_path / "x.npy"))
    with pytest.raises(ParameterError, match="it holds NaN or infinity"):
        train(e, device="cpu", progress=False)


def drawn(data, n=20_000):
    return data.draw(Stream([0], "data").uniform(0, (n, data.uniforms))[0])


def test_pairs_act_together():
    x = drawn(Pairs(6, 0.2)).unflatten(-1, (3, 2))
    acts = x != 0
    assert torch.equal(acts[..., 0], acts[..., 1])
    assert abs(acts.double().mean() - 0.2) < 0.01
    values = x[acts].reshape(-1, 2)
    assert abs((values[:, 0] * values[:, 1]).mean()) < 0.01  # independent
    assert abs(values.square().mean() - 1 / 3) < 0.01


def test_sums_of_directions():
    data = Rotated(6, 0.1)
    x = drawn(data)
    u = torch.full((99, 10), 0.5)
    u[:, 3] = torch.linspace(1e-4, 0.0999, 99)  # one of them acts alone
    strength = data.draw(u) @ directions(6)[3].float()
    assert data.uniforms == 10
    assert torch.allclose(strength, torch.linspace(1.499, 0.501, 99), atol=2e-4)
    expected = 10 * 0.1 * (1 + 1 / 12) + (directions(6).sum(0).square().sum() - 10) * 0.01
    assert x.square().sum(1).mean().item() == pytest.approx(expected.item(), rel=0.05)
    assert torch.allclose(directions(6).norm(dim=1), torch.ones(10).double())


def test_what_two_layers_read():
    x = drawn(TwoLayers(6, 0.2))
    one, two = x.chunk(2, dim=-1)
    z = two - one - one.abs() / 2
    for part in (one, z):
        assert abs((part.abs() > 1e-6).double().mean() - 0.2) < 0.01
        assert -1 <= part.min() < -0.95
        assert 0.95 < part.max() <= 1
    assert abs((one * z).mean() / one.square().mean()) < 0.05


def test_no_linear_map_is_the_first_of_two_layers_on_their_data():
    x = drawn(TwoLayers(6, 0.2)).double()
    one = x[:, :3]
    wanted = one.abs() / 2
    with_one = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    left = wanted - with_one @ torch.linalg.lstsq(with_one, wanted).solution
    assert left.square().sum() > 0.5 * (wanted - wanted.mean(0)).square().sum()


@pytest.mark.parametrize("name", ["pairs", "rotated", "two_layers"])
def test_streams_of_other_sources_differ_in_density(name):
    some = [Experiment(d_in=6, d_sae=4, data=name, density=q, seed=1) for q in (0.1, 0.4)]
    batches = Batches(some, CPU)
    batches.draw()
    for k, e in enumerate(some):
        alone = Batches([e], CPU)
        alone.draw()
        assert torch.equal(batches.now["x"][k], alone.now["x"][0])


def test_widths_and_probes_that_do_not_fit_a_source():
    with pytest.raises(ParameterError, match=r"d_in = 5 .*'pairs': it must be a multiple of 2"):
        Experiment(d_in=5, data="pairs")
    with pytest.raises(ParameterError, match=r"'covariance' .* its covariance is not known"):
        Experiment(data="pairs", jacobian_matching="plain", jacobian_coefficient=1,
                   probe="covariance")  # fmt: skip
