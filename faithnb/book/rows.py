"""Rows of parameters: read from a YAML file, and held to what a notebook takes."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.resolver import VersionedResolver

from faithnb.book.cells import NotebookError, defaults
from faithnb.book.expressions import evaluate, imported, parsed
from faithnb.common.errors import ParameterError, shown
from faithnb.common.files import read_file
from faithnb.common.progress import progress_bar
from faithnb.experiment import Experiment
from faithnb.notebook import Run, read_parameters
from faithnb.parameters import Allowed, unknown_name

MANY = 100_000
"""Rows above which a product of lists must be meant, and said to be."""

MANY_TO_CHECK = 2_000
"""Rows from which on checking takes so long that it is shown."""

DEEPEST = 20
"""Lists within lists that a file of parameters may have."""

Row = dict[str, Any]


class RowsError(Exception):
    """The notebook or its parameters cannot be used; nothing has been started."""


class _Refused(MarkedYAMLError):
    """What YAML allows and a file of parameters has no use for."""


class _Composer(Composer):
    """No aliases, which write out much from little, and no deep nesting."""

    nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.parser.peek_event().start_mark
        if self.parser.check_event(AliasEvent):
            raise _Refused(problem="it has an alias; write out its value", problem_mark=mark)
        if self.nested > DEEPEST:
            many = f"it has more than {DEEPEST} lists within lists"
            raise _Refused(problem=many, problem_mark=mark)
        self.nested += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.nested -= 1


class _Constructor(SafeConstructor):
    """No name may stand twice in a mapping."""

    def check_mapping_key(
        self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any
    ) -> bool:
        if key in mapping:
            mark = key_node.start_mark
            raise MarkedYAMLError(problem=f"{key} stands there twice", problem_mark=mark)
        return True


class _Resolver(VersionedResolver):
    """YAML 1.2 whatever the file says: 010 is ten, 1:30 is text, .5e1 is a number."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        _ = self.versioned_resolver  # which fills in what it knows itself
        number = re.compile(r"[-+]?\.\d+[eE]\d+$")
        self.add_version_implicit_resolver((1, 2), "tag:yaml.org,2002:float", number, "-+.")

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


def _load(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor, yaml.Resolver = _Composer, _Constructor, _Resolver
    return yaml.load(text)


def read_rows(path: Path, many: bool = False) -> list[Row]:
    """The rows of a YAML file: a list with a mapping for each, or one mapping from names to lists
    of values, which stands for every combination of them.

    Raises:
        RowsError: in a sentence, whatever is wrong with the file.
    """
    try:
        given = _load(read_file(path).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise RowsError(f"{path} cannot be read: {error}.") from None
    except Exception as error:  # explicit tags make its constructors raise anything
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        reason = " ".join(str(getattr(error, "problem", error)).split()).rstrip(".")
        wrong = "is not allowed" if isinstance(error, _Refused) else "is not YAML"
        raise RowsError(f"{path} {wrong}{where}: {reason}.") from None
    if not given:
        raise RowsError(f"{path} is empty: it needs a list of rows, or names with lists of values.")
    if isinstance(given, Mapping):
        lists = {str(k): v if isinstance(v, list) else [v] for k, v in given.items()}
        if empty := [k for k, v in lists.items() if not v]:
            raise RowsError(f"{path}: {empty[0]} has no values.")
        if (size := math.prod(map(len, lists.values()))) > MANY and not many:
            raise RowsError(
                f"{path} asks for {size:,} runs, more than {MANY:,}. If that is meant, say MANY=1."
            )
        return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    if not isinstance(given, list):
        raise RowsError(
            f"{path} holds {shown(given)}: it needs rows, or names with lists of values."
        )
    for k, row in enumerate(given, start=1):
        if not isinstance(row, Mapping) or not row:
            raise RowsError(f"{path}: row {k} is {shown(row)}, not names with values.")
    return [{str(k): v for k, v in row.items()} for row in given]


def check(notebook: NotebookNode, name: str, rows: Sequence[Row], progress: bool = False) -> None:
    """Whether every row is what the notebook's own first cells would take, and no two rows run the
    same.

    Args:
        notebook: as it is before a run.
        name: of the notebook, for messages.
        rows: parameters.
        progress: whether to show a bar where the rows are many.

    Raises:
        RowsError: naming the first row that is not, the parameter, and what is allowed.
    """
    known, limits = _what_it_takes(notebook, name)
    seen: dict[tuple[Experiment, Run], int] = {}
    show = progress and len(rows) >= MANY_TO_CHECK
    with progress_bar(len(rows), "row", show, desc="checking") as bar:
        for k, row in enumerate(rows, start=1):
            try:
                for parameter, value in row.items():
                    if parameter not in known:
                        raise unknown_name(parameter, value, known)
                asked = read_parameters(known | row, **limits)
            except ParameterError as error:
                raise RowsError(f"row {k}: {error}") from None
            if (first := seen.setdefault(asked, k)) != k:
                raise RowsError(f"rows {first} and {k} are the same.")
            bar.update()


def _what_it_takes(notebook: NotebookNode, name: str) -> tuple[Row, dict[str, Allowed]]:
    """The defaults of a notebook's parameters, and the limits it sets for them itself."""
    names: Row = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or (tree := parsed(cell.source)) is None:
            continue
        try:
            names |= imported(tree)
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and _reads_parameters(call.func):
                    limits = {k.arg: evaluate(k.value, names) for k in call.keywords if k.arg}
                    return defaults(notebook, name), limits
        except NotebookError as error:
            raise RowsError(str(error)) from None
        except Exception as error:
            raise RowsError(
                f"what {name} takes cannot be read without running it "
                f"({type(error).__name__}: {error}): give read_parameters limits made of imports."
            ) from None
    raise RowsError(f"{name} reads no parameters with read_parameters(globals()).")


def _reads_parameters(function: ast.expr) -> bool:
    return "read_parameters" in (getattr(function, k, "") for k in ("id", "attr"))
