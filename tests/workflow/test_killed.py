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

pytestmark = pytest.mark.slow

RUN = "numbers/transformer/seed1"
TARGET = f"results/runs/{RUN}/summary.json"
UPDATES, EVERY = 1000, 50


@pytest.fixture
def numbers(request, smoke_project, edit):
    """A project with a training of a few seconds, or of as many updates as its parameter says."""
    project = smoke_project()
    updates = getattr(request, "param", UPDATES)
    training = {"updates": updates, "checkpoint_every": EVERY, "log_every": 10, "validate_every": updates}
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
    command = ["timeout", "-k", "5", "600", "snakemake", "--cores", "2", *options(numbers), "--", TARGET]
    says = numbers.folder / "begun.out"
    with says.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=numbers.folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    wait_for(lambda: updates_begun(numbers.folder / "checkpoints" / RUN) > 3 * EVERY, 600, says.read_text)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_training_whose_snakemake_was_killed_saves_and_ends_and_the_next_one_goes_on(numbers, begun):
    snakemake, *_ = family = psutil.Process(begun.pid).children(recursive=True)
    snakemake.kill()
    begun.wait()
    assert psutil.wait_procs(family, timeout=600)[1] == []
    said = (numbers.folder / "logs" / "train" / f"{RUN}.log").read_text()
    saved = int(re.search(r"interrupted: saved at update (\d+)", said)[1])
    assert saved > 3 * EVERY

    assert numbers.snakemake("--unlock", *options(numbers)).returncode == 0
    second = numbers.snakemake(*options(numbers), "--", TARGET)
    assert second.returncode == 0, second.stdout[-4000:]
    log = numbers.folder / "checkpoints" / RUN / "train.log"
    assert int(re.search(r"resuming from update (\d+)", log.read_text())[1]) == saved
    summary = json.loads((numbers.folder / TARGET).read_text(encoding="utf-8"))
    assert summary["status"] == "finished" and summary["updates"] == UPDATES


@pytest.mark.parametrize("numbers", [10**6], indirect=True)
@pytest.mark.usefixtures("begun")
def test_a_second_snakemake_beside_a_running_one_is_refused(numbers):
    second = numbers.snakemake(*options(numbers), "--", TARGET)
    assert second.returncode == 1 and "cannot be locked" in second.stdout


def test_a_training_asked_to_leave_is_started_again(numbers, begun):
    checkpoints = numbers.folder / "checkpoints" / RUN
    launchers = [
        process for process in psutil.Process(begun.pid).children(recursive=True) if "train" in process.cmdline()
    ]
    launchers[-1].send_signal(signal.SIGTERM)
    assert begun.wait(600) == 0, (numbers.folder / "begun.out").read_text()
    assert "Trying to restart job" in (numbers.folder / "begun.out").read_text()
    assert "resuming from update" in (checkpoints / "train.log").read_text()


def test_several_nodes_without_slurm_are_refused(smoke_project, edit):
    project = smoke_project()
    edit(project.folder / "smoke" / "smoke.yaml", "training", value={"nodes": 2})
    result = project.snakemake(*options(project), "--retries", "0", "--", TARGET)
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
        result = numbers.snakemake(*options(numbers), "--retries", "0", "--", TARGET)
    finally:
        subprocess.run(["umount", str(runs)], check=True)
    assert result.returncode == 1
    assert "Read-only file system" in result.stdout and "results/runs" in result.stdout
