"""TensorBoard's event files for runs that have ended and trainings that go on, from their logs."""

from __future__ import annotations

from pathlib import Path

from reluformer.config.settings import SettingsError
from reluformer.paper.runs import read_lines

NOT_CURVES = ("event", "update", "epoch", "seconds")


def write_curves(folders: list[Path], output: Path) -> int:
    """Writes the curves of each run below `folders` into `output`/DATASET/SYSTEM/seedN; returns the number of runs.

    Runs whose log has not changed since are left as they are. Raises `SettingsError` if there is no run.
    """
    logs = find_logs(folders)
    if not logs:
        raise SettingsError(f"{', '.join(map(str, folders))}: no run has a log.jsonl there")
    for run, log in logs.items():
        folder = output / run
        written = list(folder.glob("events.out.tfevents.*"))
        if written and min(path.stat().st_mtime_ns for path in written) >= log.stat().st_mtime_ns:
            continue
        for path in written:
            path.unlink()
        write_events(log, folder)
    return len(logs)


def find_logs(folders: list[Path]) -> dict[str, Path]:
    """Returns each run's newest log.jsonl; a training's is one folder deeper, below its checkpoints."""
    logs: dict[str, Path] = {}
    for folder in folders:
        paths = [path for pattern in ("log.jsonl", "*/log.jsonl") for path in folder.glob(f"*/*/seed*/{pattern}")]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime):
            logs["/".join(path.relative_to(folder).parts[:3])] = path
    return dict(sorted(logs.items()))


def write_events(log: Path, folder: Path) -> None:
    """Writes one run's event file: `train/loss`, `valid/bleu` and so on, by update."""
    from tensorboard.summary import Writer

    events = [event for event in read_lines(log) if "event" in event and "update" in event]
    last = max((event.get("seconds", 0.0) for event in events), default=0.0)
    time = started = log.stat().st_mtime - last
    writer = Writer(str(folder))
    for event in events:
        time = started + event.get("seconds", time - started)  # a validation is logged after its update
        for key, value in event.items():
            if key not in NOT_CURVES and isinstance(value, int | float):
                writer.add_scalar(f"{event['event']}/{key}", value, event["update"], wall_time=time)
    writer.close()
