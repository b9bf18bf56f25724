"""The benchmark compares what it says it compares. What it measures is not asserted here."""

import json
import time
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from benchmarks import (
    certificates,
    gpu,
    loops,
    machine,
    memory,
    pages,
    products,
    record,
    sizes,
    tables,
    timing,
)
from torch.utils._python_dispatch import TorchDispatchMode

from faithnb.certify import worst_error
from faithnb.data.sampling import pad_points
from faithnb.matching.plain import exact as jacobian_exact
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder
from faithnb.training.loop import Loop

CPU = torch.device("cpu")
P = pad_points([[1, 1, 1]], 6)
TINY = {"d_in": 6, "d_sae": 16, "batch_size": 64}


class Multiplications(TorchDispatchMode):
    """Counts those of matrix products, in place or not."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in ("mm", "addmm", "matmul")
        if name in ("bmm", "baddbmm", "baddbmm_"):
            *_, a, b = args
            self.count += a.numel() * b.shape[-1]
        return function(*args, **(kwargs or {}))


def multiplications(run):
    with Multiplications() as counter:
        run()
    return counter.count


@pytest.mark.parametrize("name", sizes.FORMS)
@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_the_products_alone_are_those_of_a_step(name, n_seeds):
    form = replace(sizes.FORMS[name], **TINY)
    loop = Loop([replace(form, seed=i % n_seeds) for i in range(5)], CPU)
    assert multiplications(loop.update) == multiplications(products.alone(loop)) > 0


def test_the_ordinary_loops_match_the_exact_loss():
    e = replace(sizes.LIGHT, **TINY)
    torch.manual_seed(0)
    model = loops.Single(6, 16).double()
    x = loops.sample(e, P).double().requires_grad_()
    y_hat, _ = model(x)
    passes = loops.by_d_passes(model, y_hat, x, e)
    assert torch.allclose(passes, loops.by_jacrev(model, y_hat, x, e))
    weights = model.encoder.weight.T, model.encoder.bias, model.W_dec
    t = Transcoder.from_arrays(*(w.detach() for w in weights))
    rows, target = torch.full((1, 65), 1 / 65, dtype=torch.float64), AbsoluteValue(6)
    exact = jacobian_exact(t.gate(x.detach()).double(), t, target, target.slope(x), rows)
    assert torch.allclose(passes.mean(), exact)
    probed = torch.stack([loops.by_one_probe(model, y_hat, x, e).mean() for _ in range(400)])
    assert abs(probed.mean() - exact) < 4 * probed.std() / 20


@pytest.mark.parametrize(
    "matching", [loops.without, loops.by_one_probe, loops.by_d_passes, loops.by_jacrev]
)
def test_the_ordinary_loops_learn(matching):
    e = replace(sizes.FORMS["plain, sampled"], **TINY, sparsity_coefficient=0.0, density=0.5)
    step = loops.step(e, matching, CPU)
    cells = [cell.cell_contents for cell in step.__closure__]
    (model,) = [content for content in cells if isinstance(content, loops.Single)]
    x = loops.sample(e, P)
    before = (model(x)[0] - x.abs()).square().mean().item()
    for _ in range(150):
        step()
    assert (model(x)[0] - x.abs()).square().mean().item() < before / 4


def test_the_programs_find_what_is_certified():
    t = Transcoder.random([300], 5, 14, 5)
    for support in ((0, 1), (1, 2, 4)):
        found = worst_error(t, AbsoluteValue(5), support)
        assert found.closed
        assert certificates.one_by_one(t, support) == pytest.approx(found.bound, abs=1e-6)


def test_ratios_are_taken_within_a_round():
    assert timing.ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == {
        "median": 3.0, "low": 2.5, "high": 3.5,
    }  # fmt: skip
    found = timing.side_by_side({"a": lambda: None, "b": lambda: None}, rounds=3, slice_s=0)
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}


def test_the_peak_counts_what_lives_at_the_same_time():
    def run():
        kept = torch.zeros(1000, 1000)
        for _ in range(3):
            kept = kept + 1

    assert memory.peak_bytes(run, CPU) == pytest.approx(8e6, rel=0.01)


def test_pages_are_opened_and_train(tmp_path, monkeypatch, browser):
    monkeypatch.setattr(pages, "browser", lambda: nullcontext(browser))
    monkeypatch.setattr(pages, "HTML", tmp_path)
    monkeypatch.setattr(pages, "PAGES", ("one",))
    assert not pages.can_be_opened()
    picture = "<svg>" + "<path/>" * 5000 + "</svg>"
    (tmp_path / "one.html").write_text(f"<p>A pagé.</p>{picture}<svg></svg><p>Its end.</p>")
    (row,) = tables.book_pages(sizes.SIZES["tiny"], CPU).to_dict("records")
    assert row["MB without pictures"] == pytest.approx(30e-6)
    assert row["MB"] > 0.035
    assert 0 < row["first_paint_s"] < 60
    short = {"steps": 5, "d_in": 4, "d_sae": 8, "batch_size": 16}
    monkeypatch.setattr(pages, "TRAINED", {"short": short, "longer": short | {"steps": 3000}})
    found = tables.in_page(sizes.SIZES["tiny"], CPU).set_index("what")
    assert found.steps.tolist() == [5, 3000]
    assert found.seconds["short"] < found.seconds["longer"]


def test_a_record_holds_every_table_and_is_written_whole(tmp_path, monkeypatch):
    few = sizes.Size(((16, 1), (16, 6)), rounds=2, slice_s=0)
    monkeypatch.setitem(sizes.SIZES, "few", few)
    found = record.measure("few", CPU, ["steps", "ways", "memory"], progress=False)
    machine.write(found, tmp_path / "there" / "bench.json")
    read = json.loads((tmp_path / "there" / "bench.json").read_text())
    assert list(read["tables"]) == ["steps", "ways", "memory"]
    assert read["machine"]["torch"] == torch.__version__
    seeds = {(row["instances"], row["seeds"]) for row in read["tables"]["steps"]}
    assert seeds == {(1, 1), (6, 4), (6, 5), (6, 6)}
    assert {row["matching"] for row in read["tables"]["steps"]} == set(sizes.FORMS)
    for name in ("steps", "ways"):
        for row in read["tables"][name]:
            assert 0 < row["low"] <= row["median"] <= row["high"]
    assert all(row["copies"] > 1 for row in read["tables"]["memory"])
    assert [p.name for p in (tmp_path / "there").iterdir()] == ["bench.json"]


def test_what_a_gpu_is_asked_for_runs_on_a_cpu_too(tmp_path, monkeypatch):
    kept = []
    tiny = sizes.SIZES["tiny"]
    monkeypatch.setattr(gpu, "FORMS", {k: sizes.FORMS[k] for k in ("none", "finite")})
    names = [name for name in gpu.TABLES if name != "bounds"]
    found = gpu.measured(tiny, CPU, names, 60, lambda so_far: kept.append(json.dumps(so_far)))
    assert found["failed"] == {}
    assert list(found["tables"]) == names
    assert len(kept) == len(names)
    assert all(row["agrees"] for row in found["tables"]["agreement"])
    assert all(row["cpu"] == row["device"] for row in found["tables"]["verdicts"])
    launches = {row["way"]: row for row in found["tables"]["launches"]}
    assert launches["one by one"]["differs"] == 0
    assert "a graph takes a GPU" in launches["graph"]["failed"]


def test_a_table_that_fails_costs_the_others_nothing(monkeypatch):
    def fails(size, device):
        raise ValueError("no room\nat all")

    monkeypatch.setattr(gpu, "TABLES", {"a": fails, "b": gpu.many, "c": gpu.many})
    found = gpu.measured(sizes.SIZES["tiny"], CPU, ["a", "b"], 60, lambda so_far: None)
    assert found["failed"] == {"a": "ValueError: no room"}
    assert list(found["tables"]) == ["b"]
    found = gpu.measured(sizes.SIZES["tiny"], CPU, ["c"], -1, lambda so_far: None)
    assert found["failed"]["c"].startswith("was not begun")


def test_a_table_ends_when_the_time_is_up(monkeypatch):
    def lasts(size, device):
        while True:
            try:
                time.sleep(0.001)
            except Exception:
                continue

    kept = []
    monkeypatch.setattr(gpu, "TABLES", {"a": lasts, "b": gpu.many})
    found = gpu.measured(sizes.SIZES["tiny"], CPU, ["a", "b"], 0.001, lambda _: kept.append(1))
    assert found["tables"] == {}
    assert found["failed"]["a"] == "was stopped after 0.001 minutes of the whole"
    assert found["failed"]["b"].startswith("was not begun")
    assert kept == [1]


def test_weights_that_differ_do_not_agree(monkeypatch):
    def trained(experiments, device, progress):
        off = 0.0 if device is gpu.CPU else 1e-3
        found = real(experiments, device=CPU, progress=progress)
        found.transcoder.W_enc.data[1:] += off
        return found

    real = gpu.train
    monkeypatch.setattr(gpu, "train", trained)
    monkeypatch.setattr(gpu, "FORMS", {"none": sizes.LIGHT})
    found = gpu.agreement(sizes.SIZES["tiny"], torch.device("cpu", 0))
    assert not found.agrees.any()
