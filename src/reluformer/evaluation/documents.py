"""Scores of document translations: whole documents as lines (d-BLEU), and aligned sentences (s-BLEU)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reluformer.config.evaluation import PLAIN, Tokenizer
from reluformer.evaluation.bleu import count, detokenized


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
    """Reads the segments of one split of a document view, in corpus order."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Segment(row["document"], int(row["first"]), int(row["count"])) for row in rows]


def join_documents(segments: Sequence[Segment], lines: Sequence[str]) -> list[str]:
    """Joins the lines of each document's segments into one line a document.

    A segment packed across documents belongs to the document in which it starts, on both sides.
    """
    documents: dict[str, list[str]] = {}
    for segment, line in zip(segments, lines, strict=True):
        documents.setdefault(segment.document, []).append(line)
    return [" ".join(part for part in parts if part) for parts in documents.values()]


def count_documents(
    segments: Sequence[Segment],
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[str],
    lowercase: bool = False,
    tokenizer: Tokenizer = PLAIN,
) -> dict[str, NDArray[Any]]:
    """Returns what BLEU counts in documents and in their sentences.

    `hypotheses` holds the detokenised sentences of each segment, `references` every sentence of the split. `d_bleu`:
    the counts of each document, as one line; `s_bleu`: of each sentence of those segments whose translation has as many
    sentences as the source; `agreeing`: bool, which segments these are.
    """
    expected = [references[segment.sentences] for segment in segments]
    agreeing = [len(ours) == len(theirs) for ours, theirs in zip(hypotheses, expected, strict=True)]
    documents = [
        join_documents(segments, [" ".join(sentences) for sentences in side]) for side in (hypotheses, expected)
    ]
    sentences = [
        [sentence for i, agrees in enumerate(agreeing) if agrees for sentence in side[i]]
        for side in (hypotheses, expected)
    ]
    metric = detokenized(lowercase, tokenizer)
    return {
        "d_bleu": count(metric, documents[0], documents[1]),
        "s_bleu": count(metric, sentences[0], sentences[1]),
        "agreeing": np.array(agreeing, dtype=bool),
    }
