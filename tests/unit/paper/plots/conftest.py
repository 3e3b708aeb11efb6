"""Figures of the synthetic experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reluformer.config.studies import FigureConfig
from reluformer.paper.plots.base import Plot


@pytest.fixture
def plot_of() -> Callable[..., Plot]:
    """`plot_of(example, study, figure)` returns a figure of a study; with `kind=...` and so on, an ad-hoc one."""

    def build(example: Any, study: str, figure: str | None = None, **config: Any) -> Plot:
        shown = FigureConfig(title="t", **config) if config else example.experiment.studies[study].figures[figure]
        return Plot(example.experiment, study, shown, example.results)

    return build
