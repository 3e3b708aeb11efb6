"""Snakemake killed in mid-training; a results folder that cannot be written to; nodes that are not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RUN = "numbers/transformer/seed1"
TARGET = f"results/runs/{RUN}/summary.json"
UPDATES, EVERY = 4000, 100


@pytest.fixture
def numbers(smoke_project, edit):
    """A project with a training of a few seconds to go."""
    project = smoke_project()
    training = {"updates": UPDATES, "checkpoint_every": EVERY, "log_every": 10, "validate_every": UPDATES}
    edit(project.folder / "smoke" / "smoke.yaml", "training", value=training)
    return project


def options(project):
    return ("--configfile", "smoke/smoke.yaml", "--config", f"archives={project.folder / 'archives'}")


def wait_for(true, seconds, explain):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, explain()
        time.sleep(0.02)


def updates_begun(folder):
    """The last update in the log so far."""
    lines = [line for path in folder.glob("*/log.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return max((json.loads(line)["update"] for line in lines[:-1]), default=0)


@pytest.fixture
def begun(numbers):
    """Snakemake in the middle of the training, in a process group of its own."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["timeout", "-k", "5", "120", "snakemake", "--cores", "2", *options(numbers), "--", TARGET]
    says = numbers.folder / "begun.out"
    with says.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=numbers.folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    wait_for(lambda: updates_begun(numbers.folder / "checkpoints" / RUN) > 3 * EVERY, 90, says.read_text)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_next_snakemake_goes_on_where_a_killed_one_was(numbers, begun):
    checkpoints = numbers.folder / "checkpoints" / RUN
    family = psutil.Process(begun.pid).children(recursive=True)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    done = updates_begun(checkpoints)

    second = numbers.snakemake(*options(numbers), "--", TARGET, timeout=120)
    assert second.returncode == 0, second.stdout[-4000:]
    resumed = int(re.search(r"going on from update (\d+)", (checkpoints / "train.log").read_text())[1])
    assert resumed >= 3 * EVERY and done - resumed <= EVERY
    summary = json.loads((numbers.folder / TARGET).read_text(encoding="utf-8"))
    assert summary["status"] == "finished" and summary["updates"] == UPDATES


@pytest.mark.usefixtures("begun")
def test_a_second_snakemake_beside_a_running_one_is_refused(numbers):
    second = numbers.snakemake(*options(numbers), "--", TARGET, timeout=60)
    assert second.returncode == 1 and "cannot be locked" in second.stdout


def test_a_training_asked_to_leave_is_started_again(numbers, begun):
    checkpoints = numbers.folder / "checkpoints" / RUN
    launchers = [
        process for process in psutil.Process(begun.pid).children(recursive=True) if "train" in process.cmdline()
    ]
    launchers[-1].send_signal(signal.SIGTERM)
    assert begun.wait(120) == 0, (numbers.folder / "begun.out").read_text()
    assert "Trying to restart job" in (numbers.folder / "begun.out").read_text()
    assert "going on from update" in (checkpoints / "train.log").read_text()


def test_several_nodes_without_slurm_are_refused(smoke_project, edit):
    project = smoke_project()
    edit(project.folder / "smoke" / "smoke.yaml", "training", value={"nodes": 2})
    result = project.snakemake(*options(project), "--retries", "0", "--", TARGET, timeout=90)
    assert result.returncode == 1
    assert (
        "training.nodes: 2: several nodes need SLURM: use `snakemake --profile workflow/profiles/slurm`"
        in result.stdout
    )


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="only root can mount a folder read-only")
def test_results_that_cannot_be_written_to(numbers):
    runs = numbers.folder / "results" / "runs"
    runs.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(runs)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not allow a mount")
    try:
        result = numbers.snakemake(*options(numbers), "--retries", "0", "--", TARGET, timeout=60)
    finally:
        subprocess.run(["umount", str(runs)], check=True)
    assert result.returncode == 1
    assert "Read-only file system" in result.stdout and "results/runs" in result.stdout
