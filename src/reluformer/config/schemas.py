"""The JSON schema of every configuration file, for editors that complete and check YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from reluformer.config.claims import ClaimConfig
from reluformer.config.dataset import DatasetConfig
from reluformer.config.experiment import ExperimentConfig
from reluformer.config.run import RunConfig
from reluformer.config.studies import StudyConfig
from reluformer.config.systems import SystemConfig
from reluformer.files import write_text

SCHEMAS: dict[str, type[BaseModel] | Any] = {
    "config": ExperimentConfig,
    "dataset": DatasetConfig,
    "systems": dict[str, SystemConfig],
    "studies": dict[str, StudyConfig],
    "claims": dict[str, ClaimConfig],
    "run": RunConfig,
}


def schema_text(name: str) -> str:
    """Returns the JSON schema of one kind of configuration file."""
    return json.dumps(TypeAdapter(SCHEMAS[name]).json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Writes `NAME.schema.json` for every kind of configuration file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        write_text(folder / f"{name}.schema.json", schema_text(name))
