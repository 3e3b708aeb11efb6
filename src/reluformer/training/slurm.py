"""What a training asks of SLURM, where it runs under it. No torch in here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping


def first_node(environment: Mapping[str, str]) -> str:
    """The address of the first node of this srun step, where its processes meet."""
    if shutil.which("scontrol") is None:
        return environment["SLURM_LAUNCH_NODE_IPADDR"]  # where srun was called: the first node, from a batch script
    name = _scontrol("show", "hostnames", environment["SLURM_STEP_NODELIST"]).stdout.split()[0]
    address = re.search(r"NodeAddr=(\S+)", _scontrol("show", "node", name).stdout)
    return address[1] if address else name


def requeue(environment: Mapping[str, str]) -> bool:
    """Asks SLURM to start this job again from the beginning of its script; whether it will.

    For a training that saved its state because the job's time runs out. Where the cluster does not requeue, the job
    fails, and it is for whoever submitted it to submit it again.
    """
    job = environment.get("SLURM_JOB_ID")
    if job is None or shutil.which("scontrol") is None or environment.get("SLURM_NODEID", "0") != "0":
        return False
    answer = _scontrol("requeue", job)
    if answer.returncode:
        print(f"SLURM does not requeue job {job}: {answer.stderr.strip()}", file=sys.stderr, flush=True)
        return False
    print(f"SLURM will start job {job} again", file=sys.stderr, flush=True)
    return True


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=False)
