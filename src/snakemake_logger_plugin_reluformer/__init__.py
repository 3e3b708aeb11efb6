"""A logger plugin for Snakemake: the losses of running trainings, as lines of Snakemake's own log.

    snakemake --cores all --logger reluformer

Snakemake's events say when a job starts and ends, not what it does, so a thread reads the logs of the trainings.
Snakemake imports this module at every start and evaluates its annotations, so reluformer is imported only when needed.
"""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

LOGGER = logging.getLogger("snakemake.logging")


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Command-line options, e.g. `--logger-reluformer-every`."""

    every: int = field(default=60, metadata={"help": "Seconds between lines about running trainings."})


class LogHandler(LogHandlerBase):
    """Starts with the workflow, ends with Snakemake, and leaves Snakemake's own log as it is."""

    settings: LogHandlerSettings
    writes_to_stream = False
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="losses", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Starts the thread when the workflow starts; a dry run trains nothing."""
        started = getattr(record, "event", None) == LogEvent.WORKFLOW_STARTED
        if started and not self.common_settings.dryrun and self.thread.ident is None:
            self.thread.start()

    def watch(self) -> None:
        """Logs a line for each training that has progressed since the last one."""
        from reluformer.cli.watching import read_trainings, training_line

        shown: dict[str, int] = {}
        while not self.ended.wait(self.settings.every):
            for training in read_trainings(Path("checkpoints")):
                if training.running and training.loss is not None and shown.get(training.run) != training.update:
                    shown[training.run] = training.update
                    LOGGER.info(training_line(training))

    def close(self) -> None:
        """Stops the thread."""
        self.ended.set()
        super().close()
