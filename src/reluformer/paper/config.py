"""What a study is: the runs it needs and how they are shown. No torch in here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from reluformer.settings import Strict


class FigureConfig(Strict):
    """One figure of a study."""

    kind: str
    x: str | None = None
    y: list[str] = []
    by: str | None = None
    title: str = ""


class StudyConfig(Strict):
    """One table of the paper with its figures."""

    title: str
    question: str = Field(description="one sentence: what the study asks; its caption in the report")
    claims: list[str] = Field(default=[], description="ids in claims.yaml that this study bears on")
    dataset: str = Field(description="a role of config.yaml's `datasets`, or a dataset's name")
    systems: list[str]
    vary: dict[str, list[Any]] = Field(
        default_factory=dict,
        description="a grid of changes, e.g. {gamma: [0.5, 1]}; each point is a run of its own",
    )
    packing: list[Literal["within", "across"]] = Field(default=[], description="document datasets: packings to use")
    lengths: list[int] = Field(default=[], description="document datasets: segment lengths L to use")
    recipe: str | None = Field(None, description="a named recipe of the dataset; one without it trains plainly")
    seeds: list[int] | None = Field(None, description="none: config.yaml's seeds")
    columns: list[str]
    figures: dict[str, FigureConfig] = Field(default_factory=dict)
