from collections import Counter

import pandas as pd
import pytest
from numpy.random import default_rng
from scipy import stats

from reluformer.config.claims import RuleConfig
from reluformer.config.metrics import metric
from reluformer.paper.inference import Sample
from reluformer.paper.verdicts import Comparison, compare, decide, evidence, state, total, value

LOST, MISSING = Sample(None, None, 0, "diverged", 2), Sample(None, None, 0, "not run")


def v(mean, sd=None, n=1):
    return Sample(mean, sd, n)


def rule(relation, margin=0.0, than="b", **keys):
    return RuleConfig(system="a", relation=relation, than=than, margin=margin, metric="bleu", **keys)


def decided(a_rule, ours, other):
    return decide([Comparison(a_rule, {}, ours, other)])[0]


@pytest.mark.parametrize(
    ("relation", "margin", "ours", "other", "outcome"),
    [
        ("above", 0.3, v(11, 0.1, 3), v(10, 0.1, 3), "holds"),
        ("above", 0.3, v(10.25, 0.01, 3), v(10, 0.01, 3), "fails"),  # above, but significantly by less than the margin
        ("above", 0.3, v(10.25, 0.05, 3), v(10, 0.05, 3), "open"),  # above, perhaps by the margin
        ("above", 0.3, v(11, 1.0, 3), v(10, 1.0, 3), "open"),
        ("above", 0.3, v(9, 0.1, 3), v(10, 0.1, 3), "fails"),
        ("above", 0.0, v(10, 0.1, 3), v(10, 0.1, 3), "open"),
        ("at least", 0.3, v(10, 0.1, 3), v(10, 0.1, 3), "holds"),
        ("at least", 0.3, v(9.8, 0.3, 3), v(10, 0.3, 3), "open"),
        ("at least", 0.3, v(9, 0.1, 3), v(10, 0.1, 3), "fails"),
        ("close to", 0.5, v(10.1, 0.1, 3), v(10, 0.1, 3), "holds"),
        ("close to", 0.5, v(10.1, 0.5, 3), v(10, 0.5, 3), "open"),  # TOST: no evidence is not equality
        ("close to", 0.5, v(11, 0.1, 3), v(10, 0.1, 3), "fails"),
        ("close to", 0.5, v(9, 0.1, 3), v(10, 0.1, 3), "fails"),
        ("times", 3, v(31, 0.2, 3), v(10, 0.2, 3), "holds"),
        ("times", 3, v(29.9, 1.0, 3), v(10, 0.2, 3), "open"),
        ("times", 3, v(20, 0.2, 3), v(10, 0.2, 3), "fails"),
        ("times", 0.8, v(9, 0.1, 3), v(10, 0.1, 3), "holds"),
        ("times", 0.8, v(7, 0.1, 3), v(10, 0.1, 3), "fails"),
        ("above", 0.3, v(12), v(10), "open"),  # one seed
        ("above", 0.3, v(12, 0.1, 3), v(10), "open"),
        ("above", 0.3, LOST, v(10, 0.1, 3), "fails"),
        ("above", 0.3, v(10, 0.1, 3), LOST, "holds"),
        ("above", 0.3, v(10, 0.1, 3), LOST._replace(diverged=1), "open"),
        ("close to", 0.3, v(10, 0.1, 3), LOST, "fails"),
        ("above", 0.3, MISSING, v(10, 0.1, 3), "missing"),
        ("above", 0.3, v(10, 0.1, 3), MISSING, "missing"),
    ],
)
def test_decisions(relation, margin, ours, other, outcome):
    assert decided(rule(relation, margin), ours, other).outcome == outcome


def test_timings_are_compared_by_medians():
    speed = "measured.decoding_speed"
    times = {"a": [31.0, 32.0, 33.0, 32.5, 1.0], "b": [20.0, 20.5, 21.0, 20.2, 20.1]}
    rows = [
        {"system": name, "seed": i, "run": f"{name}{i}", "status": "finished", speed: x}
        for name, values in times.items()
        for i, x in enumerate(values)
    ]
    comparison = compare(rule("times", 1.3).model_copy(update={"metric": speed}), pd.DataFrame(rows), [])[0]
    assert (comparison.ours.centre, comparison.other.centre) == (32.0, 20.2)
    assert comparison.ours.text(metric(speed)).startswith("32 ±")
    effect, *_ = evidence(comparison.rule, comparison.ours, comparison.other)
    assert effect.estimate == pytest.approx(32.0 - 1.3 * 20.2)
    assert decide([comparison])[0].outcome == "open"  # the outlier still widens the interval


def test_the_p_values_are_those_of_scipy():
    a, b = [34.1, 34.6, 34.3], [33.2, 33.0, 33.9]

    def p(shift, side):
        return stats.ttest_ind([x - shift for x in a], b, equal_var=False, alternative=side).pvalue

    sides = (v(pd.Series(a).mean(), pd.Series(a).std(), 3), v(pd.Series(b).mean(), pd.Series(b).std(), 3))
    effect, p_for, p_against = evidence(rule("above", 0.3), *sides)
    assert p_for == pytest.approx(p(0, "greater")) and p_against == pytest.approx(p(0.3, "less"))
    assert effect.estimate == pytest.approx(0.9667, abs=1e-4)
    _, p_for, p_against = evidence(rule("at least", 0.3), *sides)
    assert p_for == pytest.approx(p(-0.3, "greater")) and p_against == pytest.approx(p(-0.3, "less"))
    _, p_for, p_against = evidence(rule("close to", 0.5), *sides)
    assert p_for == pytest.approx(max(p(-0.5, "greater"), p(0.5, "less")))
    assert p_against == pytest.approx(min(1, 2 * min(p(0.5, "greater"), p(-0.5, "less"))))


def test_p_values_are_corrected_within_a_claim():
    sides = v(10.6, 0.2, 3), v(10, 0.2, 3)
    alone = decided(rule("above", 0.3), *sides)
    corrected = decide([Comparison(rule("above", 0.3), {}, *sides)] * 5)
    assert alone.outcome == "holds" and {decision.outcome for decision in corrected} == {"open"}
    assert corrected[0].p_for == pytest.approx(5 * alone.p_for)


def test_an_open_rule_states_the_reason():
    assert decided(rule("above", 0.3), v(12), v(10)).why == "one seed: nothing is known of another training"
    assert decided(rule("above", 0.3), v(11, 1.0, 3), v(10, 1.0, 3)).why == "the interval holds both"


@pytest.mark.parametrize(
    ("a_rule", "mean", "sides", "outcome"),
    [
        (rule("above", 0.3), 11.0, 2, "holds"),
        (rule("above", 0.9), 10.2, 2, "fails"),
        (rule("at least", 0.5), 10.1, 2, "holds"),
        (rule("close to", 1.0), 10.2, 2, "holds"),
        (rule("close to", 0.5), 11.3, 2, "fails"),
        (rule("times", 1.3), 11.0, 2, "fails"),
        (rule("above", 0.3, than=10.0), 10.9, 1, "holds"),
    ],
)
def test_an_open_rule_states_how_many_seeds_would_probably_decide_it(a_rule, mean, sides, outcome):
    def draws(seeds, number=300):
        for _ in range(number):
            a, b = rng.normal(mean, 1, seeds), rng.normal(10, 1, seeds)
            other = v(b.mean(), b.std(ddof=1), seeds) if sides == 2 else v(10.0, None, 0)
            yield decided(a_rule, v(a.mean(), a.std(ddof=1), seeds), other).outcome

    rng = default_rng(1)
    seeds = decided(a_rule, v(mean, 1.0, 3), v(10.0, 1.0, 3) if sides == 2 else v(10.0, None, 0)).seeds
    share = Counter(draws(seeds))[outcome] / 300
    assert 0.74 <= share <= 0.92
    assert Counter(draws(max(2, seeds // 2)))[outcome] / 300 < 0.7


def test_seeds_that_would_decide_are_not_stated_if_none_would():
    assert decided(rule("above", 0.0), v(10.001, 1.0, 3), v(10, 1.0, 3)).seeds is None  # more than a thousand
    assert decided(rule("above", 0.3), v(12), v(10)).seeds is None  # no spread
    assert decided(rule("above", 0.3), v(11, 0.1, 3), v(10, 0.1, 3)).seeds is None  # decided


def frame(*rows):
    table = pd.DataFrame(rows, columns=["system", "slots", "status", "bleu"])
    table["seed"] = table.groupby(["system", "slots"]).cumcount() + 1
    return table.assign(run=[f"{row.system}+{row.slots}/{row.seed}" for row in table.itertuples()])


NAN = float("nan")


def several(*means):
    """Returns two runs of each (system, slots, mean), 0.02 apart."""
    return frame(*((name, at, "finished", mean + d) for name, at, mean in means for d in (-0.01, 0.01)))


def outcomes(a_rule, runs, keys):
    return [(decision.at, decision.outcome) for decision in decide(compare(a_rule, runs, keys))]


def test_every_point_is_compared_and_the_worst_counts():
    runs = several(("a", 32, 11.0), ("b", 32, 10.0), ("a", 64, 9.0), ("b", 64, 10.0))
    decisions = outcomes(rule("above"), runs, ["slots"])
    assert decisions == [({"slots": 32}, "holds"), ({"slots": 64}, "fails")]
    assert total(outcome for _, outcome in decisions) == "fails"
    assert outcomes(rule("above", where={"slots": [32, 4096]}), runs, ["slots"]) == [({"slots": 32}, "holds")]
    assert [at for at, _ in outcomes(rule("above", unless={"slots": [32]}), runs, ["slots"])] == [{"slots": 64}]
    assert total(o for _, o in outcomes(rule("above", where={"slots": [4096]}), runs, ["slots"])) == "missing"


def test_runs_of_one_seed_are_pairs():
    runs = several(("a", 32, 11.0), ("b", 32, 10.0))
    assert compare(rule("above"), runs, ["slots"])[0].pairs == (("a+32/1", "b+32/1"), ("a+32/2", "b+32/2"))


def test_a_number_may_be_the_other_side():
    assert outcomes(rule("above", than=0.85), several(("a", 1, 0.9)), []) == [({}, "open")]
    assert outcomes(rule("above", than=0.5), several(("a", 1, 0.9)), []) == [({}, "holds")]


def test_statuses_are_counted():
    diverges = RuleConfig(system="a", relation="diverges")
    trains = RuleConfig(system="a", relation="trains")
    columns = ["system", "slots", "status", "tokenized_bleu"]
    lost = [("a", 1, "diverged", NAN)]
    verdicts = {}
    for name, rows in {
        "both": lost * 2,
        "mixed": [*lost, ("a", 1, "finished", 1.0)],
        "hole": [*lost, ("a", 1, "not run", NAN)],
        "one": lost,
    }.items():
        runs = pd.DataFrame(rows, columns=columns)
        verdicts[name] = [decide(compare(status_rule, runs, []))[0].outcome for status_rule in (diverges, trains)]
    assert verdicts == {
        "both": ["holds", "fails"],
        "mixed": ["open", "open"],
        "hole": ["missing", "missing"],
        "one": ["open", "open"],
    }


def test_a_system_whose_runs_all_diverged_is_not_missing():
    assert value(frame(("a", 1, "diverged", NAN)), "bleu") == LOST._replace(diverged=1)
    assert value(frame(("a", 1, "diverged", NAN), ("a", 1, "not run", NAN)), "bleu") == MISSING._replace(diverged=1)
    assert value(frame(("a", 1, "diverged", NAN), ("a", 1, "finished", 3.0)), "bleu") == v(3.0)._replace(diverged=1)


def test_a_mean_that_leaves_diverged_runs_out_proves_nothing():
    lucky = v(20, 0.1, 2)._replace(diverged=1)
    assert decided(rule("above", 0.3), lucky, v(10, 0.1, 3)).outcome == "open"
    assert decided(rule("above", 0.3), v(20, 0.1, 3), v(10, 0.1, 2)._replace(diverged=1)).outcome == "holds"
    assert decided(rule("close to", 0.3), v(20, 0.1, 3), lucky).outcome == "open"
    assert decided(rule("above", 0.3), v(5, 0.1, 2)._replace(diverged=1), v(10, 0.1, 3)).outcome == "fails"
    assert v(20)._replace(diverged=1).text(metric("bleu")) == "20.00 (1 more diverged)"


def test_rules_are_stated_in_words():
    titles = {"a": "Alpha", "b": "Beta"}
    assert state(rule("above", 0.3), titles) == "BLEU (sacreBLEU): Alpha above Beta by at least 0.3"
    assert state(rule("times", 3, where={"slots": [1, 2]}), titles).endswith(
        "Alpha at least 3 times Beta [slots in {1, 2}]"
    )
    assert state(RuleConfig(system="a", relation="diverges"), titles) == "Alpha does not converge"
    assert state(rule("above", than=0.85), titles).endswith("above 0.85")
