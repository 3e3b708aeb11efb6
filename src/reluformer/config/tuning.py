"""How systems are tuned, and a choice made before. Does not import torch."""

from __future__ import annotations

from pydantic import Field, field_validator

from reluformer.config.settings import Seed, Strict

Values = list[bool | int | float | str | None]


class TuningConfig(Strict):
    """The tuning runs: every system gets the same number of them, ranked by validation BLEU."""

    seed: Seed = Field(1000, description="of every tuning run, and of no other run")
    recipe: str | None = Field(
        None,
        description="a recipe of the dataset for the tuning runs, shorter and with validate_bleu; a dataset "
        "without it is not tuned",
    )
    datasets: dict[str, str] = Field(
        description="role -> the role on which its systems are tuned; a role left out trains with the recipe as it is"
    )
    grid: dict[str, dict[str, Values] | str] = Field(
        description="system -> key -> values to try, one key after the other; a numeric key whose best value is at the "
        "edge gets more values; or the name of a system, whose choice is taken; of patterns such as `*`, the longest "
        "that matches counts"
    )

    @field_validator("grid")
    @classmethod
    def _has_values(cls, grid: dict[str, dict[str, Values] | str]) -> dict[str, dict[str, Values] | str]:
        for system, axes in grid.items():
            for key, values in axes.items() if isinstance(axes, dict) else ():
                if not values or len(set(map(repr, values))) < len(values):
                    raise ValueError(f"{system}: {key}: expected different values, found {values}")
        return grid


class ChoiceConfig(Strict):
    """A choice made before: what it changes, and the file that it came from. No tuning runs are made for it."""

    changes: dict[str, bool | int | float | str | None]
    source: str = Field(description="the file of an earlier search, e.g. record/tuning/iwslt14/reluformer.json")
    validation_bleu: float | None = Field(None, description="of the run that was chosen")
