from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from reluformer.config.settings import SettingsError
from reluformer.files import exclusive
from reluformer.training.launch import (
    first_node,
    launch,
    rendezvous,
    requeue,
    require_writable,
    worker_environment,
)
from reluformer.training.stopping import INTERRUPTED

LAUNCH = """
import sys
from pathlib import Path
from reluformer.config.run import RunConfig
from reluformer.training.launch import launch
run = RunConfig.model_validate_json(Path(sys.argv[1]).read_text())
sys.executable, *folders = sys.argv[2:]
sys.exit(launch(run, *map(Path, folders), 2))
"""


def changed(run, **training):
    return run.model_copy(update={"training": run.training.model_copy(update=training)})


def start(run, corpora, folder, environment=None, python=sys.executable) -> subprocess.Popen:
    """Starts the launcher in a separate process; `python` runs its children, unless PYTHON_EXEC sets torchrun's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(run.model_dump_json())
    arguments = [folder / "run.json", python, corpora, folder / "output", folder / "checkpoints"]
    command = [sys.executable, "-c", LAUNCH, *map(str, arguments)]
    return subprocess.Popen(
        command, stderr=(folder / "log").open("a"), env={**os.environ, **(environment or {})}, start_new_session=True
    )


def wait_for(pattern, folder, seconds=600):
    end = time.monotonic() + seconds
    while not (result := list((folder / "checkpoints").glob(pattern))):
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.01)
    return result[0]


def test_each_launch_on_one_node_has_its_own_port():
    assert rendezvous(2, 1, {})[-2:] == ["--max-restarts=0", "--standalone"]
    assert "--nproc-per-node=2" in rendezvous(2, 1, {})


def test_a_single_process_is_started_without_torchrun(toy_run):
    assert rendezvous(1, 1, {}) == [sys.executable]
    environment = worker_environment(toy_run, 1, [], 0.0, {})
    assert environment["WORLD_SIZE"] == "1" and environment["MASTER_PORT"] == "0"
    assert "WORLD_SIZE" not in worker_environment(changed(toy_run, processes=2), 1, [], 0.0, {})


def test_several_nodes_use_the_address_from_srun(monkeypatch):
    monkeypatch.setenv("PATH", "")
    slurm = {
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
        "SLURM_JOB_ID": "41",
        "SLURM_STEP_ID": "1",
    }
    command = rendezvous(1, 2, slurm)
    assert {"--nnodes=2", "--rdzv-backend=c10d", "--rdzv-id=41.1", "--rdzv-endpoint=10.0.0.1:20042"} <= set(command)
    with pytest.raises(SettingsError, match="srun --nodes=2"):
        rendezvous(1, 2, {})


def test_cores_are_shared(toy_run):
    def share(run, threads):
        return int(worker_environment(run, threads, [], 0.0, {})["OMP_NUM_THREADS"])

    assert share(changed(toy_run, processes=2), 5) == 2
    assert share(changed(toy_run, processes=4), 2) == 1
    assert share(changed(toy_run, threads=3), 1) == 3
    assert share(toy_run, None) == len(os.sched_getaffinity(0))


def test_environment(toy_run):
    cpu = worker_environment(toy_run, 2, [], 1.5, {"HOME": "/h"})
    assert cpu["DS_ACCELERATOR"] == "cpu" and cpu["OMP_NUM_THREADS"] == "2" and cpu["HOME"] == "/h"
    assert cpu["RELUFORMER_STARTED"] == "1.5"
    gpu = worker_environment(toy_run, 2, ["3", "5"], 1.5, {})
    assert gpu["CUDA_VISIBLE_DEVICES"] == "3,5" and "DS_ACCELERATOR" not in gpu


def test_processes_share_the_threads_whatever_library_counts_them(toy_run):
    """Snakemake sets MKL_NUM_THREADS to the job's threads: two processes with two threads each ran 8 times slower."""
    job = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    workers = worker_environment(changed(toy_run, processes=2), 2, [], 1.5, job)
    assert {workers[name] for name in job} == {"1"}


def test_a_second_trainer_is_refused(tmp_path, corpora, toy_run):
    folders = [tmp_path / "output", tmp_path / "checkpoints"]
    for folder in folders:
        with exclusive(folder), pytest.raises(SettingsError, match=f"{folder.name}: another process is training this"):
            launch(toy_run, corpora, *folders, 1)


def test_folders_are_checked_before_the_training(tmp_path):
    require_writable(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match="file: cannot be written to: File exists"):
        require_writable(tmp_path / "file")


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Replaces SLURM's scontrol by a script."""

    def install(script: str) -> None:
        command = tmp_path / "scontrol"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_slurm_gives_the_first_node(scontrol):
    scontrol('[ "$2" = hostnames ] && printf "n3\\nn4\\n" || echo "NodeName=$3 NodeAddr=10.0.0.$3"')
    assert first_node({"SLURM_STEP_NODELIST": "n[3-4]"}) == "10.0.0.n3"


def test_a_job_is_requeued(scontrol, tmp_path, capsys):
    scontrol(f'echo "$*" >> {tmp_path}/asked')
    assert requeue({"SLURM_JOB_ID": "7", "SLURM_NODEID": "0"})
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert "start job 7 again" in capsys.readouterr().err


def test_only_the_first_node_requeues(scontrol, tmp_path):
    scontrol(f"touch {tmp_path}/asked")
    assert not requeue({"SLURM_JOB_ID": "7", "SLURM_NODEID": "1"})
    assert not requeue({})
    assert not (tmp_path / "asked").exists()


def test_a_refusal_is_shown(scontrol, capsys):
    scontrol('echo "Requested operation is presently disabled" >&2; exit 1')
    assert not requeue({"SLURM_JOB_ID": "7"})
    assert "job 7: Requested operation is presently disabled" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_from_start_to_outputs_with_a_signal_between(tmp_path, corpora, toy_run, warm_python):
    """The first signal goes to the launcher alone, the second to all its processes, as from scancel."""
    run = changed(toy_run, processes=2, updates=300, checkpoint_every=20, log_every=100, validate_every=300)
    for update, send in (("update-00000020", os.kill), ("update-000001*", os.killpg)):
        job = start(run, corpora, tmp_path, {"PYTHON_EXEC": warm_python})
        wait_for(f"*/{update}", tmp_path)
        send(job.pid, signal.SIGTERM)
        assert job.wait(600) == INTERRUPTED, (tmp_path / "log").read_text()
    assert list((tmp_path / "output").iterdir()) == []
    second = start(run, corpora, tmp_path, python=warm_python)
    assert second.wait(600) == 0, (tmp_path / "log").read_text()
    assert "resuming from update" in (tmp_path / "log").read_text()
    summary = json.loads((tmp_path / "output" / "summary.json").read_text())
    assert summary["updates"] == 300 and summary["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c(tmp_path, corpora, toy_run, warm_python, processes):
    """torchrun gets the signal, too, and must not interrupt the saving."""
    run = changed(toy_run, updates=100_000, processes=processes)
    python = warm_python if processes == 1 else sys.executable  # the launcher signals the children of torchrun
    job = start(run, corpora, tmp_path, {"PYTHON_EXEC": warm_python}, python)
    wait_for("*/update-*", tmp_path)
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(600) == INTERRUPTED, (tmp_path / "log").read_text()
    assert "interrupted: saved at update" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_outlives_a_killed_launcher(tmp_path, corpora, toy_run, processes):
    job = start(changed(toy_run, updates=100_000, processes=processes), corpora, tmp_path)
    wait_for("*/update-*", tmp_path)
    family = psutil.Process(job.pid).children(recursive=True)
    assert len(family) >= (1 if processes == 1 else 3)
    job.kill()
    job.wait()
    assert psutil.wait_procs(family, timeout=600)[1] == []


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job(tmp_path, corpora, toy_run, warm_python):
    run = changed(toy_run, updates=100_000, processes=2)
    job = start(run, corpora, tmp_path, {"PYTHON_EXEC": warm_python})
    wait_for("*/update-*", tmp_path)
    torchrun = psutil.Process(job.pid).children()[0]
    torchrun.children()[1].kill()
    assert job.wait(600) == 1


@pytest.mark.slow
def test_two_nodes(tmp_path, corpora, toy_run, warm_python):
    """Two launchers of one srun step, both on this machine."""
    run = changed(toy_run, nodes=2, updates=20)
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
        "PATH": "",
    }
    nodes = [{**slurm, "SLURM_NODEID": str(node)} for node in range(2)]
    jobs = [start(run, corpora, tmp_path, node, warm_python) for node in nodes]
    assert [job.wait(600) for job in jobs] == [0, 0], (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "output" / "summary.json").read_text())["processes"] == 2
