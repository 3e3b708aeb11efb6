"""The checks of `reluformer doctor`: torch, GPUs, a training on two processes, fast paths, compiler, SLURM, corpora.

Anything that may crash runs in a process of its own, so that a broken torch is reported like any other fault.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import requests
from rich.console import Console
from rich.markup import escape

from reluformer.config.dataset import ArchiveConfig
from reluformer.config.experiment import Experiment
from reluformer.files import find_files
from reluformer.ops.build import FLAGS

State = Literal["ok", "warn", "missing"]
COLOURS: dict[State, str] = {"ok": "green", "warn": "yellow", "missing": "red"}
SECONDS, PROBE_SECONDS, TRAINING_SECONDS, PROOF_SECONDS = 10.0, 40.0, 50.0, 600.0
"""Time limits of a program, of importing torch, of the training on two processes, and of proving all fast paths."""
SOURCE_SECONDS, PIP_SECONDS = 5.0, 25.0
"""Time limits for an answer from a URL and from pip's index."""
PROGRAM = "#include <omp.h>\n#include <span>\nint f(std::span<int> v) { return omp_get_max_threads() + v[0]; }\n"
PROBE = """
import json, torch
probe = dict(torch=torch.__version__, cuda=torch.version.cuda, cpu=torch.backends.cpu.get_cpu_capability(), gpus=[])
probe["threads"] = torch.get_num_threads()
try:
    for i in range(torch.cuda.device_count()):
        a = torch.randn(256, 256, device=f"cuda:{i}")
        probe["gpus"].append(dict(name=torch.cuda.get_device_name(i), works=bool((a @ a).isfinite().all())))
except Exception as error:
    probe["error"] = str(error).splitlines()[0]
print(json.dumps(probe))
"""


class Check(NamedTuple):
    """The result of one check.

    Attributes:
        state: "warn" if something is slower or partly unusable; "missing" if it is absent.
        detail: what was tried or seen.
        effect: what follows from it.
        fix: what to do about it; empty if there is nothing to do.
        needed: the demo cannot run without it.
    """

    name: str
    state: State
    detail: str
    effect: str
    fix: str = ""
    needed: bool = False


class Ended(NamedTuple):
    """How a command ended; `code` is None if it was not found or took too long."""

    code: int | None
    output: str
    errors: str

    @property
    def last_line(self) -> str:
        """The last line that is not blank, of standard error or else of the output."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a command; after `seconds` kills it and all that it started. Never raises."""
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Ended(None, "", f"{command[0]}: {error.strerror}")
    try:
        output, errors = process.communicate(timeout=seconds)
        return Ended(process.returncode, output, errors)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Ended(None, "", f"{command[0]}: no answer within {seconds:.0f} s")


def run_checks(experiments: Sequence[Experiment], archives: Path | None) -> list[Check]:
    """Runs all checks concurrently; see `corpus_checks` for the arguments."""
    parts: list[Callable[[], list[Check]]] = [
        torch_and_gpus,
        lambda: two_processes(len(driver_gpus() or [])),
        fast_paths,
        lambda: [compiler(), slurm()],
        lambda: corpus_checks(experiments, archives),
    ]
    with ThreadPoolExecutor(len(parts)) as pool:
        return [check for part in pool.map(lambda part: part(), parts) for check in part]


def demo_can_run(checks: Sequence[Check]) -> bool:
    """Returns whether nothing that the demo needs is missing."""
    return not any(check.needed and check.state == "missing" for check in checks)


def show(checks: Sequence[Check], console: Console) -> None:
    """Prints each check with its state, effect and fix, then whether the demo can run."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        head = f"[{COLOURS[check.state]}]{check.state:>7}[/]  [bold]{escape(check.name):{width}}[/]"
        console.print(head, f"{escape(check.detail)}: {escape(check.effect)}", soft_wrap=True, highlight=False)
        if check.fix and check.state != "ok":
            console.print(f"{'':9}fix: {escape(check.fix)}", style="dim", soft_wrap=True, highlight=False)
    counts = ", ".join(f"{sum(check.state == state for check in checks)} {state}" for state in COLOURS)
    verdict = "the demo can run here" if demo_can_run(checks) else "the demo cannot run here yet"
    console.print(f"\n{counts}; [bold]{verdict}[/]", soft_wrap=True, highlight=False)


def compiler() -> Check:
    """Compiles a program with the kernels' flags, with $CXX or the first compiler on the PATH."""
    uses = "compiled kernels (attention, search) and DeepSpeed's shared-memory communication"
    fix = "install g++ (Debian: apt install g++; RHEL: dnf install gcc-c++; cluster: module load gcc)"
    effect = f"no {uses}: everything works on plain torch, more slowly"
    path = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if path is None:
        return Check("compiler", "missing", "no g++ on the PATH", effect, fix)
    with tempfile.TemporaryDirectory(prefix="reluformer-") as folder:
        source = Path(folder) / "a.cpp"
        source.write_text(PROGRAM, encoding="ascii")
        built = run([*path.split(), *FLAGS, "-o", str(source.with_suffix(".so")), str(source)], SECONDS)
    if built.code != 0:
        return Check("compiler", "warn", f"{path} does not compile: {built.last_line}", effect, fix)
    if shutil.which("ninja") is None and importlib.util.find_spec("ninja") is None:
        return Check("compiler", "warn", f"{path}, no ninja", effect, "pip install -r requirements.txt")
    return Check("compiler", "ok", f"{path}, ninja", f"builds {uses} at first use")


def slurm() -> Check:
    """Asks SLURM's controller for its partitions."""
    effect = "no cluster jobs from this machine; everything else runs here"
    if shutil.which("sinfo") is None:
        fix = "only for a cluster: work on its login node, where sinfo and sbatch are (docs/slurm.md)"
        return Check("SLURM", "missing", "no sinfo on the PATH", effect, fix)
    sinfo = run(["sinfo", "--noheader", "--format=%P %D %G"], SECONDS)
    if sinfo.code != 0:
        fix = "only for a cluster: `scontrol ping` says whether its controller is up; ask its administrators"
        return Check("SLURM", "warn", f"sinfo fails: {sinfo.last_line}", effect, fix)
    partitions = [line.split()[0] for line in sinfo.output.splitlines() if line.strip()]
    return Check("SLURM", "ok", f"partitions {', '.join(partitions)}", "snakemake --profile workflow/profiles/slurm")


def torch_and_gpus() -> list[Check]:
    """Imports torch, and multiplies a matrix on each GPU."""
    ended = run([sys.executable, "-c", PROBE], PROBE_SECONDS)
    if ended.code != 0:
        fix = "pip install -r requirements.txt into a virtual environment; `make demo` makes one"
        return [Check("torch", "missing", ended.last_line, "nothing can be trained", fix, needed=True)]
    probe = json.loads(ended.output.splitlines()[-1])
    built = f"CUDA {probe['cuda']}" if probe["cuda"] else "CPUs only"
    detail = f"torch {probe['torch']}, built for {built}; {probe['cpu']} on this CPU, {probe['threads']} threads"
    return [Check("torch", "ok", detail, "runs training and translation"), gpu(probe, driver_gpus())]


def driver_gpus() -> list[str] | None:
    """Returns the GPUs that NVIDIA's driver lists; None without nvidia-smi, empty if it fails."""
    if shutil.which("nvidia-smi") is None:
        return None
    ended = run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 15)
    return ended.output.splitlines() if ended.code == 0 else []


def gpu(probe: Mapping[str, Any], listed: list[str] | None) -> Check:
    """Compares the GPUs that torch multiplies on with those that the driver lists."""
    effect = "the demo needs none; the paper takes very long on a CPU (`reluformer plan`)"
    working = [gpu["name"] for gpu in probe["gpus"] if gpu["works"]]
    if working and len(working) == len(probe["gpus"]):
        detail = "; ".join(listed or working)
        return Check("GPU", "ok", detail, f"torch multiplies on {len(working)}: as many trainings run at a time")
    if listed is None and not probe["gpus"]:
        fix = "for the paper: a machine with an NVIDIA GPU (docs/reproduce.md), or a cluster (docs/slurm.md)"
        return Check("GPU", "missing", "no nvidia-smi", effect, fix)
    if listed == []:
        return Check("GPU", "warn", "nvidia-smi fails", effect, "`nvidia-smi` says why; reload or install the driver")
    reason, fix = probe.get("error", "torch finds none"), "install the torch that fits the driver: https://pytorch.org"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        reason, fix = "hidden by CUDA_VISIBLE_DEVICES", "unset CUDA_VISIBLE_DEVICES"
    return Check("GPU", "warn", f"{'; '.join(listed or [])}: {reason}", effect, fix)


def two_processes(gpus: int) -> list[Check]:
    """Trains on two processes with DeepSpeed, over NCCL on two GPUs and gloo otherwise."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    if gpus < 2:
        environment |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    with tempfile.TemporaryDirectory(prefix="reluformer-") as folder:
        output = Path(folder) / "self_test.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        ended = run([*torchrun, "-m", "reluformer.training.self_test", str(output)], TRAINING_SECONDS, environment)
        result = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    if ended.code == 0 and result.get("good"):
        detail = (
            f"DeepSpeed {result['deepspeed']}, {result['backend']} on {result['device']}, {result['seconds']:.1f} s"
        )
        effect = "a ReLUFormer took two updates in both; their weights are equal"
        return [Check("two processes", "ok", detail, effect)]
    raised = re.search(r"^\s*[\w.]+(Error|Exception): .*", ended.errors, re.MULTILINE)
    reason = raised[0].strip() if raised else ended.last_line
    if result:
        reason = "the processes' weights differ"
    effect = "trainings on several processes fail, including one in the demo"
    fix = "see the whole message: torchrun --standalone --nproc-per-node=2 -m reluformer.training.self_test out.json"
    return [Check("two processes", "missing", reason, effect, fix, needed=True)]


def fast_paths() -> list[Check]:
    """Reruns the proof of each fast path of this machine's devices."""
    ended = run([sys.executable, "-m", "reluformer.ops.paths"], PROOF_SECONDS)
    checks = []
    for line in ended.output.splitlines():
        verdict = json.loads(line)
        name, reason = f"{verdict['path']} ({verdict['device']})", verdict["reason"]
        if reason is None:
            checks.append(Check(name, "ok", verdict["what"], "a small case equals its reference"))
        else:
            effect = f"{verdict['fallback']} takes over, correct but slower"
            fix = "report this line with the GPU and the versions; if it does not compile, see the compiler check"
            checks.append(Check(name, "warn", f"{verdict['what']} is not trusted: {reason}", effect, fix))
    if ended.code != 0:
        effect = "not every path could be checked"
        checks.append(Check("fast paths", "warn", ended.last_line, effect, "see the torch check"))
    return checks


def corpus_checks(experiments: Sequence[Experiment], archives: Path | None) -> list[Check]:
    """Finds the archives of each corpus of these experiments, on this machine or at their sources.

    archives: a folder searched before the network, as are that of each configuration and resources/.
    """
    searched = [archives, *(experiment.config.archives for experiment in experiments), "resources"]
    folders = [Path(path) for path in searched if path is not None and Path(path).is_dir()]
    corpora = {
        name: (dataset.corpus.archives, experiment.config.toy)
        for experiment in experiments
        for name, dataset in experiment.datasets.items()
    }
    with ThreadPoolExecutor(len(corpora)) as pool:
        return list(pool.map(lambda name: check_corpus(name, *corpora[name], folders), corpora))


def check_corpus(name: str, archives: Sequence[ArchiveConfig], needed: bool, folders: Sequence[Path]) -> Check:
    """Finds the archives of one corpus; `needed`: the demo cannot run without them."""
    places, lost, reasons = [], [], []
    for archive in archives:
        place, errors = find_source(archive, folders)
        if place:
            places.append(place)
        else:
            lost.append(archive.name)
            reasons += errors
    if not lost:
        detail = "; ".join(dict.fromkeys(places))
        return Check(f"corpus {name}", "ok", detail, "checksums are verified at first use")
    fix = (
        f"set https_proxy (for pip: PIP_INDEX_URL) if this network needs a proxy; or download {', '.join(lost)} "
        "elsewhere into one folder and run with --config archives=DIR"
    )
    return Check(f"corpus {name}", "missing", "; ".join(reasons), "cannot be downloaded from here", fix, needed)


def find_source(archive: ArchiveConfig, folders: Sequence[Path]) -> tuple[str, list[str]]:
    """Returns where an archive is: on this machine, else the first source that answers; or "" and why none does."""
    for folder in folders:
        if paths := find_files(folder, archive.name):
            return f"in {paths[0].parent}", []
    reasons = []
    for source in [archive.pip] if archive.pip else archive.urls:
        error = try_pip(archive) if archive.pip else try_url(source)
        if not error:
            return f"{source} answers", []
        reasons.append(f"{source}: {error}")
    return "", reasons or [f"{archive.name} has no URL"]


def try_url(url: str) -> str:
    """Returns why a URL does not answer; empty if it does."""
    try:
        answer = requests.head(url, timeout=SOURCE_SECONDS, allow_redirects=True)
    except requests.RequestException as error:
        return type(error).__name__
    return "" if answer.ok else f"HTTP {answer.status_code} {answer.reason}"


def try_pip(archive: ArchiveConfig) -> str:
    """Returns why pip does not find an archive's requirement; empty if it does."""
    project, _, version = str(archive.pip).partition("==")
    command = [sys.executable, "-m", "pip", "index", "versions", project, "--only-binary=:all:", "--pre"]
    command += [f"--python-version={archive.python}"] if archive.python else []
    command += [f"--timeout={SOURCE_SECONDS:.0f}", "--retries=1", "--disable-pip-version-check"]
    ended = run(command, PIP_SECONDS)
    if ended.code != 0:
        unreachable = "connection" in ended.errors.lower() or "proxy" in ended.errors.lower()
        return "no connection to pip's index" if unreachable else ended.last_line.removeprefix("ERROR: ")
    versions = {word.strip(",()") for word in ended.output.split()}
    return "" if not version or version in versions else "pip's index has no such version"
