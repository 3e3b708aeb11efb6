"""Reading configuration: strict models, one clear line for every mistake.

Every configuration class of the project derives from `Strict`; every YAML file is read by `load`. A mistake in a
file ends as one `SettingsError` line that names the file, the key, the value and, where there is one, the nearest
valid name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reluformer.config.fields import clash
from reluformer.config.yamlfile import YamlError, read_document


class SettingsError(ValueError):
    """A configuration mistake, as one line for a person."""


class Strict(BaseModel):
    """A configuration model that refuses unknown keys, infinity and NaN, and cannot be changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _number_of(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Seed = Annotated[int, BeforeValidator(_number_of), Field(ge=0, lt=2**32, strict=True)]
"""A seed that every generator of random numbers takes; in a list of Snakemake's `--config`, numbers are text."""


def require_name(name: object, where: str) -> str:
    """`name` if it can stand in paths, targets of the workflow and options. Raises `SettingsError`."""
    if isinstance(name, str) and re.fullmatch(r"[^\W_][\w.-]*", name):
        return name
    raise SettingsError(
        f"{where}: {name!r}: a name has letters, digits, '-', '_' and '.' only and starts with a letter or digit, "
        "as it becomes a folder and a target"
    )


def refuse_clash(names: Iterable[str], where: str) -> None:
    """Raises `SettingsError` if two of the names would be one file on disks that ignore case."""
    if pair := clash(names):
        raise SettingsError(f"{where}: {pair[0]!r} and {pair[1]!r} are one name on disks that ignore case; rename one")


Model = TypeVar("Model", bound=BaseModel)


def nearest(name: str, valid: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the valid name closest to `name`, or the list of valid names."""
    valid = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; an empty file is an empty mapping. Raises `SettingsError`."""
    path = Path(path)
    try:
        data = read_document(path)
    except FileNotFoundError:
        siblings = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise SettingsError(f"{path}: there is no such file{nearest(path.name, siblings)}") from None
    except YamlError as error:
        raise SettingsError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data


def parse(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """`data` as a `model`; `where` names the file (and key) in the error. Raises `SettingsError`.

    A whole number where text belongs (`title: 1984`) is that text.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        if (worded := _with_text(data, error)) is not None:
            return parse(model, worded, where)
        raise SettingsError(explain(error, model, data, where)) from None


def _with_text(data: Any, error: ValidationError) -> Any:
    """`data` with text in place of the whole numbers that were refused for not being text; None if there are none."""
    changed = None
    for one in error.errors():
        number = one.get("input")
        if one["type"] == "string_type" and isinstance(number, int) and not isinstance(number, bool):
            replaced = _replaced(data if changed is None else changed, one["loc"], number, str(number))
            changed = changed if replaced is None else replaced
    return changed


def _replaced(data: Any, path: tuple[Any, ...], old: Any, new: Any) -> Any:
    """`data` with `new` for the `old` at a path; None if it is not there."""
    if not path:
        return new if data is old or data == old else None
    if not isinstance(data, Mapping | list):
        return None
    try:
        inner = _replaced(data[path[0]], path[1:], old, new)
    except (KeyError, IndexError, TypeError):
        return None
    if inner is None:
        return None
    if isinstance(data, list):
        return [*data[: path[0]], inner, *data[path[0] + 1 :]]
    return {**data, path[0]: inner}


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
    if first["type"] == "string_type" and isinstance(value, bool | float):
        return f"{where}: {key}: {str(value).lower()} is not text for YAML; quote it as you mean it, '...'"
    if first["type"] == "string_type" and value is None:
        return f"{where}: {key}: text is expected, nothing is there"
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
