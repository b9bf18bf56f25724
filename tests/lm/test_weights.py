"""Weights in a file: whole, damaged, of something else."""

import pytest
import torch

from faithnb.common.store import StoreWarning
from faithnb.lm.weights import read_weights, write_weights

HELD = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.float64).t()}


@pytest.fixture
def path(tmp_path):
    write_weights(tmp_path / "in" / "w.safetensors", HELD, {"of": "x", "about": "y"})
    return tmp_path / "in" / "w.safetensors"


def test_what_is_written_is_read(path):
    tensors, about = read_weights(path, {"of": "x"})
    assert about == {"of": "x", "about": "y"}
    assert all(torch.equal(tensors[name], HELD[name]) for name in HELD)
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


@pytest.mark.filterwarnings("error")
def test_what_is_of_something_else_or_not_there_is_not_read(path, tmp_path):
    assert read_weights(path, {"of": "z"}) is None
    assert read_weights(path, {"of": "x", "new": "1"}) is None
    assert read_weights(tmp_path / "none.safetensors", {}) is None


@pytest.mark.parametrize("at", [-1, -40, 200])
def test_a_changed_byte_is_found_and_said(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.warns(StoreWarning, match=r"w\.safetensors is damaged: its content is not what"):
        assert read_weights(path, {}) is None


@pytest.mark.parametrize("damage", [lambda b: b[:50], lambda b: b"", lambda b: b[::-1]])
def test_a_file_that_is_cut_off_is_said(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(StoreWarning, match="is damaged"):
        assert read_weights(path, {}) is None


def test_other_words_beside_the_weights_are_damage(path):
    """A header that somebody changed."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"about":"y"', b'"about":"z"'))
    assert path.read_bytes() != content
    with pytest.warns(StoreWarning, match="is damaged"):
        assert read_weights(path, {}) is None
