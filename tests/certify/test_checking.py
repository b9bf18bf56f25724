"""The command, what it writes, and the second program that reads it."""

import json

import pytest
import torch
from certifiable import PLANTED, WRITE, P, with_feature

from faithnb import certify
from faithnb.certify.__main__ import main
from faithnb.certify.certificate import Certificate, save, table
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))


@pytest.fixture
def made(tmp_path):
    PLANTED.save(tmp_path / "t")
    return tmp_path


def ask(folder, *more):
    out = ["--out", str(folder / "c.json")]
    return main([str(folder / "t"), "--layer", "abs", "--support", "1,2,3", *out, *more])


def test_a_certificate_is_printed_written_and_holds(made, capsys):
    every = ["worst_error", "worst_off_diagonal", "worst_jacobian_error", "mechanism", "radius"]
    assert ask(made, "--certify", *every, "--epsilon", "0.6", "--workers", "1") == 0
    said = capsys.readouterr().out
    assert "|ŷ − y| of any output" in said
    assert "mechanism within 0.6: yes" in said
    assert main(["check", str(made / "c.json")]) == 0
    assert capsys.readouterr().out.count(": holds") == len(every)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bound": 0.4, "dual_bound": 0.4}, "above the bound 0.4"),
        ({"value": 0.6}, "the witness attains 0.5, not 0.6"),
        ({"witness": [2.0, 1, 1, 0, 0]}, "the witness is not in the box"),
        ({"dual_bound": 0.9, "bound": 0.9}, "it is said to be closed at 0.9"),
        ({"weights": "0"}, "holds other weights"),
    ],
)
def test_a_certificate_that_was_changed_does_not_hold(made, change, sentence, capsys):
    ask(made, "--certify", "worst_error")
    ((one),) = json.loads((made / "c.json").read_text(encoding="utf-8"))
    (made / "c.json").write_text(json.dumps([one | change]), encoding="utf-8")
    capsys.readouterr()
    assert main(["check", str(made / "c.json")]) == 1
    assert sentence in capsys.readouterr().out


def test_many_patterns_are_checked_by_programs(made, monkeypatch):
    ask(made, "--certify", "worst_error", "worst_off_diagonal")
    monkeypatch.setattr("faithnb.certify.checking.MOST_PATTERNS", 0)
    assert main(["check", str(made / "c.json")]) == 0
    wrong = json.loads((made / "c.json").read_text(encoding="utf-8"))
    less = [one | {"bound": 0.3, "dual_bound": 0.3} for one in wrong]
    (made / "c.json").write_text(json.dumps(less), encoding="utf-8")
    assert main(["check", str(made / "c.json")]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--layer", "nothing"], "layer = 'nothing' is not allowed"),
        (["--support", "0"], "whole numbers from 1 to 5"),
        (["--support", "1,1"], "different whole numbers from 1 to 5"),
        (["--support", "1,inf"], "write numbers such as 1,2,3"),
        (["--point", "1,nan"], "write numbers such as 1,2,3"),
        (["--out", "nowhere/c.json"], "it must be a file in a folder that is there"),
        (["--epsilon", "-1"], "epsilon = -1.0 is not allowed"),
        (["--low", "nan"], "not finite"),
        (["--support", "a"], "write numbers such as 1,2,3"),
        (["--time-limit", "0"], "above 0 seconds"),
        (["--instance", "1"], "instance = 1 is not allowed"),
        (["--low", "2"], "the box would be empty"),
        (["--layer", "smooth_abs", "--certify", "worst_off_diagonal"], "a smooth layer is not"),
    ],
)
def test_bad_input_gets_one_sentence(made, arguments, sentence, capsys):
    assert ask(made, *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_folder_that_is_none_or_broken_gets_one_sentence(tmp_path, capsys):
    broken = Transcoder.random([0], 2, 3, 2)
    broken.W_dec.data.fill_(torch.nan)
    broken.save(tmp_path / "t")
    assert ask(tmp_path, "--support", "1,2") == 2
    said = capsys.readouterr().err
    assert "not finite" in said
    assert said.count("\n") == 1
    assert ask(tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_smooth_layer_is_certified_by_its_errors_and_they_hold(made, capsys):
    out = ["--out", str(made / "c.json")]
    given = [str(made / "t"), "--layer", "smooth_abs", "--support", "1,2,3", *out]
    assert main(given) == 1  # chords leave a gap
    assert [c.what for c in certify.read_certificates(made / "c.json")] == [
        "worst_error", "mechanism",
    ]  # fmt: skip
    assert main(["check", str(made / "c.json")]) == 0


def test_what_was_finished_before_an_interruption_is_in_the_file(made, monkeypatch, capsys):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("faithnb.certify.__main__.mechanism_certificate", interrupted)
    assert ask(made, "--certify", "worst_error", "mechanism") == 130
    assert "Interrupted" in capsys.readouterr().err
    (one,) = certify.read_certificates(made / "c.json")
    assert one.closed


def test_what_is_no_certificate_is_refused(tmp_path, capsys):
    for content in ("{", "[1]", '[{"what": "worst_error"}]'):
        (tmp_path / "c.json").write_text(content, encoding="utf-8")
        assert main(["check", str(tmp_path / "c.json")]) == 2
        assert "holds no certificates" in capsys.readouterr().err


def test_json_keeps_everything(tmp_path):
    layer = AbsoluteValue(5)
    exact = Transcoder.from_circuits(layer.circuits())
    made = [
        certify.worst_error(with_feature(5, P, WRITE, 2.0), layer),
        certify.mechanism_certificate(PLANTED, [0, 1]),
        certify.faithful_radius(exact, layer, P, 0.1),
    ]
    assert made[2].value == float("inf")
    save(tmp_path / "c.json", made)
    assert certify.read_certificates(tmp_path / "c.json") == made
    assert isinstance(made[0], Certificate)
    assert str(made[0]) == table(made[:1])
