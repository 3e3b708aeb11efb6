"""A claim of the paper and the rule that decides it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from reluformer.config.metrics import MetricName
from reluformer.config.settings import Strict

Source = Literal["S", "A", "D", "?"]

Relation = Literal["above", "at least", "close to", "times", "diverges", "trains"]


class ReportedConfig(Strict):
    """A number that the paper reports, and its source."""

    what: str = Field(description="the quantity")
    value: str = Field(description="as the source writes it")
    source: Source = Field(description="S: third-party summaries that agree; A: the abstract; D: derived; ?: open")


class RuleConfig(Strict):
    """A condition of a claim's verdict, on means over seeds (medians over rounds)."""

    metric: MetricName = Field("tokenized_bleu", description="a column of the study")
    system: str = Field(description="a row of the study")
    relation: Relation = Field(description="of its mean to `than`; or whether its trainings diverge")
    than: str | float | None = Field(None, description="another system, or a number")
    margin: float = Field(0.0, ge=0, description="the smallest difference that counts (times: the factor)")
    where: dict[str, list[Any]] = Field(default_factory=dict, description="only at these values of varied keys")
    unless: dict[str, list[Any]] = Field(default_factory=dict, description="not at these values of varied keys")

    @model_validator(mode="after")
    def _complete(self) -> RuleConfig:
        if (self.than is None) != (self.relation in ("diverges", "trains")):
            raise ValueError(f"relation {self.relation!r}: `than` is {'missing' if self.than is None else 'unused'}")
        return self


class ClaimConfig(Strict):
    """A claim of the paper: what it reports, and the rule that our runs must satisfy."""

    sentence: str = Field(description="the claim")
    headline: str | None = Field(None, description="the claim for readers of the abstract, at the top of index.html")
    source: Source = Field(description="of the claim, as in `reported`")
    reported: list[ReportedConfig] = Field(default=[], description="the paper's numbers")
    study: str | None = Field(None, description="the study whose runs decide; null: true by construction")
    rule: list[RuleConfig] = Field(default=[], description="all must hold")
    construction: str | None = Field(None, description="why it holds without runs, and which test shows it")

    @model_validator(mode="after")
    def _decidable(self) -> ClaimConfig:
        if (self.study is None) != (not self.rule) or (self.study is None) != (self.construction is not None):
            raise ValueError("a claim needs either a study and a rule, or a construction")
        return self
