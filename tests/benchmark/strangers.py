"""Small tasks and recipes of strangers, for the tests of the benchmark."""

from dataclasses import replace

import torch
from torch import nn

from faithnb.benchmark.tasks import TASKS


def small(name="abs-v1", steps=40, **fields):
    """A task with little data."""
    task = TASKS[name]
    setting = replace(task.setting, steps=steps, batch_size=64, **fields)
    return replace(task, setting=setting, samples=steps * 64)


class Relu(nn.Module):
    """Somebody's layer."""

    def __init__(self, d=16, m=40):
        super().__init__()
        self.e, self.d = nn.Linear(d, m), nn.Linear(m, d)

    def encode(self, x):
        return torch.relu(self.e(x))

    def decode(self, h):
        return self.d(h)

    def forward(self, x):
        return self.decode(self.encode(x))


class Gives:
    """A recipe that looks at one batch and gives what a function makes of the seed."""

    def __init__(self, make, sparsity=0.1):
        self.make, self.sparsity = make, sparsity

    def fit(self, task, seed):
        torch.manual_seed(seed)
        next(iter(task.batches(64, seed)))
        return self.make(seed)
