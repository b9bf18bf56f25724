"""Inputs of a layer in a file."""

import json

import numpy as np
import pytest
import torch

from faithnb.common.errors import InputError
from faithnb.lm import activations as module
from faithnb.lm.activations import activations
from faithnb.lm.tiny_model import tiny
from faithnb.lm.windows import standard_library, windows_of

M = tiny()
WINDOWS = windows_of(list(range(1, 90)), 9, begin=0)


def kept(folder, windows=WINDOWS, **given):
    return activations(M, windows, 1, folder, progress=False, **given)


def test_they_are_the_layers_inputs_token_by_token(tmp_path):
    found = kept(tmp_path)
    x = M.run(WINDOWS, keep=("mlp_in.1",))["mlp_in.1"]
    np.testing.assert_allclose(found.rows, x.flatten(0, 1).numpy(), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found.rows[found.at(3, 1)], x[3, 1:].half().numpy())
    assert found.rows.dtype == np.float16


def test_what_is_there_is_not_computed_again(tmp_path, monkeypatch):
    first = kept(tmp_path).path
    monkeypatch.setattr(type(M), "run", lambda *a, **k: pytest.fail("it was run"))
    assert kept(tmp_path).path == first


def test_it_depends_on_tokens_layer_and_weights(tmp_path):
    other = tiny(seed=1)
    paths = {
        kept(tmp_path).path, kept(tmp_path, WINDOWS[:3]).path,
        activations(M, WINDOWS, 2, tmp_path, False).path,
        activations(other, WINDOWS, 1, tmp_path, False).path,
    }  # fmt: skip
    assert len(paths) == 4


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2)
    whole = np.array(kept(tmp_path / "whole").rows)
    run, seen = type(M).run, []

    def interrupted(model, ids, **given):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(ids))
        return run(model, ids, **given)

    monkeypatch.setattr(type(M), "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path)
    (noted,) = tmp_path.glob("*.part.json")
    assert json.loads(noted.read_text(encoding="utf-8")) == {"windows": 6}
    monkeypatch.setattr(type(M), "run", lambda model, ids, **given: (
        seen.append(len(ids)), run(model, ids, **given))[1])  # fmt: skip
    np.testing.assert_array_equal(kept(tmp_path).rows, whole)
    assert sum(seen) == len(WINDOWS)
    assert not list(tmp_path.glob("*.part*"))


def test_a_damaged_file_is_found_and_said_so(tmp_path):
    path = kept(tmp_path).path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged: its content is not what was written"):
        kept(tmp_path)
    path.unlink()
    assert kept(tmp_path).path == path


def test_windows_follow_each_other_and_begin_alike():
    assert WINDOWS.shape == (11, 9)
    assert (WINDOWS[:, 0] == 0).all()
    assert WINDOWS[:, 1:].flatten().tolist() == list(range(1, 89))
    assert windows_of([1, 2, 3], 2).tolist() == [[1, 2]]
    for length in (0, 4):
        with pytest.raises(InputError, match=f"length = {length} is not allowed"):
            windows_of([1, 2, 3], length)
    with pytest.raises(InputError, match="length = 1 is not allowed"):
        windows_of([1, 2, 3], 1, begin=0)


def test_the_standard_library_has_files_with_the_same_head():
    files = standard_library(("encodings",), 30)
    assert list(files) == sorted(files)
    assert sum("Python Character Mapping Codec" in text for text in files.values()) > 10
    assert torch.is_tensor(windows_of(M.encode("\n".join(files.values())), 64))
