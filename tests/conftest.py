"""Fixtures: copies of the workflow to run snakemake in, one full run of the DAG, and two small trained models."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import yaml
from filelock import FileLock
from tests import leftovers, warm
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Ties child processes to this one; SIGTERM, from `timeout` and CI, acts like Ctrl-C."""
    leftovers.watch()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores, and waiting threads would occupy them
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or hundreds of processes would each compile the package
    sys.dont_write_bytecode = False
    if not hasattr(config, "workerinput"):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, leave)
        if config.getoption("numprocesses", None) and "not slow" not in config.getoption("markexpr"):
            start_warm_python()  # shared by all workers


def leave(number: int, _: object) -> None:
    """Ends the run as Ctrl-C does; exits hard after 30 s of teardown, which leaves the cleanup to leftovers.py."""
    end = threading.Timer(30, os._exit, (128 + number,))
    end.daemon = True
    end.start()
    raise KeyboardInterrupt


WARM = "RELUFORMER_WARM_PYTHON"
"""The environment variable that holds the executable of tests/warm.py."""


def start_warm_python() -> None:
    """Starts the server of tests/warm.py unless one is running."""
    if WARM not in os.environ:
        os.environ[WARM] = warm.start(tempfile.mkdtemp(prefix="warm-"))


@pytest.fixture(scope="session")
def warm_python() -> str:
    """The preloaded Python of tests/warm.py if it is running (with xdist), or sys.executable."""
    return os.environ.get(WARM, sys.executable)


@dataclass
class Project:
    """A copy of the project's workflow and configuration; the package is the one under test."""

    folder: Path

    def snakemake(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        """Runs snakemake in the folder with a time limit; merges its standard error into its output."""
        python = os.environ.get(WARM, sys.executable)
        return subprocess.run(
            ["timeout", "-k", "5", str(timeout), python, "-P", "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


def copy_workflow(folder: Path) -> Project:
    """Copies the files that a run of the DAG reads into `folder`."""
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "profiles").symlink_to("workflow/profiles")
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, folder / name)
    return Project(folder)


NUMBERS = {
    "fi": ["nolla", "yksi", "kaksi", "kolme", "neljä", "viisi", "kuusi", "seitsemän", "kahdeksan", "yhdeksän"],
    "pt": ["zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"],
}


def made_up_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Returns `count` distinct pairs of sentences of number words in Finnish and Portuguese."""
    random = Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        numbers = [random.randrange(10) for _ in range(random.randint(3, 9))]
        finnish, portuguese = (" ".join(NUMBERS[lang][n] for n in numbers) + " ." for lang in ("fi", "pt"))
        pairs[finnish] = portuguese
    return list(pairs.items())


def write_smoke(folder: Path) -> Path:
    """Writes the smoke configuration and the text of its two datasets; returns the configuration file."""
    shutil.copytree(ROOT / "tests" / "workflow" / "smoke", folder / "smoke")
    archives = folder / "archives"
    archives.mkdir()
    pairs = made_up_pairs(300, seed=1)
    for side, lang in enumerate(("fi", "pt")):
        lines = [pair[side] for pair in pairs]
        (archives / f"numbers.{lang}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        documents = [line for i, line in enumerate(lines) for line in (["<d>", line] if i % 6 == 0 else [line])]
        with gzip.open(archives / f"letters.{lang}.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(documents) + "\n")
    return folder / "smoke" / "smoke.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy of the workflow."""
    return copy_workflow(tmp_path)


@pytest.fixture(scope="session")
def smoke_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Returns a function that makes projects with smoke/smoke.yaml and its text in archives/."""

    def make() -> Project:
        project = copy_workflow(tmp_path_factory.mktemp("project"))
        write_smoke(project.folder)
        return project

    return make


@dataclass
class Smoke(Project):
    """A project in which the whole DAG has run on the smoke configuration."""

    config: Path
    returncode: int
    output: str
    seconds: float

    def again(self, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
        """Runs snakemake on the same configuration; further `--configfile` arguments override it."""
        archives = ("--config", f"archives={self.folder / 'archives'}")
        return self.snakemake(*arguments, "--configfile", str(self.config), *archives, timeout=timeout)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Smoke:
    """The finished DAG of the smoke configuration, run once for all xdist workers."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    folder = shared / "smoke"
    record = shared / "smoke.json"
    with FileLock(shared / "smoke.lock"):
        if record.is_file():
            outcome = json.loads(record.read_text(encoding="utf-8"))
            return Smoke(folder, folder / "smoke" / "smoke.yaml", **outcome)
        folder.mkdir()
        if worker_id == "master":
            start_warm_python()
        smoke = Smoke(copy_workflow(folder).folder, write_smoke(folder), returncode=-1, output="", seconds=0.0)
        started = time.monotonic()
        first = smoke.again(timeout=2000)
        outcome = {"returncode": first.returncode, "output": first.stdout, "seconds": time.monotonic() - started}
        record.write_text(json.dumps(outcome), encoding="utf-8")
        return Smoke(folder, smoke.config, **outcome)


class Trained(NamedTuple):
    """Results with two translated and scored runs on number words; `raw` is the source text of the test split."""

    results: Path

    @property
    def corpora(self) -> Path:
        return self.results / "corpora"

    @property
    def run(self) -> Path:
        """A ReLUFormer, trained until it makes few mistakes."""
        return self.results / "runs" / "numbers" / "reluformer" / "seed1"

    @property
    def other(self) -> Path:
        """A Transformer, trained half as long."""
        return self.results / "runs" / "numbers" / "transformer" / "seed1"

    @property
    def raw(self) -> list[str]:
        return (self.corpora / "numbers" / "raw" / "test.fi").read_text(encoding="utf-8").splitlines()


def train_numbers(folder: Path) -> None:
    """Writes the results of `Trained`: a truecased corpus and two runs, with every file that the steps write."""
    import numpy as np
    import torch

    from reluformer.config.dataset import ArchiveConfig, CorpusConfig
    from reluformer.config.model import ModelConfig
    from reluformer.config.run import Run, RunConfig
    from reluformer.config.systems import SystemConfig
    from reluformer.config.training import TrainingConfig
    from reluformer.config.translation import TranslationConfig
    from reluformer.corpus.batches import collate
    from reluformer.corpus.prepare import prepare
    from reluformer.corpus.store import Store
    from reluformer.evaluation.score import score_run
    from reluformer.model.files import save_model
    from reluformer.model.objective import Objective
    from reluformer.model.transformer import Transformer
    from reluformer.translation.step import translate_run

    trained = Trained(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archives = []
    for side, lang in enumerate(("fi", "pt")):
        archives.append(folder / f"text.{lang}")
        lines = [pair[side].capitalize() for pair in made_up_pairs(1500, seed=2)]
        archives[side].write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = CorpusConfig(
        reader="lines",
        archives=[ArchiveConfig(name=path.name) for path in archives],
        files={"train": {"src": "text.fi", "tgt": "text.pt"}},
        held_out={"valid": 0.02, "test": 0.08},
        truecase=True,
        max_tokens=12,
        vocabulary=110,
        licence="CC0-1.0, made up",
    )
    prepare(corpus, "fi", "pt", archives, trained.corpora / "numbers", workers=1)
    store = Store(trained.corpora / "numbers" / "store" / "train")
    systems = yaml.safe_load((ROOT / "config" / "systems.yaml").read_text(encoding="utf-8"))
    for run, updates in ((trained.run, 240), (trained.other, 130)):
        torch.manual_seed(1)
        random = np.random.default_rng(1)
        memories = SystemConfig(**systems[run.parent.name]).memories()
        small = {"encoder_layers": 2, "decoder_layers": 2, "width": 32, "heads": 2, "slots": 64, "dropout": 0.0}
        model = Transformer(ModelConfig(**small, norm="pre", vocabulary=store.vocabulary, **memories))
        objective, optimizer = Objective(model, 0.1), torch.optim.Adam(model.parameters(), lr=4e-3)
        for update in range(updates):
            for group in optimizer.param_groups:
                group["lr"] = 4e-3 * min(update / 40, 1 - update / updates)
            batch = collate(store, random.choice(len(store), 64, replace=False))
            loss = objective(*batch.map(torch.from_numpy))
            optimizer.zero_grad()
            (loss.loss_sum / loss.tokens + loss.penalty).backward()
            optimizer.step()
        run.mkdir(parents=True)
        path = Run("numbers", run.parent.name, 1)
        translation = TranslationConfig(beam=5, batch_tokens=1000)
        RunConfig(
            **path._asdict(), src="fi", tgt="pt", model=model.config, training=TrainingConfig(), translation=translation
        ).save(run / "config.yaml")
        save_model(model.eval(), run / "model.safetensors")
        summary = {"status": "finished", "updates": updates, "code_version": "of the tests", "versions": {}}
        (run / "summary.json").write_text(json.dumps(summary))
        translate_run(run, trained.corpora)
        score_run(run, trained.corpora)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Trained:
    """`Trained`, built once for all xdist workers in a few seconds."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    done = shared / "trained.done"
    with FileLock(shared / "trained.lock"):
        if not done.is_file():
            train_numbers(shared / "trained")
            done.touch()
    return Trained(shared / "trained")


def planned(dry_run: str) -> dict[str, int]:
    """Returns the number of jobs of each rule in the output of a dry run."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", dry_run, flags=re.MULTILINE)}


@pytest.fixture(scope="session")
def jobs() -> Callable[[str], dict[str, int]]:
    """Returns `planned`."""
    return planned


@pytest.fixture(scope="session")
def edit() -> Callable[..., None]:
    """`edit(path, *keys, value=...)` sets one key of a YAML file."""

    def set_key(path: Path, *keys: str, value: object) -> None:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        inner = data
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    return set_key


APART = re.compile(r"tests/(workflow/test_(?!smoke)|unit/training/test_(launch|resume|worker))")
"""Files of slow, independent tests, which are distributed one test at a time."""


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]
    """Distributes tests in order, file by file; those of `APART` one by one, those of SLURM all to one worker.

    Without slow tests, all trainings go to one worker, too: starting a fork server for each worker would take longer.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith("tests/slurm/"):
            return "tests/slurm"
        if nodeid.startswith("tests/unit/training/") and "not slow" in self.config.option.markexpr:
            return "tests/unit/training"
        return nodeid if APART.match(nodeid) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Replaces the scheduler of `--dist` by one with its own scopes."""
    return LongestFirst(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the DAG and the cluster first, then slow tests, then those that read the DAG's results, by then complete.

    Of the rest, files that train or draw figures come first, then those with many tests, so that the workers finish at
    about the same time.
    """
    tests = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int]:
        if item.path.name == "test_smoke.py":
            return 0, 0
        if item.get_closest_marker("slurm"):
            return 1, 0
        if "smoke" in getattr(item, "fixturenames", ()):
            return 3, 0
        if item.get_closest_marker("slow"):
            return 2, 0
        return 4, {"training": -2000, "paper": -1000}.get(item.path.parent.name, -tests[item.path])

    items.sort(key=lambda item: (*place(item), str(item.path)))
