"""The configuration that leaves with a model says how it was trained."""

from __future__ import annotations

import pytest

from reluformer.config.run import RunConfig

pytestmark = pytest.mark.slow


def test_transformers_reads_the_configuration_of_the_run(trained, elsewhere):
    assert elsewhere["training"] == RunConfig.load(trained.run).training.model_dump(mode="json")
