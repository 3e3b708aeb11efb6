"""Snakemake finds the logger plugin, which logs the progress and losses of running trainings."""

from __future__ import annotations

import json
import logging
import time
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from snakemake_logger_plugin_reluformer import LogHandler, LogHandlerSettings

STARTED = logging.makeLogRecord({"event": LogEvent.WORKFLOW_STARTED})


@pytest.fixture
def training(tmp_path, monkeypatch):
    """A running training in the working folder, at its second log line."""
    folder = tmp_path / "checkpoints" / "iwslt14" / "reluformer" / "seed1" / "0a1b"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": {"training": {"updates": 1300}}}))
    events = [{"event": "train", "update": n, "loss": 5 - n / 100, "seconds": n / 10} for n in (50, 100)]
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def handler():
    handlers = []

    def make(dryrun: bool) -> LogHandler:
        handlers.append(LogHandler(SimpleNamespace(dryrun=dryrun), LogHandlerSettings(every=0)))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler.close()


def test_snakemake_finds_the_plugin():
    assert LoggerPluginRegistry().get_plugin("reluformer").log_handler is LogHandler


def test_a_line_says_how_far_a_training_is_and_its_loss(training, handler, caplog):
    with caplog.at_level(logging.INFO, "snakemake.logging"):
        plugin = handler(dryrun=False)
        plugin.emit(STARTED)
        while not caplog.messages:
            time.sleep(0.01)
        plugin.close()
        plugin.thread.join()
    expected = "train iwslt14/reluformer/seed1: update 100 of 1,300, loss 4.000, 2 min 0 s left"
    assert caplog.messages == [expected], "once for each log line of the training"


def test_a_dry_run_watches_nothing(training, handler):
    plugin = handler(dryrun=True)
    plugin.emit(STARTED)
    assert not plugin.thread.is_alive()
