"""The page of two runs stands alone, escapes what people wrote, and marks what differs."""

from __future__ import annotations

import re

import pytest

from reluformer.evaluation.compare import Comparison, Segment, Side
from reluformer.paper.comparison import render_comparison, summary_text


@pytest.fixture
def comparison() -> Comparison:
    metric = {"signature": "nrefs:1|case:mixed"}
    return Comparison(
        names=("transformer/seed1", "reluformer/seed1"),
        dataset="numbers",
        unit="words",
        metrics={"bleu": ({"score": 10.0, **metric}, {"score": 12.5, **metric})},
        segments=[
            Segment(1, 4, "ein <b>Satz</b>", "a & b", Side("a cat", 10.0, 20.0), Side("a dog", 30.0, 60.0)),
            Segment(2, 40, "zwei", "two", Side("two", 90.0, 95.0), Side("too", 5.0, 50.0)),
            Segment(3, 5, "drei", "three", Side("three", 90.0, 100.0), Side("three", 90.0, 100.0)),
        ],
        bounds=(10, 20),
    )


def test_the_page_stands_alone_and_marks_what_differs(comparison):
    page = render_comparison(comparison, "chrf", 10)
    assert not re.search(r"<script|<link|<img|https?://|@import", page)
    assert 'name="viewport"' in page and "ein &lt;b&gt;Satz&lt;/b&gt;" in page and "a &amp; b" in page
    assert '<mark class="a">cat</mark>' in page and '<mark class="b">dog</mark>' in page
    better_b, better_a = page.split("Where A (transformer/seed1) is better")
    assert "Satz" in better_b and "zwei" in better_a and "drei" not in page
    assert "+2.50" in page and "nrefs:1|case:mixed" in page


def test_no_more_are_shown_than_asked_for(comparison):
    page = render_comparison(comparison, "bleu", 0)
    assert "<article>" not in page and page.count("<p>None.</p>") == 2


def test_the_summary_is_the_same_in_short(comparison):
    text = summary_text(comparison, "chrf")
    assert "A: transformer/seed1" in text and "A is better in 1 and B in 1; 1 read the same" in text
    assert re.search(r"BLEU\s+10\.00\s+12\.50\s+2\.50", text)
    assert re.search(r"1-10\s+2\s+60\.0\s+80\.0", text) and re.search(r"21-\s+1\s+95\.0\s+50\.0", text)
