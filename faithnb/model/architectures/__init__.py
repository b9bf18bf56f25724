"""Sparse layers other than the ReLU, one class each."""

from faithnb.model.architectures.batch_topk import BatchTopK
from faithnb.model.architectures.gated import Gated
from faithnb.model.architectures.jumprelu import JumpReLU
from faithnb.model.architectures.matryoshka import Matryoshka
from faithnb.model.architectures.topk import TopK

__all__ = ["BatchTopK", "Gated", "JumpReLU", "Matryoshka", "TopK"]
