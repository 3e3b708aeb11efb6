"""Reading configuration: strict YAML, strict models, and one clear line for every mistake.

Every configuration class derives from `Strict`; every YAML file is read by `load`. A mistake in a file ends as one
`SettingsError` line that names the file, the key, the value and, if there is one, the nearest valid name.

YAML is read by the rules of version 1.2 on PyYAML, which knows 1.1: `no`, `on` and `yes` are text (Norwegian, not
false), `1e-3` is a number, `010`, `1:30` and `2023-02-13` are text; keys are text. A repeated key is an error that
names both lines. Anchors and `<<` work.
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
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError


class SettingsError(ValueError):
    """A mistake in the configuration, as one line."""


class Strict(BaseModel):
    """A frozen configuration model that refuses unknown keys, infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    removed: ClassVar[dict[str, Any]] = {}
    """Keys of earlier versions with their defaults: saved configurations that hold a default still load."""

    renamed: ClassVar[dict[str, str]] = {}
    """Former names of keys, which a saved run may have."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not (cls.removed or cls.renamed):
            return data
        for key, name in cls.renamed.items():
            if key in data:
                raise PydanticCustomError("old_key", "{key}: this key is now {name}", {"key": key, "name": name})
        for key, default in cls.removed.items():
            if key in data and data[key] != default:
                values = {"key": key, "default": repr(default)}
                raise PydanticCustomError("old_key", "{key}: this key was removed; every run has {default}", values)
        return {key: value for key, value in data.items() if key not in cls.removed}


T = TypeVar("T")
LANGUAGE = re.compile(r"[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*")


def distinct(values: list[T]) -> list[T]:
    """Returns `values`. Raises `ValueError` if one is repeated; 1 and 1.0 are the same."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"{value!r} is there twice")
    return values


def _language(code: str) -> str:
    if not LANGUAGE.fullmatch(code):
        raise ValueError("not a language code such as de, pt-BR or zh_Hant")
    return code


Distinct = Annotated[list[T], AfterValidator(distinct)]
"""A list without repetitions."""
Language = Annotated[str, AfterValidator(_language)]
"""A language code; it is part of file names."""


def _number_of(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Seed = Annotated[int, BeforeValidator(_number_of), Field(ge=0, lt=2**32, strict=True)]
"""A seed that every generator of random numbers takes; in a list of Snakemake's `--config`, numbers are text."""


def require_name(name: object, where: str) -> str:
    """Returns `name` if it is valid in paths, targets of the workflow and options. Raises `SettingsError`."""
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


def clash(names: Iterable[str]) -> tuple[str, str] | None:
    """Returns the first two names that are one file on disks that ignore case or the form of accents."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            return other, name
    return None


Model = TypeVar("Model", bound=BaseModel)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the closest valid name, or the list of valid names."""
    valid = [str(v) for v in valid]
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(sorted(valid))}" if valid else ""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads the mapping in a YAML or JSON file; an empty file is an empty mapping. Raises `SettingsError`."""
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
    """Parses `data` as a `model`; `where` names the file (and key) in the error. Raises `SettingsError`.

    An integer becomes text if text is expected (`title: 1984`).
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        if (worded := _with_text(data, error)) is not None:
            return parse(model, worded, where)
        raise SettingsError(explain(error, model, data, where)) from None


def _with_text(data: Any, error: ValidationError) -> Any:
    """`data` with text in place of the integers that were refused for not being text; None if there are none."""
    changed = None
    for one in error.errors():
        number = one.get("input")
        if one["type"] == "string_type" and isinstance(number, int) and not isinstance(number, bool):
            replaced = _replaced(data if changed is None else changed, one["loc"], number, str(number))
            changed = changed if replaced is None else replaced
    return changed


def _replaced(data: Any, path: tuple[Any, ...], old: Any, new: Any) -> Any:
    """`data` with `new` in place of `old` at a path; None if it is not there."""
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
    """Reads the YAML file `path` as a `model`. Raises `SettingsError`."""
    return parse(model, read_yaml(path), str(path))


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` updated by `patch`: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def read_path(data: Any, path: Iterable[str], default: Any = None) -> Any:
    """Returns the value at a path of keys in nested mappings, or `default`."""
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return default
        data = data[key]
    return data


def explain(error: ValidationError, model: type[BaseModel], data: Any, where: str) -> str:
    """Formats the first mistake of a pydantic error as one line."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        return f"{where}: {key}: unknown key{nearest(location[-1], _fields_at(model, first['loc'][:-1]))}"
    if first["type"] == "old_key":
        return f"{where}: {key}{'.' if key else ''}{first['msg']}"
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
    models: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        models += _models_in(argument)
    return models


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?")
SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
MERGE = re.compile(r"<<")


class YamlError(ValueError):
    """Invalid YAML or JSON, or a repeated key, as one line."""


class _Loader(_Base):
    """PyYAML's safe loader with YAML 1.2's core types and without repeated keys."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a word, not a list", key.start_mark)
            line = key.start_mark.line + 1
            if key.value in lines:
                raise YamlError(f"{key.value}: this key is there twice, in lines {lines[key.value]} and {line}")
            lines[key.value] = line
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


for _tag, _pattern, _first in (
    ("null", NULL, ["~", "n", "N", ""]),
    ("bool", BOOL, list("tTfF")),
    ("int", INT, list("-0123456789")),
    ("float", FLOAT, list("-+.0123456789")),
    ("float", SPECIAL, list("-+.")),
    ("merge", MERGE, ["<"]),
):
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, _first)


def _construct_mapping(loader: Any, node: Any) -> Any:
    data: dict[str, Any] = {}
    yield data
    data.update(loader.construct_mapping(node))


def _construct_int(loader: Any, node: Any) -> int:
    return int(loader.construct_scalar(node))


def _construct_float(loader: Any, node: Any) -> float:
    return float(loader.construct_scalar(node).replace(".inf", "inf").replace(".nan", "nan").lower())


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str) -> Any:
    """Parses the one document in a text; None if it is empty. Raises `YamlError`."""
    try:
        return yaml.load(text.removeprefix("\ufeff"), Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"not valid YAML: {' '.join(str(error).split())}") from None


def parse_scalar(text: str) -> Any:
    """Parses a plain YAML scalar: `0.5` is a number, `true` a boolean, `a: b` text. Raises `YamlError`."""
    value = parse_yaml(text)
    return text if isinstance(value, dict) else value


def parse_json(text: str) -> Any:
    """Parses JSON without repeated keys. Raises `YamlError`."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ValueError as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"not valid JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise YamlError(f"{key}: this key is there twice")
        data[key] = value
    return data


def read_document(path: Path) -> Any:
    """Reads a YAML or JSON (.json) file. Raises `YamlError`, `UnicodeDecodeError` and `OSError`."""
    text = path.read_bytes().decode("utf-8-sig")
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)
