from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from reluformer.config.dataset import CorpusConfig, HeldOutConfig
from reluformer.corpus.pairs import Cleaner, Pair, Split, held_out_texts, one_line, share, split_of


@pytest.mark.parametrize("mark", ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_one_line_for_every_tool(mark: str) -> None:
    assert one_line(f"a{mark}b") == "a b"


@given(st.text(max_size=30))
def test_one_line_leaves_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_share_is_the_same_everywhere() -> None:
    assert share("hue") == 0.06362866192037792
    assert share("zha") != share("hue")


def test_split_sizes() -> None:
    held_out = HeldOutConfig(valid=0.1, test=0.3)
    splits = [split_of(str(i), held_out) for i in range(4000)]
    assert splits.count("valid") / 4000 == pytest.approx(0.1, abs=0.02)
    assert splits.count("test") / 4000 == pytest.approx(0.3, abs=0.03)


def cleaner(held: list[Pair] | None = None, spaces: tuple[bool, bool] = (True, True), **settings: Any) -> Cleaner:
    base = {"reader": "homeassistant", "archives": [{"name": "a"}], "held_out": {"valid": 0.1, "test": 0.1}}
    config = CorpusConfig.model_validate(base | settings)
    return Cleaner(config, held_out_texts(held, config.min_words) if held is not None else None, spaces)


def keep(it: Cleaner, src: str, tgt: str, split: Split = "train") -> Split | None:
    pair = Pair(split, "", src, tgt)
    return it.split(pair, src, tgt) if it.admit(pair) else None


@pytest.mark.parametrize(
    ("settings", "src", "tgt", "step"),
    [
        ({}, "", "a", "empty"),
        ({}, "a", "", "empty"),
        ({"min_words": 2}, "a b", "a", "min_words"),
        ({"max_tokens": 3}, "a b c d", "a b c", "max_tokens"),
        ({"max_tokens": 3}, "a b c", "a b c d", "max_tokens"),
        ({"max_ratio": 1.5}, "a b c d", "a b", "max_ratio"),
        ({"max_ratio": 1.5}, "a b", "a b c d", "max_ratio"),
        ({}, "a" * 1001, "b", "long_word"),
        ({}, "b", "c " + "a" * 1001, "long_word"),
        ({}, "a " * 50_000 + "b", "a", "max_tokens"),
    ],
)
def test_training_pairs_are_dropped_and_counted(settings: dict[str, Any], src: str, tgt: str, step: str) -> None:
    it = cleaner(**settings)
    assert keep(it, src, tgt) is None
    assert {name: n for name, n in it.counts["train"].items() if n} == {"read": 1, step: 1}


@pytest.mark.parametrize(
    ("settings", "src", "tgt"),
    [
        ({"max_tokens": 3}, "a b c", "a"),
        ({"max_ratio": 1.5}, "a b c", "a b"),
        ({}, "a" * 1000, "b"),
    ],
)
def test_the_limits_themselves_are_kept(settings: dict[str, Any], src: str, tgt: str) -> None:
    assert keep(cleaner(**settings), src, tgt) == "train"


def test_test_text_is_never_filtered() -> None:
    it = cleaner(max_tokens=3, max_ratio=1.5)
    assert keep(it, "a b c d e", "", "test") == "test"
    assert it.counts["test"]["kept"] == 1


def test_every_23rd_kept_pair_is_valid() -> None:
    it = cleaner(valid_every=23)
    splits = []
    for i in range(100):
        keep(it, "", "dropped pairs do not count")
        splits.append(keep(it, f"a {i}", f"b {i}"))
    assert [i for i, split in enumerate(splits, start=1) if split == "valid"] == [23, 46, 69, 92]
    assert it.counts["valid"]["kept"] == 4 and it.counts["train"]["kept"] == 96


def test_repeated_pairs() -> None:
    it = cleaner(unique=True)
    assert keep(it, "Ein Haus", "A house") == "train"
    assert keep(it, "ein  haus", "a house") is None
    assert keep(it, "ein haus", "the house") == "train"
    assert it.counts["train"]["repeated"] == 1


def test_no_text_is_in_two_splits() -> None:
    held = [Pair("valid", "", "v", "V1"), Pair("test", "", "t", "T1"), Pair("valid", "", "t", "V2")]
    it = cleaner(held, disjoint=True)
    assert keep(it, "a", "v1") is None
    assert keep(it, "T", "b") is None
    assert keep(it, "a", "b") == "train"
    assert keep(it, "v", "V1", "valid") == "valid"
    assert keep(it, "t", "V2", "valid") is None
    assert keep(it, "t", "T1", "test") == "test"
    assert it.counts["train"]["in_held_out"] == 2


@pytest.mark.parametrize(
    ("spaces", "settings", "src", "tgt", "step"),
    [
        ((True, False), {"min_words": 4}, "not many words here", "話しましょう", None),  # one word, six characters
        ((True, False), {"min_words": 4}, "not many words here", "話す。", "min_words"),
        ((False, True), {"max_tokens": 5}, "話しましょう", "let us talk", "max_tokens"),
        ((False, True), {"max_ratio": 1.5}, "話しましょう", "talk", None),  # characters and words have no ratio
        ((False, False), {"max_ratio": 1.5}, "話しましょう", "说吧", "max_ratio"),
        ((True, False), {}, "a", "話" * 1001, "max_tokens"),
        ((True, False), {"max_tokens": 2000}, "a", "話" * 1001, None),  # no word of 1,001 letters
    ],
)
def test_characters_count_where_no_spaces_are_written(
    spaces: tuple[bool, bool], settings: dict[str, Any], src: str, tgt: str, step: str | None
) -> None:
    spaced = cleaner(spaces=spaces, **settings)
    assert (keep(spaced, src, tgt) is None) == (step is not None)
    assert spaced.counts["train"]["kept" if step is None else step] == 1
