import json

from benchmarks.__main__ import NAMES
from benchmarks.coverage import claim, false_marks, over_rounds, over_seeds, rows, translated
from benchmarks.rows import save
from numpy.random import default_rng

from reluformer.evaluation.bleu import score_counts


def test_intervals_over_seeds_cover_the_true_value():
    for name, coverage in [*over_seeds(default_rng(1), 300), *over_rounds(default_rng(2), 300)]:
        assert 0.91 < coverage < 0.99, name


def test_clear_claims_get_their_verdict():
    rng = default_rng(1)
    assert {claim(rng, "above", [9.0], 3, (0.2, 0.2)) for _ in range(20)} == {"holds"}
    assert {claim(rng, "above", [9.0, -9.0], 3, (0.2, 0.2)) for _ in range(20)} == {"fails"}
    assert {claim(rng, "close to", [0.0], 3, (9.0, 9.0)) for _ in range(20)} == {"open"}
    assert {claim(rng, "times", [4.0], 3, (0.2, 0.2)) for _ in range(20)} == {"holds"}


def test_made_up_segments_look_like_translations():
    (counts,) = translated(default_rng(1), 500)
    assert 15 < score_counts(counts) < 60
    assert (counts[:, 2:6] <= counts[:, 6:]).all() and (counts[:, 6] == counts[:, 0]).all()


def test_equal_systems_seldom_differ():
    rates = dict(false_marks(default_rng(1), 20))
    assert rates["the table's mark: both"] <= 0.25


def test_the_rows_have_the_format_of_every_benchmark(tmp_path):
    assert "coverage" in NAMES
    records = [row.record() for row in rows(simulations=3)]
    names = [row["name"] for row in records]
    for title in (
        "median of 3 rounds",
        "mean of 5 seeds",
        "BLEU of 500 segments",
        "the table's mark",
        "times, 4 rules",
    ):
        assert any(title in name for name in names), title
    assert all(row["why"] for row in records if row["met"] is False)
    saved = json.loads(save("coverage", records, tmp_path).read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in saved] == names and {row["benchmark"] for row in saved} == {"coverage"}
