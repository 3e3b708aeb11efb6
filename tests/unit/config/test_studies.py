import pytest

from reluformer.config.claims import ClaimConfig
from reluformer.config.settings import SettingsError, parse
from reluformer.config.studies import FigureConfig, MeasuringConfig, StudyConfig

STUDY = {"title": "T", "question": "Q?", "dataset": "d", "systems": ["a", "b"], "columns": ["bleu"]}
CLAIM = {"sentence": "It is so.", "source": "S", "study": "s"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["blue"]}, "did you mean 'bleu'"),
        ({"columns": ["ffn.variance_ration"]}, "did you mean 'ffn.variance_ratio'"),
        ({"columns": []}, "at least 1 item"),
        ({"across": "slots"}, "across: 'slots' is not one of"),
        ({"figures": {"f": {"kind": "lines", "title": "t", "y": ["bleu"], "x": "gamma"}}}, "figures.f.x: 'gamma'"),
        ({"figures": {"f": {"kind": "bars", "title": "t"}}}, "a figure of kind bars needs y"),
        ({"figures": {"f": {"kind": "lines", "title": "t", "y": ["bleu"]}}}, "a figure of kind lines needs x"),
        ({"figures": {"f": {"kind": "heat-map", "title": "t", "y": ["bleu"]}}}, "a figure of kind heat-map needs x"),
        (
            {"figures": {"f": {"kind": "heat-map", "title": "t", "y": ["bleu"], "x": "length", "rows": "length"}}},
            "needs rows, a key other than x",
        ),
        (
            {"figures": {"f": {"kind": "heat-map", "title": "t", "y": ["bleu"], "x": "length", "rows": "slots"}}},
            "figures.f.rows: 'slots'",
        ),
        ({"figures": {"f": {"kind": "top-share", "title": "t", "y": ["ffn.top_shares"]}}}, "unknown metric"),
        ({"figures": {"f": {"kind": "pie", "title": "t"}}}, "input should be 'lines'"),
        ({"figures": {"f": {"kind": "buckets", "title": "t", "systems": ["c"]}}}, "'c' is not one of a, b"),
        ({"answer": {"key": "gamma", "symbol": "γ", "metric": "bleu", "question": "?"}}, "answer.key: 'gamma'"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(SettingsError, match=message):
        parse(StudyConfig, {**STUDY, **change}, "studies.yaml: s")


def test_a_varied_key_may_be_shown():
    figure = {"kind": "lines", "title": "t", "y": ["bleu"], "x": "slots"}
    study = parse(StudyConfig, {**STUDY, "vary": {"slots": [1]}, "across": "slots", "figures": {"f": figure}}, "s")
    assert study.figures["f"] == FigureConfig(**figure)


def test_a_claim_needs_runs_or_a_construction():
    rule = [{"system": "a", "relation": "above", "than": "b"}]
    assert parse(ClaimConfig, {**CLAIM, "rule": rule}, "c").rule[0].metric == "tokenized_bleu"
    for data in (CLAIM, {**CLAIM, "rule": rule, "construction": "so"}, {"sentence": "s", "source": "A"}):
        with pytest.raises(SettingsError, match="either a study and a rule, or a construction"):
            parse(ClaimConfig, data, "c")


def test_a_rule_compares_with_something():
    for rule in ({"system": "a", "relation": "above"}, {"system": "a", "relation": "diverges", "than": "b"}):
        with pytest.raises(SettingsError, match="`than` is"):
            parse(ClaimConfig, {**CLAIM, "rule": [rule]}, "c")


@pytest.mark.parametrize("wrong", [{"lengths": []}, {"lengths": [8], "rounds": 0}, {"lengths": [8], "limit": 0}])
def test_a_measured_study_has_lengths_rounds_and_time(wrong):
    with pytest.raises(SettingsError, match=list(wrong)[-1]):
        parse(MeasuringConfig, wrong, "measured")
