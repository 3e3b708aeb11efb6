"""Which runs cost the same: one model's shape, one system's arithmetic, one shape of batches."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from reluformer.cli.planning.sizes import Sizes
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run, RunConfig

UPDATE_KEYS = (
    "batch_tokens",
    "accumulation",
    "precision",
    "zero_stage",
    "activation_checkpointing",
    "compile",
    "processes",
)


class Kind(NamedTuple):
    """Runs of one cost: a name for people, one of them resolved with its vocabulary, and how many they are."""

    name: str
    config: RunConfig
    runs: int


def with_vocabulary(config: RunConfig, size: int) -> RunConfig:
    """A run whose model knows its vocabulary."""
    return config.model_copy(update={"model": config.model.model_copy(update={"vocabulary": size})})


def key_of(config: RunConfig) -> str:
    """What decides the cost of an update and of a decoded token; a number such as γ or λ does not, `learned` does."""
    training = config.training.model_dump(include={*UPDATE_KEYS, "nodes", "threads"})
    parts = [config.dataset, _without_numbers(config.model.model_dump()), training, config.translation.model_dump()]
    return json.dumps(parts, sort_keys=True, default=str)


def all_runs(experiment: Experiment) -> dict[Run, RunConfig]:
    """The runs of all studies, and those that tune their systems."""
    return {**experiment.runs, **experiment.tuning.runs()}


def list_kinds(experiment: Experiment, sizes: dict[str, Sizes]) -> dict[str, Kind]:
    """The kinds of an experiment's runs by key; `sizes` by a run's dataset."""
    kinds: dict[str, Kind] = {}
    for run, config in all_runs(experiment).items():
        key = key_of(config)
        if key in kinds:
            kinds[key] = kinds[key]._replace(runs=kinds[key].runs + 1)
        else:
            kinds[key] = Kind(_name(run), with_vocabulary(config, sizes[run.dataset].vocabulary), 1)
    for config in experiment.measured_systems():  # what the job of the measured study costs rests on these
        name = f"{config.dataset}/{config.system}"
        kinds.setdefault(key_of(config), Kind(name, with_vocabulary(config, sizes[config.dataset].vocabulary), 0))
    return kinds


def _name(run: Run) -> str:
    system = "+".join(part for part in run.system.split("+") if not part.startswith("recipe="))
    return f"{run.dataset}/{system}"


def _without_numbers(model: dict[str, Any]) -> dict[str, Any]:
    """A model's configuration where options and penalties say only what they are."""

    def plain(value: Any, inside: bool) -> Any:
        if isinstance(value, dict):
            return {key: plain(part, inside or key in ("options", "penalty")) for key, part in value.items()}
        return 0 if inside and isinstance(value, int | float) and not isinstance(value, bool) else value

    return {key: plain(value, False) for key, value in model.items()}
