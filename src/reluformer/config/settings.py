"""Reads configuration: strict YAML, strict models, and one clear line for every mistake.

Every configuration class derives from `Strict`; every YAML file is read by `load`. A mistake in a file ends as one
`SettingsError` line that names the file, the key, the value and, if there is one, the nearest valid name.

YAML follows version 1.2 on PyYAML, which implements 1.1: `no`, `on` and `yes` are text (Norwegian, not false), `1e-3`
is a number, `010`, `1:30` and `2023-02-13` are text; keys are text. A repeated key is an error that names both lines.
Anchors and `<<` work.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError


class SettingsError(ValueError):
    """A mistake in the configuration, as one line."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, infinity and NaN; numbers become text where text is expected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)
    removed: ClassVar[dict[str, Any]] = {}
    """Keys of earlier versions with their defaults: saved configurations that hold a default still load."""

    renamed: ClassVar[dict[str, str]] = {}
    """Former names of keys."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        for key, value in data.items():
            if key in cls.model_fields or (key in cls.removed and value == cls.removed[key]):
                continue
            if key in cls.renamed:
                reason = f"this key is now {cls.renamed[key]}"
            elif key in cls.removed:
                reason = f"this key was removed; every run uses {cls.removed[key]!r}"
            else:
                reason = f"unknown key{nearest(key, cls.model_fields)}"
            raise PydanticCustomError("key", "{reason}", {"key": key, "reason": reason})
        return {key: value for key, value in data.items() if key not in cls.removed}


T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


def _distinct(values: list[T]) -> list[T]:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"{value!r} is repeated")
    return values


def _language(code: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*", code):
        raise ValueError("not a language code such as de, pt-BR or zh_Hant")
    return code


Distinct = Annotated[list[T], AfterValidator(_distinct)]
"""A list without duplicates; 1 and 1.0 are equal."""
Language = Annotated[str, AfterValidator(_language)]
"""A language code; it is part of file names."""
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
"""A seed that every random number generator accepts."""


def require_name(name: object, where: str) -> str:
    """Returns `name` if it is valid in paths, targets of the workflow and options. Raises `SettingsError`."""
    if isinstance(name, str) and re.fullmatch(r"[^\W_][\w.-]*", name):
        return name
    raise SettingsError(
        f"{where}: {name!r}: a name consists of letters, digits, '-', '_' and '.' and starts with a letter or "
        "digit, as it becomes a folder and a target"
    )


def refuse_clash(names: Iterable[str], where: str) -> None:
    """Raises `SettingsError` if two names are the same file on disks that ignore case or Unicode normalisation."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise SettingsError(
                f"{where}: {other!r} and {name!r} are the same name on disks that ignore case; rename one"
            )


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the closest valid name, or the list of valid names."""
    valid = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads the mapping in a JSON file; None if there is no such file. Raises `SettingsError`."""
    return read_yaml(path) if path.is_file() else None


def parse(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """Parses `data` as a `model`; `where` names the file (and key) in the error. Raises `SettingsError`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    location = [str(part) for part in first["loc"]]
    if first["type"] == "key":
        location.append(first["ctx"]["key"])
    elif first["type"] == "missing":
        message = "this key is required"
    else:
        value = "" if isinstance(first["input"], Mapping | BaseModel) else f"{first['input']!r}: "
        message = f"{value}{message[0].lower()}{message[1:]}"
    raise SettingsError(": ".join([where, *([".".join(location)] if location else []), message]))


def load(model: type[Model], path: str | Path) -> Model:
    """Reads the YAML file `path` as a `model`. Raises `SettingsError`."""
    return parse(model, read_yaml(path), str(path))


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` updated by `patch`: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads the mapping in a YAML or JSON (.json) file; {} if it is empty. Raises `SettingsError`."""
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = json.loads(text, object_pairs_hook=_unique) if path.suffix == ".json" else parse_yaml(text)
    except FileNotFoundError:
        siblings = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise SettingsError(f"{path}: there is no such file{nearest(path.name, siblings)}") from None
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}: not valid JSON: {error}") from None
    except OSError as error:
        raise SettingsError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a JSON object as a mapping. Raises `SettingsError` for a repeated key."""
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise SettingsError(f"{key}: this key is repeated")
        mapping[key] = value
    return mapping


def parse_yaml(text: str) -> Any:
    """Parses the one document in a text; None if it is empty. Raises `SettingsError`."""
    try:
        return yaml.load(text.removeprefix("\ufeff"), Loader=_Loader)
    except SettingsError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"not valid YAML: {' '.join(str(error).split())}") from None


def parse_scalar(text: str) -> Any:
    """Parses a plain YAML scalar: `0.5` is a number, `true` a boolean, `a: b` text. Raises `SettingsError`."""
    value = parse_yaml(text)
    return text if isinstance(value, dict) else value


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """PyYAML's safe loader with YAML 1.2's core types and without repeated keys."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is text, not a list", key.start_mark)
            line = key.start_mark.line + 1
            if key.value in lines:
                raise SettingsError(f"{key.value}: this key is repeated, in lines {lines[key.value]} and {line}")
            lines[key.value] = line
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


for _tag, _first, _pattern in (
    ("null", ["~", "n", "N", ""], r"~|null|Null|NULL|"),
    ("bool", list("tTfF"), r"true|True|TRUE|false|False|FALSE"),
    ("int", list("-0123456789"), r"-?(?:0|[1-9][0-9]*)"),
    (
        "float",
        list("-+.0123456789"),
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?",
    ),
    ("float", list("-+."), r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
    ("merge", ["<"], r"<<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
