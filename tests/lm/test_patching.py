"""Patching between runs of a small random model, and of one whose effects are known."""

import pytest
import torch
from torch.testing import assert_close

from faithnb.common.errors import InputError
from faithnb.lm import tiny
from faithnb.lm.patching import KINDS, Patching, map_error, put, strongest, together
from faithnb.lm.prompts import Pairs, repeated

M = tiny(n_layers=3)
PAIRS = repeated(M, 4, seed=0, length=6)


@pytest.fixture(scope="module")
def patching():
    return Patching(M, PAIRS)


def linear():
    """A model that is linear in what attention and MLPs write: its norms only copy."""
    m = tiny(n_layers=2).to(dtype=torch.float64)

    def copied(x):
        return x

    m.final_norm = copied
    last = m.blocks[-1]
    last.before_mlp, last.mlp = copied, lambda x: 0.3 * x
    return m


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_activation_changes_nothing_exactly(patching, kind):
    for k in range(M.n_layers):
        site = f"{kind}.{k}"
        assert patching.effect({site: put(patching.corrupted[site])}).abs().max() == 0
        assert patching.effect({site: put(patching.corrupted[site], 5)}).abs().max() == 0
        assert patching.effect({site: lambda x: x}).abs().max() == 0


def test_all_of_a_layer_reproduces_the_clean_run(patching):
    for k in range(M.n_layers):
        assert torch.equal(patching.patch(f"resid.{k}"), patching.share(patching.clean))
    whole = {f"{kind}.2": put(patching.clean[f"{kind}.2"]) for kind in ("resid", "mlp_out")}
    assert torch.equal(patching.effect(whole), patching.share(patching.clean))
    assert patching.effect(whole).mean() == pytest.approx(1)


def test_a_patch_is_that_of_a_whole_run(patching):
    """Which does not begin at the patched layer."""
    clean = M.run(PAIRS.clean, keep=("heads.1",))["heads.1"]

    def edit(x):
        x = x.clone()
        x[:, :, 2] = clean[:, :, 2]
        return x

    runs = (PAIRS.clean, {}), (PAIRS.corrupted, {}), (PAIRS.corrupted, {"heads.1": edit})
    high, low, found = (PAIRS.difference(M.run(ids, edit=e).logits) for ids, e in runs)
    expected = (found - low) / (high - low).mean()
    assert_close(patching.patch("heads.1", head=2), expected, atol=1e-5, rtol=0)
    assert_close(patching.by_head([1])[:, 0, 2], expected, atol=1e-5, rtol=0)


def test_maps_are_0_before_the_prompts_differ(patching):
    first = PAIRS.first_change
    found = patching.by_position("resid")
    assert first == 3
    assert (found[..., :first] == 0).all()
    assert (patching.patch("resid.1", position=first - 1) == 0).all()
    assert_close(found[:, 0, first], patching.share(patching.clean))  # the one token that differs
    assert (found[:, -1, -1] != 0).all()


def test_attribution_is_patching_on_a_linear_model():
    m = linear()
    of = Patching(m, PAIRS)
    for kind in ("mlp_out", "attn_out"):
        estimated = of.attribution(kind, [1])
        patched = of.by_position(kind, [1])
        assert_close(estimated, patched.to(estimated), atol=1e-6, rtol=1e-6)
    heads = of.attribution("heads", [1]).sum(2)
    assert_close(heads, of.by_head([1]).to(heads), atol=1e-6, rtol=1e-6)
    assert heads.abs().max() > 1e-3


def test_attribution_is_the_derivative_of_a_small_patch(patching):
    site, small = "mlp_out.0", 1e-2
    m = M.to(dtype=torch.float64)
    of = Patching(m, PAIRS)
    change = of.clean[site] - of.corrupted[site]
    found = of.effect({site: lambda x: x + small * change}) / small
    assert_close(found, of.attribution("mlp_out", [0]).sum((1, 2)), rtol=0.05, atol=0.01)


def test_paths_add_up_where_the_model_is_linear():
    m = linear()
    of = Patching(m, PAIRS)
    direct = of.path("heads.1", None, head=1)
    by_mlp = of.path("heads.1", "mlp_out.1", head=1)
    assert_close(by_mlp, 0.3 * direct)
    assert_close(direct + by_mlp, of.patch("heads.1", head=1))
    parts = of.paths(1, 1)
    assert_close(parts["directly"] + parts["by one MLP"], parts["effect"])
    assert (parts["by one later attention"] == 0).all()


def test_a_path_to_the_logits_leaves_the_rest_as_it_was(patching):
    last = f"mlp_out.{M.n_layers - 1}"
    assert_close(patching.path(last, None), patching.patch(last))
    assert (patching.path("mlp_out.0", None) - patching.patch("mlp_out.0")).abs().max() > 1e-3
    with pytest.raises(InputError, match=r"receiver = 'mlp_out.0' is not allowed"):
        patching.path("heads.1", "mlp_out.0")


def test_all_heads_kept_are_the_clean_run(patching):
    heads = [(k, h) for k in range(M.n_layers) for h in range(M.n_heads)]
    whole = patching.share(patching.clean)
    assert torch.equal(patching.kept(heads), whole)
    assert not torch.allclose(patching.kept(heads[:-1]), whole)
    assert not torch.allclose(patching.kept([]), whole)


def test_what_is_changed_in_every_run_is_changed_in_all():
    silent = {"mlp_out.1": torch.zeros_like}
    of = Patching(M, PAIRS, edit=silent)
    assert (of.clean["mlp_out.1"] == 0).all()
    assert (of.patch("mlp_out.1") == 0).all()
    assert (of.attribution("mlp_out", [1]) == 0).all()
    assert torch.equal(of.patch("resid.0"), of.share(of.clean))
    added = Patching(M, PAIRS, edit={"resid.1": lambda x: x + 1})
    assert added.effect({"resid.1": lambda x: x}).abs().max() == 0


@pytest.mark.parametrize("k", [0, 1, 2])
def test_what_comes_before_a_change_is_taken_from_the_model_itself(k):
    m = tiny(n_layers=3).to(dtype=torch.float64)
    edit = {f"mlp_in.{k}": lambda x: x + 1, f"mlp_out.{k}": lambda x: 2 * x}
    whole, own = Patching(m, PAIRS, edit), Patching(m, PAIRS)
    for _ in range(2):  # what the model itself recorded serves again
        part = Patching(m, PAIRS, edit, own)
        assert part.first == k
        assert_close(part.estimated(), whole.estimated())
        for site in whole.sites:
            assert_close(part.gradients[site], whole.gradients[site])
            assert_close(part.clean[site], whole.clean[site])
        assert_close(part.by_layer("mlp_out"), whole.by_layer("mlp_out"))
        assert_close((part.high, part.low), (whole.high, whole.low))


def test_gradients_find_the_corrupted_run_that_a_pass_finds(patching):
    first = Patching(M, PAIRS)
    first.gradients  # noqa: B018
    for site in first.sites:
        assert_close(first.corrupted[site], patching.corrupted[site], atol=1e-5, rtol=1e-5)
        assert not first.corrupted[site].requires_grad


def test_all_paths_of_a_head_are_those_found_one_by_one(patching):
    found, none = patching.paths(0, 1), torch.zeros(len(PAIRS))
    for kind, name, behind in (("attn_out", "attention", (1, 2)), ("mlp_out", "MLP", (0, 1, 2))):
        one_by_one = sum((patching.path("heads.0", f"{kind}.{k}", 1) for k in behind), none)
        of = "by one later attention" if name == "attention" else "by one MLP"
        assert_close(found[of], one_by_one)


def test_edits_at_one_site_come_one_after_the_other():
    both = together({"a": lambda x: x + 1}, {"a": lambda x: 2 * x, "b": lambda x: x})
    assert both["a"](3) == 8
    assert set(both) == {"a", "b"}


def test_maps_are_compared_and_their_strongest_heads_named():
    truth = torch.tensor([[0.0, 3.0], [-4.0, 0.0]])
    assert map_error(truth, truth) == 0
    assert map_error(torch.zeros(2, 2), truth) == 1
    assert strongest(truth, 2) == [(1, 0), (0, 1)]


def test_a_site_that_is_none_is_refused(patching):
    with pytest.raises(InputError, match=r"site = 'mlp.0' is not allowed: it must be one of"):
        patching.patch("mlp.0")


def test_prompts_of_other_lengths_are_refused():
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(InputError, match=r"corrupted = \[2, 2\] is not allowed"):
        Pairs(ids, ids[:, :2], ids[:, 0], ids[:, 1])


def test_estimates_of_all_parts_stand_one_after_the_other(patching):
    found = patching.estimated()
    assert found.shape == (M.n_layers * M.n_heads + M.n_layers,)
    assert_close(found[1], patching.attribution("heads").sum(2).mean(0)[0, 1])
    left = patching.estimated(without=1)
    assert torch.equal(left, torch.cat([found[:-2], found[-1:]]))


def test_the_first_prompts_are_prompts():
    assert torch.equal(PAIRS.first(2).clean, PAIRS.clean[:2])
    assert PAIRS.first(2).tokens == PAIRS.tokens


def test_everything_happens_where_the_model_is():
    """Shown without a second device by one that holds no numbers: it refuses to meet the CPU's."""
    of = Patching(M.to(torch.device("meta")), PAIRS)
    edit = {"mlp_out.1": torch.zeros_like}
    found = [
        of.by_position("resid"), of.by_head(), of.by_layer("mlp_out"), of.attribution("heads"),
        of.estimated(), *of.paths(1, 2).values(), of.kept([(0, 1)]),
        Patching(of.m, PAIRS, edit, of).estimated(without=1),
    ]  # fmt: skip
    assert {value.device.type for value in found} == {"meta"}
