"""`+key=value` in a system's name and `vary` in a study: which keys of a run a change sets, and its canonical spelling.

A change names a key by its dotted path, and may leave out what is unambiguous without it: `learning_rate` is
`training.learning_rate`, `slots` is `model.slots`, `cross_attention.gamma` is
`model.cross_attention.options.gamma`, and `gamma` or `penalty.weight` without a place set all attentions that have
it. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reluformer.config.memory import ACTIVATIONS, MemoryConfig
from reluformer.config.model import ATTENTIONS, KINDS, ModelConfig
from reluformer.config.settings import SettingsError, Strict, YamlError, merge, nearest, parse_scalar, read_path
from reluformer.config.training import TrainingConfig
from reluformer.config.translation import TranslationConfig

RECIPE_PARTS: dict[str, type[Strict]] = {
    "model": ModelConfig,
    "training": TrainingConfig,
    "translation": TranslationConfig,
}
OPTIONS = sorted({option for activation in ACTIVATIONS.values() for option in activation.options})

Path = tuple[str, ...]
Parts = Mapping[str, Any]
"""The parts of a run as plain mappings: {"model": {...}, "training": {...}, "translation": {...}}."""


class Name(NamedTuple):
    """The parts of a system's name: `reluformer+gamma=0.5` is ("reluformer", {"gamma": 0.5})."""

    base: str
    changes: dict[str, Any]


def split_system(name: str) -> Name:
    """Splits a system's name into system and changes; values are parsed as YAML. Raises `SettingsError`."""
    base, *changes = name.split("+")
    pairs: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not key or not equals:
            raise SettingsError(f"{name!r}: {change!r}: a change is written +key=value")
        if key in pairs:
            raise SettingsError(f"{name!r}: {key} is changed twice")
        try:
            pairs[key] = parse_scalar(value)
        except YamlError:
            raise SettingsError(f"{name!r}: {key}: {value!r} is not a value") from None
    return Name(base, pairs)


def join_system(base: str, changes: Mapping[str, Any]) -> str:
    """Returns the name of a system with changes, in the order given."""
    return base + "".join(f"+{key}={_write_scalar(value)}" for key, value in changes.items())


def apply_changes(parts: Parts, changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns `parts` with changes applied; `recipe` is not a key. Raises `SettingsError`.

    A new activation is applied first: it determines the valid options, and starts without the old one's.
    """
    parts = dict(parts)
    for key in sorted(changes, key=lambda key: not key.endswith("activation")):
        parts = apply_change(parts, key, changes[key], where)
    return parts


def apply_change(parts: Parts, key: str, value: Any, where: str) -> dict[str, Any]:
    """Returns `parts` with one change applied. Raises `SettingsError` for an unknown key; does not check values."""
    changed = dict(parts)
    for path in paths_of(key, parts, where):
        if path[-1] == "activation" and read_path(changed, path) != value:
            changed = _set(changed, (*path[:-1], "options"), {})
        changed = _set(changed, path, value)
    return changed


def paths_of(key: str, parts: Parts, where: str) -> list[Path]:
    """Returns the full paths in `parts` that a key sets. Raises `SettingsError`."""
    first, *rest = key.split(".")
    if first in RECIPE_PARTS and rest:
        part, (first, *rest) = first, rest
    else:
        part = "training" if first in TrainingConfig.model_fields else "model"
    if part == "model":
        places = _places_of(first, rest, parts["model"])
        if places:
            inner = rest if first in (*KINDS, "attention") else [first, *rest]
            return [("model", place, *_memory_path(inner)) for place in places]
    if first in RECIPE_PARTS[part].model_fields and (not rest or first == "layers"):
        return [(part, first, *([".".join(rest)] if rest else []))]
    if [first, *rest][-1] in OPTIONS and first in ("attention", "options", *OPTIONS):
        raise SettingsError(f"{where}: {key}: no attention of this system has it")
    if new := MemoryConfig.renamed.get([first, *rest][-1]):
        raise SettingsError(f"{where}: {key}: this key is now {new}")
    valid = [*ModelConfig.model_fields, *TrainingConfig.model_fields, *MemoryConfig.model_fields, *OPTIONS]
    raise SettingsError(f"{where}: {key}: unknown key{nearest(first, valid)}")


def canonical_changes(changes: Mapping[str, Any], plain: Parts, changed: Parts, where: str) -> dict[str, Any]:
    """Returns changes in canonical form: shortest keys, sorted, parsed values, without those that change nothing.

    plain, changed: the run's parsed parts, without and with the changes.
    """
    reached = {path for key in changes for path in paths_of(key, changed, where)}
    values = {path: read_path(changed, path) for path in reached}
    values = {path: value for path, value in values.items() if read_path(plain, path, default=...) != value}
    spelled: dict[str, Any] = {}
    for path, value in values.items():
        for key in _spellings(path):
            if all(values.get(other, ...) == value for other in paths_of(key, changed, where)):
                spelled[key] = value
                break
    return dict(sorted(spelled.items()))


def _places_of(first: str, rest: list[str], model: Mapping[str, Any]) -> list[str]:
    """Returns the memories that a key of a model sets; [] if it is not a key of a memory."""
    if first in KINDS:
        return [first] if rest and _is_memory_key(rest) else []
    inner = rest if first == "attention" else [first, *rest]
    if not inner or not _is_memory_key(inner):
        return []
    path = _memory_path(inner)
    if path[0] == "options":
        takers: list[str] = [
            place for place in ATTENTIONS if path[-1] in ACTIVATIONS[_activation(model, place)].options
        ]
        return takers if len(path) > 1 else [*ATTENTIONS]
    if path[0] == "penalty":
        return [place for place in ATTENTIONS if read_path(model, (place, "penalty"))] or list(ATTENTIONS)
    return list(ATTENTIONS)


def _is_memory_key(inner: list[str]) -> bool:
    return inner[0] in MemoryConfig.model_fields or (len(inner) == 1 and inner[0] in OPTIONS)


def _memory_path(inner: list[str]) -> Path:
    return tuple(inner) if inner[0] in MemoryConfig.model_fields else ("options", *inner)


def _activation(model: Mapping[str, Any], place: str) -> str:
    name = read_path(model, (place, "activation"), default="softmax")
    return name if name in ACTIVATIONS else "softmax"  # an unknown one is reported when the model is parsed


def _spellings(path: Path) -> Iterable[str]:
    """Yields the keys that may stand for a path, the shortest first."""
    part, first, *rest = path
    if part == "model" and first in KINDS:
        inner = rest[1:] if rest[0] == "options" and len(rest) == 2 else rest
        if first in ATTENTIONS:
            yield ".".join(inner)
        yield ".".join([first, *inner])
    elif part == "translation":
        yield ".".join(path)
    else:
        yield ".".join([first, *rest])


def _set(parts: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    first, *rest = path
    inner = parts.get(first)
    if rest:
        return {**parts, first: _set(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)}
    if isinstance(inner, Mapping) and isinstance(value, Mapping) and value:
        value = merge(inner, value)
    return {**parts, first: value}


def _write_scalar(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
