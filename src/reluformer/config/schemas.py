"""Writes the JSON schema of each configuration file, for editors, and config/README.md, a page of all keys."""

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


FILES = {
    "config": (
        "config.yaml, demo.yaml, small.yaml, rectified.yaml, alignment.yaml",
        "An experiment. `--configfile FILE` merges FILE into `config.yaml`.",
    ),
    "dataset": ("datasets/*.yaml", "A corpus and its recipe; the file's name is the dataset's."),
    "run": (
        "model, training, translation",
        "Keys of these three sections, in `config.yaml` and its `overrides`, in a dataset and its recipes. "
        "A system's name can set each of them: `reluformer+learning_rate=1e-3`.",
    ),
    "systems": ("systems.yaml", "The systems by name."),
    "studies": ("studies.yaml", "The studies by name: each is a table with its figures."),
    "claims": ("claims.yaml", "The paper's claims by name: what it reports, and the rule for the verdict."),
}
INTRODUCTION = """\
# Configuration

<!-- Written by `reluformer schemas`; do not edit. -->

Edit these files, then run `snakemake`: only what depends on a changed value is rerun. A mistake is reported in one
line before anything runs, and editors with a YAML language server complete the keys. The command line overrides
all files: `snakemake --cores all --config 'seeds=[1,2]'`. With `snakemake -d FOLDER`, or in a module of another
workflow, a folder `config/` there replaces this one.

| file | content |
|---|---|
"""
WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
PLURALS = {"integer": "integers", "number": "numbers", "text": "texts", "any value": "values"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def reference_text() -> str:
    """Returns the Markdown of config/README.md."""
    text = INTRODUCTION
    text += "".join(f"| [`{files}`](#{anchor(files)}) | {about} |\n" for files, about in FILES.values())
    for name, (files, _) in FILES.items():
        text += f"\n## {files}\n" + section(TypeAdapter(SCHEMAS[name]).json_schema())
    return text


def anchor(heading: str) -> str:
    """Returns GitHub's anchor of a heading."""
    return "".join(char for char in heading.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def section(schema: dict[str, Any]) -> str:
    """Returns a table of a file's keys and a table for each model in it, even if used in several places."""
    models = schema.get("$defs", {})
    is_run = schema.get("title") == "RunConfig"
    if is_run:  # only three of its keys are written by hand
        schema = {"properties": {key: schema["properties"][key] for key in ("model", "training", "translation")}}
    elif "properties" not in schema:  # a mapping from names
        schema = {"additionalProperties": schema["additionalProperties"]}
    text = "" if is_run or "properties" not in schema else table(schema)
    waiting = [("", schema)]
    places: dict[str, list[str]] = {}
    while waiting:
        path, part = waiting.pop(0)
        for inner, model in models_of(part, path):
            if model not in places:
                waiting.append((inner, models[model]))
            places.setdefault(model, []).append(inner)
    for model, paths in places.items():
        names = ", ".join(f"`{path.lstrip('.')}`" for path in paths)
        summary = " ".join(models[model]["description"].split("\n\n")[0].split())
        text += f"\n**{names}**: {escaped(summary)}\n{table(models[model])}"
    return text


def models_of(part: dict[str, Any], path: str) -> list[tuple[str, str]]:
    """Returns the path and name of each model that a part of a schema refers to."""
    if "$ref" in part:
        return [(path, part["$ref"].rpartition("/")[2])]
    inner = [(f"{path}.{key}", value) for key, value in part.get("properties", {}).items()]
    inner += [(path, value) for value in part.get("anyOf", [])]
    if "items" in part:
        inner.append((f"{path}[]", part["items"]))
    if isinstance(part.get("additionalProperties"), dict):
        inner.append((f"{path}.NAME", part["additionalProperties"]))
    return [model for below, value in inner for model in models_of(value, below)]


def table(model: dict[str, Any]) -> str:
    """Returns the keys of a model as a Markdown table."""
    required = model.get("required", [])
    rows = ["", "| key | value | default | |", "|---|---|---|---|"]
    for key, value in model["properties"].items():
        cells = [f"`{key}`", kind(value), default(value, key in required), escaped(value["description"])]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def escaped(text: str) -> str:
    """Escapes `<` and `*` outside backticks for Markdown."""
    parts = text.split("`")
    return "`".join(part if i % 2 else part.replace("<", "\\<").replace("*", "\\*") for i, part in enumerate(parts))


def kind(value: dict[str, Any]) -> str:
    """Describes the values that a key accepts."""
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value:
        kinds = dict.fromkeys(kind(choice) for choice in value["anyOf"])
        return "any value" if len(kinds) > 3 else " or ".join(kinds)
    if value.get("type") == "array":
        inner = value.get("items") or {"anyOf": value.get("prefixItems", [{}])}
        return f"list of {PLURALS.get(kind(inner), kind(inner))}"
    if value.get("type") == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"name: {kind(value['additionalProperties'])}"
    bounds = [f"{sign} {value[bound]}" for bound, sign in BOUNDS.items() if bound in value]
    return " ".join([WORDS.get(value.get("type", ""), "keys" if value else "any value"), *bounds])


def default(value: dict[str, Any], required: bool) -> str:
    """Returns a key's default as YAML; empty for a mapping, whose keys have their own."""
    if required:
        return "required"
    given = value.get("default", {})
    if isinstance(given, dict):
        return ""
    return f"`{given if isinstance(given, str) else json.dumps(given)}`"
