"""A SLURM cluster of two nodes on this machine (real daemons, two fake GPUs per node), and workflows on it.

It needs SLURM, munge and root. SLURM's commands read their configuration from /etc/slurm, which is mounted for this
process alone (tests/leftovers.py). If the machine allows no such mounts, one test run at a time writes into the folder
itself, unless it holds a configuration of the machine's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock, Timeout
from tests import leftovers, warm

MARK = "# Written by tests/slurm, and removed by it."
FOLDER = Path("/etc/slurm")  # SLURM_CONF does not reach the srun inside a job
SNAKEMAKE = "attentive_snakemake"  # the module beside this file
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
LOCK = Path(tempfile.gettempdir()) / "reluformer-slurm-test.lock"

SLURM_CONF = """{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket,cred_expire=5
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
MinJobAge=3600
MessageTimeout=60
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {node}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {node}
PartitionName=main Nodes=n1,n2 Default=YES State=UP MaxTime=INFINITE
"""
NODE = "CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=40000 Gres=gpu:2"  # not the real hardware
GRES_CONF = f"{MARK}\nNodeName=n[1-2] Name=gpu File=/dev/tty[0-1]\n"


def obstacle() -> str | None:
    """Returns why no cluster can be started here, or None if one can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian's slurm-wlm and munge)"
    if os.getuid() != 0:
        return "only root can start SLURM's daemons"
    for name in ("slurm.conf", "gres.conf"):
        path = FOLDER / name
        if not leftovers.private_mounts and path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
            return f"{path} is this machine's own and stays as it is"
    return None


@contextlib.contextmanager
def configured(files: dict[str, str], state: Path) -> Iterator[None]:
    """Writes files into /etc/slurm as seen by this process and its children."""
    FOLDER.mkdir(exist_ok=True)
    if leftovers.private_mounts:
        own = state / "etc"
        own.mkdir()
        leftovers.bind(own, FOLDER)
    with contextlib.ExitStack() as stack:
        if not leftovers.private_mounts:
            try:
                stack.enter_context(FileLock(LOCK, timeout=600))
            except Timeout:
                pytest.skip("no SLURM cluster: another run of the tests uses /etc/slurm")
        for name, text in files.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
            stack.callback((FOLDER / name).unlink, missing_ok=True)
        yield


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("", 0))
        return [listener.getsockname()[1] for listener in sockets]


@contextlib.contextmanager
def running_cluster() -> Iterator[Path]:
    """Starts the cluster, yields its log folder, and stops the cluster."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as temporary:
        state = Path(temporary)
        state.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        description = {"mark": MARK, "host": host, "state": state, "node": NODE, "ports": free_ports(3)}
        daemons: list[subprocess.Popen[bytes]] = []
        with configured({"slurm.conf": SLURM_CONF.format(**description), "gres.conf": GRES_CONF}, state):
            try:
                _start_munge(state, daemons)
                daemons.append(_start("slurmctld", ["slurmctld", "-D", "-c"], state))
                daemons += [_start(f"slurmd-{node}", ["slurmd", "-D", "-N", node], state) for node in ("n1", "n2")]
                idle = ["idle", "2"]
                wait_until(lambda: run("sinfo", "-h", "-o", "%T %D").stdout.split() == idle, 240, lambda: tail(state))
                yield state
            finally:
                run("scancel", "--user=root")
                for daemon in reversed(daemons):
                    daemon.terminate()
                for daemon in daemons:
                    try:
                        daemon.wait(60)
                    except subprocess.TimeoutExpired:
                        daemon.kill()
                        daemon.wait()


def run(*command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a SLURM command with a time limit."""
    return subprocess.run(["timeout", "-k", "5", str(timeout), *command], capture_output=True, text=True, check=False)


def wait_until(condition: Callable[[], object], seconds: float, explain: Callable[[], str]) -> None:
    """Waits until `condition()` is true; fails with `explain()` after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.2)


def tail(folder: Path) -> str:
    """Returns the ends of the daemons' logs."""
    return "\n".join(f"{path}: {path.read_text(errors='replace')[-1500:]}" for path in sorted(folder.glob("*.log")))


def _start(name: str, command: list[str], state: Path) -> subprocess.Popen[bytes]:
    with (state / f"{name}.out.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _start_munge(state: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    """Starts a munged for this cluster, with a key of its own."""
    folder = state / "munge"
    folder.mkdir(mode=0o755)
    (folder / "key").write_bytes(secrets.token_bytes(64))
    (folder / "key").chmod(0o600)
    command = ["munged", "--foreground", "--force", f"--key-file={folder / 'key'}", f"--socket={folder / 'socket'}"]
    command += [f"--{name}-file={folder / name}" for name in ("log", "pid", "seed")]
    daemons.append(_start("munged", command, state))
    socket = f"--socket={folder / 'socket'}"
    wait_until(lambda: run("munge", "-n", socket).returncode == 0, 120, lambda: tail(state))


class Workflow:
    """A project whose jobs the profile submits to the cluster."""

    def __init__(self, project: Any, python: str = sys.executable) -> None:
        self.profile = "slurm"
        self.python = python
        self.project, self.folder = project, project.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.output_file = self.folder / "snakemake.out"

    def configure(self, **changes: Any) -> None:
        """Overrides top-level keys of the smoke configuration: `training`, `model`, `only`, ..."""
        path = self.folder / "smoke" / "smoke.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**config, **changes}), encoding="utf-8")

    def here(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """Runs snakemake to completion without the cluster."""
        archives = ("--config", f"archives={self.folder / 'archives'}")
        return self.project.snakemake("--configfile", "smoke/smoke.yaml", *archives, "--", *targets)

    def start(self, *targets: str, options: tuple[str, ...] = (), timeout: float = 2000) -> None:
        """Starts snakemake with the profile, with its output in a file."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *warm.search_path()]),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        command = [
            *("timeout", "-k", "5", str(timeout), self.python, "-P", "-m", SNAKEMAKE),
            *("--profile", f"workflow/profiles/{self.profile}"),
            *("--configfile", "smoke/smoke.yaml", "--config", f"archives={self.folder / 'archives'}"),
            *(("--slurm-init-seconds-before-status-checks", "1") if self.profile == "slurm" else ()),
            *("--latency-wait", "5"),
            *("--jobs", "4", *options),
            *(("--", *targets) if targets else ()),
        ]
        with self.output_file.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )

    def until(self, condition: Callable[[], object], seconds: float = 600) -> None:
        """Waits until `condition()` is true; fails if snakemake ends first."""
        wait_until(lambda: condition() or self._ended(), seconds, self.said)
        assert condition(), self.said()

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait(self) -> int:
        """Waits for snakemake to end; returns its exit code."""
        assert self.process is not None
        code = self.process.wait()
        self.process = None
        return code

    def stop(self) -> None:
        """Ends snakemake and its jobs if a test left them running."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()
        for job in self.submitted(""):
            run("scancel", "--quiet", job)
        wait_until(lambda: not self.submitted("", states="PD,R,CG"), 240, lambda: run("squeue").stdout)

    def said(self) -> str:
        """Returns snakemake's output and standard error as one text."""
        return self.output_file.read_text(encoding="utf-8", errors="replace")

    def submitted(self, rule: str, states: str = "all") -> list[str]:
        """Returns the IDs of a rule's SLURM jobs so far, oldest first."""
        lines = run("squeue", f"--states={states}", "--noheader", "--format=%i %k %Z").stdout.splitlines()
        here = [line.split() for line in lines if line.endswith(str(self.folder))]
        return sorted((job for job, comment, _ in here if comment.startswith(f"rule_{rule}")), key=int)


def cancel(job: str) -> None:
    """Cancels a job as a user does."""
    assert run("scancel", job).returncode == 0


def warn(job: str) -> None:
    """Sends USR1 to the processes of a job's steps, as SLURM does before the time limit."""
    assert run("scancel", "--signal=USR1", job).returncode == 0


def fail_node(name: str) -> None:
    """Marks a node as down, as SLURM does if it stops responding: its jobs are requeued or lost.

    As the node does respond, it returns to service by itself (ReturnToService).
    """
    assert run("scontrol", "update", f"nodename={name}", "state=down", "reason=test").returncode == 0


def job_state(job: str) -> dict[str, str]:
    """Returns the fields that scontrol shows of a job: JobState, Restarts, NumNodes, TresPerJob, ..."""
    return dict(re.findall(r"(\w+)=(\S*)", run("scontrol", "--details", "show", "job", job).stdout))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The cluster, for the whole session; all its tests go to one xdist worker."""
    if reason := obstacle():
        pytest.skip(f"no SLURM cluster: {reason}")
    with running_cluster() as state:
        yield state


@pytest.fixture(scope="session")
def new_workflow(
    cluster: Path, smoke_project: Callable[[], Any], warm_python: str
) -> Iterator[Callable[..., Workflow]]:
    """Returns a function that makes workflows of the smoke configuration on the cluster, stopped after the session.

    Unless `bare`, the corpus of single sentences is already prepared. A `quick` workflow starts its processes through
    tests/warm.py; SLURM does not attribute those to the job and cannot signal them.
    """
    workflows: list[Workflow] = []
    template = Workflow(smoke_project())
    done = template.here("results/corpora/numbers/statistics.json")
    assert done.returncode == 0, done.stdout

    def make(bare: bool = False, quick: bool = False) -> Workflow:
        workflows.append(Workflow(smoke_project(), warm_python if quick else sys.executable))
        for name in () if bare else (".snakemake", "resources", "results"):
            shutil.copytree(template.folder / name, workflows[-1].folder / name, symlinks=True)
        return workflows[-1]

    yield make
    for workflow in workflows:
        workflow.stop()


@pytest.fixture
def workflow(new_workflow: Callable[..., Workflow]) -> Iterator[Workflow]:
    """A workflow that is stopped after the test."""
    workflow = new_workflow()
    yield workflow
    workflow.stop()


@pytest.fixture
def quick_workflow(new_workflow: Callable[..., Workflow]) -> Iterator[Workflow]:
    """A `quick` workflow that is stopped after the test."""
    workflow = new_workflow(quick=True)
    yield workflow
    workflow.stop()


@pytest.fixture(scope="session")
def state_of() -> Callable[[str], dict[str, str]]:
    """Returns `job_state`."""
    return job_state


@pytest.fixture(scope="session")
def scancel() -> Callable[[str], None]:
    """Returns `cancel`."""
    return cancel


@pytest.fixture(scope="session")
def warn_of_time_limit() -> Callable[[str], None]:
    """Returns `warn`."""
    return warn


@pytest.fixture(scope="session")
def lose_node() -> Callable[[str], None]:
    """Returns `fail_node`."""
    return fail_node
