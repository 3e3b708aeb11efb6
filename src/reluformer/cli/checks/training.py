"""Torch, DeepSpeed and the devices: what they were built for, and whether a training of two processes works."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reluformer.cli.checks.check import Check, last_line, run

KERNEL_ERROR = 1e-3
PROBE_SECONDS, TRIAL_SECONDS = 40.0, 50.0

PROBE = """
import json, torch
told = dict(torch=torch.__version__, cuda=torch.version.cuda, cpu=torch.backends.cpu.get_cpu_capability(), gpus=[])
told["threads"] = torch.get_num_threads()
try:
    for i in range(torch.cuda.device_count()):
        a = torch.randn(256, 256, device=f"cuda:{i}")
        told["gpus"].append(dict(name=torch.cuda.get_device_name(i), works=bool((a @ a).isfinite().all())))
except Exception as error:
    told["error"] = str(error).splitlines()[0]
print(json.dumps(told))
"""


def torch_and_devices() -> list[Check]:
    """Torch and the GPUs, of which torch multiplies a matrix on each."""
    asked = run([sys.executable, "-c", PROBE], PROBE_SECONDS)
    if asked.code != 0:
        mend = "pip install -r requirements.txt into a virtual environment; `make demo` makes one"
        return [Check("torch", "missing", last_line(asked), "nothing can be trained", mend, needed=True)]
    told = json.loads(asked.output.splitlines()[-1])
    built = f"CUDA {told['cuda']}" if told["cuda"] else "CPUs alone"
    found = f"torch {told['torch']}, built for {built}; {told['cpu']} on this CPU, {told['threads']} threads"
    return [Check("torch", "ok", found, "the arithmetic of everything that is trained"), gpus(told, driver())]


def driver() -> list[str] | None:
    """The GPUs as NVIDIA's driver lists them, one line each; None without nvidia-smi, empty where it fails."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 15)
    return asked.output.splitlines() if asked.code == 0 else []


def gpus(told: dict[str, Any], listed: list[str] | None) -> Check:
    """What the driver and torch say together."""
    slow = "the demo runs without; the paper takes very long on a CPU (`reluformer plan`)"
    works = [gpu["name"] for gpu in told["gpus"] if gpu["works"]]
    if works and len(works) == len(told["gpus"]):
        found = "; ".join(listed) if listed else ", ".join(works)
        return Check("GPU", "ok", found, f"torch multiplies on {len(works)}: as many trainings at a time")
    if listed is None and not told["gpus"]:
        mend = "for the paper: a machine with an NVIDIA GPU (docs/reproduce.md), or a cluster (docs/slurm.md)"
        return Check("GPU", "missing", "no nvidia-smi", slow, mend)
    if listed == []:
        return Check("GPU", "warn", "nvidia-smi fails", slow, "`nvidia-smi` says why; reload or install the driver")
    reason = told.get("error") or ("hidden by CUDA_VISIBLE_DEVICES" if _hidden() else "torch finds none")
    mend = "unset CUDA_VISIBLE_DEVICES" if _hidden() else "install the torch that fits the driver: https://pytorch.org"
    return Check("GPU", "warn", f"{'; '.join(listed or [])}: {reason}", slow, mend)


def two_processes(graphic: int) -> list[Check]:
    """Steps of two processes through DeepSpeed: NCCL where there are two GPUs (`graphic`), gloo otherwise."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if graphic < 2:
        environment |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    with tempfile.TemporaryDirectory(prefix="reluformer-") as folder:
        output = Path(folder) / "trial.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        ended = run([*torchrun, "-m", "reluformer.training.self_test", str(output)], TRIAL_SECONDS, environment)
        told = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    if ended.code == 0 and told.get("good"):
        found = f"DeepSpeed {told['deepspeed']}, {told['backend']} on {told['device']}, {told['seconds']:.1f} s"
        means = "a ReLUFormer took two updates in both; their weights are equal"
        return [Check("two processes", "ok", found, means), kernel(told)]
    reason = "the processes' weights differ" if told else trouble(ended.errors) or last_line(ended)
    means = "trainings on several processes fail, and the demo has one"
    mend = "the whole message: torchrun --standalone --nproc-per-node=2 -m reluformer.training.self_test trial.json"
    return [Check("two processes", "missing", reason, means, mend, needed=True)]


def kernel(told: Mapping[str, Any]) -> Check:
    """Which kernel reads ReLU attention, and whether one read of it is right."""
    name, error = told["kernel"], told["kernel_error"]
    if not error < KERNEL_ERROR:
        mend = "export RELUFORMER_KERNEL=reference, and report it"
        return Check("ReLU kernel", "missing", f"{name} is wrong by {error}", "trainings learn nothing", mend, True)
    found = f"{name}, right to {error:.0e} in one read"
    if name in ("cpu", "triton"):
        return Check("ReLU kernel", "ok", found, "ReLU attention without storing its weights")
    means = "ReLU attention in plain torch: right, and slower"
    return Check("ReLU kernel", "warn", found, means, "install a compiler (see there) or, on a GPU, triton")


def trouble(errors: str) -> str:
    """The line of a traceback that says what it was."""
    lines = [line.strip() for line in errors.splitlines()]
    found = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) and ":" in line]
    return found[0] if found else ""


def _hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
