"""Times each kind of run on this machine: a few updates and some decoding, with random weights on made-up batches.

Each measurement is the training step itself (`training.worker.work`), in a process of its own, forked from one that has
imported everything. As many run at once as the plan will run jobs, so that they share the machine as jobs do. On a CPU
it is the process's own time that counts, so that whatever else goes on there does not; on a GPU it is the clock's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from reluformer.cli.planning.gpus import START, Rates, decode_flops, update_flops
from reluformer.cli.planning.kinds import Kind
from reluformer.cli.planning.scoring import Scoring, time_scoring
from reluformer.cli.planning.sizes import Sizes, Split
from reluformer.config.run import RunConfig, split_dataset
from reluformer.corpus.store import Sequences, StoreWriter, view_folder
from reluformer.ops.malloc import keep_freed_memory
from reluformer.ops.orphans import die_with_main_process
from reluformer.training.devices import visible_devices
from reluformer.training.launch import launch

if TYPE_CHECKING:
    from reluformer.training.signals import Signals

PRELOAD = ["reluformer.training.worker", "reluformer.translation.decode", "reluformer.model.files"]
SECONDS = 2.0
"""About how long the updates of one measurement take, and its decoding."""
MOST_UPDATES, FEWEST_UPDATES = 60, 6
WINDOWS = 6
"""Parts of a measurement; the first warms up, and the others' median counts."""
PROBE_TOKENS = 512
"""Target tokens of an update of the first, rough measurement."""
WINDOW = 64
"""Batches of made-up text."""
FIRST_ID = 8
"""Token ids below are special."""
POINT = 0.1
"""Seconds in which a point of the measured study starts on a CPU: a process forked, a model made. Stated."""
IMPORTS = {
    "translate": "reluformer.translation.step",
    "analyse": "reluformer.analysis.step",
    "score": "reluformer.evaluation.score",
}


class MeasurementError(RuntimeError):
    """A step that was to be timed failed."""


class Measurement:
    """The rates of every kind, by key; what a job of each step takes beside its work; what scoring takes."""

    def __init__(self, rates: dict[str, Rates], starts: dict[str, float], scoring: Scoring) -> None:
        self.rates = rates
        self.starts = starts
        self.scoring = scoring


def measure(
    kinds: Mapping[str, Kind], sizes: Mapping[str, Sizes], slots: int, tell: Callable[[str], None]
) -> Measurement:
    """Measures every kind, `slots` at a time.

    Args:
        kinds: by key, their models with vocabulary.
        sizes: by a run's dataset.
        slots: measurements at once: devices, or cores without any.
        tell: what is being done, for a person.
    """
    with tempfile.TemporaryDirectory(prefix="reluformer-plan-") as name, _cpu_unless_devices():
        folder = Path(name)
        tokens: dict[str, int] = {}
        for kind in kinds.values():
            tokens[kind.config.dataset] = max(tokens.get(kind.config.dataset, 0), kind.config.training.batch_tokens)
        for dataset, most in tokens.items():
            write_corpus(folder / "corpora", dataset, sizes[dataset], most)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        with ProcessPoolExecutor(
            slots, mp_context=context, initializer=die_with_main_process, max_tasks_per_child=1
        ) as pool:
            tell("probing the speed of this machine")
            speed = _probe(pool, kinds, sizes, folder)
            alone = {key: kind for key, kind in kinds.items() if kind.config.training.processes == 1}
            one = next(iter(kinds.values())).config
            scoring = pool.submit(time_scoring, one)
            waiting: dict[str, Future[Rates]] = {}
            for number, (key, kind) in enumerate(alone.items()):
                found = sizes[kind.config.dataset]
                waiting[key] = pool.submit(measure_kind, kind.config, found, speed, folder, f"kind{number}", slots)
            rates = {}
            for key, future in waiting.items():
                rates[key] = future.result()
                tell(f"{kinds[key].name}: {rates[key].update * 1e3:,.0f} ms an update")
            for number, (key, kind) in enumerate(kinds.items()):
                if key not in rates:  # holds several devices, so it is measured by itself
                    found = sizes[kind.config.dataset]
                    rates[key] = pool.submit(
                        measure_kind, kind.config, found, speed, folder, f"wide{number}", slots
                    ).result()
                    tell(f"{kind.name}: {rates[key].update * 1e3:,.0f} ms an update")
        tell("start of each step")
        starts = _starts(one, folder, slots)
    return Measurement(rates, starts | {"point": START["point"] if visible_devices() else POINT}, scoring.result())


@contextlib.contextmanager
def _cpu_unless_devices() -> Iterator[None]:
    """DeepSpeed's accelerator is chosen when it is imported: the CPU where there is no device."""
    before = os.environ.get("DS_ACCELERATOR")
    if not visible_devices():
        os.environ["DS_ACCELERATOR"] = "cpu"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("DS_ACCELERATOR", None)
        else:
            os.environ["DS_ACCELERATOR"] = before


def write_corpus(corpora: Path, dataset: str, sizes: Sizes, batch_tokens: int) -> None:
    """A token store of random ids with the lengths of a dataset, enough for some batches."""
    rng = np.random.default_rng(1)
    folder = view_folder(corpora, dataset) / "store"
    for name, batches in (("train", WINDOW), ("valid", 1)):
        split: Split = getattr(sizes, name)
        count = max(16, round(batches * batch_tokens / float(split.tgt.mean())))
        chosen = rng.integers(0, len(split.tgt), count)
        with StoreWriter(folder / name, sizes.vocabulary, documents=False) as writer:
            src, tgt = (_random(rng, lengths[chosen] - 1, sizes.vocabulary) for lengths in (split.src, split.tgt))
            writer.add(src, tgt)
    (corpora / split_dataset(dataset)[0] / "subword.model").touch()  # that it is there is asked; nothing is read


def _random(rng: np.random.Generator, lengths: Any, vocabulary: int) -> Sequences:
    return Sequences(rng.integers(FIRST_ID, vocabulary, int(lengths.sum())), lengths)


def _probe(pool: ProcessPoolExecutor, kinds: Mapping[str, Kind], sizes: Mapping[str, Sizes], folder: Path) -> float:
    """FLOP/s of a training on this machine, roughly."""
    kind = min(kinds.values(), key=lambda kind: update_flops(kind.config, sizes[kind.config.dataset]))
    training = kind.config.training
    tokens = min(training.batch_tokens, PROBE_TOKENS)
    config = changed(kind.config, updates=FEWEST_UPDATES, batch_tokens=tokens, processes=1, nodes=1, accumulation=1)
    seconds = pool.submit(time_updates, config, folder, "probe").result()
    return update_flops(config, sizes[config.dataset]) / seconds


def measure_kind(config: RunConfig, sizes: Sizes, speed: float, folder: Path, name: str, slots: int) -> Rates:
    """The rates of one kind, in this process. `speed` is the machine's, in FLOP/s, about.

    Where an update would take longer than `SECONDS`, it is of fewer tokens, and its time is scaled to all of them.
    """
    keep_freed_memory()  # as a training does
    training = config.training
    expected = update_flops(config, sizes) / speed
    share = min(1.0, SECONDS / 2 / expected)
    tokens = max(1, round(training.batch_tokens * share))
    updates = int(np.clip(SECONDS / (expected * share), FEWEST_UPDATES, MOST_UPDATES))
    notes = [] if share == 1 else [f"of {tokens} target tokens an update, scaled"]
    changes: dict[str, Any] = {"updates": updates, "batch_tokens": tokens}
    spread = training.processes * training.nodes
    if spread > 1 and (visible_devices() or training.processes > slots or training.nodes > 1):
        changes |= {"processes": 1, "nodes": 1, "batch_tokens": max(1, tokens // spread)}
        notes.append("one process's share; the exchange between processes is not measured")
    few = changed(config, **changes)
    update = time_updates(few, folder, name) / share
    decode = time_decoding(few, sizes, speed, folder / name / "run")
    return Rates(update, decode, "; ".join(notes))


def changed(config: RunConfig, **training: Any) -> RunConfig:
    """A short training of a run: nothing learned, nothing validated, nothing averaged."""
    updates = training["updates"]
    few = {
        "learning_rate": 1e-12,  # the weights stay random, so that the search runs to its limit
        "log_every": max(1, updates // WINDOWS),
        "validate_every": updates,
        "checkpoint_every": updates,
        "average_last": 1,
        "patience": 0,
        "stop_on": "loss",
        "validate_bleu": False,
        "tensorboard": False,
        "start_from": None,
    }
    return config.model_copy(update={"training": config.training.model_copy(update={**few, **training})})


def time_updates(config: RunConfig, folder: Path, name: str) -> float:
    """Seconds of one update of a short training, which leaves its run in `folder/NAME/run`."""
    output, checkpoints = folder / name / "run", folder / name / "checkpoints"
    _quiet(folder / f"{name}.log")
    if config.training.processes == 1:
        stamps = _train_here(config, folder / "corpora", output, checkpoints)
        if not visible_devices():
            warm = stamps[len(stamps) // WINDOWS :]
            return (warm[-1] - warm[0]) / (len(warm) - 1)
    else:
        launch(config, folder / "corpora", output, checkpoints, None)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    windows = itertools.pairwise(line for line in lines if line["event"] == "train")
    return median((b["seconds"] - a["seconds"]) / (b["update"] - a["update"]) for a, b in windows)


class Stamps:
    """Stands where a training's `Signals` are: asked after every update on a CPU, it notes this process's time."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def asked(self) -> bool:
        """Never asks to leave."""
        self.times.append(time.process_time())
        return False


def _train_here(config: RunConfig, corpora: Path, output: Path, checkpoints: Path) -> list[float]:
    """Trains in this process; its CPU time after each update, on a CPU."""
    import torch

    from reluformer.training.worker import work

    if not visible_devices():
        torch.set_num_threads(config.training.threads or 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(world)
    checkpoints.mkdir(parents=True)
    stamps = Stamps()
    work(config, corpora, output, checkpoints, cast("Signals", stamps))
    return stamps.times


def time_decoding(config: RunConfig, sizes: Sizes, speed: float, run: Path) -> float:
    """Seconds of decoding a token that is put out, of a batch of the test split's median source length."""
    import torch

    from reluformer.model.files import load_model
    from reluformer.translation.decode import ready, translate

    if not visible_devices():
        torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, _ = load_model(run, device)
    ready(model, config.translation, device)
    test, rng = sizes.test, np.random.default_rng(1)
    sources = decoding_batch(test, config.translation.batch_tokens)
    split = Split(len(sources), test.src[sources], test.tgt[sources])
    expected = decode_flops(config, split) / speed
    sources = sources[: max(1, round(len(sources) * min(1.0, SECONDS / expected)))]
    lengths = test.src[sources] - 1
    ids = [rng.integers(FIRST_ID, sizes.vocabulary, length) for length in np.maximum(lengths, 1)]
    ratio = float(test.tgt.mean() / test.src.mean())
    search = config.translation.model_copy(update={"max_ratio": ratio, "max_extra": 0})
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begin = clock()
    found = translate(model, ids, search, device)
    seconds = clock() - begin
    return seconds / max(1, sum(len(hypothesis.tokens) + 1 for hypothesis in found))


def decoding_batch(split: Split, batch_tokens: int) -> np.ndarray:
    """The batch of a split, sorted as `translate` sorts it, that holds its middle token."""
    order = np.argsort(-split.src, kind="stable")
    middle = int(np.searchsorted(np.cumsum(split.src[order]), split.src.sum() / 2))
    return order[middle : middle + max(1, batch_tokens // int(split.src[order[middle]]))]


def _quiet(log: Path) -> None:
    """What this process says goes to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _starts(config: RunConfig, folder: Path, slots: int) -> dict[str, float]:
    """Seconds of a job of each step beside its work: a whole training of a few updates, and the others' imports."""
    few = changed(config, updates=FEWEST_UPDATES, processes=1, nodes=1, batch_tokens=64)
    output = folder / "start"
    command: list[Any] = [sys.executable, "-m", "reluformer.cli", "train", "--settings", few.model_dump_json()]
    command += ["--corpora", folder / "corpora", "--output", output, "--checkpoints", folder / "start-checkpoints"]
    command += ["--threads", "1"]
    commands: dict[str, list[Any]] = {"train": command}
    commands |= {step: [sys.executable, "-c", f"import {module}"] for step, module in IMPORTS.items()}
    modules = "reluformer.cli.main, reluformer.paper.study, reluformer.paper.figures"
    commands["study"] = [sys.executable, "-c", f"import {modules}"]
    with ThreadPoolExecutor(slots) as pool:
        seconds = dict(zip(commands, pool.map(_wall, commands.values()), strict=True))
    seconds["train"] -= json.loads((output / "summary.json").read_text(encoding="utf-8"))["seconds"]
    return seconds


def _wall(command: list[Any]) -> float:
    """Seconds of a command: of all its processes on a CPU, by the clock where there are devices."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise MeasurementError(f"{command[2]}: {said.read().decode(errors='replace')[-2000:]}")
    return time.perf_counter() - begin if visible_devices() else used.ru_utime + used.ru_stime
