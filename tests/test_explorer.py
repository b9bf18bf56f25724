from faithnb import Experiment, explore

SMALL = Experiment(d_in=6, d_sae=12, steps=100, batch_size=32, repeat_frac=0.1, seed=4711)


def test_sliders_show_the_experiment_and_change_it():
    explorer = explore(SMALL)
    assert explorer.experiment == SMALL
    explorer.controls["repeat_frac"].value = 0.2
    explorer.controls["jacobian_matching"].value = "smoothed"
    assert explorer.experiment.repeat_frac == 0.2
    assert explorer.experiment.jacobian_matching == "smoothed"


def test_the_button_trains_and_reports(capsys):
    explorer = explore(SMALL)
    explorer.button.click()
    assert explorer.trained.experiments == (SMALL,)
    assert "FVU" in explorer.message.value
    assert not explorer.button.disabled
    assert capsys.readouterr().out.count("Figure") == 4


def test_choices_that_make_no_sense_are_said_and_nothing_is_lost():
    explorer = explore(SMALL)
    explorer.run()
    before = explorer.trained
    explorer.controls["jacobian_coefficient"].value = 0.5
    explorer.run()
    assert "jacobian_matching = 'none'" in explorer.message.value
    assert explorer.trained is before


def test_an_experiment_without_points_can_be_explored():
    explorer = explore(Experiment(d_in=4, d_sae=8, steps=100, batch_size=16, points=()))
    explorer.run()
    assert "L0" in explorer.message.value
