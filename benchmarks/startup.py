"""What a run and the DAG cost before any work is done.

    python -m benchmarks.startup

Start to first update: from the start of the command until the first update of a small model is logged, with
DeepSpeed as in every run. `snakemake -n`: the plan of the whole paper.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import text
from benchmarks.rows import ROOT, Row, interleaved, table, threads
from reluformer.config.run import RunConfig

START_LIMIT, PLAN_LIMIT = 8.0, 10.0
LAUNCH = (
    "import sys; from pathlib import Path; from reluformer.config.run import RunConfig; "
    "from reluformer.training.launch import launch; job, *folders = map(Path, sys.argv[1:4]); "
    "sys.exit(launch(RunConfig.model_validate_json(job.read_text()), *folders, Path(sys.argv[4]), int(sys.argv[5])))"
)


def rows() -> list[Row]:
    """Both, with the default number of rounds."""
    return compare(3)


def compare(rounds: int) -> list[Row]:
    """Seconds against the limits, in turns, after one start of each that fills the caches."""
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        text.write_corpus(Path(folder), "made-up", 4000, text.lengths(2000), pieces=True)
        medians = interleaved({"start": lambda: first_update(Path(folder)), "plan": plan}, rounds)
    (start, start_spread), (planned, plan_spread) = medians["start"], medians["plan"]
    return [
        Row("start to first update", start, "limit", START_LIMIT, "s", 1.0, less=True, spread=start_spread),
        Row("snakemake -n of the paper", planned, "limit", PLAN_LIMIT, "s", 1.0, less=True, spread=plan_spread),
    ]


def first_update(corpora: Path) -> float:
    """Seconds from the start of a training process to the log line of its first update."""
    model = {"encoder_layers": 2, "decoder_layers": 2, "width": 128, "slots": 256, "heads": 4}
    training = {"updates": 1, "batch_tokens": 400, "log_every": 1, "validate_every": 1000}
    names = {"dataset": "made-up", "system": "transformer", "seed": 1, "src": "de", "tgt": "en"}
    run = RunConfig.model_validate({**names, "model": model, "training": training, "translation": {}})
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        job = Path(folder) / "job.json"
        job.write_text(run.model_dump_json(), encoding="utf-8")
        folders = [corpora, Path(folder) / "output", Path(folder) / "checkpoints"]
        command = [sys.executable, "-c", LAUNCH, *map(str, [job, *folders, threads()])]
        begin, seconds, said = time.perf_counter(), None, []
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if " train update 1 " in line:
                    seconds = time.perf_counter() - begin
        if process.returncode or seconds is None:
            raise RuntimeError("the training failed:\n" + "".join(said))
        return seconds


def plan() -> float:
    """Seconds of `snakemake -n` on the whole paper, in a folder without results."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory(prefix="startup-benchmark-") as folder:
        for name in ("Snakefile", "workflow", "config", "src"):
            (Path(folder) / name).symlink_to(ROOT / name)
        command = ["timeout", "-k", "5", "120", "snakemake", "-n", "--quiet", "all", "--cores", "1"]
        begin = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError("snakemake -n failed:\n" + done.stdout + done.stderr)
    return seconds


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="starts measured, after one that fills the caches")
    print(table([row.record() for row in compare(parser.parse_args().rounds)]))


if __name__ == "__main__":
    main()
