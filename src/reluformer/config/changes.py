"""`+key=value` in a system's name and `vary` in a study: the keys of a run that a change sets, and its canonical form.

A change names a key by its dotted path and may omit the parts that are not needed to identify it: `learning_rate` is
`training.learning_rate`, `slots` is `model.slots`, `cross_attention.gamma` is
`model.cross_attention.options.gamma`, and `gamma` or `penalty.weight` without a place set all attentions that have
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from reluformer.config.memory import ACTIVATIONS, MemoryConfig
from reluformer.config.model import ATTENTIONS, KINDS, ModelConfig
from reluformer.config.settings import SettingsError, Strict, nearest, parse, parse_scalar
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


def parts_of(config: Any) -> dict[str, Any]:
    """Returns the changes to `RECIPE_PARTS` in a dataset, a recipe or a configuration."""
    return {part: getattr(config, part) for part in RECIPE_PARTS}


def check_parts(config: Any, where: str) -> None:
    """Raises `SettingsError` if a key or value in `parts_of(config)` is invalid; `where` begins its message."""
    for part, model in RECIPE_PARTS.items():
        parse(model, getattr(config, part), f"{where}: {part}")


class Name(NamedTuple):
    """The parts of a system's name: `reluformer+gamma=0.5` is ("reluformer", {"gamma": 0.5})."""

    base: str
    changes: dict[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """The change that names a recipe of the dataset: {"recipe": NAME}, or {}."""
        return {key: value for key, value in self.changes.items() if key == "recipe"}

    @property
    def own(self) -> dict[str, Any]:
        """The changes to keys of the run."""
        return {key: value for key, value in self.changes.items() if key != "recipe"}


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
        except SettingsError:
            raise SettingsError(f"{name!r}: {key}: {value!r} is not a value") from None
    return Name(base, pairs)


def join_system(base: str, changes: Mapping[str, Any]) -> str:
    """Returns the name of a system with changes, in the order given."""
    return base + "".join(f"+{key}={_write_scalar(value)}" for key, value in changes.items())


def _write_scalar(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def apply_changes(parts: Parts, changes: Mapping[str, Any], where: str) -> Parts:
    """Returns `parts` with changes applied, which must not include `recipe`. Raises `SettingsError` for an unknown key.

    A new activation is applied first: it determines the valid options, and starts without the old one's. Values are
    not checked.
    """
    for key in sorted(changes, key=lambda key: not key.endswith("activation")):
        for path in paths_of(key, parts, where):
            if path[-1] == "activation" and read_path(parts, path) != changes[key]:
                parts = _set(parts, (*path[:-1], "options"), {})
            parts = _set(parts, path, changes[key])
    return parts


def paths_of(key: str, parts: Parts, where: str) -> list[Path]:
    """Returns the full paths in `parts` that a key sets. Raises `SettingsError`."""
    first, *rest = key.split(".")
    if first in RECIPE_PARTS and rest:
        part, (first, *rest) = first, rest
    else:
        part = "training" if first in TrainingConfig.model_fields else "model"
    if part == "model":
        inner = rest if first in (*KINDS, "attention") else [first, *rest]
        path = _memory_path(inner)
        places = [first] if first in KINDS else _places(path, parts["model"])
        if path and not places:
            raise SettingsError(f"{where}: {key}: no attention of this system has it")
        if path:
            return [("model", place, *path) for place in places]
    if first in RECIPE_PARTS[part].model_fields and (not rest or first == "layers"):
        return [(part, first, *([".".join(rest)] if rest else []))]
    if new := MemoryConfig.renamed.get([first, *rest][-1]):
        raise SettingsError(f"{where}: {key}: this key is now {new}")
    valid = [*ModelConfig.model_fields, *TrainingConfig.model_fields, *MemoryConfig.model_fields, *OPTIONS]
    raise SettingsError(f"{where}: {key}: unknown key{nearest(first, valid)}")


def _memory_path(names: list[str]) -> Path:
    """Returns the path of a key in a memory; () if a memory has no such key."""
    if not names:
        return ()
    if len(names) == 1 and names[0] in OPTIONS:
        return ("options", *names)
    return tuple(names) if names[0] in MemoryConfig.model_fields else ()


def _places(path: Path, model: Mapping[str, Any]) -> Sequence[str]:
    """Returns the attentions that a key without a place sets: those that have the option or penalty."""
    if path[:1] == ("options",) and len(path) > 1:
        names = {place: read_path(model, (place, "activation"), "softmax") for place in ATTENTIONS}
        # an unknown activation is reported when the model is parsed
        return [place for place in ATTENTIONS if path[-1] in ACTIVATIONS.get(names[place], ACTIVATIONS["softmax"])[1]]
    if path[:1] == ("penalty",):
        return [place for place in ATTENTIONS if read_path(model, (place, "penalty"))] or ATTENTIONS
    return ATTENTIONS


def canonical_changes(changes: Mapping[str, Any], plain: Parts, changed: Parts, where: str) -> dict[str, Any]:
    """Returns changes in canonical form: shortest keys, sorted, parsed values, without those that change nothing.

    plain, changed: the run's parsed parts, without and with the changes.
    """
    values = {path: read_path(changed, path) for key in changes for path in paths_of(key, changed, where)}
    values = {path: value for path, value in values.items() if read_path(plain, path, default=...) != value}
    spelled: dict[str, Any] = {}
    for path, value in values.items():
        for key in _spellings(path):
            if all(values.get(other, ...) == value for other in paths_of(key, changed, where)):
                spelled[key] = value
                break
    return dict(sorted(spelled.items()))


def _spellings(path: Path) -> Iterable[str]:
    """Yields the keys that may stand for a path, the shortest first."""
    part, first, *rest = path
    if part == "model" and first in KINDS:
        inner = rest[1:] if rest[0] == "options" and len(rest) == 2 else rest
        if first in ATTENTIONS:
            yield ".".join(inner)
        yield ".".join([first, *inner])
    else:
        yield ".".join(path if part == "translation" else path[1:])


def read_path(data: Any, path: Iterable[str], default: Any = None) -> Any:
    """Returns the value at a path of keys in nested mappings, or `default`."""
    for key in path:
        if not isinstance(data, Mapping) or key not in data:
            return default
        data = data[key]
    return data


def _set(parts: Parts, path: Path, value: Any) -> Parts:
    first, *rest = path
    if rest:
        inner = parts.get(first)
        value = _set(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)
    return {**parts, first: value}
