import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from faithnb.data.rng import Stream, mix

N = 200_000


def draw(kind, seeds=(0,), purpose="data", step=0, shape=(N,), dtype=torch.float64):
    return getattr(Stream(seeds, purpose), kind)(step, shape, dtype)


def test_the_mixing_function_is_wellons_lowbias32():
    def by_hand(x):
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    words = [0, 1, 2, 12345, 2**31 - 1]
    mixed = mix(torch.tensor(words, dtype=torch.int32)).tolist()
    assert [w % 2**32 for w in mixed] == [by_hand(w) for w in words]


@pytest.mark.parametrize("seed", [0, 1, 7, 115, 2**40])
def test_distributions(seed):
    assert kstest(draw("uniform", [seed])[0].numpy(), "uniform").pvalue > 1e-3
    assert kstest(draw("normal", [seed])[0].numpy(), "norm").pvalue > 1e-3
    signs = draw("signs", [seed])[0]
    assert set(signs.unique().tolist()) == {-1, 1}
    assert abs(signs.mean()) < 4 / N**0.5
    u = draw("uniform", [seed])[0].numpy()
    cells = np.histogram2d(u[::2], u[1::2], bins=32)[0].ravel()
    assert chisquare(cells).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["uniform", "normal", "signs"])
def test_seeds_purposes_steps_and_places_are_independent(kind):
    series = torch.cat(
        [
            draw(kind, [0, 1, 2, 100, 101, 2**32 + 1]),
            draw(kind, purpose="probe"),
            draw(kind, step=1),
        ]
        + [draw(kind).roll(k, 1) for k in (1, 2, 16, 512)]
    )
    correlation = torch.corrcoef(series).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / N**0.5


def test_numbers_do_not_depend_on_company_or_type():
    together = draw("uniform", [3, 5, 8], shape=(20, 4))
    assert torch.equal(together[1], draw("uniform", [5], shape=(20, 4))[0])
    assert torch.equal(
        together.float(), draw("uniform", [3, 5, 8], shape=(20, 4), dtype=torch.float32)
    )
    assert together.min() > 0
    assert draw("uniform", dtype=torch.float32).max() < 1


@pytest.mark.parametrize("kind", ["uniform", "normal", "signs"])
def test_steps_drawn_together_are_the_steps(kind):
    stream = Stream([3, 5, 8], "probe")
    together = getattr(stream, kind)(range(7, 10), (20, 4))
    assert together.shape == (3, 3, 20, 4)
    for k, step in enumerate((7, 8, 9)):
        assert torch.equal(together[k], getattr(stream, kind)(step, (20, 4)))


def test_numbers_stay_what_they_are():
    """A change here changes every result of the book."""
    u = draw("uniform", [100], shape=(3,))
    assert (u[0] * 2**24).tolist() == [3474239.0, 8514855.0, 12021287.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_the_same():
    on_cpu, on_gpu = (Stream([1, 2], "data", d).uniform(3, (50,)).cpu() for d in ("cpu", "cuda"))
    assert torch.equal(on_cpu, on_gpu)
