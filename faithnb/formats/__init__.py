"""Transcoders on disk, in the layouts of the libraries that write them, one file a layout."""

from faithnb.formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    llama_scope,
    llamascopium,
    llamascopium_layers,
    llamascopium_molt,
    saelens,
    sparsify,
)

__all__ = [
    "circuit_tracer",
    "dictionary_learning",
    "gemma_scope",
    "llama_scope",
    "llamascopium",
    "llamascopium_layers",
    "llamascopium_molt",
    "saelens",
    "sparsify",
]
