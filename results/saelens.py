"""SAELens' own training loop as recipes; they run in the environment that `make interop` sets up.

SAELens trains autoencoders: its loss compares what an autoencoder gives with its input. Here it is
compared with the layer's output for that input, through the loss function that every one of its
training classes holds, so that its loop, optimiser, schedules and penalties are its own. Nothing is
subtracted from the input, as in SAELens' transcoders. TopK's auxiliary loss for dead features would
compare with the input as well, and is off.

    .venv-interop/bin/python -m faithnb.benchmark run results/saelens.py:Standard --task abs-v1
"""

import contextlib
import io

import sae_lens
import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY as CLASSES
from sae_lens.training.sae_trainer import SAETrainer

BATCH, RATE = 512, 3e-3


class SaeLens:
    """One of its architectures, for a layer with as many outputs as inputs."""

    sparsities: tuple[float, ...]
    architecture: str
    versions = {"sae-lens": sae_lens.__version__}  # noqa: RUF012

    def __init__(self, sparsity):
        self.sparsity = sparsity
        self.name = f"saelens-{self.architecture}"
        self.configuration = {
            "architecture": self.architecture, "sparsity": sparsity, "batch_size": BATCH,
            "learning_rate": RATE, **self.says(sparsity),
        }  # fmt: skip

    def says(self, sparsity):
        """What its configuration needs besides sizes."""
        raise NotImplementedError

    def fit(self, task, seed):
        if task.d_in != task.d_out:
            raise ValueError(
                "SAELens trains autoencoders: the layer needs as many outputs as inputs"
            )
        torch.manual_seed(seed)
        of, config = CLASSES[self.architecture]
        sae = of(
            config(
                d_in=task.d_in, d_sae=task.setting.d_sae, apply_b_dec_to_input=False,
                normalize_activations="none", **self.says(self.sparsity),
            )
        )  # fmt: skip
        layer = task.layer
        sae.mse_loss_fn = lambda given, x: (given - layer(x)).square()
        steps = task.samples // BATCH
        trainer = SAETrainer(
            SAETrainerConfig(
                total_training_samples=steps * BATCH, train_batch_size_samples=BATCH, lr=RATE,
                lr_end=RATE / 10,
                lr_warm_up_steps=steps // 20, lr_decay_steps=3 * steps // 10,
            ),
            sae,
            (x for x, _ in task.batches(BATCH, seed)),
        )  # fmt: skip
        with contextlib.redirect_stderr(io.StringIO()):  # its bar, one a seed
            return trainer.fit()


class Standard(SaeLens):
    """ReLU with an L1 penalty on what features write."""

    architecture = "standard"
    sparsities = (0.03, 0.1, 0.2, 0.4)

    def says(self, sparsity):
        return {"l1_coefficient": sparsity}


class JumpReLU(SaeLens):
    """JumpReLU with an L0 penalty, its gradient straight through to the input."""

    architecture = "jumprelu"
    sparsities = (0.02, 0.05, 0.1, 0.2)

    def says(self, sparsity):
        return {"l0_coefficient": sparsity}


class TopK(SaeLens):
    """TopK without its auxiliary loss."""

    architecture = "topk"
    sparsities = (1, 2, 3, 4)

    def says(self, sparsity):
        return {"k": int(sparsity), "aux_loss_coefficient": 0.0}
