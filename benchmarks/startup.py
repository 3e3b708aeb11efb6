"""Startup time of a run and of the DAG.

    python -m benchmarks.startup --rounds 5

Start to first update: from the start of `reluformer train` to the log line of a small model's first update, with
DeepSpeed as in every run. `snakemake -n`: the plan of the whole paper.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import text
from benchmarks.rows import ROOT, Row, interleaved, run, threads
from reluformer.config.run import RunConfig

START_LIMIT, PLAN_LIMIT = 8.0, 10.0
RUN = {
    **{"dataset": "made-up", "system": "transformer", "seed": 1, "src": "de", "tgt": "en", "translation": {}},
    "model": {"encoder_layers": 2, "decoder_layers": 2, "width": 128, "slots": 256, "heads": 4},
    "training": {"updates": 1, "batch_tokens": 400, "log_every": 1, "validate_every": 1000},
}


def rows(rounds: int = 3) -> list[Row]:
    """Seconds until a run or the DAG starts, after a first start that fills the caches."""
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        text.write_corpus(Path(folder), "made-up", 4000, text.lengths(2000), pieces=True)
        medians = interleaved({"start": lambda: first_update(Path(folder)), "plan": plan}, rounds)
    (start, start_spread), (planned, plan_spread) = medians["start"], medians["plan"]
    return [
        Row("start to first update", start, "limit", START_LIMIT, "s", 1.0, less=True, spread=start_spread),
        Row("snakemake -n of the paper", planned, "limit", PLAN_LIMIT, "s", 1.0, less=True, spread=plan_spread),
    ]


def first_update(corpora: Path) -> float:
    """Returns the seconds from the start of a training process to the log line of its first update."""
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        settings = RunConfig.model_validate(RUN).model_dump_json()
        command = [sys.executable, "-m", "reluformer.cli", "train", "--settings", settings, "--corpora", str(corpora)]
        command += [f"--output={folder}/output", f"--checkpoints={folder}/checkpoints", f"--threads={threads()}"]
        begin, seconds, log = time.perf_counter(), None, []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                log.append(line)
                if " train update 1 " in line:
                    seconds = time.perf_counter() - begin
        if process.returncode or seconds is None:
            raise RuntimeError("the training failed:\n" + "".join(log))
        return seconds


def plan() -> float:
    """Returns the seconds of `snakemake -n` for the whole paper, in a folder without results."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        for name in ("Snakefile", "workflow", "config", "src"):
            (Path(folder) / name).symlink_to(ROOT / name)
        command = ["timeout", "-k", "5", "120", "snakemake", "-n", "--quiet", "all", "--cores", "1"]
        begin = time.perf_counter()
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if ended.returncode:
        raise RuntimeError("snakemake -n failed:\n" + ended.stdout + ended.stderr)
    return seconds


if __name__ == "__main__":
    run(rows)
