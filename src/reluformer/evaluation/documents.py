"""Scores of document translations: whole documents as lines (d-BLEU), and sentences where they can be told apart."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reluformer.evaluation.bleu import Counts, bleu, count, summarise, written


class Segment(NamedTuple):
    """One line of a view's segments.tsv: `size` sentences of the split from `first` on, starting in `document`."""

    document: str
    first: int
    size: int

    @property
    def sentences(self) -> slice:
        """The segment's lines in the split's text."""
        return slice(self.first, self.first + self.size)


def read_segments(path: Path) -> list[Segment]:
    """The segments of one split of a document view, in corpus order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Segment(row["document"], int(row["first"]), int(row["count"])) for row in rows]


def sentence_segments(names: Sequence[str]) -> list[Segment]:
    """Every sentence of a split as a segment of its own, from the name of each sentence's document."""
    return [Segment(name, first, 1) for first, name in enumerate(names)]


def join_documents(segments: Sequence[Segment], lines: Sequence[str]) -> list[str]:
    """One line per document: the lines of its segments joined, in order.

    A segment packed across documents belongs to the document in which it starts, on both sides alike.
    """
    documents: dict[str, list[str]] = {}
    for segment, line in zip(segments, lines, strict=True):
        documents.setdefault(segment.document, []).append(line)
    return [" ".join(part for part in parts if part) for parts in documents.values()]


def score_documents(
    segments: Sequence[Segment], hypotheses: Sequence[Sequence[str]], references: Sequence[str], lowercase: bool = False
) -> tuple[dict[str, Any], Counts]:
    """`{d_bleu, s_bleu, sentence_count_agreement}` of detokenised sentences, and what d-BLEU counts in each document.

    `hypotheses` holds the sentences of each segment, `references` every sentence of the split. d-BLEU scores each
    document as one line. s-BLEU scores sentences, over the segments translated into as many sentences as they have;
    their share of all segments is `sentence_count_agreement`, and s-BLEU is None where there is none.
    """
    expected = [references[segment.sentences] for segment in segments]
    agreeing = [
        i for i, (ours, theirs) in enumerate(zip(hypotheses, expected, strict=True)) if len(ours) == len(theirs)
    ]
    documents = [
        join_documents(segments, [" ".join(sentences) for sentences in side]) for side in (hypotheses, expected)
    ]
    sentences = [[sentence for i in agreeing for sentence in side[i]] for side in (hypotheses, expected)]
    metric = written(lowercase)
    counts = count(metric, documents[0], documents[1])
    metrics = {
        "d_bleu": summarise(metric, counts),
        "s_bleu": bleu(sentences[0], sentences[1], lowercase),
        "sentence_count_agreement": len(agreeing) / len(segments) if segments else None,
    }
    return metrics, counts
