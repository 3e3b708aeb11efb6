"""The rows of benchmarks, their table and their file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks import __main__ as command
from benchmarks.rows import Row, interleaved, paired, save, slug, table


@pytest.mark.parametrize(
    ("ours", "theirs", "less", "ratio", "met"),
    [
        (150.0, 100.0, False, 1.5, True),
        (110.0, 100.0, False, 1.1, False),
        (4.0, 8.0, True, 2.0, True),
        (8.0, 8.0, True, 1.0, False),
        (3.0, None, False, None, None),
    ],
)
def test_a_ratio_above_one_is_better(ours, theirs, less, ratio, met):
    row = Row("x", ours, "them", theirs, "s", target=1.25, less=less)
    assert row.ratio == (None if ratio is None else pytest.approx(ratio))
    assert row.met is met


def test_a_row_without_a_target_is_neither_met_nor_missed():
    assert Row("x", 1.0, "them", 2.0, "s").record()["met"] is None


def test_the_reason_is_shown_only_for_a_miss():
    missed = Row("slow thing", 1.0, "them", 2.0, "tokens/s", target=1.0, why="bound by memory").record()
    reached = Row("fast thing", 3.0, "them", 2.0, "tokens/s", target=1.0, why="bound by memory").record()
    assert missed["why"] == "bound by memory" and reached["why"] == ""
    unknown = Row("odd thing", 1.0, "them", 2.0, "tokens/s", target=1.0).record()
    assert unknown["why"] == "not profiled"
    text = table([missed, reached])
    assert "missed: slow thing, against them: bound by memory" in text
    assert "missed: fast thing" not in text


def test_measures_are_taken_in_turns_and_the_warm_ones_do_not_count():
    order = []
    values = {"a": iter([99.0, 1.0, 3.0, 2.0]), "b": iter([99.0, 5.0, 5.0, 5.0])}

    def measure(name):
        order.append(name)
        return next(values[name])

    times = interleaved({name: lambda name=name: measure(name) for name in values}, rounds=3)
    assert order == ["a", "b"] * 4
    assert times == {"a": (2.0, 0.25), "b": (5.0, 0.0)}


def test_a_file_keeps_the_rows_of_other_benchmarks_and_replaces_its_own(tmp_path):
    for ours in (1.0, 2.0):
        save("one", [Row("x", ours, "them", 2.0, "s").record()], tmp_path)
    path = save("two", [Row("y", 3.0, "them", 2.0, "s").record()], tmp_path)
    content = json.loads(path.read_text())
    assert [(row["benchmark"], row["name"], row["ours"]) for row in content["rows"]] == [
        ("one", "x", 2),
        ("two", "y", 3),
    ]
    assert {"name", "ours", "peer", "theirs", "unit", "ratio", "target", "met", "why"} <= set(content["rows"][0])
    assert content["cpu"] and "torch" in content["packages"]
    assert content["rows"][0]["commit"] and content["rows"][0]["threads"]
    assert path.name.endswith(f"-{slug(content['device'])}.json")
    assert list(tmp_path.iterdir()) == [path]


def test_rows_keep_their_own_number_of_threads(tmp_path, monkeypatch):
    for threads in (1, 2):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        path = save(f"with {threads}", [Row("x", 1.0, "them", 2.0, "s").record()], tmp_path)
    assert [row["threads"] for row in json.loads(path.read_text())["rows"]] == [1, 2]


def test_a_cpu_limited_to_older_instructions_has_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    whole = save("one", [Row("x", 1.0, "them", 2.0, "s").record()], tmp_path)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    limited = save("one", [Row("x", 2.0, "them", 2.0, "s").record()], tmp_path)
    assert limited.stem == f"{whole.stem}-avx2"
    assert [json.loads(path.read_text())["rows"][0]["ours"] for path in (whole, limited)] == [1, 2]


def test_a_benchmark_that_does_not_exist_is_named(capsys):
    assert command.main(["trainin"]) == 2
    assert "'trainin'" in capsys.readouterr().err
    assert {"corpus", "beam"} <= set(command.NAMES)


def test_pairs_give_the_median_of_their_ratios_whatever_the_turns():
    """Turns differ five-fold and one of ours was disturbed; all other pairs, and so the median, have the ratio 1.1."""
    theirs = [100.0, 500.0, 200.0, 300.0, 400.0]
    ours = [1.1 * speed for speed in theirs[:4]] + [40.0]
    middle, other, spread = paired(ours, theirs)
    assert middle == pytest.approx(220.0) and middle / other == pytest.approx(1.1)
    assert spread == pytest.approx(0.0, abs=1e-9)
    assert paired([2.0, 3.0, 8.0], [1.0, 1.0, 2.0])[2] == pytest.approx((3.5 - 2.5) / 2 / 3)


def test_numbers_of_numpy_become_json(tmp_path):
    row = Row("padding", np.float64(2.9), "limit", 5.0, "%", 1.0, less=True, spread=np.float64(0.1))
    saved = json.loads(save("padding", [row.record()], tmp_path).read_text(encoding="utf-8"))["rows"]
    assert saved[0]["met"] is True and saved[0]["ratio"] == 1.7241
