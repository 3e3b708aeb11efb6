"""What a person reads when a workflow has failed: which steps, what they said last, and what to do."""

from __future__ import annotations

from pathlib import Path

from reluformer.cli.watching.snakelog import SnakeJob, last_lines, read_log

LINES = 8
"""Lines of a failed step's log that are shown."""
SHOWN = 5
"""Failed steps that are shown with their last lines; of the others the log is named."""

AGAIN = "Then start the same command again: what is done is kept, and a training resumes from its last checkpoint."


def explain_failures(log: Path, folder: Path) -> str:
    """The failed steps in Snakemake's log, each with the end of its own log, and what to do; paths as in `folder`."""
    failed = [job for job, again in read_log(log).failed.values() if not again]
    if not failed:
        return f"\nThe workflow failed; Snakemake's log says why: {log}"
    blocks = [_block(job, folder) for job in failed[:SHOWN]]
    more = [f"  {_name(job)}: {job.log}" for job in failed[SHOWN:]]
    if more:
        blocks.append("\n".join([f"and {len(more)} more:", *more]))
    return "\n" + "\n\n".join([*blocks, f"Fix what the last line of a log names. {AGAIN}"])


def _name(job: SnakeJob) -> str:
    return f"{job.rule} {job.about}".strip()


def _block(job: SnakeJob, folder: Path) -> str:
    if not job.log:
        return f"{_name(job)} failed."
    lines = last_lines(folder / job.log, LINES)
    return "\n".join([f"{_name(job)} failed; the end of {job.log}:", *(f"  | {line}" for line in lines)])
