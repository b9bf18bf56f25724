"""A page's scripts: they measure what the package measures, and ask for nothing else."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import MADE, MEMORIZATION, D, P
from showing import STORY, module, network, three_trained

from faithnb import CircuitMap, Transcoder, explore, measures, train
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.model.layers import AbsoluteValue
from faithnb.widgets.bundle import script


@pytest.fixture(scope="module")
def trained():
    return three_trained()


def measured(page, transcoder, p, density=0.1):
    code = """async ([module, net, p, density]) => {
        const m = await import(module);
        for (const name of ["W_enc", "b_enc", "W_dec", "threshold"])
            if (net[name]) net[name] = Float64Array.from(net[name]);
        const sample = m.evaluationSample(net.d, density, 300);
        const map = m.circuitMap(net, [p], sample);
        return {
            sample: sample.map((row) => Array.from(row)),
            quality: m.quality(net, sample),
            contributions: Array.from(m.contributions(net, p)),
            jacobian: m.contributingJacobian(net, p, m.support(p)),
            memorization: m.memorization(net, p),
            state: m.state(net, p),
            loadings: map.loadings.map((row) => Array.from(row)),
            order: map.order,
            names: map.names,
        };
    }"""
    return page.evaluate(code, [module("measures.js"), network(transcoder), p.tolist(), density])


def compare(page, t, p, target):
    found = measured(page, t, p)
    x = evaluation_sample(t.d_in, 0.1)[:300]
    assert np.allclose(found["sample"], x)
    assert found["quality"]["fvu"] == pytest.approx(measures.fvu(t, target, x).item(), rel=1e-3)
    assert found["quality"]["l0"] == pytest.approx(measures.l0(t, x).item(), abs=0.01)
    sizes = measures.contribution_sizes(t, p[None])[0, 0]
    assert np.allclose(found["contributions"], sizes, atol=1e-5)
    at = p.nonzero()[:, 0]
    jacobian = measures.contributing_jacobian(t, p)[0][at][:, at]
    assert np.allclose(found["jacobian"], jacobian, atol=1e-4)
    m = measures.memorization(t, p).item()
    assert found["memorization"]["total"] == pytest.approx(m, abs=1e-4)
    assert found["state"] == measures.state(t, target, p)[0]
    expected = CircuitMap.of(t, target, x, [p])
    assert np.abs(np.array(found["loadings"]) - expected.loading[0]).max() < 2e-3
    assert tuple(found["names"]) == expected.names
    return found


@pytest.mark.parametrize("name", MADE)
def test_measures_of_transcoders_made_by_hand(page, name):
    t = Transcoder.from_circuits(MADE[name])
    found = compare(page, t, P, AbsoluteValue(D))
    assert found["memorization"]["total"] == pytest.approx(MEMORIZATION[name], abs=1e-6)


@pytest.mark.parametrize("inst", [0, 1, 2])
def test_measures_of_trained_transcoders(page, trained, inst):
    t = trained[inst]
    found = compare(page, t, pad_points(STORY.points, 8)[0], AbsoluteValue(8))
    live = [i for i in found["order"] if max(row[i] for row in found["loadings"]) > 0.9]
    best = [int(np.argmax([row[i] for row in found["loadings"]])) for i in live]
    assert best == sorted(best)


@pytest.mark.parametrize("more", [{"architecture": "topk", "k": 2}, {"architecture": "jumprelu"}])
def test_measures_of_other_architectures(page, more):
    e = replace(STORY, repeat_frac=0.1, steps=600, **more)
    t = train(e, progress=False).transcoder
    assert t.architecture != "jumprelu" or (t.threshold != e.threshold_init).any()
    compare(page, t, pad_points(STORY.points, 8)[0], AbsoluteValue(8))


def test_a_point_of_one_coordinate_has_no_state(page, trained):
    p = torch.zeros(8)
    p[0] = 1.0
    assert measured(page, trained[0], p)["state"] is None


def test_the_explorer_s_start_is_the_experiment():
    assert explore(STORY).start == asdict(STORY)


@pytest.mark.parametrize("name", ["explorer.js", "mechanism.js", "diagram.js", "atlas.js"])
def test_a_script_asks_for_nothing_else(name):
    module = script(name)
    assert 'from "./' not in module
    assert "const METRICS = {" in module
    assert module.count("export default {") == 1


def test_only_what_starts_a_worker_carries_one():
    assert "const WORKER = " in script("explorer.js")
    assert "const WORKER = " not in script("atlas.js")
