"""What happens at the sites of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from faithnb.common.errors import InputError, shown

Edit = Callable[[Tensor], Tensor]


class Stop(Exception):
    """The pass has come to its end."""


class Visit:
    """What a pass keeps and edits at its sites, and where it stops.

    Args:
        sites: all of them, in order.
        keep: some.
        edit: what is done at some.
        until: the last.
        first: the block that the pass begins at.

    Raises:
        InputError: if a site does not exist, or the pass does not come by.
    """

    def __init__(
        self,
        sites: list[str],
        keep: tuple[str, ...],
        edit: dict[str, Edit],
        until: str | None,
        first: int,
    ):
        _check(sites, {"keep": keep, "edit": edit, "until": () if until is None else (until,)})
        span = sites[sites.index(f"resid.{first}") : sites.index(until or sites[-1]) + 1]
        for site in (*keep, *edit):
            if site not in span:
                raise InputError(
                    f"{site!r} is not allowed: the pass goes from 'resid.{first}' to "
                    f"{until or sites[-1]!r}."
                )
        self.keep, self.edit, self.until = keep, edit, until
        self.kept: dict[str, Tensor] = {}

    def wants(self, site: str) -> bool:
        """Whether anybody asks for the activation there."""
        return site in self.keep or site in self.edit or site == self.until

    def __call__(self, site: str, x: Tensor) -> Tensor:
        """The activation at a site, as edited.

        Raises:
            InputError: if an edit changes its shape.
            Stop: after the last.
        """
        if site in self.edit:
            shape, x = x.shape, self.edit[site](x)
            if x.shape != shape:
                raise InputError(
                    f"edit of {site!r} is not allowed: it gives shape {list(x.shape)}, and must "
                    f"give {list(shape)}."
                )
        if site in self.keep:
            self.kept[site] = x
        if site == self.until:
            raise Stop
        return x


def _check(sites: list[str], named: Mapping[str, Iterable[str]]) -> None:
    for argument, some in named.items():
        for site in some:
            if site not in sites:
                raise InputError(
                    f"{argument} = {shown(site)} is not allowed: sites go from {sites[0]!r}, "
                    f"{sites[1]!r}, … to {sites[-2]!r} and {sites[-1]!r}."
                )
