"""Which measures a place has, and the mean over the places of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from reluformer.analysis.anisotropy import Anisotropy
from reluformer.analysis.concentration import SlotUse, TopShare, ValueNorms
from reluformer.analysis.distance import Distance, Punctuation
from reluformer.analysis.entropy import Entropy, Mass, ZeroShare
from reluformer.analysis.rows import Rows
from reluformer.analysis.variance import ModuleVariance, VarianceByLength
from reluformer.config.model import ATTENTIONS, KINDS, Kind


class Measure(Protocol):
    """Something measured over a whole split, batch by batch, in memory that does not grow with it."""

    def update(self, rows: Rows) -> None:
        """Takes in the rows of one batch."""

    def result(self) -> dict[str, Any]:
        """What was measured, by its keys in analysis.json."""


def measures_of(kind: Kind, every: int) -> list[Measure]:
    """The measures that make sense for a kind of memory; every: see `TopShare`."""
    attention = kind != "ffn"
    measures: list[Measure] = [
        ModuleVariance(),
        Entropy(by_head=attention),
        ZeroShare(by_head=attention),
        Mass(),
        TopShare(every),
        Anisotropy(learned=not attention),
    ]
    if not attention:
        return [*measures, SlotUse(), ValueNorms()]
    measures += [VarianceByLength(), Punctuation()]
    return measures if kind == "cross_attention" else [*measures, Distance()]


def mean_by_kind(places: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each kind, and `attention` (all three), the mean over its places of every number and mapping of numbers.

    A place whose number is none does not count; a number that no place has is none. Lists are left out.
    """
    kinds: dict[str, dict[str, Any]] = {}
    for name, members in [*((kind, (kind,)) for kind in KINDS), ("attention", ATTENTIONS)]:
        chosen = [place for place in places.values() if place["kind"] in members]
        if chosen:
            kinds[name] = _mean(chosen)
    return kinds


def _mean(places: list[Mapping[str, Any]]) -> dict[str, Any]:
    mean: dict[str, Any] = {}
    for key in dict.fromkeys(key for place in places for key in place):
        values = [place[key] for place in places if key in place]
        if all(value is None or isinstance(value, float) for value in values):
            numbers = [value for value in values if value is not None]
            mean[key] = sum(numbers) / len(numbers) if numbers else None
        elif all(isinstance(value, Mapping) and not _has_lists(value) for value in values):
            mean[key] = _mean(values)
    return mean


def _has_lists(value: Mapping[str, Any]) -> bool:
    return any(isinstance(item, list) for item in value.values())
