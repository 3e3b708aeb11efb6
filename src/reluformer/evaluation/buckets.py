"""Scores by the length of the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any, NamedTuple

from reluformer.evaluation.bleu import Counts, half_width, score_counts

WORDS = (10, 20, 30, 40, 50)
"""Upper bounds of the buckets of sentences, in words; the last bucket is open."""
TOKENS = (32, 64, 128, 256, 512, 1024)
"""Upper bounds of the buckets of document segments, in subword tokens; the last bucket is open."""


class Bucket(NamedTuple):
    """The segments whose source length is in `low..high`, both included; `high` is None where there is no bound."""

    low: int
    high: int | None
    members: list[int]


def split_by_length(lengths: Sequence[int], bounds: Sequence[int]) -> list[Bucket]:
    """The indices of `lengths` by bucket, shortest first; buckets without a member are left out.

    Every index is in one: a source without a word is in the first bucket, which then begins at 0.
    """
    edges = [0, *bounds]
    buckets = []
    for position, low in enumerate(edges):
        high = edges[position + 1] if position + 1 < len(edges) else None
        first = 0 if position == 0 and 0 in lengths else low + 1
        members = [i for i, length in enumerate(lengths) if length >= first and (high is None or length <= high)]
        if members:
            buckets.append(Bucket(first, high, members))
    return buckets


def score_buckets(lengths: Sequence[int], bounds: Sequence[int], counts: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Each bucket: `{low, high, segments}`, and for each kind of BLEU its score (0..100) and `KIND_ci`.

    `counts` are aligned with `lengths` (source length, in words or subword tokens as `bounds` are); `KIND_ci` is half
    the width of the 95 % bootstrap interval over the bucket's segments.
    """
    rows = []
    for bucket in split_by_length(lengths, bounds):
        row: dict[str, Any] = {"low": bucket.low, "high": bucket.high, "segments": len(bucket.members)}
        for kind, every in counts.items():
            row[kind] = score_counts(every[bucket.members])
            row[f"{kind}_ci"] = half_width(every[bucket.members])
        rows.append(row)
    return rows


def describe_lengths(lengths: Sequence[int], limit: int | None = None) -> dict[str, Any]:
    """`{mean, median, p90, max, share_half}` of source lengths.

    `share_half` is the share of segments of at least half of `limit` (the L of a document view); None without one.
    """
    ordered = sorted(lengths)
    return {
        "mean": mean(ordered),
        "median": median(ordered),
        "p90": ordered[max(0, -(-9 * len(ordered) // 10) - 1)],
        "max": ordered[-1],
        "share_half": sum(2 * length >= limit for length in ordered) / len(ordered) if limit else None,
    }
