"""A SLURM of two nodes on this machine (the real daemons, stand-ins for two GPUs on each node), and workflows on it.

It is started only where SLURM and munge are installed, by root, and where /etc/slurm has no configuration of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
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
from filelock import FileLock

MARK = "# Written by tests/slurm, and removed by it."
FOLDER = Path("/etc/slurm")  # SLURM_CONF does not reach the srun inside a job
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
LOCK = Path(tempfile.gettempdir()) / "reluformer-slurm-test.lock"

SLURM_CONF = """{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
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
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 {node}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 {node}
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
        if path.exists() and not path.read_text(encoding="utf-8").startswith(MARK):
            return f"{path} is this machine's own and stays as it is"
    return None


@contextlib.contextmanager
def running_cluster() -> Iterator[Path]:
    """Starts the cluster, one at a time on a machine, and stops it; yields the folder of its logs."""
    with FileLock(LOCK, timeout=600), tempfile.TemporaryDirectory(prefix="slurm-") as temporary:
        state = Path(temporary)
        state.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        FOLDER.mkdir(exist_ok=True)
        files = {
            FOLDER / "slurm.conf": SLURM_CONF.format(mark=MARK, host=host, state=state, node=NODE),
            FOLDER / "gres.conf": GRES_CONF,
        }
        daemons: list[subprocess.Popen[bytes]] = []
        try:
            for path, text in files.items():
                path.write_text(text, encoding="utf-8")
            _start_munge(daemons)
            for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
                daemons.append(_start(command, state))
            idle = ["idle", "2"]
            wait_until(lambda: run("sinfo", "-h", "-o", "%T %D").stdout.split() == idle, 60, lambda: tail(state))
            yield state
        finally:
            run("scancel", "--user=root")
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                try:
                    daemon.wait(15)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            for path in files:
                path.unlink(missing_ok=True)


def run(*command: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
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


def _start(command: list[str], state: Path) -> subprocess.Popen[bytes]:
    with (state / f"{'-'.join(command)}.out.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _start_munge(daemons: list[subprocess.Popen[bytes]]) -> None:
    """munged, unless the machine has one that answers."""
    if run("munge", "-n").returncode == 0:
        return
    if not Path("/etc/munge/munge.key").exists():
        run("runuser", "-u", "munge", "--", "mungekey", "--create")
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    daemons.append(
        subprocess.Popen(
            ["runuser", "-u", "munge", "--", "munged", "--foreground"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )
    wait_until(lambda: run("munge", "-n").returncode == 0, 20, lambda: "munged does not answer")


class Workflow:
    """A project whose jobs go to the cluster by the profile."""

    def __init__(self, project: Any) -> None:
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

    def start(self, *targets: str, options: tuple[str, ...] = (), timeout: float = 240) -> None:
        """Starts snakemake with the profile; what it says goes to a file."""
        python = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}", "GLOO_SOCKET_IFNAME": "lo"}
        command = [
            *("timeout", "-k", "5", str(timeout), "snakemake", "--profile", "workflow/profiles/slurm"),
            *("--configfile", "smoke/smoke.yaml", "--config", f"archives={self.folder / 'archives'}"),
            *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"),
            *("--jobs", "4", *options),
            *(("--", *targets) if targets else ()),
        ]
        with self.says.open("wb") as says:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=says, stderr=says, start_new_session=True
            )

    def until(self, true: Callable[[], object], seconds: float = 120) -> None:
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
        wait_until(lambda: not self.submitted("", states="PD,R,CG"), 60, lambda: run("squeue").stdout)

    def said(self) -> str:
        """What snakemake said, its streams as one text."""
        return self.says.read_text(encoding="utf-8", errors="replace")

    def submitted(self, rule: str, states: str = "all") -> list[str]:
        """The numbers of a rule's SLURM jobs so far, the oldest first."""
        found = run("squeue", f"--states={states}", "--noheader", "--format=%i %k %Z").stdout.splitlines()
        here = [line.split() for line in found if line.endswith(str(self.folder))]
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
def new_workflow(cluster: Path, smoke_project: Callable[[], Any]) -> Iterator[Callable[[], Workflow]]:
    """Makes workflows of the smoke configuration, to be submitted to the cluster; the session's end stops them."""
    made: list[Workflow] = []

    def make() -> Workflow:
        made.append(Workflow(smoke_project()))
        return made[-1]

    yield make
    for workflow in made:
        workflow.stop()


@pytest.fixture
def workflow(new_workflow: Callable[[], Workflow]) -> Iterator[Workflow]:
    """One of them, stopped at the test's end."""
    workflow = new_workflow()
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
