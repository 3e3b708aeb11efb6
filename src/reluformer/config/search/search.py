"""Coordinate search over a grid: which points to run next, or the choice. Plain values in, plain values out.

The values of the first axis are tried with the other keys as the system has them, those of the second around the best
of the first, and so on. A point that was run is not run again. Where the best value of a numeric axis is at its edge,
the axis is widened by one value beyond it, in its own geometric steps, `WIDEN` times a side at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Axes = Mapping[str, Sequence[Any]]
"""Key -> the values to try, in the order in which the keys are searched."""
Point = dict[str, Any]
"""A value for each key."""

WIDEN = 2
"""Values added beyond one side of an axis, at most."""


class Score(NamedTuple):
    """What a run is ranked by: its best validation BLEU, then its best validation loss (nats a token)."""

    bleu: float | None = None
    loss: float | None = None
    diverged: bool = False

    @property
    def rank(self) -> tuple[float, float] | None:
        """Greater is better; None for a run that diverged, which cannot be chosen."""
        if self.diverged or (self.bleu is None and self.loss is None):
            return None
        return -math.inf if self.bleu is None else self.bleu, -math.inf if self.loss is None else -self.loss


@dataclass(frozen=True)
class Step:
    """Where a search stands: the points to run next, or, with none left, the choice.

    Attributes:
        points: to run next; empty once the search has ended.
        choice: the best point; None while there are points to run, and where every run diverged.
        axis: the key whose values are tried; empty once the search has ended.
        widened: the values added to each axis.
        edges: axes whose best value is still at the edge after widening.
    """

    points: list[Point]
    choice: Point | None = None
    axis: str = ""
    widened: dict[str, list[Any]] = field(default_factory=dict)
    edges: list[str] = field(default_factory=list)


def identity(point: Mapping[str, Any]) -> str:
    """What tells points apart: 1.0 and 1 are one value, whatever the order of the keys."""
    return json.dumps({key: plain(value) for key, value in point.items()}, sort_keys=True)


def plain(value: Any) -> Any:
    """A whole number as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def budget(axes: Axes, start: Mapping[str, Any]) -> int:
    """Runs of a search before any widening: a value that the point searched from has already costs none."""
    sizes = [
        len(values) - (number > 0 and key in start and _contains(values, start[key]))
        for number, (key, values) in enumerate(axes.items())
    ]
    return sum(sizes)


def search(
    axes: Axes,
    start: Mapping[str, Any],
    scores: Mapping[str, Score],
    allowed: Callable[[Point], bool] = lambda point: True,
) -> Step:
    """Takes the scores so far and says what to run next.

    Args:
        axes: the grid.
        start: the system's own values of the keys; a key may be missing where it has no single value.
        scores: by `identity` of the point.
        allowed: whether a widened point is valid; a key's own bounds are where widening ends.
    """
    point = dict(start)
    widened: dict[str, list[Any]] = {}
    edges: list[str] = []
    for number, (key, listed) in enumerate(axes.items()):
        tried = list(listed)
        if number and key in start and not _contains(tried, start[key]):
            tried.append(start[key])
        while True:
            candidates = [{**point, key: value} for value in tried]
            missing = [candidate for candidate in candidates if identity(candidate) not in scores]
            if missing:
                return Step(missing, axis=key, widened=_filled(widened), edges=edges)
            ranks = [scores[identity(candidate)].rank for candidate in candidates]
            ranked = [(rank, index) for index, rank in enumerate(ranks) if rank is not None]
            if not ranked:
                return Step([], widened=_filled(widened), edges=edges)
            best = tried[max(ranked, key=lambda one: (one[0], -one[1]))[1]]
            value = beyond(best, tried)
            if value is None:
                break
            added = widened.setdefault(key, [])
            middle = next(one for one in tried if _is_number(one))
            same_side = [one for one in added if (one > middle) == (value > middle)]
            if len(same_side) >= WIDEN or not allowed({**point, key: value}):
                edges.append(key)
                break
            tried.append(value)
            added.append(value)
        point[key] = best
    return Step([], choice=point, widened=_filled(widened), edges=edges)


def _filled(lists: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: values for key, values in lists.items() if values}


def beyond(best: Any, tried: Sequence[Any]) -> Any:
    """The next value after `best` where it is the smallest or largest number of an axis, by the axis's last ratio.

    None where `best` is inside, no number, or has no positive neighbour to take a ratio from.
    """
    numbers = sorted({value for value in tried if _is_number(value)})
    if not _is_number(best) or len(numbers) < 2 or best not in (numbers[0], numbers[-1]):
        return None
    neighbour = numbers[1] if best == numbers[0] else numbers[-2]
    if min(best, neighbour) <= 0:
        return None
    value = float(f"{best * best / neighbour:.3g}")
    return plain(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _contains(values: Sequence[Any], value: Any) -> bool:
    return any(identity({"": one}) == identity({"": value}) for one in values)
