"""YAML read strictly, by the rules of YAML 1.2 that people expect, on PyYAML, which knows YAML 1.1.

`no`, `on` and `yes` are text (Norwegian, not false), `1e-3` is a number, `010`, `1:30` and `2023-02-13` are text; keys
are text. A key that stands twice in a mapping is an error that names both lines. Anchors and `<<` work as they do
everywhere.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)\.[0-9]*|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?")
SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
MERGE = re.compile(r"<<")


class YamlError(ValueError):
    """A text that is not YAML, or repeats a key, as one line."""


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
    """The one document in a text; None of an empty one. Raises `YamlError`."""
    try:
        return yaml.load(text.removeprefix("\ufeff"), Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"not valid YAML: {' '.join(str(error).split())}") from None


def parse_scalar(text: str) -> Any:
    """What a plain YAML scalar stands for: `0.5` a number, `true` a boolean, `a: b` text. Raises `YamlError`."""
    value = parse_yaml(text)
    return text if isinstance(value, dict) else value


def parse_json(text: str) -> Any:
    """A JSON text without repeated keys. Raises `YamlError`."""
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
    """The one document of a YAML or JSON (.json) file. Raises `YamlError`, `UnicodeDecodeError` and `OSError`."""
    text = path.read_bytes().decode("utf-8-sig")
    return parse_json(text) if path.suffix == ".json" else parse_yaml(text)
