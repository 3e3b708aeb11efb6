"""A training that was killed, or asked to leave, and went on ends with the same bits as one that was not."""

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


def same(one, other) -> None:
    assert one.weights() == other.weights()
    assert one.log() == other.log()
    changing = ("seconds", "startup_seconds", "tokens_per_second", "code_version")
    first, second = ({k: v for k, v in each.summary().items() if k not in changing} for each in (one, other))
    assert first == second


def kill_at_random(each, rng: random.Random, kills: int) -> None:
    """Starts and kills `kills` times: soon after the first checkpoint, then at any moment, also of the start."""
    each.start()
    wait_for(each, "update-*")
    time.sleep(rng.uniform(0, 0.2))
    each.kill()
    for _ in range(kills - 1):
        each.start()
        time.sleep(rng.uniform(0.1, 1.0))
        each.kill()
        if each.output.exists():  # it ended before it was killed
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


def test_a_training_that_goes_on_does_not_start_from_the_other_again(training, corpora):
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
    """`make_run()`, trained without a stop."""
    return Training(tmp_path_factory.mktemp("straight"), corpora, make_run()).finish()


def test_killed_while_writing_a_checkpoint(training, straight):
    killed = training("killed")
    for name in (".update-00000016.partial", ".update-00000024.partial"):
        killed.start()
        wait_for(killed, name, pause=0.001)  # before it gets its name
        killed.kill()
    killed.finish()
    same(straight, killed)


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGTERM, 2), (signal.SIGUSR1, 1)])
def test_signal_saves_and_leaves(training, number, processes):
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
def test_damaged_checkpoint_is_passed_over(training, straight, damage):
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
    """Where the folder cannot be written to, the error says which good checkpoint there is."""
    each = training("a", updates=100).start()
    newest = wait_for(each, "update-00000008")
    each.kill()
    count = len(list(newest.parent.glob("update-*")))
    blocked = max(int(path.name[7:]) for path in newest.parent.glob("update-*")) + 8
    (newest.parent / f".update-{blocked:08d}.partial").write_text("in the way of the folder")
    assert each.start().wait() == 1
    assert f"the last good checkpoint is of update {blocked - 8}" in each.messages()
    assert len(list(newest.parent.glob("update-*"))) == count


def test_full_disk(training, tmp_path):
    """On a disk for two checkpoints: a clear error, and the good one goes on once there is space."""
    each = training("a", keep=1, average_last=1)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(each.checkpoints)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        filler = each.checkpoints / "filler"
        filler.write_bytes(bytes(750_000))
        assert each.start().wait() == 1
        assert "no space left on the disk; the last good checkpoint is of update 8" in each.messages()
        filler.unlink()
        each.finish()
        assert "resuming from update 8" in each.messages()
    finally:
        subprocess.run(["umount", str(each.checkpoints)], check=True)


def wait_for(each, name: str, seconds: float = 600, pause: float = 0.01) -> Path:
    """The folder `name` among the checkpoints, as soon as it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if paths := list(each.checkpoints.glob(f"*/{name}")):
            return paths[0]
        time.sleep(pause)
    raise AssertionError(f"{name} did not appear:\n{each.messages()}")


def test_state_is_readable_json(training):
    each = training("a", updates=100).start()
    folder = wait_for(each, "update-00000008")
    state = json.loads((folder / "state.json").read_text())
    each.kill()
    assert state["update"] == 8 and state["totals"]["target_tokens"] > 0
