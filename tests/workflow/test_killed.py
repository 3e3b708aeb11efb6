"""Snakemake killed during a training, a read-only results folder, several nodes without SLURM."""

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
def numbers(smoke_project, edit):
    """A project with a training that takes a few seconds."""
    project = smoke_project()
    training = {"updates": UPDATES, "checkpoint_every": EVERY, "log_every": 10, "validate_every": UPDATES}
    edit(project.folder / "smoke" / "smoke.yaml", "training", value=training)
    return project


def options(project):
    return ("--configfile", "smoke/smoke.yaml", "--config", f"archives={project.folder / 'archives'}")


def wait_for(condition, seconds, explain):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.02)


def updates_begun(folder):
    """Returns the last complete update in the log so far."""
    lines = [line for path in folder.glob("*/log.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return max((json.loads(line)["update"] for line in lines[:-1]), default=0)


@pytest.fixture
def start(numbers):
    """`start()` runs Snakemake on the training in its own process group; returns the process and its output file."""
    started = []

    def start():
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["timeout", "-k", "5", "600", "snakemake", "--cores", "2", *options(numbers), "--", TARGET]
        output = numbers.folder / f"snakemake{len(started)}.out"
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=numbers.folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        started.append(process)
        return process, output

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_training_resumes_after_its_snakemake_or_its_launcher_was_stopped(numbers, start):
    """Also, a second Snakemake is refused while the first one runs."""
    checkpoints = numbers.folder / "checkpoints" / RUN

    def resumed():
        log = (checkpoints / "train.log").read_text()
        return [int(update) for update in re.findall(r"resuming from update (\d+)", log)]

    first, output = start()
    wait_for(lambda: updates_begun(checkpoints) > 3 * EVERY, 600, output.read_text)
    snakemake, *jobs = family = psutil.Process(first.pid).children(recursive=True)
    for process in jobs:
        process.suspend()
    refused = numbers.snakemake(*options(numbers), "--", TARGET)
    assert refused.returncode == 1 and "cannot be locked" in refused.stdout
    for process in jobs:
        process.resume()
    snakemake.kill()
    first.wait()
    assert psutil.wait_procs(family, timeout=600)[1] == []
    log = (numbers.folder / "logs" / "train" / f"{RUN}.log").read_text()
    saved = int(re.search(r"interrupted: saved at update (\d+)", log)[1])
    assert saved > 3 * EVERY

    assert numbers.snakemake("--unlock", *options(numbers)).returncode == 0
    second, output = start()
    wait_for(resumed, 600, output.read_text)
    assert resumed() == [saved]
    launchers = [p for p in psutil.Process(second.pid).children(recursive=True) if "train" in p.cmdline()]
    launchers[-1].send_signal(signal.SIGTERM)
    assert second.wait(600) == 0, output.read_text()
    assert "Trying to restart job" in output.read_text()
    assert len(resumed()) == 2 and resumed()[1] >= saved
    summary = json.loads((numbers.folder / TARGET).read_text(encoding="utf-8"))
    assert summary["status"] == "finished" and summary["updates"] == UPDATES


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
def test_a_read_only_results_folder_is_reported(numbers):
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
