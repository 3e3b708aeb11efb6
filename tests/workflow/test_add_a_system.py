"""Follows docs/add-a-system.md step by step in a copy of the project until ReLU to the power 1.5 has scores."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def test_relu_to_the_power_step_by_step(smoke_project, monkeypatch):
    page = (ROOT / "docs" / "add-a-system.md").read_text(encoding="utf-8").partition("step by step")[2]
    (_, class_text), (_, line), (_, system), (_, command) = FENCE.findall(page)
    project = smoke_project()
    package = project.folder / "src" / "reluformer"
    shutil.copytree(ROOT / "src" / "reluformer", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))

    with (package / "memory" / "activations.py").open("a", encoding="utf-8") as file:
        file.write("\n\n" + class_text)
    registry = package / "config" / "memory.py"
    text = registry.read_text(encoding="utf-8")
    head = "ACTIVATIONS: dict[str, Activation] = {\n"
    assert head in text
    registry.write_text(text.replace(head, head + line), encoding="utf-8")
    with (project.folder / "config" / "systems.yaml").open("a", encoding="utf-8") as file:
        file.write("\n" + system)

    in_small = command.replace("config/demo.yaml", "smoke/smoke.yaml").replace("demo-sentences", "numbers")
    words = shlex.split(in_small)
    assert words[:3] == ["snakemake", "--cores", "2"]
    result = project.snakemake(*words[3:], "--config", f"archives={project.folder / 'archives'}")
    assert result.returncode == 0, result.stdout[-4000:]
    scores = json.loads((project.folder / words[3]).read_text(encoding="utf-8"))
    assert scores["status"] == "finished" and "bleu" in scores["metrics"]
