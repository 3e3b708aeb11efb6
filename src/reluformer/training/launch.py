"""Starts the processes of one training run and returns its exit code. Does not import torch.

    launch (this process: locks, devices, signals)
      └─ torchrun --standalone --nproc-per-node N
           └─ reluformer.training.worker × N

A single process is started without torchrun, whose import takes longer than everything else here. torchrun neither
passes on a worker's exit code nor gives it time to save on a signal, so the launcher keeps running: on SIGTERM and
SIGUSR1 it signals the workers, which save a checkpoint and exit. Every process dies with its parent.

SIGUSR1 warns of a time limit: once the state is saved, a SLURM job is requeued. On SIGTERM (scancel) it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.files import exclusive, try_folder
from reluformer.ops.process import die_with_parent, usable_cores
from reluformer.training.stopping import CRASHED, INTERRUPTED, STOP_SIGNALS
from reluformer.training.summary import claim_devices

RESEND_SECONDS = 1.0

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def launch(run: RunConfig, corpora: Path, output: Path, checkpoints: Path, threads: int | None) -> int:
    """Trains `run` and returns its exit code.

    Args:
        run: the resolved run.
        corpora: the folder of prepared corpora (results/corpora).
        output: the run's folder, for model.safetensors, config.yaml, log.jsonl and summary.json.
        checkpoints: the run's folder of checkpoints; the training resumes from the newest one of the same run.
        threads: CPU threads of the job, divided among its processes; None: every core this process may use.

    Returns:
        0 once the files are written (also if the run diverged), 75 if it saved after a signal, 2 for a mistake in the
        configuration, 1 for a crash.

    Raises:
        SettingsError: another process is training this run, there are too few devices, several nodes are not started
            by srun, or a folder is not writable.
    """
    started = time.time()
    for folder in (checkpoints, output):  # fail now, not after hours of training
        require_writable(folder)
    with (
        _only_trainer([checkpoints, output], run.training.nodes),  # either may be shared between projects
        claim_devices(run.training.processes) as devices,
        tempfile.TemporaryDirectory(prefix="reluformer-") as temporary,
    ):
        job = Path(temporary) / "run.json"
        job.write_text(run.model_dump_json(), encoding="utf-8")
        outcome = Path(temporary) / "outcome.json"
        command = [
            *rendezvous(run.training.processes, run.training.nodes, os.environ),
            *("-m", "reluformer.training.worker"),
            *(str(path.absolute()) for path in (job, corpora, output, checkpoints, outcome)),
        ]
        environment = worker_environment(run, threads, devices, started, os.environ)
        ended, received = _supervise(command, environment, is_alone(run.training.processes, run.training.nodes))
        code = json.loads(outcome.read_text(encoding="utf-8"))["code"] if outcome.is_file() else CRASHED
    if code == 0 and ended != 0:
        code = CRASHED
    if code == INTERRUPTED and signal.SIGUSR1 in received:
        requeue(os.environ)
    return code


def require_writable(folder: Path) -> None:
    """Creates `folder`; raises `SettingsError` if no file can be written in it."""
    try:
        try_folder(folder)
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be written to: {error.strerror}") from None


def is_alone(processes: int, nodes: int) -> bool:
    """Returns whether the training has a single process."""
    return processes == nodes == 1


def rendezvous(processes: int, nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Returns the command up to the script: Python, or torchrun with a rendezvous on the first node.

    Raises:
        SettingsError: there are several nodes, but this is not a step of srun on them.
    """
    if is_alone(processes, nodes):
        return [sys.executable]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--max-restarts=0"]
    if nodes == 1:
        return [*torchrun, "--standalone"]
    if environment.get("SLURM_STEP_NUM_NODES") != str(nodes):
        raise SettingsError(
            f"training.nodes: {nodes}: several nodes need SLURM: use `snakemake --profile workflow/profiles/slurm`, "
            f"or start this in a job with `srun --nodes={nodes} --ntasks-per-node=1`"
        )
    identity = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    port = 20_000 + sum(map(int, identity.split("."))) % 20_000  # the same on every node of a job
    endpoint = f"--rdzv-endpoint={first_node(environment)}:{port}"
    return [*torchrun, f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-id={identity}", endpoint]


def worker_environment(
    run: RunConfig, threads: int | None, devices: list[str], started: float, environment: Mapping[str, str]
) -> dict[str, str]:
    """Returns the environment of the workers and of torchrun.

    Each process gets the recipe's number of threads, or an equal share of the job's.
    """
    share = run.training.threads or max(1, (threads or usable_cores()) // run.training.processes)
    changed = {
        **environment,
        # Snakemake sets them all to the job's threads, which its processes share.
        **dict.fromkeys(THREAD_VARIABLES, str(share)),
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        "RELUFORMER_STARTED": repr(started),
        # torchrun kills its workers 30 s after a signal that it handles; the launcher signals them itself.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGHUP",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # `python -m` would import a tokenize.py in the working folder
    }
    if is_alone(run.training.processes, run.training.nodes):  # as torchrun sets them
        changed |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        changed |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    if not devices:
        changed["DS_ACCELERATOR"] = "cpu"
        if run.training.nodes == 1:
            changed.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return changed


def first_node(environment: Mapping[str, str]) -> str:
    """Returns the address of the first node of this srun step."""
    if shutil.which("scontrol") is None:
        return environment["SLURM_LAUNCH_NODE_IPADDR"]  # the node that called srun: the first, in a batch script
    name = _scontrol("show", "hostnames", environment["SLURM_STEP_NODELIST"]).stdout.split()[0]
    address = re.search(r"NodeAddr=(\S+)", _scontrol("show", "node", name).stdout)
    return address[1] if address else name


def requeue(environment: Mapping[str, str]) -> bool:
    """Asks SLURM to requeue this job; returns whether it will. If not, the job fails."""
    job = environment.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None or environment.get("SLURM_NODEID", "0") != "0":
        return False
    answer = _scontrol("requeue", job)
    if answer.returncode:
        print(f"SLURM will not requeue job {job}: {answer.stderr.strip()}", file=sys.stderr, flush=True)
        return False
    print(f"SLURM will start job {job} again", file=sys.stderr, flush=True)
    return True


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=False)


@contextlib.contextmanager
def _only_trainer(folders: Sequence[Path], nodes: int) -> Iterator[None]:
    """Locks the folders of a run; with several nodes, only the launcher on the first one does."""
    with contextlib.ExitStack() as locks:
        if nodes == 1 or os.environ.get("SLURM_NODEID", "0") == "0":
            try:
                for folder in folders:
                    locks.enter_context(exclusive(folder))
            except BlockingIOError as error:
                raise SettingsError(f"{error.filename}: another process is training this run") from None
        yield


def _supervise(command: list[str], environment: dict[str, str], alone: bool) -> tuple[int, set[int]]:
    """Runs the worker (alone) or torchrun, passing on signals; returns its exit code and the signals received."""
    received: set[int] = set()

    def receive(number: int, _: object) -> None:
        received.add(number)

    def in_child() -> None:
        die_with_parent()
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    before = {number: signal.signal(number, receive) for number in STOP_SIGNALS}
    try:
        process = subprocess.Popen(command, env=environment, preexec_fn=in_child)
        while True:
            try:
                return process.wait(timeout=RESEND_SECONDS if received else 0.2), received
            except subprocess.TimeoutExpired:
                if received:
                    _signal_workers(process.pid, alone)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_workers(started: int, alone: bool) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(started)
        for worker in [process] if alone else process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGUSR1)
