from __future__ import annotations

import pytest

from reluformer.training.slurm import first_node, requeue


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Puts a script in the place of SLURM's command."""

    def install(script: str) -> None:
        command = tmp_path / "scontrol"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_the_first_node_is_asked_of_slurm(scontrol):
    scontrol('[ "$2" = hostnames ] && printf "n3\\nn4\\n" || echo "NodeName=$3 NodeAddr=10.0.0.$3"')
    assert first_node({"SLURM_STEP_NODELIST": "n[3-4]"}) == "10.0.0.n3"


def test_a_job_is_requeued(scontrol, tmp_path, capsys):
    scontrol(f'echo "$*" >> {tmp_path}/asked')
    assert requeue({"SLURM_JOB_ID": "7", "SLURM_NODEID": "0"})
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert "start job 7 again" in capsys.readouterr().err


def test_only_the_first_node_asks(scontrol, tmp_path):
    scontrol(f"touch {tmp_path}/asked")
    assert not requeue({"SLURM_JOB_ID": "7", "SLURM_NODEID": "1"})
    assert not requeue({})
    assert not (tmp_path / "asked").exists()


def test_a_refusal_is_shown(scontrol, capsys):
    scontrol('echo "Requested operation is presently disabled" >&2; exit 1')
    assert not requeue({"SLURM_JOB_ID": "7"})
    assert "job 7: Requested operation is presently disabled" in capsys.readouterr().err
