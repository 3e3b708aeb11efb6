"""Rounds of points in separate processes: ratios to the baseline, and parts that are slow, too large or broken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reluformer.benchmark import study
from reluformer.benchmark.study import (
    OUT_OF_MEMORY,
    TOO_SLOW,
    MeasuringPlan,
    PointError,
    measure_study,
    measuring_plan,
)
from reluformer.config.experiment import Experiment
from reluformer.config.studies import MeasuringConfig

pytestmark = pytest.mark.slow


def plan_of(runs, **changes):
    settings = {"lengths": [4, 8], "rounds": 2, "batch_tokens": 16, "seconds": 0.001, "limit": 600, **changes}
    return MeasuringPlan(study="speed", measured=MeasuringConfig(**settings), runs=runs)


def test_every_point_of_every_round(small_run):
    runs = [small_run(), small_run("reluformer", activation="relu-scaled", penalty={"weight": 0.01})]
    messages = []
    result = measure_study(plan_of(runs), 1, messages.append)
    places = [(p["round"], p["length"], p["system"]) for p in result["points"]]
    assert places == [(r, n, s) for r in (1, 2) for n in (4, 8) for s in ("transformer", "reluformer")]
    for point, baseline in zip(result["points"], (p for p in result["points"][::2] for _ in range(2)), strict=True):
        assert point["problems"] == {}
        assert point["training_speed"] > 0 and point["decoding_speed"] > 0 and point["training_memory"] >= 0
        assert point["training_ratio"] == point["training_speed"] / baseline["training_speed"]
        assert point["decoding_ratio"] == point["decoding_speed"] / baseline["decoding_speed"]
    assert result["baseline"] == "transformer" and result["machine"]["cores"] and len(messages) == 4


class FakeProcess:
    """Stands in for a part's process; `started` lists the parts."""

    started: list = []

    def __init__(self, target, args, daemon):
        _, part, _, length, *_ = args
        FakeProcess.started.append((part, length))

    def start(self):
        pass

    kill = join = start


class FakeContext:
    """A context whose processes send the messages in `answers`, by part."""

    Process = FakeProcess

    def __init__(self, answers):
        self.answers = answers

    def Pipe(self, duplex):
        class End:
            def close(self):
                pass

            def poll(self, seconds):
                self.queue = getattr(self, "queue", None) or list(answers[FakeProcess.started[-1][0]])
                return self.queue[0] is not TOO_SLOW

            def recv(self):
                message = self.queue.pop(0)
                if message is EOFError:
                    raise EOFError
                return message

        answers = self.answers
        return End(), End()


READY = ("", {})
GOOD = {
    "training": [READY, ("", {"training_speed": 8.0})],
    "decoding": [READY, ("", {"decoding_speed": 2.0})],
}


@pytest.mark.parametrize(
    ("answers", "problems"),
    [
        ({}, {}),
        ({"decoding": [READY, TOO_SLOW]}, {"decoding": TOO_SLOW}),
        ({"training": [READY, (OUT_OF_MEMORY, {})]}, {"training": OUT_OF_MEMORY}),
        ({"training": [EOFError], "decoding": [TOO_SLOW]}, {"training": OUT_OF_MEMORY, "decoding": TOO_SLOW}),
    ],
)
def test_a_part_that_does_not_end_is_a_result_and_not_tried_again(answers, problems, small_run, monkeypatch):
    monkeypatch.setattr(FakeProcess, "started", [])
    settings, context, failed = MeasuringConfig(lengths=[4, 8]), FakeContext({**GOOD, **answers}), {}
    for length in (4, 8):
        point = study._point(context, small_run(), length, settings, 1, failed)
        assert point["problems"] == problems
        good = {f"{part}_speed" for part in GOOD if part not in problems}
        assert {name for name in point if name.endswith("speed")} == good
    tried = [part for part, length in FakeProcess.started if length == 8]
    assert tried == [part for part in ("training", "decoding") if part not in problems]


def test_a_process_that_takes_too_long_is_ended(small_run):
    result = measure_study(plan_of([small_run()], lengths=[256], rounds=1, limit=0.001, batch_tokens=4096), 1, print)
    assert result["points"][0]["problems"] == {"training": TOO_SLOW, "decoding": TOO_SLOW}


def test_an_allocation_that_does_not_fit_is_a_result(small_run, monkeypatch):
    """1.5-entmax stores the weights: 128 GiB for 131,072 tokens and two heads, in each part."""
    run = small_run(activation="entmax15")
    result = measure_study(plan_of([run], lengths=[1 << 17], rounds=1), 1, print)
    assert result["points"][0]["problems"]["training"] == OUT_OF_MEMORY


def test_any_other_error_is_raised(small_run):
    run = small_run()
    broken = run.model_copy(update={"model": run.model.model_copy(update={"heads": 3})})
    with pytest.raises(PointError):
        measure_study(plan_of([broken], rounds=1), 1, print)


def test_a_point_imports_few_additional_modules():
    code = (
        "import importlib, sys\n"
        "from reluformer.benchmark.study import PRELOAD\n"
        "for name in PRELOAD: importlib.import_module(name)\n"
        "before = set(sys.modules)\n"
        "import torch\n"
        "torch.optim.AdamW([torch.zeros(2, requires_grad=True)], lr=1e-12, fused=True)\n"
        "assert len(set(sys.modules) - before) < 20, len(set(sys.modules) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_paper_measures_every_attention_at_every_length(paper):
    experiment = paper
    plan = measuring_plan(paper)
    assert plan.study == "speed-by-length"
    assert {128, 256, 512, 1024, 2048, 4096} <= set(plan.measured.lengths)
    assert [run.system for run in plan.runs] == experiment.studies["attention-activation"].systems
    assert plan.runs[0].system == "transformer"
    assert {run.model.vocabulary for run in plan.runs} == {10000}
    assert experiment.study_runs(plan.study) == []


def test_without_a_measured_study(paper):
    config = {**paper.config.model_dump(), "only": ["ablation"]}
    assert measuring_plan(Experiment(config, paper.folder)) is None
