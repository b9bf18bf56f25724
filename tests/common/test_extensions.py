"""Keys follow what is added from outside."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
import torch

from faithnb import Experiment, Store, Transcoder, sweep
from faithnb.common.extensions import digests
from faithnb.measures.registry import MEASURES, measure
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.sweeps.tasks import SweepError

D = 6
BASE = Experiment(d_in=D, d_sae=16, batch_size=32, steps=30, repeat_frac=0.1)


@pytest.fixture(scope="module", autouse=True)
def added():
    """An architecture and a measure. Other tests see the package as it is."""

    class AbsoluteTopK(Transcoder):
        architecture = "absolute_topk"
        settings = ("k",)

        def activate(self, z):
            return z * torch.zeros_like(z).scatter(-1, z.abs().topk(self.k, dim=-1).indices, 1.0)

    @measure("share of features")
    def share_negative(transcoder, x):
        return (transcoder.encode(x) < 0).double().mean((1, 2))

    yield SimpleNamespace(AbsoluteTopK=AbsoluteTopK, share_negative=share_negative)
    del ARCHITECTURES["absolute_topk"], MEASURES["share_negative"]


def test_keys_tell_two_additions_of_one_name_apart(added):
    cell = replace(BASE, architecture="absolute_topk", k=3)
    before = [Store.keys([e], torch.device("cpu"), "trained") for e in (BASE, cell)]
    assert len(digests("architecture")) == len(digests("measure")) == 1

    class Other(added.AbsoluteTopK):
        architecture = "absolute_topk"

        def activate(self, z):
            return super().activate(z) / 2

    after = [Store.keys([e], torch.device("cpu"), "trained") for e in (BASE, cell)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    ARCHITECTURES["absolute_topk"] = added.AbsoluteTopK

    of_measures = Store.keys([BASE], torch.device("cpu"))
    measure("other", name="share_negative")(lambda transcoder, x: transcoder.encode(x).sum((1, 2)))
    assert of_measures != Store.keys([BASE], torch.device("cpu"))
    measure("share of features")(added.share_negative)


def made_with(held):
    def holding(transcoder, value=held):
        return value * transcoder.W_enc.sum((1, 2))

    def closing(transcoder, x):
        return held * transcoder.encode(x).sum((1, 2))

    return holding, closing, lambda transcoder: transcoder.W_enc.sum((1, 2))


def test_keys_follow_all_that_an_addition_is_made_of(added):
    keys = []
    for unit, at, function in (
        ("a", "x", added.share_negative), ("b", "x", added.share_negative),
        ("a", "p", added.share_negative),
    ):  # fmt: skip
        measure(unit, name="share_negative", at=at)(function)
        keys += Store.keys([BASE], torch.device("cpu"))
    for value in (1, 2):
        for function in made_with(value):
            measure("a", name="share_negative")(function)
            keys += Store.keys([BASE], torch.device("cpu"))
    assert len({*keys}) == len(keys)
    measure("share of features")(added.share_negative)


def test_a_worker_without_the_addition_is_refused(tmp_path):
    """A process that was started anew has not seen it; nothing is kept under wrong keys."""
    sentence = "does not have the measure 'share_negative' as it is here"
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(SweepError, match=sentence),
    ):
        sweep(BASE, pool, Store(tmp_path), progress=False, seed=[0])
    assert not list(tmp_path.glob("*.results"))
