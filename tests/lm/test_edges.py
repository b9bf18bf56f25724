"""Edges of a circuit: cut, estimated and pruned on a small random model, and on one whose edges
are known."""

import pytest
import torch
from torch.testing import assert_close

from faithnb.common.errors import InputError
from faithnb.lm import tiny
from faithnb.lm.edges import Edges, head_of, name_of
from faithnb.lm.patching import Patching
from faithnb.lm.prompts import repeated

M = tiny(n_layers=3).to(dtype=torch.float64)
PAIRS = repeated(M, 4, seed=0, length=6)
HEADS = [(0, 1), (0, 3), (1, 0), (2, 2)]


@pytest.fixture(scope="module")
def edges():
    return Edges(Patching(M, PAIRS), HEADS)


def linear():
    """A model that is linear in what the last layer's heads write."""
    m = tiny(n_layers=2).to(dtype=torch.float64)

    def copied(x):
        return x

    m.final_norm = copied
    m.blocks[1].before_mlp, m.blocks[1].mlp = copied, lambda x: 0.3 * x
    return Edges(Patching(m, PAIRS), [(1, h) for h in range(m.n_heads)])


def test_a_head_by_itself_is_that_of_the_pass():
    run = M.run(PAIRS.clean, keep=("resid.1", "heads.1"))
    for h in range(M.n_heads):
        assert_close(head_of(M, 1, h, run["resid.1"]), run["heads.1"][:, :, h])


def test_edges_go_to_what_comes_later(edges):
    of_the_first = [reader for sender, reader in edges.edges if sender == (0, 1)]
    assert of_the_first == [(1, 0), (2, 2), 0, 1, 2, None]
    assert [reader for sender, reader in edges.edges if sender == (2, 2)] == [2, None]


def test_all_edges_are_the_kept_heads_and_none_carry_nothing(edges):
    assert_close(edges.effect(edges.edges), edges.of.kept(HEADS))
    assert edges.effect(edges.edges).abs().max() > 1e-3
    assert edges.effect([]).abs().max() < 1e-9  # what differs is not the last token


def test_an_edge_that_is_cut_changes_its_reader_alone(edges):
    """Held to two runs by hand: the reader sees the corrupted head, all others the clean one."""
    of, last = edges.of, f"resid.{M.n_layers}"
    full = edges.effect(edges.edges)
    cut = edges.effect([edge for edge in edges.edges if edge != ((1, 0), None)])
    with torch.no_grad():
        _, written = edges._run(lambda reader, x, _: x, set())
        run = M.run(
            PAIRS.clean, keep=(last,), until=last,
            edit={f"heads.{k}": lambda x, k=k: _only(x, of.corrupted[f"heads.{k}"], k)
                  for k in range(3)},
        )  # fmt: skip
    assert_close(of.share(run), full)
    run.kept[last] = run[last] - written[1, 0]
    assert_close(of.share(run), cut)


def _only(x, other, k):
    new = other.clone()
    for layer, h in HEADS:
        if layer == k:
            new[:, :, h] = x[:, :, h]
    return new


def test_estimates_are_exact_where_the_model_is_linear():
    edges = linear()
    full = edges.effect(edges.edges)
    exact = [full - edges.effect([e for e in edges.edges if e != one]) for one in edges.edges]
    assert_close(edges.estimates, torch.stack(exact, 1))
    assert_close(edges.estimates.sum(1), full)
    to_logits = {s: edges.estimates[:, i] for i, (s, r) in enumerate(edges.edges) if r is None}
    by_mlp = {s: edges.estimates[:, i] for i, (s, r) in enumerate(edges.edges) if r == 1}
    for head, direct in to_logits.items():
        assert_close(by_mlp[head], 0.3 * direct)


def test_estimates_are_derivatives_of_a_small_cut(edges):
    small = 1e-5
    with torch.no_grad():
        full = edges.effect(edges.edges)
        for i, (sender, reader) in enumerate(edges.edges):
            less, _ = edges._run(lambda r, x, w, s=sender: x - small * w[s], {reader})
            assert_close(edges.estimates[:, i], (full - less) / small, rtol=1e-3, atol=1e-5)


def test_the_fewest_edges_keep_what_they_must():
    edges = linear()
    ranked = sorted(edges.edges, key=lambda e: -edges.estimates.mean(0)[edges.edges.index(e)])
    values = [float(edges.estimates.mean(0)[edges.edges.index(e)]) for e in ranked]
    helpful = [v for v in values if v > 0]
    least = sum(helpful[:2]) - 1e-9
    assert edges.fewest(ranked[: len(helpful)], least) == ranked[:2]
    assert edges.fewest(ranked, 1e9) == ranked


def test_what_is_not_needed_is_dropped_and_only_so_often_tried():
    edges = linear()
    mean = dict(zip(edges.edges, edges.estimates.mean(0).tolist(), strict=True))
    best, *_, worst = sorted(mean, key=lambda e: -mean[e])
    assert mean[worst] < 0 < mean[best]
    kept = [best, worst]
    assert edges.pruned(kept, mean[best] - 1e-9, tries=1) == [best]
    assert edges.pruned(kept, mean[best] - 1e-9, tries=0) == kept
    assert edges.pruned(kept[:1], mean[best] - 1e-9, tries=5) == [best]


def test_the_largest_estimates_come_first(edges):
    size = edges.estimates.mean(0).abs()
    order = [float(size[edges.edges.index(e)]) for e in edges.ranked]
    assert order == sorted(order, reverse=True)
    assert set(edges.ranked) == set(edges.edges)


def test_readers_have_names_for_people():
    assert [name_of(r) for r in ((9, 2), 4, None)] == ["9.3", "MLP 4", "logits"]


def test_heads_that_are_none_are_refused(edges):
    with pytest.raises(InputError, match=r"heads = \(0, 4\) is not allowed: layers are 0 to 2"):
        Edges(edges.of, [(0, 4)])


def test_edges_are_cut_where_the_model_is():
    """As for patching, on a device that holds no numbers."""
    edges = Edges(Patching(M.to(torch.device("meta")), PAIRS), HEADS)
    assert edges.effect(edges.edges[:3]).device.type == "meta"
    assert edges.estimates.device.type == "meta"
