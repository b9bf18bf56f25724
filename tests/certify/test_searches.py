"""Searches are kept, and what is kept is the search that was asked for."""

import numpy as np
import pytest
import torch
from certifiable import random_transcoder

from faithnb import certify
from faithnb.certify import searches, solving
from faithnb.certify.box import box_of
from faithnb.certify.questions import error_problem
from faithnb.certify.splitting import Splitting
from faithnb.certify.tasks import Task
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

L = AbsoluteValue(5)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))


def wide(seed=0):
    t = Transcoder.random([seed], 5, 30, 5)
    t.b_enc.data = torch.linspace(-0.3, 0.3, 30)[None]
    return t


QUESTIONS = {
    "error": lambda: certify.worst_error(wide(), L),
    "each": lambda: certify.worst_error(wide(), L, each=True),
    "leak": lambda: certify.mechanism_certificate(wide(), [0, 1, 2]),
    "slope": lambda: certify.worst_jacobian_error(wide(), L, [0, 1]),
    "ranked": lambda: certify.worst_error(random_transcoder(3, 4, 12), AbsoluteValue(4)),
    "radius": lambda: certify.faithful_radius(wide(), L, torch.ones(5), 0.3, limit=0.5),
}


def refuse(*args):
    raise AssertionError("computed again")


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_second_run_searches_and_solves_nothing(ask, monkeypatch):
    monkeypatch.setattr(searches, "LEAST_BOXES", 0)
    first = ask()
    searches._store.cache_clear()  # as in another process
    monkeypatch.setattr(Splitting, "run", refuse)
    monkeypatch.setattr(Task, "solve", refuse)
    again = ask()
    said = [vars(one) | {"seconds": 0} for one in (first, again)]
    assert said[0] == said[1]


def test_short_searches_leave_no_file(tmp_path):
    assert certify.worst_error(wide(), L, [0]).boxes < searches.LEAST_BOXES
    assert not list(tmp_path.rglob("*.results"))
    t = Transcoder.random([0], 8, 60, 8)
    t.b_enc.data = torch.linspace(-0.3, 0.3, 60)[None]
    assert certify.worst_error(t, AbsoluteValue(8)).boxes >= searches.LEAST_BOXES
    assert len(list(tmp_path.rglob("*.results"))) == 1


def test_an_interrupted_run_keeps_what_is_done(monkeypatch):
    monkeypatch.setattr(searches, "LEAST_BOXES", 0)
    own, ran, stop = Splitting.run, [], [3]

    def run(self, *args):
        if len(ran) == stop[0]:
            raise KeyboardInterrupt
        ran.append(self)
        return own(self, *args)

    monkeypatch.setattr(Splitting, "run", run)
    with pytest.raises(KeyboardInterrupt):
        certify.mechanism_certificate(wide())
    ran.clear()
    stop[0] = -1
    assert certify.mechanism_certificate(wide()).closed
    assert len(ran) == 5 - 3


def test_what_the_clock_ended_is_not_kept(tmp_path):
    open_ = certify.worst_error(wide(), L, time_limit=1e-9)
    assert not open_.closed
    assert not list(tmp_path.rglob("*.results"))
    assert certify.worst_error(wide(), L).closed


def test_everything_that_decides_an_answer_is_in_its_key():
    def key(seed=0, low=-1.0, tolerance=1e-7, limits=(100, True, -np.inf, np.inf), support=None):
        problem = error_problem(wide(seed).in_float64(), L, box_of(5, support, low, 1.0, None))
        return searches._key(problem, solving._start(problem.m), tolerance, limits)

    others = [
        {"seed": 1}, {"low": -0.5}, {"tolerance": 1e-6}, {"support": [0, 1]},
        *({"limits": one} for one in (
            (99, True, -np.inf, np.inf), (100, False, -np.inf, np.inf),
            (100, True, 0.5, np.inf), (100, True, -np.inf, 0.5),
        )),
    ]  # fmt: skip
    assert key() == key()
    assert len({key(), *(key(**other) for other in others)}) == len(others) + 1
