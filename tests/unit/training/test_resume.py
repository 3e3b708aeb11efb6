"""A training that was killed or stopped and then resumed ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.unit.training.conftest import Training, make_run

pytestmark = pytest.mark.slow

SPLITS = [
    {"processes": 2, "zero_stage": 1},
    {"processes": 2, "zero_stage": 2, "precision": "fp16", "accumulation": 2, "clip_norm": 0.5},
    {"precision": "bf16", "clip_norm": 0.5},
    {"precision": "fp16"},
]


def same(expected, actual) -> None:
    assert expected.weights() == actual.weights()
    assert expected.log() == actual.log()
    changing = ("seconds", "startup_seconds", "tokens_per_second", "code_version")
    first, second = ({k: v for k, v in job.summary().items() if k not in changing} for job in (expected, actual))
    assert first == second


def kill_at_random(job, rng: random.Random, kills: int) -> None:
    """Starts and kills `kills` times: soon after the first checkpoint, then at random moments, even at the start."""
    job.start()
    wait_for(job, "update-*")
    time.sleep(rng.uniform(0, 0.2))
    job.kill()
    for _ in range(kills - 1):
        job.start()
        time.sleep(rng.uniform(0.1, 1.0))
        job.kill()
        if job.output.exists():  # finished before it was killed
            break


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments(training, processes):
    recipe = {"updates": 80, "processes": processes, "validate_every": 40, "validate_bleu": True}
    straight = training("straight", **recipe).finish()
    killed = training("killed", **recipe)
    kill_at_random(killed, random.Random(processes), kills=4)
    killed.finish()
    assert "resuming from update" in killed.messages()
    assert all("bleu" in line for line in straight.log("valid"))
    same(straight, killed)


@pytest.mark.parametrize("split", SPLITS)
def test_resume_of_other_states(training, split):
    straight = training("straight", updates=24, **split).finish()
    killed = training("killed", updates=24, **split).start()
    wait_for(killed, "update-00000016")
    killed.kill()
    killed.finish()
    assert "resuming from update" in killed.messages()
    same(straight, killed)


def test_resume_within_the_annealing_from_softmax(training):
    annealed = {"activation": "relu-scaled", "anneal_from_softmax": 0.9}
    recipe = {"memory": {"cross_attention": annealed}, "updates": 30, "validate_source": True, "validate_every": 10}
    straight = training("straight", **recipe).finish()
    killed = training("killed", **recipe).start()
    wait_for(killed, "update-00000016")
    killed.kill()
    killed.finish()
    assert "resuming from update" in killed.messages()
    same(straight, killed)


def test_a_resumed_training_does_not_load_its_start_again(training, corpora):
    first = training("first", updates=10, average_last=1).finish()
    shutil.copytree(first.output, corpora.parent / "runs" / "toy" / "resumed" / "seed1")
    straight = training("straight", updates=30, start_from="toy/resumed/seed1").finish()
    killed = training("killed", updates=30, start_from="toy/resumed/seed1").start()
    wait_for(killed, "update-00000016")
    killed.kill()
    killed.finish()
    assert "resuming from update" in killed.messages()
    same(straight, killed)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, corpora):
    """`make_run()`, trained without interruption."""
    return Training(tmp_path_factory.mktemp("straight"), corpora, make_run()).finish()


def test_killed_while_writing_a_checkpoint(training, straight):
    killed = training("killed")
    for name in (".update-00000016.partial", ".update-00000024.partial"):
        killed.start()
        wait_for(killed, name, pause=0.001)  # before it is renamed
        killed.kill()
    killed.finish()
    same(straight, killed)


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGTERM, 2), (signal.SIGUSR1, 1)])
def test_a_signal_saves_and_stops(training, number, processes):
    straight = training("straight", updates=60, processes=processes).finish()
    interrupted = training("asked", updates=60, processes=processes).start()
    wait_for(interrupted, "update-00000008")
    for process in interrupted.processes:
        os.kill(process.pid, number)
    assert interrupted.wait() == 75
    assert not interrupted.output.exists()
    assert list(interrupted.checkpoints.glob("*/update-*"))
    interrupted.finish()
    same(straight, interrupted)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_skipped(training, straight, damage):
    killed = training("killed").start()
    newest = wait_for(killed, "update-00000024")
    killed.kill()
    newest = sorted(newest.parent.glob("update-*"))[-1]
    file = newest / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if damage == "truncated" else content)
    killed.finish()
    assert f"checkpoint of update {int(newest.name[7:])} is damaged" in killed.messages()
    assert "resuming from update" in killed.messages()
    same(straight, killed)


def test_checkpoints_of_another_configuration_are_ignored(training):
    first = training("first", updates=100).start()
    wait_for(first, "update-00000008")
    first.kill()
    first.run = first.run.model_copy(update={"training": first.run.training.model_copy(update={"learning_rate": 1e-3})})
    first.finish()
    assert "training.learning_rate: 0.005 -> 0.001" in first.messages()
    assert "resuming" not in first.messages()
    straight = training("straight", updates=100, learning_rate=1e-3).finish()
    same(straight, first)


def test_a_checkpoint_that_cannot_be_written(training, tmp_path):
    """If the folder is not writable, the error names the last good checkpoint."""
    job = training("a", updates=100).start()
    newest = wait_for(job, "update-00000008")
    job.kill()
    count = len(list(newest.parent.glob("update-*")))
    blocked = max(int(path.name[7:]) for path in newest.parent.glob("update-*")) + 8
    (newest.parent / f".update-{blocked:08d}.partial").write_text("in the way of the folder")
    assert job.start().wait() == 1
    assert f"the last good checkpoint is of update {blocked - 8}" in job.messages()
    assert len(list(newest.parent.glob("update-*"))) == count


def test_full_disk(training, tmp_path):
    """On a disk with space for two checkpoints: a clear error, and the training resumes once there is space."""
    job = training("a", keep=1, average_last=1)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(job.checkpoints)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        filler = job.checkpoints / "filler"
        filler.write_bytes(bytes(750_000))
        assert job.start().wait() == 1
        assert "no space left on the disk; the last good checkpoint is of update 8" in job.messages()
        filler.unlink()
        job.finish()
        assert "resuming from update 8" in job.messages()
    finally:
        subprocess.run(["umount", str(job.checkpoints)], check=True)


def wait_for(job, name: str, seconds: float = 600, pause: float = 0.01) -> Path:
    """Waits for a checkpoint folder `name` and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if paths := list(job.checkpoints.glob(f"*/{name}")):
            return paths[0]
        time.sleep(pause)
    raise AssertionError(f"{name} did not appear:\n{job.messages()}")


def test_state_is_readable_json(training):
    job = training("a", updates=100).start()
    folder = wait_for(job, "update-00000008")
    state = json.loads((folder / "state.json").read_text())
    job.kill()
    assert state["update"] == 8 and state["totals"]["target_tokens"] > 0
