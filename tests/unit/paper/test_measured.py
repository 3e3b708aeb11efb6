"""Measured speed and memory as rows of a study, and as columns of runs."""

from __future__ import annotations

import json

import pytest
from pandas import read_csv

from reluformer.config.metrics import metric
from reluformer.paper.outputs import MEASURED_FILE, claims_inputs, study_inputs
from reluformer.paper.runs import measured_note, read_runs, shortest
from reluformer.paper.study import build_study

STUDY = "speed-by-length"
NAMES = ["measured.training_speed", "measured.decoding_speed", "measured.memory_ratio"]


@pytest.fixture
def measured(make):
    """An experiment with measurements: round 2 is an outlier, and Sparsemax does not decode long sentences."""
    example = make(studies={STUDY: {"measured": {"lengths": [32, 64], "rounds": 3}}})
    config = example.experiment.studies[STUDY]
    points = []
    for number in (1, 2, 3):
        for length in config.measured.lengths:
            for place, system in enumerate(config.systems):
                point = {"round": number, "system": system, "length": length, "problems": {}}
                point |= {"training_speed": 100.0 + place + (1e6 if number == 2 else 0) + number, "memory_ratio": 0.5}
                if system == "attention-sparsemax" and length > config.measured.lengths[0]:
                    point["problems"] = {"decoding": "too slow"}
                else:
                    point["decoding_speed"] = 10.0 * length
                points.append(point)
    path = example.results / MEASURED_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"points": points, "machine": {"cpu": "a processor", "gpus": []}, "versions": {"torch": "2"}}
    path.write_text(json.dumps({**content, "threads": 2, "settings": config.measured.model_dump()}), encoding="utf-8")
    return example


def test_rows(measured):
    config = measured.experiment.studies[STUDY]
    frame = read_runs(measured.experiment, STUDY, [metric(name) for name in NAMES], measured.results)
    assert len(frame) == 3 * len(config.systems) * len(config.measured.lengths)
    slow = frame[(frame["system"] == "attention-sparsemax") & (frame["length"] == config.measured.lengths[1])]
    assert set(slow["missing:measured.decoding_speed"]) == {"too slow"}
    assert slow["measured.training_speed"].notna().all()


def test_the_table_has_medians_and_names_what_failed(measured):
    build_study(measured.experiment, STUDY, measured.results)
    text = (measured.results / "paper" / "tables" / f"{STUDY}.md").read_text(encoding="utf-8")
    assert "| 103 ±" in text.replace(".0 ±", " ±") and "too slow" in text and "a processor" in text


@pytest.mark.parametrize(("threads", "said"), [(1, True), (2, False)])
def test_one_thread_counts_processor_time(measured, threads, said):
    path = measured.results / MEASURED_FILE
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "threads": threads}), encoding="utf-8")
    assert ("processor time" in measured_note(measured.results)[0]) == said


def test_the_raw_table_labels_medians(measured):
    build_study(measured.experiment, STUDY, measured.results)
    rows = read_csv(measured.results / "paper" / "tables" / f"{STUDY}.csv")
    assert "measured.training_speed_mean" not in rows
    first = rows.iloc[0]
    assert first["measured.training_speed_median"] == 103.0
    low, high = first["measured.training_speed_low"], first["measured.training_speed_high"]
    assert (low + high) / 2 == pytest.approx(103.0)


def test_runs_show_the_shortest_length(measured):
    length = measured.experiment.studies[STUDY].measured.lengths[0]
    assert shortest(measured.results, "transformer")["decoding_speed"] == 10.0 * length
    assert shortest(measured.results, "transformer")["training_speed"] == 103.0
    assert shortest(measured.results, "ffn-softmax") is None


def test_outputs_that_use_measurements_require_them(measured):
    wanted = f"results/{MEASURED_FILE}"
    for study in (STUDY, "attention-activation"):
        assert wanted in study_inputs(measured.experiment, study)
    assert wanted in claims_inputs(measured.experiment)
    assert wanted not in study_inputs(measured.experiment, "gamma")


def test_without_measurements(make):
    example = make()
    assert measured_note(example.results) == ["Speed and memory are not measured yet."]
    frame = read_runs(example.experiment, STUDY, [metric(NAMES[0])], example.results)
    assert set(frame["status"]) == {"not run"} and set(frame[f"missing:{NAMES[0]}"]) == {"not measured"}
