"""A language model's pass: what its sites hold, and what an edit changes."""

import pytest
import torch

from faithnb import InputError, lm
from faithnb.lm.parts import Rotary

m = lm.tiny()
IDS = torch.randint(0, 101, (3, 9), generator=torch.Generator().manual_seed(0))


def test_its_shape_is_what_was_asked_for():
    small = lm.tiny(1, n_layers=2, d_model=24, n_heads=3, n_kv_heads=1, d_mlp=20, d_vocab=256)
    assert (small.n_layers, small.d_model, small.n_heads, small.d_head) == (2, 24, 3, 8)
    assert small.layer(1).W_gate.shape == (20, 24)
    assert small.decode(small.encode("naïve")) == "naïve"
    assert small.device == torch.device("cpu")
    assert not torch.equal(small.embedding, lm.tiny(2, 2, 24, 3, 1, 20, 256).embedding)


def by_hand(ids):
    """The pass of the tiny model with loops over positions and heads, in float64."""
    d = m.to(dtype=torch.float64)
    x = d.embedding[ids]
    for block in d.blocks:
        z = block.before_attention(x)
        q, k, v = (
            of(z).unflatten(-1, (-1, d.d_head)) for of in (block.query, block.key, block.value)
        )
        heads = torch.zeros_like(q)
        for h in range(d.n_heads):
            for t in range(len(ids)):
                scores = torch.stack([
                    turned(q[t, h], t) @ turned(k[s, h // 2], s) for s in range(t + 1)
                ])  # fmt: skip
                heads[t, h] = (scores / d.d_head**0.5).softmax(0) @ v[: t + 1, h // 2]
        x = x + block.out(heads.flatten(-2))
        x = x + block.mlp(block.before_mlp(x))
    return d.unembed(x)


def turned(x, position):
    """Planes of neighbours as complex numbers, turned."""
    angle = position * 1e4 ** -(torch.arange(0, len(x), 2, dtype=torch.float64) / len(x))
    planes = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(planes * torch.polar(torch.ones_like(angle), angle)).flatten()


def test_the_pass_is_the_formula():
    found = m.to(dtype=torch.float64).logits(IDS)[1]
    torch.testing.assert_close(found, by_hand(IDS[1]), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(m.logits(IDS)[1].double(), found, rtol=1e-3, atol=1e-4)


def test_the_two_orders_of_a_head_are_one_model():
    """Interleaved planes, or halves, with the rows of queries and keys permuted."""
    d = m.d_head
    order = torch.cat([torch.arange(0, d, 2), torch.arange(1, d, 2)])
    halves = m.to()
    halves.rotary = Rotary(m.rotary.frequencies, interleaved=False)
    for block in halves.blocks:
        for linear in (block.query, block.key):
            linear.W = linear.W.unflatten(0, (-1, d))[:, order].flatten(0, 1)
    torch.testing.assert_close(halves.logits(IDS), m.logits(IDS), rtol=1e-4, atol=1e-4)


def test_no_position_sees_what_comes_after_it():
    other = IDS.clone()
    other[:, 5] = (other[:, 5] + 1) % 101
    a, b = m.logits(IDS), m.logits(other)
    assert torch.equal(a[:, :5], b[:, :5])
    assert not torch.allclose(a[:, 5:], b[:, 5:])


def test_position_0_is_one_point():
    """Its input to every MLP depends on the first token alone, to the last bit."""
    ids = IDS.clone()
    ids[:, 0] = 7
    sites = [f"mlp_in.{k}" for k in range(m.n_layers)]
    run = m.run(ids, keep=sites)
    for site in sites:
        assert torch.equal(run[site][0, 0], run[site][1, 0])
        assert torch.equal(run[site][0, 0], run[site][2, 0])


def test_sites_hold_what_they_say():
    run = m.run(IDS, keep=m.sites)
    assert list(run.kept) == m.sites
    for k, block in enumerate(m.blocks):
        at = {site: run[f"{site}.{k}"] for site in ("resid", "mid", "heads", "attn_out", "mlp_in")}
        assert at["heads"].shape == (3, 9, m.n_heads, m.d_head)
        assert torch.equal(block.out(at["heads"].flatten(-2)), at["attn_out"])
        assert torch.equal(at["resid"] + at["attn_out"], at["mid"])
        assert torch.equal(block.before_mlp(at["mid"]), at["mlp_in"])
        assert torch.equal(m.layer(k)(at["mlp_in"]), run[f"mlp_out.{k}"])
        assert torch.equal(at["mid"] + run[f"mlp_out.{k}"], run[f"resid.{k + 1}"])
        pattern = run[f"pattern.{k}"]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(3, m.n_heads, 9))
        assert pattern.triu(1).abs().max() == 0
    assert torch.equal(m.unembed(run[f"resid.{m.n_layers}"]), run.logits)


WITHOUT_PATTERNS = [site for site in m.sites if not site.startswith("pattern")]


@pytest.mark.parametrize("site", WITHOUT_PATTERNS)
def test_an_unchanged_edit_changes_nothing(site):
    clean = m.run(IDS, keep=[site])
    for edit in (lambda x: x, lambda x: clean[site]):
        assert torch.equal(m.run(IDS, edit={site: edit}).logits, clean.logits)


def test_an_unchanged_pattern_changes_nothing_beyond_rounding():
    clean = m.run(IDS)
    seen = m.run(IDS, keep=["pattern.1"])
    torch.testing.assert_close(seen.logits, clean.logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(m.run(IDS, edit={"pattern.1": lambda x: x}).logits, seen.logits)


@pytest.mark.parametrize("site", m.sites)
def test_an_edit_acts_on_all_that_comes_after(site):
    run = m.run(IDS, keep=[site], edit={site: torch.zeros_like})
    assert run[site].abs().max() == 0
    assert not torch.allclose(run.logits, m.logits(IDS))


def test_all_of_the_stream_gives_the_clean_run():
    clean = m.run(IDS, keep=["resid.2"])
    other = IDS.flip(0)
    assert torch.equal(
        m.run(other, edit={"resid.2": lambda _: clean["resid.2"]}).logits, clean.logits
    )


def test_a_pass_stops_and_starts_where_it_is_told():
    clean = m.run(IDS, keep=["mlp_out.1", "resid.2"])
    short = m.run(IDS, keep=["mlp_out.1"], until="mlp_out.1")
    assert short.logits is None
    assert torch.equal(short["mlp_out.1"], clean["mlp_out.1"])
    assert torch.equal(m.run(IDS, start=(2, clean["resid.2"])).logits, clean.logits)


def test_gradients_flow_from_the_logits_to_what_is_kept():
    def leaf(x):
        return x.detach().requires_grad_()

    sites = ["heads.0", "mlp_out.1"]
    run = m.run(IDS, keep=sites, edit={"resid.0": leaf})
    given = torch.autograd.grad(run.logits[:, -1, 5].sum(), [run[site] for site in sites])
    step = torch.zeros_like(run["mlp_out.1"])
    step[:, -1, 3] = 1e-2
    up, down = (
        m.run(IDS, edit={"mlp_out.1": lambda x, s=s: x + s * step}).logits[:, -1, 5].sum()
        for s in (1, -1)
    )
    assert given[1][:, -1, 3].sum().item() == pytest.approx((up - down).item() / 2e-2, rel=2e-2)
    with torch.no_grad():
        assert not m.run(IDS, keep=sites, edit={"resid.0": leaf})["mlp_out.1"].requires_grad


def test_the_loss_is_the_cross_entropy_of_the_next_token():
    losses = m.next_token_loss(IDS)
    logp = m.logits(IDS).log_softmax(-1)
    assert losses.shape == (3, 8)
    assert losses[2, 4].item() == pytest.approx(-logp[2, 4, IDS[2, 5]].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep": ("mlp_in.3",)}, "keep = 'mlp_in.3' is not allowed: sites go from 'resid.0'"),
        ({"edit": {"mlp": torch.relu}}, "edit = 'mlp' is not allowed"),
        ({"until": "logits"}, "until = 'logits' is not allowed"),
        ({"keep": ("mlp_out.2",), "until": "mid.2"}, "the pass goes from 'resid.0' to 'mid.2'"),
        ({"keep": ("mid.0",), "start": (1, torch.zeros(3, 9, 32))}, "from 'resid.1' to 'resid.3'"),
        ({"start": (3, torch.zeros(3, 9, 32))}, "layer = 3 is not allowed: tiny has layers 0"),
        ({"edit": {"mid.1": lambda x: x[:1]}}, r"gives shape \[1, 9, 32\], and must give \[3, 9"),
    ],
)  # fmt: skip
def test_sites_that_there_are_not_are_said(given, said):
    with pytest.raises(InputError, match=said):
        m.run(IDS, **given)


def test_the_tokens_of_one_text_are_a_batch_of_one():
    text = IDS[0].tolist()
    assert torch.equal(m.logits(text), m.logits(IDS[:1]))
    assert torch.equal(m.next_token_loss(text), m.next_token_loss(IDS[:1]))


@pytest.mark.parametrize(
    "ids", [IDS[0], IDS.float(), IDS[:0], IDS + 101, IDS - 101, [[1, 2]], [], [101], [True]]
)
def test_tokens_that_there_are_not_are_said(ids):
    with pytest.raises(InputError, match="whole numbers from 0 to 100"):
        m.run(ids)
