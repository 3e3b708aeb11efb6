"""A SLURM of two nodes on this machine (the real daemons, stand-ins for two GPUs on each node), and workflows on it.

It is started only where SLURM and munge are installed, and by root. SLURM's commands look for the configuration in
/etc/slurm: it is there in the mounts of this process alone (tests/leftovers.py). Where this machine allows no such
mounts, the folder itself is used, by one run at a time, unless it holds a configuration of the machine's own.
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
NODE = "CPUs=8 Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=40000 Gres=gpu:2"  # whatever the machine has
GRES_CONF = f"{MARK}\nNodeName=n[1-2] Name=gpu File=/dev/tty[0-1]\n"


def obstacle() -> str | None:
    """Why no cluster can be started here; none where one can."""
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
    """Puts files into /etc/slurm, as this process and what it starts see it."""
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
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running_cluster() -> Iterator[Path]:
    """Starts the cluster and stops it; yields the folder of its logs."""
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
    """A command of SLURM, bounded in time."""
    return subprocess.run(["timeout", "-k", "5", str(timeout), *command], capture_output=True, text=True, check=False)


def wait_until(true: Callable[[], object], seconds: float, explain: Callable[[], str]) -> None:
    """Waits until `true()` is; says `explain()` when it takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, explain()
        time.sleep(0.2)


def tail(folder: Path) -> str:
    """The ends of the daemons' logs."""
    return "\n".join(f"{path}: {path.read_text(errors='replace')[-1500:]}" for path in sorted(folder.glob("*.log")))


def _start(name: str, command: list[str], state: Path) -> subprocess.Popen[bytes]:
    with (state / f"{name}.out.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _start_munge(state: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    """A munged of the cluster's own, with a key that only this cluster has."""
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
    """A project whose jobs go to the cluster by the profile."""

    def __init__(self, project: Any, python: str = sys.executable) -> None:
        self.profile = "slurm"
        self.python = python
        self.project, self.folder = project, project.folder
        self.process: subprocess.Popen[bytes] | None = None
        self.says = self.folder / "snakemake.out"

    def configure(self, **changes: Any) -> None:
        """Lays `changes` over the smoke configuration: `training`, `model`, `only`, ..."""
        path = self.folder / "smoke" / "smoke.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**config, **changes}), encoding="utf-8")

    def here(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """Runs snakemake without the cluster, to its end."""
        archives = ("--config", f"archives={self.folder / 'archives'}")
        return self.project.snakemake("--configfile", "smoke/smoke.yaml", *archives, "--", *targets)

    def start(self, *targets: str, options: tuple[str, ...] = (), timeout: float = 2000) -> None:
        """Starts snakemake with the profile; what it says goes to a file."""
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
        with self.says.open("wb") as says:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=says, stderr=says, start_new_session=True
            )

    def until(self, true: Callable[[], object], seconds: float = 600) -> None:
        """Waits until `true()` is, while snakemake runs."""
        wait_until(lambda: true() or self._ended(), seconds, self.said)
        assert true(), self.said()

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait(self) -> int:
        """Waits for snakemake's end; its exit code."""
        assert self.process is not None
        code = self.process.wait()
        self.process = None
        return code

    def stop(self) -> None:
        """Ends snakemake and its jobs, where a test left them."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()
        for job in self.submitted(""):
            run("scancel", "--quiet", job)
        wait_until(lambda: not self.submitted("", states="PD,R,CG"), 240, lambda: run("squeue").stdout)

    def said(self) -> str:
        """What snakemake said, its streams as one text."""
        return self.says.read_text(encoding="utf-8", errors="replace")

    def submitted(self, rule: str, states: str = "all") -> list[str]:
        """The numbers of a rule's SLURM jobs so far, the oldest first."""
        lines = run("squeue", f"--states={states}", "--noheader", "--format=%i %k %Z").stdout.splitlines()
        here = [line.split() for line in lines if line.endswith(str(self.folder))]
        return sorted((job for job, comment, _ in here if comment.startswith(f"rule_{rule}")), key=int)


def cancel(job: str) -> None:
    """What a user does to a job: scancel."""
    assert run("scancel", job).returncode == 0


def warn(job: str) -> None:
    """What SLURM does before a job's time limit: USR1 to the processes of its steps."""
    assert run("scancel", "--signal=USR1", job).returncode == 0


def fail_node(name: str) -> None:
    """What SLURM does to a node that no longer answers: it is down, its jobs are queued again or lost.

    This one does answer, and so comes back by itself (ReturnToService).
    """
    assert run("scontrol", "update", f"nodename={name}", "state=down", "reason=test").returncode == 0


def job_state(job: str) -> dict[str, str]:
    """What scontrol knows of a job: JobState, Restarts, NumNodes, ...; `nodes`: the GPUs of each of its nodes."""
    return dict(re.findall(r"(\w+)=(\S*)", run("scontrol", "--details", "show", "job", job).stdout))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The cluster, for the whole session: its tests are one xdist group, so that one worker runs it."""
    if why := obstacle():
        pytest.skip(f"no SLURM cluster: {why}")
    with running_cluster() as state:
        yield state


@pytest.fixture(scope="session")
def new_workflow(
    cluster: Path, smoke_project: Callable[[], Any], warm_python: str
) -> Iterator[Callable[..., Workflow]]:
    """Makes workflows of the smoke configuration, to be submitted to the cluster; the session's end stops them.

    In each the corpus of single sentences is prepared, unless it is a `bare` one. A `quick` one starts its processes by
    tests/warm.py; SLURM does not know those as a job's own and cannot signal them.
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
    """One of them, stopped at the test's end."""
    workflow = new_workflow()
    yield workflow
    workflow.stop()


@pytest.fixture
def quick_workflow(new_workflow: Callable[..., Workflow]) -> Iterator[Workflow]:
    """One that starts its processes quickly, stopped at the test's end."""
    workflow = new_workflow(quick=True)
    yield workflow
    workflow.stop()


@pytest.fixture(scope="session")
def state_of() -> Callable[[str], dict[str, str]]:
    """`job_state`, for tests."""
    return job_state


@pytest.fixture(scope="session")
def scancel() -> Callable[[str], None]:
    """`cancel`, for tests."""
    return cancel


@pytest.fixture(scope="session")
def warn_of_time_limit() -> Callable[[str], None]:
    """`warn`, for tests."""
    return warn


@pytest.fixture(scope="session")
def lose_node() -> Callable[[str], None]:
    """`fail_node`, for tests."""
    return fail_node
