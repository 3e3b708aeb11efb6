"""The house as drawn: every module has a test that mirrors it, imports point down, files stay small."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "reluformer"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.stem not in ("__init__", "__main__"))
FLOOR = {
    "cli": 6,
    "guard": 5,
    "watching": 5,
    "measuring": 5,
    "export": 4,
    "planning": 4,
    "schemas": 3,
    "doctor": 3,
    "training": 3,
    "translation": 3,
    "analysis": 3,
    "model": 2,
    "paper": 2,
    "memory": 1,
    "corpus": 1,
    "evaluation": 1,
    "experiment": 0,
    "config": 0,
    "run": 0,
    "settings": 0,
    "yamlfile": 0,
    "tuning": 0,
    "changes": 0,
    "fields": 0,
    "files": 0,
    "malloc": 0,
    "orphans": 0,
    "page": 0,
}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_has_a_mirrored_test_and_stays_small(path):
    mirror = ROOT / "tests" / "unit" / path.relative_to(SOURCE).parent / f"test_{path.name}"
    assert mirror.is_file()
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    mine = FLOOR[room(path)]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] != "snakemake"
        if parts[0] == "reluformer" and len(parts) > 1 and parts[1] != room(path):
            # Configuration is floor 0 wherever its file lies; errors of a corpus are mistakes in settings.
            floor = 0 if parts[-1] == "config" else FLOOR[parts[1]]
            assert path.name == "config.py" or mine == 0 or floor < mine, f"{path.name} imports {name}"


def test_nothing_in_the_workflow_knows_torch():
    rules = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    assert len(rules) > 5
    assert not [path for path in rules if "torch" in path.read_text(encoding="utf-8").replace("torchrun", "")]


@pytest.mark.parametrize("room", ["corpus", "evaluation", "paper"])
def test_rooms_without_torch(room):
    for path in (SOURCE / room).rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & {"torch", "deepspeed"}, path


def test_the_map_in_contributing_is_that_of_the_floors():
    rows = re.findall(r"^\| (\d) \| (.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    drawn = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}
    assert drawn == FLOOR
    assert {path.name.removesuffix(".py") for path in SOURCE.iterdir()} - {"__init__", "__pycache__"} == set(FLOOR)
