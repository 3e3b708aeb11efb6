"""The cost model of a job: the FLOPs of its matrix products, kernel launches, and the start of a process.

The speed is a share of a GPU's peak, or the one that `reluformer measure` measured by system and length
(measured.json). On a machine without a GPU it is half of what this CPU reaches in a matrix product now; a workflow that
would train for too long at that speed does not start.
"""

from __future__ import annotations

import contextlib
import json
import math
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reluformer.benchmark.study import measuring_plan
from reluformer.cli.jobs import ON_GPU, Job
from reluformer.config.changes import split_system
from reluformer.config.dataset import DatasetConfig, SizesConfig
from reluformer.config.experiment import Experiment
from reluformer.config.run import RunConfig, split_dataset
from reluformer.config.settings import SettingsError, nearest
from reluformer.corpus.store import Store, view_folder
from reluformer.model.flops import TRAINING, decoding_flops, forward_flops
from reluformer.ops.process import usable_cores
from reluformer.training.summary import visible_devices

GPUS = {
    "h100": ("NVIDIA H100 SXM", {"fp32": 66.9, "bf16": 989.4, "fp16": 989.4}),
    "a100": ("NVIDIA A100 SXM", {"fp32": 19.5, "bf16": 312.0, "fp16": 312.0}),
    "v100": ("NVIDIA V100 SXM", {"fp32": 15.7, "bf16": 15.7, "fp16": 125.0}),
}
"""Each GPU's peak TFLOP/s in dense matrix products by precision, as its manufacturer states it."""
LAUNCH = 5e-6
"""Seconds to launch a kernel."""
TRAINING_KERNELS, DECODING_KERNELS = 60, 20
"""Kernels of one memory in an update (forward, backward, optimizer), and in one step of the beam search."""
START_SECONDS = {"train": 30.0, "translate": 20.0, "analyse": 20.0, "measure": 20.0, "variance_law": 20.0}
OTHER_START = 5.0
"""Seconds until any other job does its work; most steps take no longer."""
PREPARED_PAIRS = 5000
"""Sentence pairs prepared per second, on a few cores."""
ANALYSIS_PASSES = 2
"""Forward passes over the test split of an analysis, roughly."""
LIMIT_HOURS, CPU_UTILISATION = 12.0, 0.5
"""Hours of training on CPUs above which a workflow is refused, at this share of the speed of a matrix product."""

FlopsPerSecond = Callable[[RunConfig, float], float]
"""The speed of one process of a run, at a length in tokens."""


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
    """Returns the sizes of a run's dataset, e.g. `europarl7@across-1024`: those of the prepared corpus if there is one.

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
    """Returns the FLOPs of one update: of the batch's target tokens and the source tokens that come with them."""
    train, model = sizes.train, config.with_vocabulary(sizes.vocabulary).model
    tgt = max(config.training.batch_tokens, train.tgt_length)
    return TRAINING * forward_flops(
        model, tgt * train.src_length / train.tgt_length, tgt, train.src_length, train.tgt_length
    )


class Speed(NamedTuple):
    """The speed of a device.

    Attributes:
        device: its name.
        on_gpus: whether it is a GPU.
        devices: how many of them the plan assumes by default.
        launch: seconds to launch a kernel, in addition to the FLOPs.
        assumptions: what the speed rests on, in sentences.
    """

    device: str
    on_gpus: bool
    devices: int
    training: FlopsPerSecond
    decoding: FlopsPerSecond
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
    device, peaks = GPUS[name]
    assumptions = [
        f"{device}: peak {peaks['fp32']} TFLOP/s in fp32, {peaks['bf16']} in bf16, {peaks['fp16']} in fp16 (dense, as "
        f"its manufacturer states); matrix products reach {utilisation:.0%} of it (assumed, --utilisation).",
        f"A kernel takes {LAUNCH * 1e6:.0f} µs to launch; a memory launches {TRAINING_KERNELS} per update and "
        f"{DECODING_KERNELS} per step of the beam search (assumed).",
        "Only matrix products count: sparsemax and 1.5-entmax cost more than this, and communication between "
        "processes and waiting for the disk are left out. With a measured.json its speeds are used instead.",
    ]
    reached = {precision: peak * 1e12 * utilisation for precision, peak in peaks.items()}
    return Speed(
        device,
        on_gpus=True,
        devices=8,
        training=lambda config, length: reached[config.training.precision],
        decoding=lambda config, length: reached["fp32"],
        launch=LAUNCH,
        assumptions=assumptions,
    )


def measured_speed(path: Path, experiment: Experiment) -> Speed:
    """Returns the speed that `reluformer measure` reached on a device, by system and length.

    Raises:
        SettingsError: the file was not written by `reluformer measure`, or only measures other systems.
    """
    import pandas as pd

    plan = measuring_plan(experiment)
    runs = {config.system: config for config in plan.runs} if plan else {}
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
        gpus, cores, cpu = (measured["machine"][key] for key in ("gpus", "cores", "cpu"))
        points = pd.DataFrame(measured["points"], columns=["system", "length", "flops_per_second", "decoding_speed"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"{path}: not a file of `reluformer measure`") from None
    points = points[points["system"].isin(runs)]
    pairs = zip(map(runs.__getitem__, points["system"]), points["length"], strict=True)
    token = [decoding_flops(run.model, 1, 1, length, length, run.translation.beam) for run, length in pairs]
    points = points.assign(decoding=points["decoding_speed"] * token)

    def speed(column: str) -> FlopsPerSecond:
        known = points.dropna(subset=column)
        if known.empty:
            raise SettingsError(f"{path}: no speed of a system of this configuration")

        def nearest_length(config: RunConfig, length: float) -> float:
            own = known[known["system"] == split_system(config.system).base]
            rows = known if own.empty else own
            ratios = np.log(rows["length"] / length).abs()
            return float(rows[column][ratios == ratios.min()].median())

        return nearest_length

    device = gpus[0] if gpus else f"{cpu}, one core"
    assumptions = [
        f"{path}: FLOP/s measured on {device}, with random weights, at the length nearest to the "
        "corpus's; a system that was not measured counts as the median of those that were.",
        "Communication between processes and waiting for the disk are left out.",
    ]
    return Speed(
        device,
        on_gpus=bool(gpus),
        devices=len(gpus) or cores,
        training=speed("flops_per_second"),
        decoding=speed("decoding"),
        launch=0.0,
        assumptions=assumptions,
    )


def job_seconds(job: Job, experiment: Experiment, sizes: Mapping[str, Sizes], speed: Speed) -> float:
    """Returns the seconds that one job takes."""
    start = START_SECONDS.get(job.step, OTHER_START)
    if job.step == "prepare":
        return start + sum(split.pairs for split in sizes[job.about][:3]) / PREPARED_PAIRS
    if job.step == "measure" and (plan := measuring_plan(experiment)):
        points = plan.measured.rounds * len(plan.measured.lengths) * len(plan.runs)
        return start + points * (OTHER_START + 2 * plan.measured.seconds)  # training, then decoding
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


def refusal(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> str | None:
    """Returns why these trainings do not start on this machine, and what to do instead; None if they may.

    Never refuses the toy configuration, a machine with a GPU, `force`, or trainings of less than half a day. `corpora`
    is the folder of prepared corpora.
    """
    if experiment.config.toy or experiment.config.force or not trainings or visible_devices():
        return None
    speed = matrix_speed()
    seconds = training_flops(experiment, trainings, corpora) / (speed * CPU_UTILISATION)
    if seconds <= 3600 * LIMIT_HOURS:
        return None
    cores = usable_cores()
    return (
        f"No GPU here: {len(trainings)} training(s) would take about {duration(seconds)} on these {cores} "
        f"core(s)\n(half of the {speed / 1e9:.0f} GFLOP/s that matrix products reach). Nothing was started.\n\n"
        "  make demo                                      the same workflow at a small scale, in minutes\n"
        "  reluformer plan                                what it costs on a GPU\n"
        "  reluformer doctor                              whether there is a GPU that torch does not find\n"
        "  snakemake --profile workflow/profiles/slurm    on a cluster: docs/slurm.md\n"
        "  snakemake ... --config force=true              start it here anyway\n"
    )


def training_flops(experiment: Experiment, trainings: Sequence[RunConfig], corpora: Path) -> float:
    """Returns the FLOPs of these trainings' matrix products; a corpus of unknown size counts as 0."""
    total = 0.0
    for dataset in dict.fromkeys(config.dataset for config in trainings):
        with contextlib.suppress(SettingsError):
            sizes = read_sizes(dataset, experiment.dataset(dataset), corpora)
            own = [config for config in trainings if config.dataset == dataset]
            total += sum(config.training.updates * update_flops(config, sizes) for config in own)
    return total


def matrix_speed(size: int = 1024) -> float:
    """Returns the FLOP/s of fp32 matrix products on this CPU: the best of five."""
    a = np.ones((size, size), np.float32)
    return 2 * size**3 / min(timeit.repeat(lambda: a @ a, number=1, repeat=5))


def duration(seconds: float) -> str:
    """Formats seconds: `3 s`, `12 min 5 s`, `3 h 4 min`, `12 d 3 h`."""
    whole = round(seconds)
    for unit, length, below, smaller in (("d", 86400, 3600, "h"), ("h", 3600, 60, "min"), ("min", 60, 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // below} {smaller}"
    return f"{whole} s"
