import pandas as pd
import pytest

from reluformer.paper.config import RuleConfig
from reluformer.paper.metrics import metric
from reluformer.paper.verdicts import Value, compare, decide, standard_error, state, total, value

DIVERGED, MISSING = Value(None, None, 0, "diverged"), Value(None, None, 0, "not run")


def v(mean, sd=None, n=1):
    return Value(mean, sd, n, "value")


def rule(relation, margin=0.0, than="b", **keys):
    return RuleConfig(system="a", relation=relation, than=than, margin=margin, metric="bleu", **keys)


@pytest.mark.parametrize(
    ("relation", "margin", "ours", "other", "outcome"),
    [
        ("above", 0.3, v(10.4), v(10), "holds"),
        ("above", 0.3, v(10.2), v(10), "open"),
        ("above", 0.3, v(9.8), v(10), "open"),
        ("above", 0.3, v(9.6), v(10), "fails"),
        ("above", 0.3, v(10.5, 0.5, 2), v(10, 0.5, 2), "open"),  # 2 standard errors: 1.0
        ("above", 0.3, v(11.1, 0.5, 2), v(10, 0.5, 2), "holds"),
        ("above", 0.0, v(10), v(10), "fails"),
        ("at least", 0.3, v(9.8), v(10), "holds"),
        ("at least", 0.3, v(9.6), v(10), "fails"),
        ("at least", 0.3, v(9.6, 0.5, 2), v(10, 0.5, 2), "holds"),
        ("close to", 0.5, v(10.4), v(10), "holds"),
        ("close to", 0.5, v(10.6), v(10), "fails"),
        ("close to", 0.5, v(10.6, 0.1, 2), v(10, 0.1, 2), "open"),  # 0.5 + 0.2
        ("close to", 0.5, v(10.8, 0.1, 2), v(10, 0.1, 2), "fails"),
        ("times", 3, v(30), v(10), "holds"),
        ("times", 3, v(20), v(10), "open"),
        ("times", 3, v(9), v(10), "fails"),
        ("times", 0.8, v(9), v(10), "holds"),
        ("times", 0.8, v(7), v(10), "fails"),
        ("above", 0.3, DIVERGED, v(10), "fails"),
        ("above", 0.3, v(10), DIVERGED, "holds"),
        ("close to", 0.3, v(10), DIVERGED, "fails"),
        ("above", 0.3, MISSING, v(10), "missing"),
        ("above", 0.3, v(10), MISSING, "missing"),
    ],
)
def test_decisions(relation, margin, ours, other, outcome):
    assert decide(rule(relation, margin), ours, other) == outcome


def test_the_error_is_that_of_a_difference_of_means():
    assert standard_error(v(1, 0.3, 3), v(2, 0.4, 4)) == pytest.approx((0.09 / 3 + 0.16 / 4) ** 0.5)
    assert standard_error(v(1), v(2)) == 0.0


def frame(*rows):
    return pd.DataFrame(rows, columns=["system", "slots", "status", "bleu"])


NAN = float("nan")


def test_every_point_is_compared_and_the_worst_counts():
    runs = frame(
        ("a", 32, "finished", 11.0),
        ("b", 32, "finished", 10.0),
        ("a", 64, "finished", 9.0),
        ("b", 64, "finished", 10.0),
    )
    outcomes = [one.outcome for one in compare(rule("above"), runs, ["slots"])]
    assert outcomes == ["holds", "fails"] and total(outcomes) == "fails"
    only = compare(rule("above", where={"slots": [32, 4096]}), runs, ["slots"])
    assert [(one.at, one.outcome) for one in only] == [({"slots": 32}, "holds")]
    assert [one.at for one in compare(rule("above", unless={"slots": [32]}), runs, ["slots"])] == [{"slots": 64}]
    assert total([one.outcome for one in compare(rule("above", where={"slots": [4096]}), runs, ["slots"])]) == "missing"


def test_a_number_may_be_the_other_side():
    runs = frame(("a", 1, "finished", 0.9))
    assert compare(rule("above", than=0.85), runs, [])[0].outcome == "holds"


def test_statuses_are_judged():
    diverges = RuleConfig(system="a", relation="diverges")
    trains = RuleConfig(system="a", relation="trains")
    columns = ["system", "slots", "status", "tokenized_bleu"]
    lost = pd.DataFrame([("a", 1, "diverged", NAN), ("a", 1, "diverged", NAN)], columns=columns)
    mixed = pd.DataFrame([("a", 1, "diverged", NAN), ("a", 1, "finished", 1.0)], columns=columns)
    hole = pd.DataFrame([("a", 1, "diverged", NAN), ("a", 1, "not run", NAN)], columns=columns)
    found = [[compare(one, runs, [])[0].outcome for one in (diverges, trains)] for runs in (lost, mixed, hole)]
    assert found == [["holds", "fails"], ["open", "open"], ["missing", "missing"]]


def test_a_system_whose_runs_all_diverged_is_no_hole():
    assert value(frame(("a", 1, "diverged", NAN)), "bleu") == DIVERGED._replace(diverged=1)
    assert value(frame(("a", 1, "diverged", NAN), ("a", 1, "not run", NAN)), "bleu") == MISSING._replace(diverged=1)
    assert value(frame(("a", 1, "diverged", NAN), ("a", 1, "finished", 3.0)), "bleu") == v(3.0)._replace(diverged=1)


def test_a_mean_that_leaves_diverged_runs_out_proves_nothing():
    lucky = v(20)._replace(diverged=1)
    assert decide(rule("above", 0.3), lucky, v(10)) == "open"
    assert decide(rule("above", 0.3), v(20), v(10)._replace(diverged=1)) == "holds"
    assert decide(rule("close to", 0.3), v(20), lucky) == "open"
    assert decide(rule("above", 0.3), v(5)._replace(diverged=1), v(10)) == "fails"
    assert lucky.text(metric("bleu")) == "20.00 (1 more diverged)"


def test_rules_are_stated_in_words():
    titles = {"a": "Alpha", "b": "Beta"}
    assert state(rule("above", 0.3), titles) == "BLEU (sacreBLEU): Alpha above Beta by more than 0.3"
    assert state(rule("times", 3, where={"slots": [1, 2]}), titles).endswith(
        "Alpha at least 3 times Beta [slots in {1, 2}]"
    )
    assert state(RuleConfig(system="a", relation="diverges"), titles) == "Alpha does not converge"
    assert state(rule("above", than=0.85), titles).endswith("above 0.85")
