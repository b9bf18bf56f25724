"""Many layers, one after the other."""

import json

import pandas as pd
import pytest
import torch

from faithnb import Experiment, lm
from faithnb.common.errors import InputError, ParameterError
from faithnb.lm import __main__ as command
from faithnb.lm import scan as module
from faithnb.lm.scan import scan
from faithnb.lm.tiny_model import tiny
from faithnb.lm.windows import windows_of

M = tiny()
WINDOWS = windows_of(torch.randint(1, 101, (1900,)).tolist(), 80, begin=0)
E = Experiment(d_in=32, d_sae=16, batch_size=32, steps=10)
CONDITIONS = {"without": (E, 0.0), "with": (E, 0.2)}


def scanned(folder, layers=(0, 2), **given):
    given = {"conditions": CONDITIONS, "seeds": [3, 4], "progress": False} | given
    return scan(given.pop("m", M), WINDOWS, layers, folder=folder, **given)


def test_every_layer_has_its_rows(tmp_path):
    found = scanned(tmp_path)
    assert found.groupby("layer").size().to_dict() == {0: 4, 2: 4}
    assert set(found.condition) == {"without", "with"}
    assert set(found.seed) == {3, 4}
    assert found[["fvu", "l0", "response"]].notna().all().all()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".csv"]


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    first = scanned(tmp_path)
    real = module.Subject
    monkeypatch.setattr(module, "Subject", lambda *a, **k: pytest.fail("it was run"))
    pd.testing.assert_frame_equal(scanned(tmp_path), first)
    monkeypatch.setattr(module, "Subject", real)
    other = scanned(tmp_path, (0,), conditions={"without": (E, 0.0)})
    assert len(other) == 2
    assert len(list(tmp_path.iterdir())) == 3


def test_an_interruption_keeps_the_layers_before(tmp_path, monkeypatch):
    real = module.Subject

    def subject(m, layer, *given, **named):
        if layer == 2:
            raise KeyboardInterrupt
        return real(m, layer, *given, **named)

    monkeypatch.setattr(module, "Subject", subject)
    with pytest.raises(KeyboardInterrupt):
        scanned(tmp_path)
    assert [p.name[:8] for p in tmp_path.glob("*.csv")] == ["layer-00"]


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"layers": (7,)}, InputError, "7"),
        ({"seeds": range(40)}, ParameterError, "40 seeds take at least 44"),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path, given, kind, sentence):
    with pytest.raises(kind, match=sentence):
        scanned(tmp_path / "none", **given)
    assert not (tmp_path / "none").exists()


def test_the_command_prints_a_line_a_layer_and_condition(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load", lambda name, device: M)
    monkeypatch.setattr(command, "all_texts", lambda m, n: WINDOWS)
    said = ["scan", "--layers", "1", "--d-sae", "16", "24", "--out", str(tmp_path), "--device",
            "cpu", "--set", json.dumps({"steps": 5, "batch_size": 16})]  # fmt: skip
    assert command.main(said) == 0
    out = capsys.readouterr().out
    assert all(f"{width} features, {name} repeats" in out
               for width in (16, 24) for name in ("with", "without"))  # fmt: skip
    assert command.main([*said[:-1], '{"stps": 5}']) == 1
    assert "stps" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([*said[:-1], "[5]"])
    assert "--set" in capsys.readouterr().err


def test_texts_are_cut_to_as_many_tokens_as_are_asked_for(monkeypatch):
    monkeypatch.setattr(module, "_texts", lambda: iter(["short", "ab" * 4000, "cd" * 4000]))
    found = module.all_texts(lm.tiny(), 6400, length=64)
    assert found.shape == (100, 64)
