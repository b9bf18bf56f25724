"""Recipes: what they are called, made with and found by."""

import pytest
import torch
from strangers import Gives, small

from faithnb import InputError, ParameterError
from faithnb.benchmark import Recipe, evaluate
from faithnb.benchmark.recipe import class_named, code_of, configuration_of, name_of, points_of
from faithnb.benchmark.recipes import RECIPES, Trained, recipes_named

SOURCE = '''
"""A recipe."""
import torch

class Mine:
    sparsities = (0.1, 0.2)
    def __init__(self, sparsity=0.3):
        self.sparsity = sparsity
        self.held = torch.zeros(2)
    def fit(self, task, seed):
        return torch.nn.Linear(task.d_in, task.d_out)

class Other:
    pass
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_a_class_of_somebodys_file(file):
    made = recipes_named(f"{file}:Mine")
    assert [m.sparsity for m in made] == [0.1, 0.2]
    assert isinstance(made[0], Recipe)
    assert name_of(made[0]) == "Mine"
    assert configuration_of(made[0]) == {"sparsity": 0.1}
    assert [m.sparsity for m in recipes_named(f"{file}:Mine", [5])] == [5]
    code = code_of(made[0])
    file.write_text(SOURCE.replace("A recipe", "Another word"), encoding="utf-8")
    assert code_of(recipes_named(f"{file}:Mine")[0]) == code
    file.write_text(SOURCE.replace("zeros(2)", "zeros(3)"), encoding="utf-8")
    assert code_of(recipes_named(f"{file}:Mine")[0]) != code


@pytest.mark.parametrize(("spec", "sentence"), [
    ("nothing", "must be one of the package, or path/to/file.py:Class"),
    ("no/file.py:Mine", "of a file that is there"),
    ("{}:Other", "has no class 'Other' with a fit"),
    ("{}_bad.py:Mine", "cannot be run here: ModuleNotFoundError: No module named 'nothing_such'"),
    ("{}:Nobody", "has no class 'Nobody' with a fit"),
])  # fmt: skip
def test_what_is_no_recipe_gets_a_sentence(spec, sentence, file):
    file.with_name("mine.py_bad.py").write_text("import nothing_such", encoding="utf-8")
    with pytest.raises(ParameterError, match=sentence):
        class_named(spec.format(file))


def test_one_without_a_sweep_is_made_once():
    class Plain:
        def fit(self, task, seed):
            return None

    assert len(points_of(Plain)) == 1
    assert configuration_of(Plain()) == {}
    assert configuration_of(Gives(len)) == {"sparsity": 0.1}


@pytest.mark.parametrize("name", RECIPES)
def test_the_packages_recipes_go_through(name):
    made = recipes_named(name)[:2]
    task = small(steps=20)
    assert name_of(made[0]) == name
    assert len({str(configuration_of(m)) for m in made}) == 2
    rows = evaluate(made, task, seeds=[1, 2], progress=False).rows
    assert (rows.failed == "").all()
    assert (rows.samples == 20 * 64).all()
    assert rows.fvu.nunique() == 4


@pytest.mark.parametrize("name", ["molt", "crosscoder", "cross_layer"])
def test_two_layers_are_explained_by_those_made_for_them(name):
    rows = evaluate(recipes_named(name, [0.02]), small("layers-v1", steps=20), [1], False).rows
    assert (rows.failed == "").all()


@pytest.mark.parametrize("name", ["crosscoder", "cross_layer"])
def test_layers_are_rotated_alike_and_never_mixed(name):
    task = small("layers-v1", steps=20).hidden(7)
    rows = evaluate(recipes_named(name, [0.02]), task, [1], False).rows
    assert (rows.failed == "").all()
    task = small("abs-v1", steps=20).hidden(7)
    rows = evaluate(recipes_named(name, [0.02]), task, [1], False).rows
    assert "a rotation mixes the layers" in rows.failed[0]


def test_a_seed_alone_gives_what_it_gives_in_company():
    task, recipe = small(steps=20), Trained("relu")
    alone, company = recipe.fit(task, 2), recipe.fit_many(task, [1, 2])[1]
    for name, weight in alone.weights().items():
        assert torch.allclose(weight, company.weights()[name], atol=1e-6)


def test_it_sees_no_more_than_the_task_allows():
    from dataclasses import replace

    task = replace(small(steps=20), samples=10 * 64 + 63)
    assert Trained("relu").samples(task) == 640


@pytest.mark.filterwarnings("ignore::faithnb.training.ensemble.DivergenceWarning")
def test_a_seed_that_diverges_is_said():
    wild = Trained("relu", fields={"learning_rate": 1e30})
    rows = evaluate(wild, small(steps=20), seeds=[1], progress=False).rows
    assert rows.failed.tolist() == ["training diverged."]
    with pytest.raises(InputError, match="training diverged"):
        wild.fit(small(steps=20), 1)
