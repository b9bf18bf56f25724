"""How fast a machine trains."""

import itertools

import torch

from faithnb.book import machine


def test_one_thread_and_all_are_measured_for_as_long_as_asked(monkeypatch):
    seen = []

    def trains(experiments, device, progress):
        seen.append((len(experiments), experiments[0].steps, torch.get_num_threads(), device))

    monkeypatch.setattr(machine, "train", trains)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    before = torch.get_num_threads()
    ticks = itertools.count(0, 0.5)
    found = machine.measured(seconds=2.0, clock=lambda: next(ticks))
    assert torch.get_num_threads() == before
    assert seen == [(16, 1, 1, "cpu"), *[(16, 64, 1, "cpu")], (32, 1, 2, "cpu"), (32, 64, 2, "cpu")]
    assert (found.cores, found.one, found.every) == (2, 16 * 64, 32 * 64)
    assert found.name


def test_one_core_is_measured_once(monkeypatch):
    monkeypatch.setattr(machine, "train", lambda *_, **__: None)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    ticks = itertools.count(0, 0.5)
    found = machine.measured(clock=lambda: next(ticks))
    assert found.one == found.every
