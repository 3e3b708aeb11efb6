import io

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from reluformer.evaluation.bleu import COMPACT, count, read_counts, write_counts

LINES = [f"there are {n} green houses on the hill, and number {n % 7} is not there" for n in range(500)]
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "rt")]
TRANSLATED = [line.replace("green", "red") if n % 3 else line[: len(line) // 2] for n, line in enumerate(LINES)]


@pytest.fixture(scope="module")
def counts():
    return {
        "bleu": count(BLEU(), TRANSLATED, LINES),
        "chrf": count(CHRF(), TRANSLATED, LINES),
        "lengths": np.arange(500) * 3,
        "agreeing": np.arange(500) % 2 == 0,
    }


def test_counts_round_trip(tmp_path, counts):
    write_counts(tmp_path / "counts.npz", counts)
    restored = read_counts(tmp_path / "counts.npz")
    assert restored.keys() == counts.keys()
    for name, rows in counts.items():
        np.testing.assert_array_equal(restored[name], rows)


def test_redundant_columns_take_little_space(tmp_path):
    random = np.random.default_rng(1)
    references = [" ".join(random.choice(WORDS, random.integers(3, 40))) for _ in range(300)]
    lines = [
        " ".join(w if random.random() < 0.6 else random.choice(WORDS) for w in line.split()) for line in references
    ]
    counts = {"bleu": count(BLEU(), lines, references), "chrf": count(CHRF(), lines, references)}
    plain = io.BytesIO()
    np.savez_compressed(plain, **{name: rows.astype(np.int32) for name, rows in counts.items()})
    write_counts(tmp_path / "counts.npz", counts)
    assert (tmp_path / "counts.npz").stat().st_size < 0.6 * len(plain.getvalue())


def test_large_and_empty_counts(tmp_path):
    large = np.array([[70_000, 80_000, 9, 8, 7, 6, 70_000, 69_999, 69_998, 69_997]])
    write_counts(tmp_path / "a.npz", {"bleu": large, "s_bleu": np.zeros((0, 10))})
    restored = read_counts(tmp_path / "a.npz")
    np.testing.assert_array_equal(restored["bleu"], large)
    assert restored["s_bleu"].shape == (0, 10)
    write_counts(tmp_path / "b.npz", {})
    assert read_counts(tmp_path / "b.npz") == {}


def test_uncompacted_counts_are_read_too(tmp_path, counts):
    np.savez(tmp_path / "counts.npz", bleu=counts["bleu"].astype(np.int32))
    restored = read_counts(tmp_path / "counts.npz")
    assert COMPACT not in restored
    np.testing.assert_array_equal(restored["bleu"], counts["bleu"])
