"""What stands for an MLP is asked for its output at every position but the first."""

import torch

from faithnb.lm import tiny
from faithnb.lm.patching import Patching, put
from faithnb.lm.prompts import repeated
from faithnb.lm.replaced import ablated, replaced, stand_in
from faithnb.lm.subject import Subject
from faithnb.model.transcoder import Transcoder

M = tiny()
IDS = torch.arange(12).reshape(2, 6)


def test_the_layer_in_its_own_place_changes_nothing():
    same = M.run(IDS, edit=replaced(1, M.layer(1)))
    torch.testing.assert_close(same.logits, M.logits(IDS), atol=1e-5, rtol=1e-5)


def test_the_first_position_is_left_to_the_model():
    edit = ablated(1, torch.full((32,), 3.0))
    run, own = M.run(IDS, keep=("mlp_out.1",), edit=edit), M.run(IDS, keep=("mlp_out.1",))
    assert (run["mlp_out.1"][:, 1:] == 3).all()
    assert torch.equal(run["mlp_out.1"][:, 0], own["mlp_out.1"][:, 0])
    assert (
        M.run(IDS, keep=("mlp_out.1",), edit=ablated(1, torch.zeros(32), 0))["mlp_out.1"] == 0
    ).all()


def test_a_transcoder_of_one_instance_may_stand_for_it_and_gradients_pass_through():
    weights = [torch.randn(1, *shape) for shape in ((32, 5), (5,), (5, 32), (32,))]
    t = Transcoder(*weights)
    edit = replaced(1, t)
    run = M.run(IDS, keep=("mlp_in.1", "mlp_out.1"), edit=edit)
    torch.testing.assert_close(
        run["mlp_out.1"][:, 1:], t(run["mlp_in.1"].flatten(0, 1))[0].unflatten(0, (2, 6))[:, 1:]
    )
    of = Patching(M, repeated(M, 2, seed=0, length=6), edit=edit)
    assert of.attribution("resid", [0]).abs().max() > 0
    assert of.effect({"mlp_out.1": put(of.corrupted["mlp_out.1"])}).abs().max() == 0
    assert torch.equal(of.patch("resid.1"), of.share(of.clean))


def test_a_transcoder_in_a_subjects_units_stands_in_for_its_mlp(tmp_path):
    windows = torch.arange(60).reshape(6, 10)
    subject = Subject(M, 1, windows, folder=tmp_path, progress=False)
    edit = stand_in(subject, subject.layer)  # the layer itself, in those units
    same = M.run(IDS, edit=edit)
    torch.testing.assert_close(same.logits, M.logits(IDS), atol=1e-4, rtol=1e-4)
