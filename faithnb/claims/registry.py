"""What a claim is: a statement, the rules that judge it, and its conditions on a grid.

A claim is declared once, in any file, and is in the ledger from then on::

    sparse = claim("D1", "empirical", "Repeats lower L0.", {
        "L0, without repeats over with": Larger(),
    })

    @sparse.on_grid(lambda base, matched: {"none": replace(base, repeat_frac=0.0), "repeats": base})
    def _(setting):
        of = [setting.tables[k] for k in ("none", "repeats")]
        return {"L0, without repeats over with": (of[0].l0, of[1].l0, of[0].seed, of[1].seed)}

A notebook then hands data to the rules by name (:func:`faithnb.claims.ledger.judge`). Data are what
``evidence`` of the rule takes: one value, a tuple of several, or a dictionary of either by case,
where a rule is asked in several cases. On a grid it is what ``holds`` takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

from faithnb.claims.evidence import Evidence, Held, all_of
from faithnb.claims.passages import PASSAGES
from faithnb.claims.rules import Reported
from faithnb.claims.setting import Conditions, Setting
from faithnb.experiment import Experiment

Kind = Literal["empirical", "identity", "definition", "calibration", "argument", "opinion"]
"""Only empirical claims are counted in a headline. An *identity* or *definition* holds to a
tolerance; a *calibration* says how a setting was meant; an *argument* or *opinion* cannot be
judged by an experiment, but what can be measured about it is reported."""

Given: TypeAlias = Mapping[str, Any]
"""Data by the name of the rule that judges them."""


class Rule(Protocol):
    """A threshold that prints itself and judges data in two ways; see
    :mod:`faithnb.claims.rules`."""

    @property
    def certainty(self) -> str:
        """What the interval must show besides, in words."""

    @property
    def evidence(self) -> Callable[..., Evidence]:
        """(what was measured, data) → evidence, with intervals."""

    @property
    def holds(self) -> Callable[..., Held]:
        """data → whether point estimates meet it."""


@dataclass
class Claim:
    """One claim of the note (C1, …) in our words, or one of this book's own (B1, …; A1, …; P1,
    …; L1, …), with the rules that judge it."""

    id: str
    kind: Kind
    statement: str
    rules: Mapping[str, Rule]
    """By what they judge, in its chapter and on the grid."""
    chapter: Mapping[str, Rule] = field(default_factory=dict)
    """Rules for its chapter alone."""
    grid: Mapping[str, Rule] = field(default_factory=dict)
    """Rules for the grid alone."""
    terms: str = ""
    """What the rules' names mean, where they do not say it."""
    quote: str = ""
    """The note's own words that it rests on, if it is one of the note's."""
    changed: str = ""
    """What was changed of its rules after the seeds that judge them had been looked at."""
    conditions: Callable[[Experiment, Experiment], Conditions | None] | None = None
    """(setting, the same matched) → the conditions it is judged on; ``None`` where it does not
    apply."""
    measured: Callable[[Setting], Given] | None = None
    """What the rules are given there; nothing where there is nothing to judge."""

    def __getitem__(self, name: str) -> Rule:
        """A rule by what it judges."""
        return {**self.rules, **self.chapter, **self.grid}[name]

    @property
    def testable(self) -> bool:
        """Whether an experiment can judge it."""
        return self.kind not in ("argument", "opinion")

    @property
    def rule(self) -> str:
        """How its chapter judges it, in words."""
        rules = {**self.rules, **self.chapter}
        if self.testable:
            return " ".join([*_sentences(rules, certainty=True), self.terms]).strip()
        return " ".join([f"Reported, not judged: {'; '.join(rules)}.", self.terms]).strip()

    @property
    def rule_on_grid(self) -> str:
        """How point estimates judge it on a grid, in words; nothing where they do not."""
        if self.measured is None:
            return ""
        where = inspect.getdoc(self.measured) or ""
        return " ".join([where, *_sentences({**self.rules, **self.grid}, certainty=False)]).strip()

    def on_grid(
        self, conditions: Callable[[Experiment, Experiment], Any]
    ) -> Callable[[Callable[[Setting], Given]], Callable[[Setting], Given]]:
        """Judge it on a grid, too: decorates the function that measures trained conditions.

        Args:
            conditions: as :attr:`conditions`; claims that share the function share what it trains.
        """

        def attach(measured: Callable[[Setting], Given]) -> Callable[[Setting], Given]:
            self.conditions, self.measured = conditions, measured
            return measured

        return attach

    def evidence(self, given: Given) -> list[Evidence]:
        """What its chapter's data say, in the order in which they are given.

        Raises:
            ValueError: if there are no data for a rule, or no rule for data.
        """
        rules = {**self.rules, **self.chapter}
        if missing := [name for name in rules if name not in given]:
            raise ValueError(f"{self.id} needs data for {_listed(missing)}.")
        return [rule.evidence(what, *data) for rule, what, data in self._each(rules, given)]

    def holds(self, given: Given) -> Held:
        """Whether point estimates meet all rules that data are given for; NaN without any.

        Raises:
            ValueError: if there is no rule for data.
        """
        rules = {**self.rules, **self.grid}
        return all_of(*(rule.holds(*data) for rule, _, data in self._each(rules, given)))

    def _each(
        self, rules: Mapping[str, Rule], given: Given
    ) -> Iterator[tuple[Rule, str, tuple[Any, ...]]]:
        """Each rule with what it judges, in words, and its data."""
        if unknown := [name for name in given if name not in rules]:
            raise ValueError(
                f"{self.id} has no rule for {_listed(unknown)}; it has rules for {_listed(rules)}."
            )
        for name, data in given.items():
            for case, values in data.items() if isinstance(data, Mapping) else [("", data)]:
                what = f"{name}, {case}" if case else name
                yield rules[name], what, values if isinstance(values, tuple) else (values,)


CLAIMS: dict[str, Claim] = {}
"""Every claim of the ledger, by id: the note's (C) in its order, then this book's own, on ReLU
transcoders (B), on other sparse layers (A), by proof (P) and on a language model (L), then what was
added."""


def claim(
    id: str,
    kind: Kind,
    statement: str,
    rules: Mapping[str, Rule],
    *,
    chapter: Mapping[str, Rule] | None = None,
    grid: Mapping[str, Rule] | None = None,
    terms: str = "",
    quote: str = "",
    changed: str = "",
) -> Claim:
    """Add a claim to the ledger; see :class:`Claim`.

    Raises:
        ValueError: if its id is taken, its kind is none, or its rules do not suit it.
    """
    if id in CLAIMS and CLAIMS[id].statement != statement:
        raise ValueError(f"there is a claim {id} already: {CLAIMS[id].statement}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind = {kind!r} of {id} must be one of {_listed(get_args(Kind))}.")
    if not quote and id in PASSAGES:
        quote = PASSAGES[id].words
    new = Claim(id, kind, statement, rules, chapter or {}, grid or {}, terms, quote, changed)
    judged = [one for one in (*rules.values(), *new.chapter.values()) if one != Reported()]
    if bool(judged) != new.testable:
        raise ValueError(
            f"{id} is {kind}: it needs {'a' if new.testable else 'no'} rule to judge it."
        )
    CLAIMS[id] = new
    for one in sorted(CLAIMS.values(), key=_place):
        CLAIMS[one.id] = CLAIMS.pop(one.id)
    return new


WHOSE = "CBAPL"
"""First letters of ids, in the ledger's order."""


def _place(one: Claim) -> tuple[int, int]:
    letter, number = one.id[:1], one.id[1:]
    known = letter in WHOSE and number.isdecimal()
    return (WHOSE.index(letter), int(number)) if known else (len(WHOSE), 0)


def _sentences(rules: Mapping[str, Rule], certainty: bool) -> list[str]:
    """What the rules ask for; those that ask for the same stand together."""
    asked: dict[str, list[str]] = {}
    for name, rule in rules.items():
        besides = f", {rule.certainty}" if certainty and rule.certainty else ""
        asked.setdefault(f"{rule}{besides}", []).append(name)
    return [_capital(f"{'; '.join(names)}: {text}.") for text, names in asked.items()]


def _capital(text: str) -> str:
    """With a capital, unless it begins with a symbol."""
    first = text[:2].strip()
    return text[:1].upper() + text[1:] if first.isascii() and first.isalpha() else text


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))
