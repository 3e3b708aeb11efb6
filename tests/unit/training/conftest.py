"""A synthetic corpus, and trainings of a small model on it in processes that can be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reluformer.config.run import RunConfig
from reluformer.corpus.store import Sequences, StoreWriter
from reluformer.corpus.subword import train

VOCABULARY = 40
SCRIPT = Path(__file__).with_name("forked_worker.py")
TIMES = ("seconds", "tokens_per_second")


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose targets are its sources with every ID shifted by seven."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("corpora")
    for split, sequences in (("train", 400), ("valid", 40)):
        lengths = rng.integers(2, 12, sequences)
        src = rng.integers(5, VOCABULARY, lengths.sum()).astype("<u4")
        tgt = (src - 5 + 7) % (VOCABULARY - 5) + 5
        with StoreWriter(root / "toy" / "store" / split, VOCABULARY, False) as store:
            store.add(Sequences(src, lengths), Sequences(tgt, lengths))
    words = ["".join(rng.choice(list("abcdefgh"), size)) for size in rng.integers(2, 7, 300)]
    train(Counter(words), VOCABULARY, root / "toy" / "subword.model")
    return root


def make_run(system: str = "transformer", dropout: float = 0.1, memory: Any = None, **training: Any) -> RunConfig:
    """Returns a run of a 1+1-layer model of width 32 on the synthetic corpus."""
    memory = memory or {}
    recipe = {
        "updates": 40,
        "batch_tokens": 200,
        "learning_rate": 5e-3,
        "warmup": 10,
        "log_every": 5,
        "validate_every": 20,
        "checkpoint_every": 8,
        "average_last": 3,
        **training,
    }
    model = {"encoder_layers": 1, "decoder_layers": 1, "width": 32, "heads": 2, "slots": 64, "dropout": dropout}
    return RunConfig.model_validate(
        {
            "dataset": "toy",
            "system": system,
            "seed": 1,
            "src": "de",
            "tgt": "en",
            "model": {**model, **memory},
            "training": recipe,
            "translation": {},
        }
    )


class Training:
    """A training whose processes are started, awaited and killed by the test.

    They are forked from a server that has already imported torch, which saves seconds per start.
    """

    def __init__(self, folder: Path, corpora: Path, run: RunConfig) -> None:
        self.folder, self.corpora, self.run = folder, corpora, run
        self.output, self.checkpoints = folder / "output", folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # inherited by the server at its first start
        self.context = multiprocessing.get_context("forkserver")
        libraries = ["reluformer.training.worker", "deepspeed.runtime.zero.muon.original_muon"]
        self.context.set_forkserver_preload([*libraries, "tests.unit.training.frozen"])
        self.processes: list[Any] = []

    def start(self) -> Training:
        """Starts every process of the training."""
        job = self.folder / "run.json"
        job.write_text(self.run.model_dump_json())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        size = self.run.training.processes
        outcome = self.folder / "outcome.json"
        outcome.unlink(missing_ok=True)
        arguments = [str(path) for path in (job, self.corpora, self.output, self.checkpoints, outcome)]
        for rank in range(size):
            environment = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": size,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": 1,
            }
            log = str(self.folder / f"rank{rank}.log")
            known = {"environment": environment, "arguments": arguments, "log": log}
            process = self.context.Process(target=runpy.run_path, args=(str(SCRIPT), known), daemon=True)
            process.start()
            self.processes.append(process)
        return self

    def wait(self, timeout: float = 600) -> int:
        """Waits for the processes; returns the exit code that the launcher would have."""
        for process in self.processes:
            process.join(timeout)
            assert process.exitcode is not None, "a training that does not end"
        self.processes = []
        outcome = self.folder / "outcome.json"
        return json.loads(outcome.read_text())["code"] if outcome.is_file() else 1

    def kill(self) -> None:
        """Sends SIGKILL to every process."""
        for process in self.processes:
            process.kill()
            process.join()
        self.processes = []

    def finish(self) -> Training:
        """Runs the training to its end."""
        code = self.start().wait()
        assert code == 0, self.messages()
        return self

    def messages(self) -> str:
        """Returns the output of the first process."""
        return (self.folder / "rank0.log").read_text()

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Returns the events of the log without times."""
        lines = [json.loads(line) for line in (self.output / "log.jsonl").read_text().splitlines()]
        chosen = [line for line in lines if event in (None, line["event"])]
        return [{key: value for key, value in line.items() if key not in TIMES} for line in chosen]

    def summary(self) -> dict[str, Any]:
        """Returns the content of summary.json."""
        return json.loads((self.output / "summary.json").read_text())

    def weights(self) -> bytes:
        """Returns the bytes of the model's file."""
        return (self.output / "model.safetensors").read_bytes()


@pytest.fixture
def training(tmp_path: Path, corpora: Path) -> Any:
    """`training(name, **recipe)` makes a training in a folder of its own."""
    trainings: list[Training] = []

    def make(name: str, **recipe: Any) -> Training:
        folder = tmp_path / name
        folder.mkdir()
        trainings.append(Training(folder, corpora, make_run(**recipe)))
        return trainings[-1]

    yield make
    for job in trainings:
        job.kill()


@pytest.fixture
def toy_run() -> RunConfig:
    """A run on the synthetic corpus."""
    return make_run()
