"""Arms differ in what they say, and in nothing else."""

import pytest

from faithnb import Experiment, ParameterError, sweep
from faithnb.matching import variants
from faithnb.sweeps.conditions import fair_noise, ladder, matched

SMALL = Experiment(d_in=4, d_sae=8, batch_size=16, steps=20, repeat_frac=0.1)


@pytest.mark.parametrize("form", variants())
def test_a_form_sets_its_own_fields_and_changes_win(form):
    arm = matched(SMALL, form, 0.3)
    differ = {k for k in vars(SMALL) if getattr(arm, k) != getattr(SMALL, k)}
    assert differ == {"jacobian_coefficient", *variants()[form]}
    assert arm.jacobian_coefficient == 0.3
    assert matched(SMALL, form, 0.3, perturbation_scale=0.7).perturbation_scale == 0.7
    with pytest.raises(ParameterError, match="jacobian_coefficient = -1"):
        matched(SMALL, form, -1)


def test_fair_noise_keeps_the_ratio_of_penalty_to_reconstruction():
    arm = fair_noise(SMALL, 0.1, 0.2)
    of_reconstruction = 1 + arm.jacobian_coefficient / arm.perturbation_scale**2
    ratio = arm.sparsity_coefficient / of_reconstruction
    assert ratio == pytest.approx(SMALL.sparsity_coefficient)
    assert arm.jacobian_matching == "noise"


def test_a_ladder_begins_without_matching():
    found = ladder(SMALL, ["plain", "masked"], [0.1, 1.0], range(2), {"progress": False})
    assert list(found) == ["plain", "masked"]
    none = sweep(SMALL, progress=False, seed=range(2)).fvu.values
    for form, table in found.items():
        assert table.jacobian_coefficient.values.tolist() == [0.0, 0.1, 1.0]
        fvu = table.fvu.transpose("jacobian_coefficient", "seed").values
        assert fvu[0] == pytest.approx(none, rel=1e-6)
        alone = sweep(matched(SMALL, form, 1.0), progress=False, seed=range(2)).fvu.values
        assert fvu[2] == pytest.approx(alone, rel=1e-5)
        assert abs(fvu[2] - fvu[0]).min() > 1e-4
