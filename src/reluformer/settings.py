"""Reading configuration: strict models, one clear line for every mistake.

Every configuration class of the project derives from `Strict`; every YAML file is read by `load`. A mistake in a
file ends as one `SettingsError` line that names the file, the key, the value and, where there is one, the nearest
valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class SettingsError(ValueError):
    """A configuration mistake, as one line for a person."""


class Strict(BaseModel):
    """A configuration model that refuses unknown keys and cannot be changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=BaseModel)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the valid name closest to `name`, or the list of valid names."""
    valid = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises `SettingsError`."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        siblings = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise SettingsError(f"{path}: there is no such file{nearest(path.name, siblings)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data


def parse(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """`data` as a `model`; `where` names the file (and key) in the error. Raises `SettingsError`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SettingsError(explain(error, model, data, where)) from None


def load(model: type[Model], path: str | Path) -> Model:
    """The YAML file `path` as a `model`. Raises `SettingsError`."""
    return parse(model, read_yaml(path), str(path))


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `patch` laid over it, mappings merged key by key, everything else replaced."""
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_path(data: Any, path: Iterable[str], default: Any = None) -> Any:
    """The value at a path of keys in nested mappings; `default` where there is none."""
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return default
        data = data[key]
    return data


def explain(error: ValidationError, model: type[BaseModel], data: Any, where: str) -> str:
    """The first mistake of a pydantic error as one line."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key{nearest(location[-1], _fields_at(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{where}: {key}: this key is required"
    value = first.get("input")
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {key + ': ' if key else ''}{value!r}: {message[0].lower() + message[1:]}"


def _fields_at(model: Any, location: tuple[Any, ...]) -> list[str]:
    """Field names of the model found by following `location` through `model`'s annotations."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            continue  # an index or a key of a mapping: the model stays the same
        candidates = _models_in(field.annotation)
        if not candidates:
            return []
        model = candidates[0]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
