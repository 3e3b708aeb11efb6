"""A study: the runs that it needs and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from reluformer.config.metrics import MetricName, metric
from reluformer.config.settings import Distinct, Seed, SettingsError, Strict, nearest, parse

SENTENCE: Final = "sentence"
"""Stands for single sentences among a study's lengths."""
FigureKind = Literal[
    "lines",
    "heat-map",
    "bars",
    "layers",
    "buckets",
    "top-share",
    "training-curves",
    "learning-curves",
    "alignment-curves",
    "variance-law",
    "attention-maps",
]
NEEDS_Y = ("lines", "heat-map", "bars", "layers", "top-share")


class FigureConfig(Strict):
    """A figure of a study: its kind, and what it shows."""

    kind: FigureKind = Field(description="what is drawn")
    title: str = Field(description="above the figure")
    y: list[str] = Field(default=[], description="metrics, a panel each; top-share: e.g. ffn.top_share")
    x: str | None = Field(None, description="lines, heat-map: a varied key, or length")
    rows: str | None = Field(None, description="heat-map: another varied key, down the map")
    log: bool = Field(False, description="lines: a logarithmic y axis")
    systems: list[str] = Field(default=[], description="systems to show; empty: all of the study's")
    layer: int = Field(-1, description="attention-maps: the layer; -1 is the last")
    attention: Literal["encoder", "decoder", "cross"] = Field("encoder", description="attention-maps: which attention")
    window: int = Field(32, ge=4, description="attention-maps: tokens shown with labels")

    @model_validator(mode="after")
    def _complete(self) -> FigureConfig:
        if self.kind in NEEDS_Y and not self.y:
            raise ValueError(f"a figure of kind {self.kind} needs y")
        if self.kind in ("lines", "heat-map") and self.x is None:
            raise ValueError(f"a figure of kind {self.kind} needs x")
        if self.kind == "heat-map" and self.rows in (None, self.x):
            raise ValueError("a figure of kind heat-map needs rows, a key other than x")
        for name in self.y:
            metric(f"{name}.100" if self.kind == "top-share" else name)
        return self


class AnswerConfig(Strict):
    """A sentence that says which value of a varied key is best."""

    key: str = Field(description="a varied key")
    symbol: str = Field(description="how the sentence names the key")
    metric: MetricName = Field(description="the metric to compare values by; the highest is best")
    question: str = Field(description="the question that it answers")
    tolerance: float = Field(0.3, ge=0, description="values this close to the best count as equally good")


class MeasuringConfig(Strict):
    """A measured study: each system at each length, one after the other, in every round."""

    lengths: list[int] = Field(min_length=1, description="tokens of every source and every target, ascending")
    rounds: int = Field(5, ge=1, description="how often each point is measured")
    batch_tokens: int = Field(
        4096, ge=1, description="target tokens of an update; a longer sentence is an update by itself"
    )
    seconds: float = Field(1.0, gt=0, description="least total time of the timed updates, and of the timed searches")
    limit: float = Field(120.0, gt=0, description="seconds after which training or decoding at a point is too slow")


class StudyConfig(Strict):
    """A table of the paper with its figures."""

    title: str = Field(description="of its page")
    question: str = Field(description="one sentence: what the study asks; its caption in the report")
    dataset: str = Field(description="a role of config.yaml's `datasets`, or a dataset's name")
    systems: Distinct[str] = Field(
        description="systems by name, a row each; a name may carry changes: reluformer+gamma=1"
    )
    titles: dict[str, str] = Field(
        default_factory=dict, description="row titles by entry in `systems`; by default those of systems.yaml"
    )
    vary: dict[str, Distinct[Any]] = Field(
        default_factory=dict,
        description="a grid of changes, e.g. {gamma: [0.5, 1]}; each point is a run of its own",
    )
    packing: Distinct[Literal["within", "across"]] = Field(
        default=[], description="document datasets: packings to use; with neither packing nor lengths, single sentences"
    )
    lengths: Distinct[int | Literal["sentence"]] = Field(
        default=[],
        description="document datasets: segment lengths L to use; `sentence` adds the models of single sentences, "
        "once for all packings and without the study's recipes",
    )
    recipe: str | None = Field(None, description="a named recipe of the dataset; ignored if the dataset lacks it")
    seeds: Distinct[Seed] | None = Field(None, description="null: config.yaml's seeds")
    baseline: dict[str, Any] | None = Field(
        None,
        description="what the other rows are tested against, e.g. {gamma: 1}, all else equal; null: the first system",
    )
    measured: MeasuringConfig | None = Field(
        None, description="measure the systems by length in one job, with random weights, instead of training them"
    )
    columns: list[MetricName] = Field(min_length=1, description="the table's metrics, see `reluformer.config.metrics`")
    across: str | None = Field(None, description="a key spread over the table's columns: system, length, a varied key")
    figures: dict[str, FigureConfig] = Field(default_factory=dict, description="its figures by name")
    answer: AnswerConfig | None = Field(None, description="a sentence on the best value of a varied key")
    main: bool = Field(False, description="the table that `make demo` prints at its end")

    @model_validator(mode="after")
    def _keys(self) -> StudyConfig:
        keys = ["system", "length", "packing", *self.vary]
        systems = dict.fromkeys(self.systems)
        checks: list[tuple[str, Any, Iterable[str]]] = [
            ("across", self.across, keys),
            ("answer.key", self.answer and self.answer.key, keys),
            ("baseline.system", (self.baseline or {}).get("system"), systems),
            *(("baseline", key, ["system", *self.vary]) for key in self.baseline or {}),
        ]
        for name, figure in self.figures.items():
            checks += [(f"figures.{name}.x", figure.x, keys), (f"figures.{name}.rows", figure.rows, keys)]
            checks += [(f"figures.{name}.systems", system, systems) for system in figure.systems]
        for where, value, valid in checks:
            if value is not None and value not in valid:
                raise ValueError(f"{where}: {value!r} is not one of {', '.join(valid)}")
        return self


def parse_study(data: Any, change: dict[str, Any] | None, where: str, where_changed: str) -> StudyConfig:
    """Parses a study with the changes of config.yaml. Raises `SettingsError`."""
    study = parse(StudyConfig, data, where)
    if wrong := [system for system in study.titles if system not in study.systems]:
        hint = nearest(wrong[0], study.systems)
        raise SettingsError(f"{where}: titles: {wrong[0]!r}: not a system of the study{hint}")
    return parse(StudyConfig, {**data, **change}, where_changed) if change else study
