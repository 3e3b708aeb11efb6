"""Settings come as JSON or from configuration files."""

from __future__ import annotations

import json

import pytest

from reluformer.cli import options
from reluformer.settings import SettingsError


def test_an_experiment_may_come_as_json(monkeypatch):
    seen = {}
    monkeypatch.setattr(options, "Experiment", lambda config: seen.update(config))
    options.experiment_of([json.dumps({"title": "t"})])
    assert seen == {"title": "t"}


def test_json_that_is_no_object_is_refused():
    with pytest.raises(SettingsError, match=r"--config: expected a JSON object, found int"):
        options.parse_json("1", "--config")
