"""What import-linter does not see: files stay small, and rules do no work of their own."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 400


def test_files_stay_small():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), *(ROOT / "benchmarks").rglob("*.py")]
    assert len(files) > 100
    assert not [path for path in files if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST]


def test_nothing_in_the_workflow_knows_torch():
    rules = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]
    assert len(rules) > 5
    assert not [path for path in rules if "torch" in path.read_text(encoding="utf-8").replace("torchrun", "")]
