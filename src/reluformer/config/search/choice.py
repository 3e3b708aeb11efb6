"""A choice laid over a run: when its training starts, so that the choice is an input file and no parameter."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reluformer.config.changes import apply_change, apply_changes, paths_of, split_system
from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError, read_path
from reluformer.config.tuning import ChoiceConfig


def read_choice(path: Path) -> ChoiceConfig:
    """The choice in a file that a search wrote; nothing is changed where all of its runs diverged.

    Raises:
        SettingsError: where there is no such file, or it is none of a search.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        unfinished, choice = found["next"], found["choice"] or {"changes": {}, "validation_bleu": None}
        read = ChoiceConfig(changes=choice["changes"], source=str(path), validation_bleu=choice["validation_bleu"])
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file; `snakemake --cores all {path}` makes it") from None
    except (ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}: not the file of a choice, which `reluformer tune` writes") from None
    if unfinished:
        raise SettingsError(f"{path}: the search has not ended: {unfinished[0]} has not been trained")
    return read


def apply_choice(run: RunConfig, choice: ChoiceConfig) -> RunConfig:
    """`run` with a choice's values, beneath the changes in the run's own name; `tuned` says which took effect."""
    where = f"run {run.dataset}/{run.system}"
    changes = split_system(run.system).changes
    changes.pop("recipe", None)
    tuned = run.with_parts(lay(run.parts(), choice, changes, where), where)
    return tuned.model_copy(update={"tuned": in_effect(choice, tuned.parts(), where)})


def lay(parts: Mapping[str, Any], choice: ChoiceConfig, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`parts` with a choice laid over them, and the changes in the run's name over that. Raises `SettingsError`."""
    laid = dict(parts)
    for key, value in choice.changes.items():
        try:
            laid = apply_change(laid, key, value, f"{where}: choice of {choice.source}")
        except SettingsError:
            if not changes:
                raise  # else the run's own changes have left nothing that has this key
    return apply_changes(laid, changes, where)


def in_effect(choice: ChoiceConfig, parts: Mapping[str, Any], where: str) -> ChoiceConfig:
    """A choice without the values that a run's own changes have replaced; `parts`: the run's."""

    def holds(key: str, value: Any) -> bool:
        with contextlib.suppress(SettingsError):
            return all(read_path(parts, path) == value for path in paths_of(key, parts, where))
        return False

    return choice.model_copy(update={"changes": {key: v for key, v in choice.changes.items() if holds(key, v)}})
