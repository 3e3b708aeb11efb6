"""The search on synthetic scores: the points it requests, and its choice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from reluformer.config.search import Score, Step, beyond, identity, search

AXES = {"rate": [1, 2], "gamma": [1, 2, 4], "weight": [0.03, 0.1, 0.3]}
START = {"rate": 3, "gamma": 2, "weight": 0.1}


def run_all(
    axes: dict[str, list[Any]],
    start: dict[str, Any],
    bleu: Callable[[dict[str, Any]], float | None],
    **more: Any,
) -> tuple[list[list[dict[str, Any]]], Step]:
    """Runs a search to its end; returns its rounds and its last step. A BLEU of None is a divergence."""
    scores: dict[str, Score] = {}
    rounds = []
    while (step := search(axes, start, scores, **more)).points:
        rounds.append(step.points)
        assert len(rounds) < 30
        for point in step.points:
            assert identity(point) not in scores, "a point is never run twice"
            value = bleu(point)
            scores[identity(point)] = Score(value, None, value is None)
    return rounds, step


def near(**best: float) -> Callable[[dict[str, Any]], float]:
    """Returns a BLEU that falls with the distance, in octaves, from the best value of each key."""
    return lambda point: 30 - sum(abs(math.log2(point[key] / value)) for key, value in best.items())


def test_each_axis_is_tried_around_the_best_point_so_far():
    rounds, end = run_all({**AXES, "rate": [1, 2, 4]}, START, near(rate=2, gamma=2, weight=0.1))
    assert rounds == [
        [{"rate": rate, "gamma": 2, "weight": 0.1} for rate in (1, 2, 4)],
        [{"rate": 2, "gamma": gamma, "weight": 0.1} for gamma in (1, 4)],
        [{"rate": 2, "gamma": 2, "weight": weight} for weight in (0.03, 0.3)],
    ]
    assert end.choice == {"rate": 2, "gamma": 2, "weight": 0.1}
    assert not end.widened and not end.edges


def test_a_systems_own_value_is_included_even_if_the_grid_does_not_list_it():
    rounds, end = run_all({"rate": [1, 2, 4], "gamma": [1, 4]}, START, near(rate=2, gamma=2))
    assert rounds[1] == [{**START, "rate": 2, "gamma": gamma} for gamma in (1, 4)]
    assert end.choice["gamma"] == 2


@pytest.mark.parametrize(("best", "added"), [(8, [4, 8, 16]), (0.125, [0.5, 0.25, 0.125])])
def test_an_axis_with_its_best_value_at_the_edge_is_widened_until_the_best_is_inside(best, added):
    twice = added[:2]
    rounds, end = run_all({"rate": [1, 2]}, {}, near(rate=best))
    assert [point["rate"] for points in rounds[1:] for point in points] == twice, "at most twice a side"
    assert end.widened == {"rate": twice} and end.edges == ["rate"] and end.choice == {"rate": twice[-1]}
    rounds, end = run_all({"rate": [1, 2]}, {}, near(rate=twice[0]))
    assert end.choice == {"rate": twice[0]} and end.edges == [] and end.widened == {"rate": twice}


def test_both_sides_may_be_widened_twice():
    order = iter([10.0, 9.0, 11.0, 8.0])  # 1, 2, then 0.5 (better), then 0.25 (worse)
    rounds, end = run_all({"rate": [1, 2]}, {}, lambda point: next(order))
    assert [points[0]["rate"] for points in rounds[1:]] == [0.5, 0.25] and end.choice == {"rate": 0.5}


def test_widening_ends_at_the_bounds_of_the_key():
    rounds, end = run_all({"p": [0.4, 0.8]}, {}, near(p=0.8), allowed=lambda point: point["p"] < 1)
    assert len(rounds) == 1 and end.choice == {"p": 0.8} and end.edges == ["p"] and end.widened == {}


def test_ties_in_bleu_are_broken_by_loss_then_by_the_grids_order():
    points = [{"rate": rate} for rate in (1, 2, 4)]
    losses = [3.0, 2.5, 2.75]
    scores = {identity(point): Score(10.0, loss) for point, loss in zip(points, losses, strict=True)}
    assert search({"rate": [1, 2, 4]}, {}, scores).choice == {"rate": 2}
    equal = {identity(point): Score(10.0, 3.0) for point in points}
    assert search({"rate": [2, 1, 4]}, {}, equal).choice == {"rate": 2}


def test_bleu_ranks_before_loss_which_ranks_alone_without_bleu():
    assert Score(10.0, 5.0).rank > Score(9.0, 1.0).rank
    assert Score(None, 1.0).rank > Score(None, 2.0).rank
    assert Score(0.0, 9.0).rank > Score(None, 1.0).rank


def test_a_diverged_run_is_last_however_good_it_was():
    _, end = run_all({"rate": [1, 2, 4, 8]}, {}, lambda point: None if point["rate"] > 2 else point["rate"])
    assert end.choice == {"rate": 2} and end.widened == {}, "2 is inside: the diverged values are beyond it"


def test_where_every_run_diverges_there_is_no_choice_and_the_search_ends():
    rounds, end = run_all(AXES, START, lambda point: None)
    assert rounds == [[{"rate": rate, "gamma": 2, "weight": 0.1} for rate in (1, 2)]]
    assert end.choice is None and end.points == []


def test_values_that_are_no_numbers_are_compared_and_never_widened():
    axes = {"gamma": [1, 2, "learned"], "share": [True, False]}
    rounds, end = run_all(axes, {}, lambda point: 10.0 * (point["gamma"] == "learned") + point.get("share", 0))
    assert end.choice == {"gamma": "learned", "share": True}
    assert end.widened == {} and [len(points) for points in rounds] == [3, 2]


@pytest.mark.parametrize(
    ("best", "tried", "value"),
    [
        (4, [1, 2, 4], 8),
        (1, [4, 1, 2], 0.5),
        (2, [1, 2, 4], None),
        (5e-4, [5e-4, 1e-3], 2.5e-4),
        (0.3, [0.03, 0.1, 0.3], 0.9),
        (0, [0, 0.5], None),
        (0.5, [0, 0.5], None),
        (1, [1], None),
        (True, [True, 2], None),
        ("learned", [1, 2, "learned"], None),
    ],
)
def test_beyond(best, tried, value):
    wider = beyond(best, tried)
    assert wider == value and type(wider) is type(value)


def test_a_key_without_a_single_value_of_its_own_is_unset_until_its_axis():
    rounds, _ = run_all({"rate": [1, 2, 4], "gamma": [1, 2, 4]}, {}, near(rate=2))
    assert rounds[0][0] == {"rate": 1}
    assert rounds[1] == [{"rate": 2, "gamma": gamma} for gamma in (1, 2, 4)]
