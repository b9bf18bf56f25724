"""dictionary_learning: ``ae.pt``, a pickle of tensors, and ``config.json``.

Its classes are told apart by the names of their weights, but for TopK and BatchTopK, which only the
configuration tells. BatchTopK and Matryoshka are JumpReLUs with one threshold when they are used.
All but two subtract the decoder's bias from the input.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from faithnb.formats.folder import Folder
from faithnb.formats.folding import Folding, shifted
from faithnb.formats.layout import Found, Held, Kind, Layout, Match

CONFIG, WEIGHTS = "config.json", "ae.pt"

LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
"""Weights of torch's linear layers, which are stored the other way round."""


@dataclass(frozen=True)
class Class:
    """One of its classes: the architecture here, its names of our weights, what else it keeps, and
    whether it subtracts the decoder's bias."""

    architecture: str
    names: Mapping[str, str]
    subtracts: bool = True
    also: tuple[str, ...] = ()
    threshold: bool = field(default=False, kw_only=True)
    """Whether one threshold holds for all features."""


AS_OURS = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
WITH_BIAS = LINEAR | {"b_enc": "encoder.bias"}

CLASSES = {
    "AutoEncoder": Class("relu", WITH_BIAS | {"b_dec": "bias"}),
    "AutoEncoderNew": Class("relu", WITH_BIAS | {"b_dec": "decoder.bias"}, subtracts=False),
    "GatedAutoEncoder": Class(
        "gated",
        LINEAR
        | {"b_dec": "decoder_bias", "b_enc": "gate_bias", "r_mag": "r_mag", "b_mag": "mag_bias"},
    ),
    "AutoEncoderTopK": Class("topk", WITH_BIAS | {"b_dec": "b_dec"}, also=("k", "threshold")),
    "BatchTopKSAE": Class("jumprelu", WITH_BIAS | {"b_dec": "b_dec"}, also=("k",), threshold=True),
    "JumpReluAutoEncoder": Class("jumprelu", AS_OURS | {"threshold": "threshold"}, subtracts=False),
    "MatryoshkaBatchTopKSAE": Class("jumprelu", AS_OURS, also=("k", "group_sizes"), threshold=True),
}

WRITTEN_AS = {
    "relu": "AutoEncoderNew",
    "topk": "AutoEncoderTopK",
    "jumprelu": "JumpReluAutoEncoder",
    "gated": "GatedAutoEncoder",
}


class DictionaryLearning(Layout):
    """Autoencoders of ``dictionary_learning``: ReLU, TopK, JumpReLU, gated."""

    name = "dictionary_learning"
    holds = tuple(WRITTEN_AS)

    @classmethod
    def match(cls, folder: Folder) -> Match:
        return Match.KEYS if folder.container == "pickle" else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        trainer = folder.settings(CONFIG).get("trainer")
        trainer = trainer if isinstance(trainer, dict) else {}
        of = CLASSES[_class_of(folder, trainer.get("dict_class"))]
        threshold = ["threshold"] if of.threshold else []
        folder.require_weights([*of.names.values(), *threshold], beside=of.also)
        weights = {ours: folder.tensors[theirs] for ours, theirs in of.names.items()}
        for ours, theirs in LINEAR.items():
            turned = folder.matrix(of.names[ours])
            weights[ours] = turned.T if of.names[ours] == theirs else turned
        if of.threshold:
            weights["threshold"] = _of_all(folder, weights["W_enc"].shape[1])
        return Found(
            folder,
            of.architecture,
            weights,
            {"k": _k(folder, trainer)} if of.architecture == "topk" else {},
            Folding(subtracts=of.subtracts),
            {
                ours: (f"{CONFIG} says trainer.{theirs}", trainer[theirs])
                for ours, theirs in (("d_in", "activation_dim"), ("d_sae", "dict_size"))
                if theirs in trainer
            },
        )

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        """What a class subtracts from the input is added to its bias."""
        of = CLASSES[WRITTEN_AS[held.architecture]]
        dtype = held.weights["W_enc"].dtype
        weights = dict(held.weights)
        if of.subtracts:
            exact = shifted({k: w.double() for k, w in weights.items()}, +1)
            weights = {k: w.to(dtype) for k, w in exact.items()}
        state = {theirs: weights[ours][0] for ours, theirs in of.names.items()}
        state |= {theirs: state[theirs].T for theirs in LINEAR.values() if theirs in state}
        if held.architecture == "topk":
            k = torch.tensor(held.settings["k"], dtype=torch.int)
            state |= {"k": k, "threshold": torch.tensor(-1.0)}
        trainer = {
            "dict_class": WRITTEN_AS[held.architecture],
            "activation_dim": held.sizes["d_in"],
            "dict_size": held.sizes["d_sae"],
            **held.settings,
        }
        content = io.BytesIO()
        torch.save({name: weight.contiguous() for name, weight in state.items()}, content)
        config = json.dumps({"trainer": trainer}, indent=2) + "\n"
        return {WEIGHTS: content.getvalue(), CONFIG: config}


def _class_of(folder: Folder, said: Any) -> str:
    """The class whose weights these are."""
    own = {
        "AutoEncoder": "bias",
        "AutoEncoderNew": "decoder.bias",
        "GatedAutoEncoder": "gate_bias",
        "MatryoshkaBatchTopKSAE": "group_sizes",
    }
    fitting = [name for name, key in own.items() if key in folder.tensors]
    if not fitting:
        linear = LINEAR["W_enc"] in folder.tensors
        fitting = ["AutoEncoderTopK", "BatchTopKSAE"] if linear else ["JumpReluAutoEncoder"]
    if said is None and len(fitting) == 1:
        return fitting[0]
    if said in fitting:
        return str(said)
    if said is None:
        raise folder.refuse(
            f"only trainer.dict_class of {CONFIG} tells whether it is of {' or '.join(fitting)}, "
            "and it does not say it"
        )
    raise folder.refuse(
        f"{CONFIG} says trainer.dict_class = {said!r}, its weights are those of "
        f"{' or '.join(fitting)}"
    )


def _of_all(folder: Folder, d_sae: int) -> Tensor:
    """The one threshold of a BatchTopK, for every feature."""
    threshold = folder.number("threshold")
    if threshold < 0:
        raise folder.refuse(
            f"threshold = {threshold:g} means that it was never set, and without it a BatchTopK "
            "depends on the batch"
        )
    return torch.full((d_sae,), threshold, dtype=torch.float64)


def _k(folder: Folder, trainer: Mapping[str, Any]) -> Any:
    stored = int(folder.number("k")) if "k" in folder.tensors else None
    said = trainer.get("k", stored)
    if stored not in (None, said):
        raise folder.refuse(f"{CONFIG} says trainer.k = {said!r}, the weights say {stored}")
    if said is None:
        raise folder.refuse(f"neither its weights nor {CONFIG} say k")
    return said
