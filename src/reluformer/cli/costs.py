"""A stated model of what a job costs: its FLOPs at a stated speed, plus kernel launches and the start of a process.

The speed is a share of a GPU's peak, or what `reluformer measure` wrote for each system and length (measured.json).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

from reluformer.cli.jobs import ON_GPU, Job
from reluformer.config.changes import split_system
from reluformer.config.dataset import DatasetConfig, SizesConfig
from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError, nearest
from reluformer.corpus.store import Store, view_folder
from reluformer.model.flops import TRAINING, decoding_flops, forward_flops


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
"""Seconds until a job does its work; of most steps that is all."""
PREPARED_PAIRS = 5000
"""Sentence pairs prepared per second, on a few cores."""
ANALYSIS_PASSES = 2
"""Forward passes over the test split of an analysis, roughly."""


class Split(NamedTuple):
    """The size of one split; lengths are mean subwords of a sequence, EOS included."""

    pairs: int
    src_length: float
    tgt_length: float

    @property
    def src(self) -> float:
        """Source tokens."""
        return self.pairs * self.src_length

    @property
    def tgt(self) -> float:
        """Target tokens."""
        return self.pairs * self.tgt_length


class Sizes(NamedTuple):
    """The splits of a dataset; `prepared`: counted in the prepared corpus, not estimated."""

    train: Split
    valid: Split
    test: Split
    vocabulary: int
    prepared: bool


def read_sizes(dataset: str, config: DatasetConfig, corpora: Path) -> Sizes:
    """Returns the sizes of a run's dataset, e.g. `europarl7@across-1024`: of the prepared corpus if there is one.

    Raises:
        SettingsError: the dataset is not prepared, and its configuration has no `sizes`.
    """
    folder = view_folder(corpora, dataset)
    if (folder / "statistics.json").is_file():
        stores = {name: Store(folder / "store" / name) for name in ("train", "valid", "test")}
        splits = {
            name: Split(
                len(store.src_lengths), 1 + float(store.src_lengths.mean()), 1 + float(store.tgt_lengths.mean())
            )
            for name, store in stores.items()
        }
        return Sizes(**splits, vocabulary=stores["train"].vocabulary, prepared=True)
    if config.sizes is None:
        raise SettingsError(f"dataset {dataset}: not prepared, and its configuration gives no `sizes` to plan with")
    packing, _, limit = (split_dataset(dataset)[1] or "").rpartition("-")
    splits = {
        name: estimate_split(config.sizes, getattr(config.sizes, name), packing, int(limit or 0))
        for name in ("train", "valid", "test")
    }
    return Sizes(**splits, vocabulary=config.corpus.vocabulary, prepared=False)


def estimate_split(sizes: SizesConfig, sentences: int, packing: str, limit: int) -> Split:
    """Estimates a split: sentences, or documents of exponential length packed into segments of at most `limit`."""
    longer = max(sizes.src_tokens, sizes.tgt_tokens)
    document = longer * sizes.sentences_per_document
    if not packing:
        mean = longer
    elif packing == "across":
        mean = limit - min(longer, limit) / 2
    else:
        mean = document * (1 - math.exp(-limit / document))
    pairs = sentences if not packing else max(1, round(sentences * longer / mean))
    return Split(pairs, mean * sizes.src_tokens / longer + 1, mean * sizes.tgt_tokens / longer + 1)


def update_flops(config: RunConfig, sizes: Sizes) -> float:
    """FLOPs of one update: the batch's target tokens, and as many source tokens as come with them."""
    train, model = sizes.train, config.with_vocabulary(sizes.vocabulary).model
    tgt = max(config.training.batch_tokens, train.tgt_length)
    return TRAINING * forward_flops(
        model, tgt * train.src_length / train.tgt_length, tgt, train.src_length, train.tgt_length
    )


class Speed(NamedTuple):
    """What a device computes.

    Attributes:
        device: its name.
        on_gpus: whether it is a GPU.
        devices: how many of them the plan assumes by default.
        training, decoding: FLOP/s of one process of a run at a length in tokens.
        launch: seconds to launch a kernel beside that.
        assumptions: what this rests on, in sentences.
    """

    device: str
    on_gpus: bool
    devices: int
    training: Callable[[RunConfig, float], float]
    decoding: Callable[[RunConfig, float], float]
    launch: float
    assumptions: list[str]

    def update(self, config: RunConfig, sizes: Sizes) -> float:
        """Returns the seconds of one update."""
        training = config.training
        launches = len(config.model.places()) * TRAINING_KERNELS * training.accumulation
        speed = self.training(config, sizes.train.tgt_length) * training.processes * training.nodes
        return update_flops(config, sizes) / speed + launches * self.launch

    def translation(self, config: RunConfig, sizes: Sizes) -> float:
        """Returns the seconds of translating the test split into as many tokens as its references have.

        Each batch takes as many steps as its sequences are long.
        """
        test, model = sizes.test, config.with_vocabulary(sizes.vocabulary).model
        flops = decoding_flops(model, test.src, test.tgt, test.src_length, test.tgt_length, config.translation.beam)
        steps = max(1.0, test.src / config.translation.batch_tokens) * test.tgt_length
        launches = steps * sum(place.startswith("decoder") for place in model.places()) * DECODING_KERNELS
        return flops / self.decoding(config, test.tgt_length) + launches * self.launch


def stated_speed(name: str, utilisation: float) -> Speed:
    """Returns the speed of a GPU at a share of its peak. Raises `SettingsError` for an unknown one."""
    if name not in GPUS:
        raise SettingsError(f"--gpu: {name!r}: unknown GPU{nearest(name, GPUS)}")
    gpu = GPUS[name]
    reached = 1e12 * utilisation
    assumptions = [
        f"{gpu.title}: peak {gpu.fp32} TFLOP/s in fp32, {gpu.bf16} in bf16, {gpu.fp16} in fp16 (dense, as its "
        f"maker states); matrix products reach {utilisation:.0%} of it (assumed, --utilisation).",
        f"A kernel takes {LAUNCH * 1e6:.0f} µs to launch; a memory launches {TRAINING_KERNELS} per update and "
        f"{DECODING_KERNELS} per step of the beam search (assumed).",
        "Only matrix products count: sparsemax and 1.5-entmax cost more than this, and communication between "
        "processes and waiting for the disk are left out. With a measured.json its speeds are used instead.",
    ]
    return Speed(
        gpu.title,
        True,
        8,
        lambda config, length: getattr(gpu, config.training.precision) * reached,
        lambda config, length: gpu.fp32 * reached,
        LAUNCH,
        assumptions,
    )


def measured_speed(path: Path, experiment: Experiment, sizes: Mapping[str, Sizes]) -> Speed:
    """Returns the speed that `reluformer measure` reached on a device, by system and length.

    Raises:
        SettingsError: the file is none of `reluformer measure`, or of other systems.
    """
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        machine, points, settings = measured["machine"], measured["points"], measured["settings"]
        gpus, cores, cpu = machine["gpus"], machine["cores"], machine["cpu"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}: not a file of `reluformer measure`") from None
    training: dict[tuple[str, int], list[float]] = {}
    decoding: dict[tuple[str, int], list[float]] = {}
    systems = {config.system: config for config in experiment.measured_systems()}
    for point in points:
        key = system, length = point["system"], point["length"]
        if "flops_per_second" in point:
            training.setdefault(key, []).append(point["flops_per_second"])
        if "decoding_speed" in point and (config := systems.get(system)):
            batch = min(settings["batch_tokens"], config.translation.batch_tokens)
            tokens = max(1, batch // length) * length
            model = config.with_vocabulary(sizes[config.dataset].vocabulary).model
            flops = decoding_flops(model, tokens, tokens, length, length, config.translation.beam)
            decoding.setdefault(key, []).append(flops * point["decoding_speed"] / tokens)
    if not training or not decoding:
        raise SettingsError(f"{path}: has no speed of a system of this configuration")
    device = gpus[0] if gpus else f"{cpu}, one core"
    assumptions = [
        f"{path}: FLOP/s measured on {device}, with random weights, at the length nearest to the "
        "corpus's; a system that was not measured counts as the median of those that were.",
        "Communication between processes and waiting for the disk are left out.",
    ]
    return Speed(
        device,
        bool(gpus),
        len(gpus) or cores,
        lambda config, length: _nearest(training, config, length),
        lambda config, length: _nearest(decoding, config, length),
        0.0,
        assumptions,
    )


def _nearest(speeds: Mapping[tuple[str, int], list[float]], config: RunConfig, length: float) -> float:
    """The median FLOP/s of a run's system, or of all systems, at the length that is nearest by ratio."""
    base = split_system(config.system).base
    keys = [key for key in speeds if key[0] == base] or list(speeds)
    chosen = min((key[1] for key in keys), key=lambda one: abs(math.log(one / length)))
    return median(value for key in keys if key[1] == chosen for value in speeds[key])


def job_seconds(job: Job, experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> float:
    """Returns the seconds that one job takes."""
    start = START_SECONDS.get(job.step, OTHER_START)
    if job.step == "prepare":
        return start + sum(split.pairs for split in sizes[job.about][:3]) / PREPARED_PAIRS
    if job.step == "measure":
        return start + _measuring_seconds(experiment)
    if job.run is None or job.step not in ON_GPU:
        return start
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


def _measuring_seconds(experiment: Experiment) -> float:
    """Seconds of all points of the measured study: training and decoding, for about `seconds` each."""
    measured = experiment.studies[experiment.measured_study or ""].measured
    assert measured is not None
    points = measured.rounds * len(measured.lengths) * len(experiment.measured_systems())
    return points * (OTHER_START + 2 * measured.seconds)


def duration(seconds: float) -> str:
    """Formats seconds: `3 s`, `12 min 5 s`, `3 h 4 min`, `12 d 3 h`."""
    whole = round(seconds)
    for unit, length, below, smaller in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min"), ("min", 60, 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // below} {smaller}"
    return f"{whole} s"
