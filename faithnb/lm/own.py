"""A language model of our own, small enough to be trained in a book's build, on a text of which one
window may come again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.common.files import PACKAGE
from faithnb.common.meaning import meaning
from faithnb.common.progress import progress_bar
from faithnb.common.store import default_folder
from faithnb.data.rng import Stream
from faithnb.lm.model import LanguageModel
from faithnb.lm.tiny_model import tiny
from faithnb.lm.weights import read_weights, write_weights

SMALL = 0.05
"""Standard deviation of the embedding before training."""

_SOURCE = "".join(
    meaning((PACKAGE / f"{name}.py").read_bytes())
    for name in ("lm/own", "lm/model", "lm/parts", "lm/tiny_model", "model/mlp")
)


class Pairs:
    """Tokens of a text by byte-pair encoding, learned from it. Token 0 begins a window.

    Args:
        text: to learn from.
        d_vocab: how many tokens there are; above the 257 of single bytes and the beginning.
    """

    def __init__(self, text: str, d_vocab: int = 1024):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        self.inner = Tokenizer(models.BPE())
        self.inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore
        self.inner.decoder = decoders.ByteLevel()  # type: ignore[assignment]
        trainer = trainers.BpeTrainer(
            vocab_size=d_vocab, special_tokens=["<|begin|>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        self.inner.train_from_iterator([text], trainer)
        self.d_vocab = self.inner.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """A text's tokens."""
        return list(self.inner.encode(text).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens."""
        return str(self.inner.decode(list(ids)))


@dataclass(frozen=True)
class Settings:
    """How the model is made and trained."""

    n_layers: int = 2
    d_model: int = 96
    n_heads: int = 4
    d_mlp: int = 384
    steps: int = 300
    batch: int = 16
    learning_rate: float = 4e-3
    seed: int = 0


@settled()
def own_model(
    tokens: Pairs,
    windows: Int[Tensor, "n length"],
    repeated: int | None = None,
    frac: float = 0.0,
    settings: Settings | None = None,
    folder: Path | None = None,
    progress: bool = True,
    **changes: Any,
) -> LanguageModel:
    """Train a model on windows of a text, or find the one that was trained.

    Args:
        tokens: how the text became windows.
        windows: what it sees.
        repeated: one of them, which it sees in a share ``frac`` of its data; without ``frac`` it
            never sees this one.
        frac: see there.
        settings: its sizes.
        folder: where it is kept; by default ``models`` beside the store's results.
        progress: show a bar.
        **changes: of the settings.

    Raises:
        InputError: if there is no such window, or ``frac`` is no share.
    """
    if (repeated is not None and repeated not in range(len(windows))) or not 0 <= frac < 1:
        raise InputError(
            f"repeated = {repeated} with frac = {frac} is not allowed: it must be one of the "
            f"{len(windows)} windows, in a share of the data from 0 to below 1."
        )
    chosen = replace(settings or Settings(), **changes)
    m = _untrained(tokens, chosen)
    folder = folder or default_folder() / "models"
    about = f"{chosen} {repeated} {frac} {list(windows.shape)} {tokens.d_vocab} {_SOURCE} "
    digest = hashlib.sha256((about + torch.__version__).encode())
    digest.update(windows.to(torch.int64).numpy().tobytes())
    path = folder / f"own-{digest.hexdigest()[:24]}.safetensors"
    if (held := read_weights(path, {})) is not None:
        for k, weight in enumerate(_weights(m)):
            weight.copy_(held[0][f"{k:03}"])
        return m
    _train(m, windows, repeated, frac, chosen, progress)
    write_weights(path, {f"{k:03}": w for k, w in enumerate(_weights(m))}, {})
    return m


def _untrained(tokens: Pairs, chosen: Settings) -> LanguageModel:
    m = tiny(
        chosen.seed, chosen.n_layers, chosen.d_model, chosen.n_heads, chosen.n_heads,
        chosen.d_mlp, tokens.d_vocab,
    )  # fmt: skip
    m.name, m.tokenizer = "own", tokens
    m.embedding.mul_(SMALL)
    for norm in [m.final_norm, *(n for b in m.blocks for n in (b.before_attention, b.before_mlp))]:
        norm.weight.fill_(1.0)
    return m


def _weights(m: LanguageModel) -> Iterator[Tensor]:
    """All that is learned."""
    yield m.embedding
    yield m.final_norm.weight
    for block in m.blocks:
        yield from (block.before_attention.weight, block.before_mlp.weight)
        yield from (of.W for of in (block.query, block.key, block.value, block.out))
        mlp: Any = block.mlp
        yield from (mlp.W_gate, mlp.W_up, mlp.W_down)


def _train(
    m: LanguageModel,
    windows: Tensor,
    repeated: int | None,
    frac: float,
    chosen: Settings,
    progress: bool,
) -> None:
    weights, stream = [*_weights(m)], Stream([chosen.seed], "data")
    others = torch.tensor([k for k in range(len(windows)) if k != repeated])
    optimiser = torch.optim.Adam([w.requires_grad_() for w in weights], lr=0.0, betas=(0.9, 0.98))
    with torch.enable_grad(), progress_bar(chosen.steps, "step", progress, "own model") as bar:
        for step in range(chosen.steps):
            u = stream.uniform(step, (2, chosen.batch))[0]
            which = others[(u[0] * len(others)).long()]
            if repeated is not None:
                which = torch.where(u[1] < frac, repeated, which)
            ids = windows[which]
            logits = m.run(ids).logits
            assert logits is not None
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            warm, left = (step + 1) / (0.1 * chosen.steps), (chosen.steps - step) / chosen.steps
            optimiser.param_groups[0]["lr"] = chosen.learning_rate * min(1.0, warm, 1.5 * left)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            bar.update()
    for weight in weights:
        weight.requires_grad_(False).grad = None
