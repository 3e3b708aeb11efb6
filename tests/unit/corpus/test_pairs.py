from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from reluformer.config.dataset import HeldOutConfig
from reluformer.corpus.pairs import one_line, share, split_of


@pytest.mark.parametrize("mark", ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_one_line_for_every_tool(mark: str) -> None:
    assert one_line(f"a{mark}b") == "a b"


@given(st.text(max_size=30))
def test_one_line_leaves_one_line(text: str) -> None:
    assert len(one_line(text.replace("\n", "")).splitlines()) <= 1


def test_share_is_the_same_everywhere() -> None:
    assert share("hue") == 0.06362866192037792
    assert share("zha") != share("hue")


def test_split_sizes() -> None:
    held_out = HeldOutConfig(valid=0.1, test=0.3)
    splits = [split_of(str(i), held_out) for i in range(4000)]
    assert splits.count("valid") / 4000 == pytest.approx(0.1, abs=0.02)
    assert splits.count("test") / 4000 == pytest.approx(0.3, abs=0.03)
