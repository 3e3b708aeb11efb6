"""Compares two runs of one test split segment by segment, and by the length of the source."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from reluformer.config.evaluation import PLAIN
from reluformer.config.run import RunConfig, side_names, split_dataset
from reluformer.config.settings import SettingsError, read_json
from reluformer.corpus.moses import detokenise_all
from reluformer.evaluation.score import (
    SPLIT,
    TOKENS,
    WORDS,
    References,
    count_run,
    read_hypotheses,
    read_lines,
    read_references,
    score_run_counts,
    split_by_length,
)


class Side(NamedTuple):
    """One run's translation of a segment, and sacreBLEU's sentence scores of it, 0..100."""

    text: str
    bleu: float
    chrf: float


class Segment(NamedTuple):
    """One segment of the test split and both translations of it.

    number: from 1. length: of the source, in the comparison's unit.
    """

    number: int
    length: int
    source: str
    reference: str
    a: Side
    b: Side

    def difference(self, score: str) -> float:
        """Returns b's advantage over a in points of `bleu` or `chrf`."""
        return getattr(self.b, score) - getattr(self.a, score)


class RunComparison(NamedTuple):
    """Two runs of one dataset. names: of a and b. metrics: corpus scores with signatures, by name, for each."""

    names: tuple[str, str]
    dataset: str
    unit: str
    metrics: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    segments: list[Segment]
    bounds: tuple[int, ...]

    def ordered(self, score: str) -> list[Segment]:
        """Returns the segments sorted by difference, largest first."""
        return sorted(self.segments, key=lambda segment: -abs(segment.difference(score)))

    def counts(self, score: str) -> dict[str, int]:
        """Returns the numbers of all segments, of those where a or b is better, and of those with identical text."""
        differences = [segment.difference(score) for segment in self.segments]
        return {
            "segments": len(differences),
            "a_better": sum(difference < 0 for difference in differences),
            "b_better": sum(difference > 0 for difference in differences),
            "same_text": sum(segment.a.text == segment.b.text for segment in self.segments),
        }

    def by_length(self) -> list[dict[str, Any]]:
        """Returns for each bucket of source lengths `{low, high, segments, bleu_a, bleu_b, chrf_a, chrf_b}`.

        Scores are means over sentences, 0..100.
        """
        rows = []
        for low, high, members in split_by_length([segment.length for segment in self.segments], self.bounds):
            row: dict[str, Any] = {"low": low, "high": high, "segments": len(members)}
            for score, side in itertools.product(("bleu", "chrf"), "ab"):
                row[f"{score}_{side}"] = mean(getattr(getattr(self.segments[i], side), score) for i in members)
            rows.append(row)
        return rows

    def summary(self, score: str, show: int) -> dict[str, Any]:
        """Returns the comparison as JSON content, with the `show` segments that differ most."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "dataset": self.dataset,
            "unit": self.unit,
            "by": score,
            "metrics": {name: dict(zip("ab", pair, strict=True)) for name, pair in self.metrics.items()},
            **self.counts(score),
            "by_length": self.by_length(),
            "most_different": [
                {**segment._asdict(), "a": segment.a._asdict(), "b": segment.b._asdict()}
                for segment in self.ordered(score)[:show]
            ],
        }


def compare_runs(run_a: Path, run_b: Path, corpora: Path) -> RunComparison:
    """Compares two translated runs of one dataset, with the tokeniser that scored the first.

    Raises `SettingsError` if they cannot be compared.
    """
    config, other = RunConfig.load(run_a), RunConfig.load(run_b)
    dataset = config.dataset
    if dataset != other.dataset:
        raise SettingsError(f"{dataset} and {other.dataset}: two datasets have no segments in common")
    scores = read_json(run_a / "scores.json")
    references = read_references(corpora, config, scores.get("tokenizer", PLAIN) if scores else None)
    raw = corpora / split_dataset(dataset)[0] / "raw" / f"{SPLIT}.{side_names(config.src, config.tgt)[0]}"
    source, reference = map(references.translated, (read_lines(raw), references.raw))
    hypotheses = [read_hypotheses(run, references, dataset) for run in (run_a, run_b)]
    counts = [count_run(entries, references, config.tgt) for entries in hypotheses]
    a, b = (score_run_counts(each, dataset) for each in counts)
    texts = [
        [" ".join(detokenise_all(entry["sentences"], config.tgt, references.truecase)) for entry in entries]
        for entries in hypotheses
    ]
    sides = [_sides(lines, reference, references) for lines in texts]
    rows = enumerate(zip(counts[0]["lengths"].tolist(), source, reference, *sides, strict=True), start=1)
    return RunComparison(
        names=(f"{config.system}/seed{config.seed}", f"{other.system}/seed{other.seed}"),
        dataset=dataset,
        unit=a["unit"],
        metrics={name: (a["metrics"][name], b["metrics"][name]) for name in ("bleu", "chrf")},
        segments=[Segment(number, *row) for number, row in rows],
        bounds=TOKENS if references.view else WORDS,
    )


def _sides(texts: list[str], reference: list[str], references: References) -> list[Side]:
    """Returns one run's scored translations; sentence BLEU uses `effective_order`, as sacreBLEU advises."""
    scorers: list[Any] = [
        BLEU(lowercase=references.lowercase, effective_order=True, tokenize=references.tokenizer),
        CHRF(lowercase=references.lowercase),
    ]
    return [
        Side(text, *(scorer.sentence_score(text, [wanted]).score for scorer in scorers))
        for text, wanted in zip(texts, reference, strict=True)
    ]


Part = tuple[str, bool]
"""A part of a text and whether the other text lacks it."""


def differing(a: str, b: str) -> tuple[list[Part], list[Part]]:
    """Splits both texts into parts of whole words: those that they share, and those that only one has."""
    words = a.split(), b.split()
    parts: tuple[list[Part], list[Part]] = ([], [])
    for tag, *bounds in difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        for side, first, last in ((0, *bounds[:2]), (1, *bounds[2:])):
            if first < last:
                parts[side].append((" ".join(words[side][first:last]), tag != "equal"))
    return parts
