"""Sparse layers other than the ReLU, one class each."""

from faithnb.model.architectures.batch_topk import BatchTopK
from faithnb.model.architectures.cross_layer import CrossLayer
from faithnb.model.architectures.crosscoder import Crosscoder
from faithnb.model.architectures.gated import Gated
from faithnb.model.architectures.jumprelu import JumpReLU
from faithnb.model.architectures.matryoshka import Matryoshka
from faithnb.model.architectures.molt import Molt
from faithnb.model.architectures.topk import TopK

__all__ = [
    "BatchTopK",
    "CrossLayer",
    "Crosscoder",
    "Gated",
    "JumpReLU",
    "Matryoshka",
    "Molt",
    "TopK",
]
