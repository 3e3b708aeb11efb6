"""Starts the processes of one training and says how it ended. No torch in here.

    launch (this process: lock, devices, signals)
      └─ torchrun --standalone --nproc-per-node N
           └─ reluformer.training.worker × N

A single process needs no torchrun, which takes longer to import than everything else here: the worker is started as is.
The launcher stays, because torchrun neither passes a worker's exit code on nor leaves it time to save when it gets a
signal: SIGTERM and SIGUSR1 go from here to the workers, which save a checkpoint and leave. Every process dies with its
parent, so that a killed launcher leaves no training behind.

SIGUSR1 is the warning of a time limit: once the state is saved, a SLURM job is requeued. SIGTERM (scancel) is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from reluformer.config.run import RunConfig
from reluformer.config.settings import SettingsError
from reluformer.ops.orphans import die_with_parent
from reluformer.training.devices import claim_devices
from reluformer.training.signals import ASKING
from reluformer.training.slurm import first_node, requeue

INTERRUPTED = 75
"""Exit code of a training that saved its state and left on a signal: EX_TEMPFAIL, start it again."""

RESEND_SECONDS = 1.0

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def launch(run: RunConfig, corpora: Path, output: Path, checkpoints: Path, threads: int | None) -> int:
    """Trains `run` and returns the exit code of its step.

    Args:
        run: the resolved run.
        corpora: the folder of prepared corpora (results/corpora).
        output: the run's folder; model.safetensors, config.yaml, log.jsonl and summary.json appear in it at the end.
        checkpoints: the run's folder of checkpoints; the training goes on from the newest one of the same run.
        threads: CPU threads of the whole job, shared by its processes; none: every core this process may use.

    Returns:
        0 once the files are there (also when the run diverged), 75 when it saved and left on a signal, 2 for a mistake
        in the configuration, 1 for a crash.

    Raises:
        SettingsError: for a second trainer on the same run, more processes than devices, several nodes without srun,
            or a folder that cannot be written to.
    """
    started = time.time()
    for folder in (checkpoints, output):  # found out now, not after hours of training
        require_writable(folder)
    with (
        _only_trainer(checkpoints / "trainer.lock", run.training.nodes),
        _only_trainer(output.parent / f".{output.name}.lock", run.training.nodes),  # results may be shared
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
        ended, asked = _supervise(command, environment, alone=is_alone(run.training.processes, run.training.nodes))
        code = _exit_code(ended, outcome)
    if code == INTERRUPTED and signal.SIGUSR1 in asked:
        requeue(os.environ)
    return code


def require_writable(folder: Path) -> None:
    """Makes `folder`; raises `SettingsError` where no file can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(f"{folder}: cannot be written to: {error.strerror}") from None


def is_alone(processes: int, nodes: int) -> bool:
    """Whether one process is all of the training."""
    return processes == nodes == 1


def rendezvous(processes: int, nodes: int, environment: Mapping[str, str]) -> list[str]:
    """The command up to the script: torchrun with its own free port on one node, SLURM's first node on several.

    Raises:
        SettingsError: where several nodes are asked for outside srun.
    """
    if is_alone(processes, nodes):
        return [sys.executable]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--max-restarts=0"]
    if nodes == 1:
        return [*torchrun, "--standalone"]
    if environment.get("SLURM_STEP_NUM_NODES") != str(nodes):
        raise SettingsError(
            f"training.nodes: {nodes}: several nodes need SLURM: use `snakemake --profile workflow/profiles/slurm`, "
            f"or start this in a job by `srun --nodes={nodes} --ntasks-per-node=1`"
        )
    identity = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    port = 20_000 + sum(map(int, identity.split("."))) % 20_000  # the same on every node, another for another job
    address = first_node(environment)
    return [
        *torchrun,
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={identity}",
        f"--rdzv-endpoint={address}:{port}",
    ]


def threads_per_process(run: RunConfig, threads: int | None) -> int:
    """CPU threads of each process: the recipe's, or an equal share of what the job is given."""
    available = threads or len(os.sched_getaffinity(0))
    return run.training.threads or max(1, available // run.training.processes)


def worker_environment(
    run: RunConfig, threads: int | None, devices: list[str], started: float, environment: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the workers, and of torchrun where there are several."""
    changed = {
        **environment,
        # Every library's own variable: Snakemake sets them all to the job's threads, which its processes share.
        **dict.fromkeys(THREAD_VARIABLES, str(threads_per_process(run, threads))),
        "CUDA_VISIBLE_DEVICES": ",".join(devices),
        "RELUFORMER_STARTED": repr(started),
        # What torchrun handles it passes on and kills after 30 s; what asks to save is the launcher's to pass on.
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGHUP",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # `python -m` would take a tokenize.py in the working folder for Python's own
    }
    if is_alone(run.training.processes, run.training.nodes):  # what torchrun would set; the store takes any free port
        changed |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        changed |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    if not devices:
        changed["DS_ACCELERATOR"] = "cpu"
        if run.training.nodes == 1:
            changed.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return changed


@contextlib.contextmanager
def _only_trainer(path: Path, nodes: int) -> Iterator[None]:
    if nodes > 1 and os.environ.get("SLURM_NODEID", "0") != "0":
        yield  # the launcher on the first node holds the lock for all nodes
        return
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(f"{path.parent}: another process is training this run") from None
    try:
        yield
    finally:
        lock.release()


def _supervise(command: list[str], environment: dict[str, str], alone: bool) -> tuple[int, set[int]]:
    """Runs the worker (alone) or torchrun to its end, passing signals on to the workers; exit code, and the signals."""
    asked: set[int] = set()

    def ask(number: int, _: object) -> None:
        asked.add(number)

    def in_child() -> None:
        die_with_parent()
        for number in ASKING:
            signal.signal(number, signal.SIG_IGN)

    before = {number: signal.signal(number, ask) for number in ASKING}
    try:
        process = subprocess.Popen(command, env=environment, preexec_fn=in_child)
        while True:
            try:
                return process.wait(timeout=RESEND_SECONDS if asked else 0.2), asked
            except subprocess.TimeoutExpired:
                if asked:
                    _ask_workers(process.pid, alone)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_workers(started: int, alone: bool) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(started)
        for worker in [process] if alone else process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGUSR1)


def _exit_code(ended: int, outcome: Path) -> int:
    code = json.loads(outcome.read_text(encoding="utf-8"))["code"] if outcome.is_file() else 1
    return code if ended == 0 or code else 1
