"""sparsify's own training loop as recipes; they run in the environment that `make interop` sets up.

Its trainer reads a module's inputs and outputs while a language model runs. Here the model's tokens
are the task's samples, the module is the task's layer, and a sequence is a batch, so that the loop,
initialisation, loss, optimiser and schedule are sparsify's own. What it saves is read from its
files. It normalises no decoder of a transcoder. Its auxiliary loss for dead features is off, as by
default: of version 1.3.3 it gives the encoder no gradient.

    .venv-interop/bin/python -m faithnb.benchmark run results/sparsify.py:Transcoder --task abs-v1
"""

import contextlib
import io
import tempfile
from importlib.metadata import version

import torch
from sparsify import SparseCoderConfig, TrainConfig, Trainer
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

import faithnb as fb

# Chosen on abs-v1, seed 0, by FVU. At k = 1 and 3: Adam at rates of 0.001 to 0.01, Muon at 0.002
# and 0.01, and sparsify's default, descent by signs, at 0.0003 to 0.01, which does worst. At k = 1
# to 4: Adam at 0.003, 0.006 and 0.01, with Skip too. Batches of 512 take longer and gain little.
BATCH, OPTIMIZER, RATE = 1024, "adam", 6e-3


class Explained(nn.Module):
    """The task's layer, as a module that can be hooked."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class Model(PreTrainedModel):
    """A language model whose tokens are a task's samples."""

    def __init__(self, task, seed):
        super().__init__(PreTrainedConfig())
        samples = torch.cat([x for x, _ in task.batches(BATCH, seed)])
        self.embed = nn.Embedding.from_pretrained(samples)
        self.explained = Explained(task.layer)

    def forward(self, input_ids):
        return self.explained(self.embed(input_ids))

    def sequences(self):
        """Every token once, in order."""
        tokens = torch.arange(self.embed.num_embeddings)
        return [{"input_ids": tokens_of} for tokens_of in tokens.view(-1, BATCH)]


class Transcoder:
    """TopK, for a layer with as many outputs as inputs."""

    name = "sparsify-transcoder"
    sparsities = (1, 2, 3, 4)
    skips = False
    versions = {"eai-sparsify": version("eai-sparsify")}  # noqa: RUF012

    def __init__(self, sparsity):
        self.k = int(sparsity)
        self.configuration = {
            "sparsity": sparsity, "skip_connection": self.skips, "batch_size": BATCH,
            "optimizer": OPTIMIZER, "learning_rate": RATE,
        }  # fmt: skip

    def fit(self, task, seed):
        if task.d_in != task.d_out:
            raise ValueError(
                "sparsify's transcoders give as many outputs as they take inputs, and so must the "
                "layer"
            )
        model = Model(task, seed)
        sequences = model.sequences()
        steps = len(sequences)
        coder = SparseCoderConfig(
            num_latents=task.setting.d_sae, k=self.k, transcode=True, skip_connection=self.skips
        )
        with contextlib.ExitStack() as stack:
            said = io.StringIO()  # its progress, one bar a seed
            stack.enter_context(contextlib.redirect_stdout(said))
            stack.enter_context(contextlib.redirect_stderr(said))
            # it lowers the precision of the whole process
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            config = TrainConfig(
                coder, batch_size=1, optimizer=OPTIMIZER, lr=RATE, lr_warmup_steps=steps // 20,
                hookpoints=["explained"], init_seeds=[seed], log_to_wandb=False,
                save_dir=folder, run_name="run", save_every=2 * steps,
            )  # fmt: skip
            Trainer(config, sequences, model).fit()
            return fb.load(f"{folder}/run/explained")


class Skip(Transcoder):
    """With a linear part beside it."""

    name = "sparsify-skip"
    skips = True
