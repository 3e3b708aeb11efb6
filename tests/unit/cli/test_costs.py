import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reluformer.cli import costs
from reluformer.cli.costs import (
    duration,
    job_seconds,
    measured_speed,
    read_sizes,
    stated_speed,
    update_flops,
)
from reluformer.cli.jobs import Job
from reluformer.config.experiment import Experiment
from reluformer.config.run import Run
from reluformer.config.settings import SettingsError, merge, read_yaml
from reluformer.corpus.store import Sequences, StoreWriter

ROOT = Path(__file__).parents[3]
NONE = Path("none")


@pytest.fixture
def run_and_sizes(paper, tmp_path):
    return paper.resolve(Run("iwslt14", "transformer", 1)), read_sizes("iwslt14", paper.dataset("iwslt14"), tmp_path)


@pytest.fixture
def demo_sizes(demo, tmp_path):
    names = dict.fromkeys([*demo.datasets, *(run.dataset for run in demo.runs)])
    return {name: read_sizes(name, demo.dataset(name), tmp_path) for name in names}


def test_a_faster_gpu_takes_less_time_but_the_same_launch_overhead(run_and_sizes):
    slow, fast = (stated_speed(name, 0.4).update(*run_and_sizes) for name in ("v100", "h100"))
    assert fast < slow < fast * 10
    config, sizes = run_and_sizes
    bf16 = config.model_copy(update={"training": config.training.model_copy(update={"precision": "bf16"})})
    assert 0.005 < stated_speed("h100", 1.0).update(bf16, sizes) < fast


def test_the_update_of_the_common_recipe_is_of_the_right_size(run_and_sizes):
    # 6 · 36 M weights of the layers and the projection · about 4,096 tokens per side, at 40 % of 66.9 TFLOP/s
    assert 0.02 < stated_speed("h100", 0.4).update(*run_and_sizes) < 0.08


def test_an_unknown_gpu_is_refused_and_the_assumptions_are_stated():
    with pytest.raises(SettingsError, match="did you mean 'h100'"):
        stated_speed("h10", 0.4)
    text = " ".join(stated_speed("h100", 0.4).assumptions)
    assert "66.9" in text and "40%" in text and "sparsemax" in text


@pytest.fixture
def measured(tmp_path, demo):
    """Speeds from a synthetic measured.json on one core with `points` (system, length, FLOP/s, decoded tokens/s)."""

    def make(*points, **machine):
        keys = ("system", "length", "flops_per_second", "decoding_speed")
        content = {
            "machine": {"cpu": "a processor", "cores": 2, "gpus": [], **machine},
            "points": [dict(zip(keys, point, strict=True)) for point in points],
        }
        (tmp_path / "measured.json").write_text(json.dumps(content))
        return measured_speed(tmp_path / "measured.json", demo)

    return make


def test_measured_speeds_are_taken_by_system_and_nearest_length(measured, demo, demo_sizes):
    speed = measured(
        ("transformer", 32, 1e9, 100.0),
        ("transformer", 32, 3e9, 100.0),
        ("transformer", 32, 2e9, 100.0),
        ("transformer", 128, 9e9, 50.0),
        ("reluformer", 32, 4e9, 200.0),
    )
    assert (speed.on_gpus, speed.devices, speed.device) == (False, 2, "a processor, one core")
    sizes = demo_sizes["demo-sentences"]
    for system, flops in (("transformer", 2e9), ("reluformer", 4e9), ("rela", 2.5e9)):  # rela: the median of the others
        config = demo.resolve(Run("demo-sentences", system, 1))
        assert speed.update(config, sizes) == pytest.approx(update_flops(config, sizes) / flops)
    slow, fast = (demo.resolve(Run("demo-sentences", name, 1)) for name in ("transformer", "reluformer"))
    assert speed.translation(slow, sizes) == pytest.approx(2 * speed.translation(fast, sizes))
    assert 0.5 < speed.translation(slow, sizes) / (sizes.test.tgt / 100) < 2


def test_a_file_that_is_not_of_measure_is_one_line(measured, demo, tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(SettingsError, match="not a file of `reluformer measure`"):
        measured_speed(tmp_path / "other.json", demo)
    with pytest.raises(SettingsError, match="no speed of a system"):
        measured()


def test_the_cost_of_measuring_grows_with_its_rounds(demo, demo_sizes):
    def seconds(experiment):
        return job_seconds(Job("measure", ""), experiment, demo_sizes, stated_speed("h100", 0.4))

    measured = demo.studies["speed-by-length"].measured.model_dump()
    studies = {**demo.config.studies, "speed-by-length": {"measured": {**measured, "rounds": 2 * measured["rounds"]}}}
    twice = Experiment({**demo.config.model_dump(), "studies": studies}, folder=demo.folder)
    assert seconds(twice) > 1.8 * seconds(demo)


def test_an_unprepared_corpus_is_estimated_from_its_configured_sizes(paper, tmp_path):
    dataset = paper.dataset("iwslt14")
    sizes = read_sizes("iwslt14", dataset, tmp_path)
    assert not sizes.prepared and sizes.vocabulary == 10_000
    assert [split.pairs for split in sizes[:3]] == [160_239, 7283, 6750]
    assert sizes.train.src_length == pytest.approx(dataset.sizes.src_tokens + 1)
    assert sizes.test.tgt == pytest.approx(6750 * (dataset.sizes.tgt_tokens + 1))


def test_packed_documents_have_the_lengths_of_their_packing(paper, tmp_path):
    dataset = paper.dataset("europarl7")
    means = {
        view: max(sizes.test.src_length, sizes.test.tgt_length)
        for view in ("within-128", "within-2048", "across-128", "across-2048")
        for sizes in [read_sizes(f"europarl7@{view}", dataset, tmp_path)]
    }
    assert 1900 < means["across-2048"] <= 2049 and 100 < means["across-128"] <= 129
    assert 300 < means["within-2048"] < 600  # a document is one speech
    assert 80 < means["within-128"] < 129


def test_within_packing_is_the_mean_of_cut_exponential_documents(paper, tmp_path):
    sizes = read_sizes("europarl7@within-256", paper.dataset("europarl7"), tmp_path)
    config = paper.dataset("europarl7").sizes
    longer = max(config.src_tokens, config.tgt_tokens)
    documents = np.random.default_rng(1).exponential(longer * config.sentences_per_document, 200_000)
    pieces = np.concatenate([np.full(int((documents // 256).sum()), 256.0), documents % 256])
    longest = "src" if config.src_tokens == longer else "tgt"
    assert getattr(sizes.train, f"{longest}_length") - 1 == pytest.approx(pieces.mean(), rel=0.02)
    assert math.isclose(sizes.train.pairs * pieces.mean(), config.train * longer, rel_tol=0.02)


def test_a_prepared_corpus_is_read(paper, tmp_path):
    folder = tmp_path / "iwslt14"
    for name in ("train", "valid", "test"):
        with StoreWriter(folder / "store" / name, 99, documents=False) as writer:
            writer.add(Sequences.of([[5, 6, 7], [5]]), Sequences.of([[5], [6, 7]]))
    (folder / "statistics.json").write_text(json.dumps({}))
    sizes = read_sizes("iwslt14", paper.dataset("iwslt14"), tmp_path)
    assert sizes.prepared and sizes.vocabulary == 99 and sizes.train.src_length == 3


def test_a_corpus_without_sizes_is_one_line(paper, tmp_path):
    bare = paper.dataset("iwslt14").model_copy(update={"sizes": None})
    with pytest.raises(SettingsError, match="gives no `sizes`"):
        read_sizes("iwslt14", bare, tmp_path)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.2, "3 s"), (725, "12 min 5 s"), (11_040, "3 h 4 min"), (86_400 * 12 + 3600 * 3, "12 d 3 h")],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


@pytest.fixture
def no_gpu(monkeypatch):
    """Makes the paper's experiment, with changes, on a machine without GPU whose matrix products run at 200 GFLOP/s."""
    monkeypatch.setattr(costs, "visible_devices", list)
    monkeypatch.setattr(costs, "matrix_speed", lambda: 200e9)
    config = read_yaml(ROOT / "config" / "config.yaml")

    def make(**changes):
        return Experiment(merge(config, changes), ROOT / "config")

    return make


def test_the_paper_is_refused_with_its_cost_and_what_to_do_instead(no_gpu):
    experiment = no_gpu(seeds=[1], only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    text = costs.refusal(experiment, trainings, NONE)
    assert text is not None and text.startswith(f"No GPU here: {len(trainings)} training(s)")
    for words in ("make demo", "force=true", "slurm", "reluformer doctor", "Nothing was started"):
        assert words in text


def test_what_is_not_refused(no_gpu, monkeypatch):
    experiment = no_gpu(only=["ffn-activation"])
    trainings = list(experiment.runs.values())
    assert costs.refusal(experiment, [], NONE) is None
    assert costs.refusal(no_gpu(only=["ffn-activation"], toy=True), trainings, NONE) is None
    assert costs.refusal(no_gpu(only=["ffn-activation"], force=True), trainings, NONE) is None
    quick = no_gpu(only=["ffn-activation"], training={"updates": 10})
    assert costs.refusal(quick, list(quick.runs.values()), NONE) is None
    monkeypatch.setattr(costs, "visible_devices", lambda: ["0"])
    assert costs.refusal(experiment, trainings, NONE) is None


def test_flops_are_those_of_the_plan_and_none_where_no_sizes_are_known(no_gpu, tmp_path):
    experiment = no_gpu(only=["ffn-activation"])
    config = next(iter(experiment.runs.values()))
    weights = 6 * (4 * 512**2 + 2 * 512 * 1024) + 6 * (8 * 512**2 + 2 * 512 * 1024) + 512 * 10_000
    flops = costs.training_flops(experiment, [config], tmp_path)
    assert flops == pytest.approx(6 * weights * 4096 * 50_000, rel=0.15)  # plus the attention products
    assert costs.training_flops(experiment, [config, config], tmp_path) == pytest.approx(2 * flops)
    dataset = experiment.datasets["iwslt14"]
    experiment.datasets["iwslt14"] = dataset.model_copy(update={"sizes": None})
    assert costs.training_flops(experiment, [config], tmp_path) == 0


def test_the_speed_of_this_machine_is_plausible():
    assert 1e8 < costs.matrix_speed(256) < 1e15


def test_the_module_does_not_import_torch():
    code = "import sys, reluformer.cli.costs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
