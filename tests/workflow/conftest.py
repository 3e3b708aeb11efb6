"""A copy of the workflow in a folder of its own, and the snakemake command on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Project:
    """A copy of the project's workflow and configuration; `src` is the one under test."""

    folder: Path

    def snakemake(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Runs snakemake here, bounded in time; its streams come back as one text."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        return subprocess.run(
            ["timeout", "-k", "5", str(timeout), "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def copy_workflow(folder: Path) -> Project:
    """The files that a run of the DAG reads, copied into `folder`."""
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    return Project(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the workflow."""
    return copy_workflow(tmp_path)
