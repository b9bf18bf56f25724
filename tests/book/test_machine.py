"""How fast a machine trains."""

import itertools

import torch

from faithnb.book import machine


def test_one_thread_is_measured_for_as_long_as_asked(monkeypatch):
    seen = []

    def trains(experiments, device, progress):
        seen.append((len(experiments), experiments[0].steps, torch.get_num_threads(), device))

    monkeypatch.setattr(machine, "train", trains)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    before = torch.get_num_threads()
    ticks = itertools.count(0, 0.5)
    found = machine.measured(seconds=1.0, clock=lambda: next(ticks))
    assert torch.get_num_threads() == before
    assert seen == [(16, 1, 1, "cpu"), (16, 64, 1, "cpu")]
    assert (found.cores, found.speed) == (2, 16 * 64)
    assert found.name
