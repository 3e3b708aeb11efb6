import pytest

from reluformer.evaluation.bleu import bleu, count, tokenized, tokenized_bleu, written
from reluformer.evaluation.buckets import describe_lengths, score_buckets, split_by_length


def test_borders_belong_to_the_lower_bucket_and_empty_ones_are_left_out():
    buckets = split_by_length([10, 11, 20, 41, 1000], (10, 20, 30, 40))
    assert [(b.low, b.high, b.members) for b in buckets] == [(1, 10, [0]), (11, 20, [1, 2]), (41, None, [3, 4])]


def test_every_segment_is_in_one_bucket():
    lengths = list(range(1, 130))
    members = [i for bucket in split_by_length(lengths, (32, 64)) for i in bucket.members]
    assert sorted(members) == list(range(129))


@pytest.mark.parametrize("lengths", [[0], [0, 0, 5, 11], [0, 500], [3, 0, 70]])
def test_a_source_without_a_word_is_in_the_first_bucket(lengths):
    buckets = split_by_length(lengths, (10, 60))
    assert sorted(i for bucket in buckets for i in bucket.members) == list(range(len(lengths)))
    assert (buckets[0].low, buckets[0].high) == (0, 10)


def test_each_bucket_is_scored_on_its_own_segments():
    text = (["a b c d e", "g h i j k", "x y z w v u"], ["a b c d f", "g h i j l m", "x y z w v u"])
    counts = {"bleu": count(written(), *text), "tokenized_bleu": count(tokenized(), *text)}
    rows = score_buckets([5, 6, 25], (10, 20), counts)
    assert [(row["low"], row["high"], row["segments"]) for row in rows] == [(1, 10, 2), (21, None, 1)]
    short = [side[:2] for side in text]
    assert rows[0]["bleu"] == pytest.approx(bleu(*short)["score"])
    assert rows[0]["bleu_ci"] == pytest.approx(bleu(*short)["ci"])
    assert rows[0]["tokenized_bleu"] == pytest.approx(tokenized_bleu(*short)["score"])
    assert rows[1]["bleu"] == pytest.approx(100) and rows[1]["bleu_ci"] is None


def test_lengths_are_described():
    found = describe_lengths([1, 2, 3, 4, 5, 6, 7, 8, 9, 100], limit=18)
    assert found == {"mean": 14.5, "median": 5.5, "p90": 9, "max": 100, "share_half": 0.2}
    assert describe_lengths([3])["share_half"] is None
