"""The project's own experiments, and a small one."""

from __future__ import annotations

from pathlib import Path

import pytest

from reluformer.experiment import Experiment

CONFIG = Path(__file__).parents[3] / "config"


@pytest.fixture(scope="session")
def paper() -> Experiment:
    """config.yaml: the whole paper."""
    return Experiment.from_files(CONFIG / "config.yaml")


@pytest.fixture(scope="session")
def demo() -> Experiment:
    """demo.yaml: the paper in small."""
    return Experiment.from_files(CONFIG / "config.yaml", CONFIG / "demo.yaml")
