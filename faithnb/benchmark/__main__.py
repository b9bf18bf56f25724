"""The benchmark from the command line.

python -m faithnb.benchmark list
python -m faithnb.benchmark score FOLDER --task abs-v1 [--hidden SEED]
python -m faithnb.benchmark run RECIPE --task abs-v1 [--seeds 16] [--save]
python -m faithnb.benchmark check results/ENTRY.json
python -m faithnb.benchmark audit --task abs-v1 [--save]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from faithnb.benchmark.again import check, usual
from faithnb.benchmark.audited import Audited
from faithnb.benchmark.entry import RESULTS, run_into
from faithnb.benchmark.evaluate import evaluate
from faithnb.benchmark.pool import pool
from faithnb.benchmark.recipes import RECIPES, recipes_named
from faithnb.benchmark.score import score
from faithnb.benchmark.task import Task
from faithnb.benchmark.tasks import TASKS
from faithnb.common.errors import InputError, ParameterError, shown
from faithnb.common.progress import progress_bar
from faithnb.model.transcoder import load


def main(arguments: Sequence[str] | None = None) -> int:
    """What was asked for; 0 if it came out, 1 if an entry did not, 2 if it could not be started."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options))
    except (InputError, ParameterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted. What was written is kept, and a run with --save goes on after it.",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faithnb.benchmark",
        description="Do sparse layers compute the way the layer does? Tasks whose mechanism is "
        "known, and scores.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Any, words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(do=do)
        return made

    def with_tasks(made: argparse.ArgumentParser, required: bool = True) -> None:
        made.add_argument("--task", nargs="+", required=required, help="names of tasks")

    command("list", _list, "The tasks, and the package's recipes.")
    one = command("score", _score, "Score a transcoder that is trained, from its folder.")
    one.add_argument("folder", help="in any layout that faithnb.load reads")
    with_tasks(one)
    one.add_argument("--hidden", type=int, help="seed of a variant of the task")
    many = command("run", _run, "Train and score a recipe over seeds.")
    many.add_argument("recipe", help=f"{', '.join(RECIPES)}, or path/to/file.py:Class")
    with_tasks(many)
    many.add_argument("--seeds", default="16", help="how many, or FIRST-LAST (default: 16)")
    many.add_argument("--sparsity", nargs="+", type=float, help="points of the sweep")
    many.add_argument("--hidden", type=int, help="seed of a variant of the tasks")
    many.add_argument("--save", action="store_true", help=f"write an entry to {RESULTS.name}/")
    again = command("check", _check, "Run entries again and compare their numbers.")
    again.add_argument("entries", nargs="*", help="files; by default two that are cheap, in part")
    with_tasks(again, required=False)
    for made in (many, again):
        made.add_argument("--workers", type=int, help="processes that train (default: one a core)")
    lens = command("audit", _audit, "Which measures have earned their column on a task.")
    with_tasks(lens)
    lens.add_argument("--save", action="store_true", help=f"keep it in {RESULTS.name}/")
    return parser


def tasks_named(names: Sequence[str], hidden: int | None = None) -> list[Task]:
    """Tasks, or the variants of them that belong to a seed.

    Raises:
        ParameterError: if there is no such task.
    """
    for name in names:
        if name not in TASKS:
            raise ParameterError(
                f"task = {shown(name)} is not allowed: it must be one of {', '.join(TASKS)}."
            )
    found = [TASKS[name] for name in names]
    return found if hidden is None else [task.hidden(hidden) for task in found]


def seeds_named(text: str) -> list[int]:
    """``16`` is the first sixteen, ``300-315`` those.

    Raises:
        ParameterError: if it is neither.
    """
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ParameterError(f"seeds = {shown(text)} is not allowed: write 16, or 300-315.")
    found = list(range(int(first), int(last) + 1) if dash else range(int(first)))
    if not found:
        raise ParameterError(f"seeds = {shown(text)} is not allowed: there is none.")
    return found


def _list(options: argparse.Namespace) -> int:
    print("Tasks:")
    for task in TASKS.values():
        e = task.setting
        print(f"  {task.name}  {e.target}, {task.d_in} → {task.d_out}; twin: {task.twin}")
    print("Recipes:", ", ".join(RECIPES))
    return 0


def _score(options: argparse.Namespace) -> int:
    found = load(options.folder)
    tasks = tasks_named(options.task, options.hidden)
    rows = {}
    with progress_bar(len(tasks) * len(found), "score") as bar:
        for task in tasks:
            for k in range(len(found)):
                rows[task.name, k] = score(found[k], task)
                bar.update()
    table = pd.DataFrame(rows)
    table.columns.names = ["task", "instance"]
    print(table.drop(index=["seconds", "samples"]).to_string(float_format="{:.4g}".format))
    return 0


def _run(options: argparse.Namespace) -> int:
    seeds, made = seeds_named(options.seeds), recipes_named(options.recipe, options.sparsity)
    if options.save and options.hidden is not None:
        raise ParameterError("an entry holds tasks as they are; leave --hidden or --save away.")
    tasks = tasks_named(options.task, options.hidden)
    recipe = _from_results(options.recipe) if options.save else ""
    with pool(options.recipe, options.workers) as executor:
        if options.save:
            for said in run_into(RESULTS, recipe, made, tasks, seeds, executor):
                print(said, flush=True)
        else:
            print(evaluate(made, tasks, seeds, executor=executor))
    return 0


def _from_results(recipe: str) -> str:
    """A file's path as it is found from the folder of the entries."""
    path, colon, name = recipe.rpartition(":")
    if not colon:
        return recipe
    found = Path(path).resolve()
    if not found.is_relative_to(RESULTS.resolve()):
        raise ParameterError(
            f"recipe = {shown(recipe)} is not allowed for an entry: put the file into {RESULTS}, "
            "so that it is submitted too."
        )
    return f"{found.relative_to(RESULTS.resolve())}:{name}"


def _check(options: argparse.Namespace) -> int:
    asked = [(Path(path), options.task, None) for path in options.entries]
    bad = 0
    for path, tasks, points in asked or usual(RESULTS):
        wrong = check(path, tasks, points=points, workers=options.workers)
        bad += bool(wrong)
        print(f"{path.name}: {'refused' if wrong else 'comes out'}")
        print("".join(f"  {said}\n" for said in wrong), end="")
    return int(bad > 0)


def _audit(options: argparse.Namespace) -> int:
    for task in tasks_named(options.task):
        found = Audited.of(task)
        said = found.verdicts.reasons.map("; ".join)
        print(task.name)
        print(found.verdicts.assign(reasons=said).to_string(float_format="{:.3g}".format))
        if options.save:
            print(f"Written: {found.save(RESULTS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
