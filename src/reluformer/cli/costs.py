"""A stated model of what a job costs: its FLOPs at a stated speed, plus kernel launches and the start of a process.

The speed is a share of a GPU's peak, or what `reluformer measure` wrote for each system and length (measured.json).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reluformer.cli.jobs import Job
from reluformer.config.changes import split_system
from reluformer.config.dataset import DatasetConfig, SizesConfig
from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError, nearest
from reluformer.corpus.store import Store, view_folder
from reluformer.model.flops import TRAINING, decoding_flops, forward_flops
from reluformer.paper.outputs import compared_runs, paired_kinds


class Gpu(NamedTuple):
    """A GPU: peak of dense matrix products in TFLOP/s by precision, as its maker states them."""

    title: str
    fp32: float
    bf16: float
    fp16: float


GPUS = {
    "h100": Gpu("NVIDIA H100 SXM", 66.9, 989.4, 989.4),
    "a100": Gpu("NVIDIA A100 SXM", 19.5, 312.0, 312.0),
    "v100": Gpu("NVIDIA V100 SXM", 15.7, 15.7, 125.0),
}
LAUNCH = 5e-6
"""Seconds to launch a kernel."""
TRAINING_KERNELS, DECODING_KERNELS = 60, 20
"""Kernels of one memory in an update (forward, backward, optimizer), and in one step of the beam search."""
START_SECONDS = {"train": 30.0, "translate": 20.0, "analyse": 20.0, "measure": 20.0, "variance_law": 20.0}
OTHER_START = 5.0
"""Seconds until a job does its work: Python, torch, the device."""
PREPARED_PAIRS = 5000
"""Sentence pairs prepared per second, on a few cores."""
SCORED_LINE = 1e-3
"""Seconds to score a sentence."""
PAIRED_SAMPLE = 1e-8
"""Seconds per segment of one sample of a paired test."""
ANALYSIS_PASSES = 2
"""Forward passes over the test split of an analysis, roughly."""


class Split(NamedTuple):
    """The size of one split. Lengths are in subwords, EOS included.

    Attributes:
        src_mean, tgt_mean: mean length of a sequence.
        src_length, tgt_length: mean length of the sequence that a token is in, E[l²] / E[l].
    """

    pairs: int
    src_mean: float
    tgt_mean: float
    src_length: float
    tgt_length: float

    @property
    def src(self) -> float:
        """Source tokens."""
        return self.pairs * self.src_mean

    @property
    def tgt(self) -> float:
        """Target tokens."""
        return self.pairs * self.tgt_mean


class Sizes(NamedTuple):
    """The splits of a dataset; `prepared`: counted in the prepared corpus, not estimated."""

    train: Split
    valid: Split
    test: Split
    vocabulary: int
    prepared: bool

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """The three splits."""
        return self.train, self.valid, self.test


def read_sizes(dataset: str, config: DatasetConfig, corpora: Path) -> Sizes:
    """Returns the sizes of a run's dataset, e.g. `europarl7@across-1024`: of the prepared corpus if there is one.

    Raises:
        SettingsError: the dataset is not prepared, and its configuration has no `sizes`.
    """
    folder = view_folder(corpora, dataset)
    if (folder / "statistics.json").is_file():
        stores = {name: Store(folder / "store" / name) for name in ("train", "valid", "test")}
        splits = {name: count_split(store.src_lengths + 1, store.tgt_lengths + 1) for name, store in stores.items()}
        return Sizes(**splits, vocabulary=stores["train"].vocabulary, prepared=True)
    if config.sizes is None:
        raise SettingsError(f"dataset {dataset}: not prepared, and its configuration gives no `sizes` to plan with")
    packing, _, limit = (split_dataset(dataset)[1] or "").rpartition("-")
    splits = {
        name: estimate_split(config.sizes, getattr(config.sizes, name), packing, int(limit or 0))
        for name in ("train", "valid", "test")
    }
    return Sizes(**splits, vocabulary=config.corpus.vocabulary, prepared=False)


def count_split(src: NDArray[np.int64], tgt: NDArray[np.int64]) -> Split:
    """Returns the size of a split with these lengths."""
    lengths = [float((side.astype(float) ** 2).sum() / side.sum()) for side in (src, tgt)]
    return Split(len(src), float(src.mean()), float(tgt.mean()), *lengths)


def estimate_split(sizes: SizesConfig, sentences: int, packing: str, limit: int) -> Split:
    """Estimates a split: gamma-distributed sentences, or exponential documents packed into segments of `limit`."""
    longer = max(sizes.src_tokens, sizes.tgt_tokens)
    if not packing:
        mean, length = longer, 1.5 * longer  # of a gamma distribution of shape 2
    elif packing == "across":
        mean = length = limit - min(longer, limit) / 2
    else:  # the segments of exponential documents: min(document, limit)
        document = longer * sizes.sentences_per_document
        cut = math.exp(-limit / document)
        mean = document * (1 - cut)
        length = 2 * document**2 * (1 - cut * (1 + limit / document)) / mean
    pairs = sentences if not packing else max(1, round(sentences * longer / mean))
    src, tgt = sizes.src_tokens / longer, sizes.tgt_tokens / longer
    return Split(pairs, mean * src + 1, mean * tgt + 1, length * src + 1, length * tgt + 1)


def with_vocabulary(config: RunConfig, size: int) -> RunConfig:
    """Returns a run whose model has a vocabulary of `size`."""
    return config.model_copy(update={"model": config.model.model_copy(update={"vocabulary": size})})


def update_flops(config: RunConfig, sizes: Sizes) -> float:
    """FLOPs of one update: the batch's target tokens, and as many source tokens as come with them."""
    train, model = sizes.train, with_vocabulary(config, sizes.vocabulary).model
    tgt = max(config.training.batch_tokens, train.tgt_mean)
    return TRAINING * forward_flops(
        model, tgt * train.src_mean / train.tgt_mean, tgt, train.src_length, train.tgt_length
    )


def translation_flops(config: RunConfig, sizes: Sizes) -> float:
    """FLOPs of translating the test split into as many tokens as its references have."""
    test, model = sizes.test, with_vocabulary(config, sizes.vocabulary).model
    return decoding_flops(model, test.src, test.tgt, test.src_length, test.tgt_length, config.translation.beam)


class StatedSpeed:
    """A GPU that is not at hand: `utilisation` of its peak, and every kernel launched one after the other."""

    on_gpus, devices = True, 8

    def __init__(self, gpu: Gpu, utilisation: float) -> None:
        self.gpu, self.utilisation, self.device = gpu, utilisation, gpu.title

    def update(self, config: RunConfig, sizes: Sizes) -> float:
        """Seconds of one update."""
        training = config.training
        speed = getattr(self.gpu, training.precision) * 1e12 * self.utilisation * training.processes * training.nodes
        launches = len(config.model.places()) * TRAINING_KERNELS * training.accumulation
        return update_flops(config, sizes) / speed + launches * LAUNCH

    def translation(self, config: RunConfig, sizes: Sizes) -> float:
        """Seconds of translating the test split; each batch takes as many steps as its tokens' sequences are long."""
        steps = max(1.0, sizes.test.src / config.translation.batch_tokens) * sizes.test.tgt_length
        launches = steps * sum(place.startswith("decoder") for place in config.model.places()) * DECODING_KERNELS
        return translation_flops(config, sizes) / (self.gpu.fp32 * 1e12 * self.utilisation) + launches * LAUNCH

    def assumptions(self) -> list[str]:
        """What the speed rests on, in sentences."""
        gpu = self.gpu
        return [
            f"{gpu.title}: peak {gpu.fp32} TFLOP/s in fp32, {gpu.bf16} in bf16, {gpu.fp16} in fp16 (dense, as its "
            f"maker states); matrix products reach {self.utilisation:.0%} of it (assumed, --utilisation).",
            f"A kernel takes {LAUNCH * 1e6:.0f} µs to launch; a memory launches {TRAINING_KERNELS} per update and "
            f"{DECODING_KERNELS} per step of the beam search (assumed).",
            "Only matrix products count: sparsemax and 1.5-entmax cost more than this, and communication between "
            "processes and waiting for the disk are left out. With a measured.json its speeds are used instead.",
        ]


class MeasuredSpeed:
    """The FLOP/s that `reluformer measure` reached on a device, by system and length.

    Raises:
        SettingsError: the file is none of `reluformer measure`, or of other systems.
    """

    def __init__(self, path: Path, experiment: Experiment, sizes: Mapping[str, Sizes]) -> None:
        try:
            measured = json.loads(path.read_text(encoding="utf-8"))
            machine, points, settings = measured["machine"], measured["points"], measured["settings"]
            self.on_gpus = bool(machine["gpus"])
            self.devices = len(machine["gpus"]) or machine["cores"]
            self.device = machine["gpus"][0] if self.on_gpus else f"{machine['cpu']}, one core"
        except (OSError, ValueError, KeyError, TypeError):
            raise SettingsError(f"{path}: not a file of `reluformer measure`") from None
        self.path = path
        self.training: dict[tuple[str, int], list[float]] = {}
        self.decoding: dict[tuple[str, int], list[float]] = {}
        systems = {config.system: config for config in experiment.measured_systems()}
        for point in points:
            key = (point["system"], point["length"])
            if "flops_per_second" in point:
                self.training.setdefault(key, []).append(point["flops_per_second"])
            if "decoding_speed" in point and (config := systems.get(point["system"])):
                batch = min(settings["batch_tokens"], config.translation.batch_tokens)
                tokens = max(1, batch // point["length"]) * point["length"]
                model = with_vocabulary(config, sizes[config.dataset].vocabulary).model
                lengths = (point["length"], point["length"])
                flops = decoding_flops(model, tokens, tokens, *lengths, config.translation.beam)
                self.decoding.setdefault(key, []).append(flops * point["decoding_speed"] / tokens)
        if not self.training or not self.decoding:
            raise SettingsError(f"{path}: has no speed of a system of this configuration")

    def update(self, config: RunConfig, sizes: Sizes) -> float:
        """Seconds of one update."""
        ranks = config.training.processes * config.training.nodes
        return update_flops(config, sizes) / (_nearest(self.training, config, sizes.train.tgt_length) * ranks)

    def translation(self, config: RunConfig, sizes: Sizes) -> float:
        """Seconds of translating the test split."""
        return translation_flops(config, sizes) / _nearest(self.decoding, config, sizes.test.tgt_length)

    def assumptions(self) -> list[str]:
        """What the speed rests on, in sentences."""
        return [
            f"{self.path}: FLOP/s measured on {self.device}, with random weights, at the length nearest to the "
            "corpus's; a system that was not measured counts as the median of those that were.",
            "Communication between processes and waiting for the disk are left out.",
        ]


Speed = StatedSpeed | MeasuredSpeed


def _nearest(speeds: Mapping[tuple[str, int], list[float]], config: RunConfig, length: float) -> float:
    """The median FLOP/s of a run's system, or of all systems, at the length that is nearest by ratio."""
    base = split_system(config.system).base
    keys = [key for key in speeds if key[0] == base] or list(speeds)
    chosen = min((key[1] for key in keys), key=lambda one: abs(math.log(one / length)))
    return median(value for key in keys if key[1] == chosen for value in speeds[key])


def find_gpu(name: str) -> Gpu:
    """Returns the GPU of this name. Raises `SettingsError`."""
    if name not in GPUS:
        raise SettingsError(f"--gpu: {name!r}: unknown GPU{nearest(name, GPUS)}")
    return GPUS[name]


def job_seconds(job: Job, experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> float:
    """Seconds that one job takes."""
    start = START_SECONDS.get(job.step, OTHER_START)
    if job.step == "prepare":
        return start + sum(split.pairs for split in sizes[job.about].splits) / PREPARED_PAIRS
    if job.step == "measure":
        return start + _measuring_seconds(experiment, sizes, speed)
    if job.step == "significance":
        samples = experiment.config.significance.bootstrap + experiment.config.significance.randomisation
        segments = sum(sizes[one.dataset].test.pairs for one, _ in compared_runs(experiment, job.about))
        return start + len(paired_kinds(experiment, job.about)) * PAIRED_SAMPLE * samples * segments
    if job.run is None:
        return start
    if job.step == "score":
        return start + SCORED_LINE * sizes[split_dataset(job.run.dataset)[0]].test.pairs
    config = experiment.runs[job.run] if job.run in experiment.runs else experiment.resolve(job.run)
    data, training = sizes[job.run.dataset], config.training
    if job.step == "translate":
        return start + speed.translation(config, data)
    update = speed.update(config, data)
    forward = update / TRAINING / training.batch_tokens  # per target token
    if job.step == "analyse":
        return start + ANALYSIS_PASSES * forward * data.test.tgt
    validations = -(-training.updates // training.validate_every)
    if training.validate_bleu:
        forward += speed.translation(config, data) / data.test.tgt / config.translation.beam  # greedy
    return start + update * training.updates + validations * forward * data.valid.tgt


def _measuring_seconds(experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> float:
    """Seconds of all points of the measured study: of each length, training and decoding for at least `seconds`."""
    measured = experiment.studies[experiment.measured_study or ""].measured
    assert measured is not None
    total = 0.0
    for config in experiment.measured_systems():
        data = sizes[config.dataset]
        update = speed.update(config, data) * measured.batch_tokens / config.training.batch_tokens
        point = OTHER_START + min(measured.limit, max(measured.seconds, 3 * update)) + measured.seconds
        total += measured.rounds * len(measured.lengths) * point
    return total
