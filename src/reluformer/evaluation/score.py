"""Scores a run's translations against its corpus's references: writes counts.npz, and scores.json from it."""

from __future__ import annotations

import csv
import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from reluformer.config.evaluation import COUNTS, PLAIN, Tokenizer
from reluformer.config.run import RunConfig, run_status, side_names, split_dataset
from reluformer.config.settings import SettingsError, read_yaml
from reluformer.corpus.moses import detokenise_all
from reluformer.evaluation.bleu import (
    Counts,
    count,
    half_width,
    read_counts,
    score_counts,
    summarise,
    tokenized,
    write_counts,
)
from reluformer.evaluation.tokenisation import SPLITTING, choose, count_words, signature, unit
from reluformer.files import write_json

SPLIT = "test"
NO_SCORES: dict[str, Any] = {"metrics": {}, "buckets": [], "lengths": None}
"""The scores of a run that diverged."""
WORDS = (10, 20, 30, 40, 50)
"""Upper bounds of the buckets of sentences, in words; the last bucket is open."""
TOKENS = (32, 64, 128, 256, 512, 1024)
"""Upper bounds of the buckets of document segments, in subword tokens; the last bucket is open."""


class Segment(NamedTuple):
    """Sentences that are translated at once, as a slice of the split's lines; `document`: where they start."""

    document: str
    sentences: slice


class References(NamedTuple):
    """The text that a run's translations are scored against, one sentence per line."""

    raw: list[str]
    tokenised: list[str]
    source: list[str]
    """The source, tokenised."""
    segments: list[Segment]
    """The units of translation: the segments of a document view, or single sentences."""
    view: bool
    """Whether the segments are those of a document view."""
    documents: bool
    """Whether the corpus has documents."""
    lowercase: bool
    truecase: bool
    tokenizer: Tokenizer
    """sacreBLEU's tokeniser of the target language."""
    source_tokenizer: Tokenizer
    """The tokeniser that counts the words of sources."""

    def translated(self, sentences: list[str]) -> list[str]:
        """Joins the sentences of the split into the lines that are translated at once."""
        return [" ".join(sentences[segment.sentences]) for segment in self.segments]


def score_run(
    run_folder: Path, corpora: Path, tokenizer: Tokenizer | None = None, warn: Callable[[str], None] = print
) -> None:
    """Writes `scores.json` and `counts.npz` into a run's folder, from its hypotheses and the corpus's test split.

    A diverged run gets scores without content.

    Args:
        run_folder: with config.yaml, hypotheses.jsonl and translation.json.
        corpora: the folder with the prepared corpora.
        tokenizer: a sacreBLEU tokeniser; None for the target language's.
        warn: called with a message if the language's own tokeniser is not available.

    Raises:
        SettingsError: if files are missing or do not match.
    """
    status = read_yaml(run_folder / "translation.json")["status"]
    counts: dict[str, NDArray[Any]] = {}
    scores = NO_SCORES
    if status != "diverged":
        config = RunConfig.load(run_folder)
        references = read_references(corpora, config, tokenizer, warn)
        counts = count_run(read_hypotheses(run_folder, references, config.dataset), references, config.tgt)
        scores = score_run_counts(counts, config.dataset)
    write_counts(run_folder / COUNTS, counts)
    write_json(run_folder / "scores.json", {"status": status, **scores})


def rescore_run(run_folder: Path) -> dict[str, Any]:
    """Returns a run's scores.json from its counts.npz alone. Raises `SettingsError` if that file is missing."""
    path = run_folder / COUNTS
    if not path.is_file():
        raise SettingsError(f"{path}: there is no such file; score the run again")
    counts, status = read_counts(path), run_status(run_folder)
    if status == "diverged":
        return {"status": status, **NO_SCORES}
    if missing := {"bleu", "tokenized_bleu", "chrf", "lengths", "lowercase"} - counts.keys():
        raise SettingsError(f"{path}: it has no {sorted(missing)[0]}: an earlier version wrote it; score the run again")
    return {"status": status, **score_run_counts(counts, RunConfig.load(run_folder).dataset)}


def read_hypotheses(run_folder: Path, references: References, dataset: str) -> list[dict[str, Any]]:
    """Reads a run's hypotheses.jsonl in the order of the references. Raises `SettingsError` if they do not match."""
    path = run_folder / "hypotheses.jsonl"
    try:
        entries = [json.loads(line) for line in read_lines(path)]
        hypotheses = sorted(entries, key=lambda entry: (entry["index"], entry["sentences"]))
    except (json.JSONDecodeError, KeyError, TypeError):
        raise SettingsError(f"{path}: not the hypotheses of a run; translate the run again") from None
    expected = len(references.segments)
    if [entry["index"] for entry in hypotheses] != list(range(expected)):
        raise SettingsError(
            f"{path}: {len(hypotheses)} lines do not fit the {expected} segments of the {SPLIT} split of {dataset}; "
            "translate the run again"
        )
    return hypotheses


def count_run(hypotheses: list[dict[str, Any]], references: References, tgt: str) -> dict[str, NDArray[Any]]:
    """Returns the content of counts.npz: all that `score_run_counts` needs.

    `bleu`, `tokenized_bleu`, `chrf`: the counts of each segment; `lengths`: of the sources, in words or in subword
    tokens; `lowercase`: [1]; `tokenizer`: the bytes of its name, its signature and the unit of lengths, unless these
    are 13a and words. For document corpora also the counts of `count_documents`.
    """
    lowercase, tokenizer, lengths_in = references.lowercase, references.tokenizer, unit(references.source_tokenizer)
    texts = [detokenise_all(entry["sentences"], tgt, references.truecase) for entry in hypotheses]
    lines, raw = [" ".join(sentences) for sentences in texts], references.translated(references.raw)
    split = [" ".join(entry["sentences"]) for entry in hypotheses]
    tokenised = references.translated(references.tokenised)
    if tokenizer in SPLITTING:  # character tokenisation would split Moses' escapes
        split, tokenised = list(map(unescape, split)), list(map(unescape, tokenised))
    lengths = [count_words(unescape(line), references.source_tokenizer) for line in references.source]
    if references.view:
        lengths = [entry["source_tokens"] for entry in hypotheses]
    bleu = BLEU(lowercase=lowercase, tokenize=tokenizer)
    counts: dict[str, NDArray[Any]] = {
        "bleu": count(bleu, lines, raw),
        "tokenized_bleu": count(tokenized(tokenizer), split, tokenised),
        "chrf": count(CHRF(lowercase=lowercase), lines, raw),
        "lengths": np.array(lengths),
        "lowercase": np.array([lowercase]),
    }
    if (tokenizer, lengths_in) != (PLAIN, "words"):
        text = "\n".join((tokenizer, signature(tokenizer), lengths_in))
        counts["tokenizer"] = np.frombuffer(text.encode(), np.uint8)
    if references.documents:
        counts |= count_documents(references.segments, texts, references.raw, bleu)
    return counts


def join_documents(segments: Sequence[Segment], lines: Sequence[str]) -> list[str]:
    """Joins the lines of each document's segments into one line per document.

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
    metric: BLEU,
) -> dict[str, NDArray[Any]]:
    """Returns BLEU's counts of whole documents and of aligned sentences.

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
    return {
        "d_bleu": count(metric, documents[0], documents[1]),
        "s_bleu": count(metric, sentences[0], sentences[1]),
        "agreeing": np.array(agreeing, dtype=bool),
    }


def score_run_counts(counts: Mapping[str, NDArray[Any]], dataset: str) -> dict[str, Any]:
    """Returns scores.json, `{metrics, buckets, lengths, unit}` with scores 0..100, from the content of counts.npz.

    For document corpora, d-BLEU scores each document as one line, s-BLEU sentences; `sentence_count_agreement` is the
    share of segments whose sentences are scored; if there are none, s-BLEU is None.
    """
    lowercase, lengths = bool(counts["lowercase"][0]), [int(length) for length in counts["lengths"]]
    view = split_dataset(dataset)[1]
    limit = int(view.rpartition("-")[2]) if view else None
    name, signed, unit_of_lengths = str(PLAIN), "13a", "words"
    if "tokenizer" in counts:
        name, signed, unit_of_lengths = counts["tokenizer"].astype(np.uint8).tobytes().decode().split("\n")
    metrics: dict[str, Any] = {
        "bleu": summarise(BLEU(lowercase=lowercase), counts["bleu"], signed),
        "tokenized_bleu": summarise(tokenized(), counts["tokenized_bleu"], signed if name in SPLITTING else None),
        "chrf": summarise(CHRF(lowercase=lowercase), counts["chrf"]),
    }
    if "d_bleu" in counts:
        metrics |= {kind: summarise(BLEU(lowercase=lowercase), counts[kind], signed) for kind in ("d_bleu", "s_bleu")}
        metrics["sentence_count_agreement"] = float(counts["agreeing"].mean()) if len(counts["agreeing"]) else None
    return {
        "metrics": metrics,
        "buckets": score_buckets(
            lengths, TOKENS if view else WORDS, {kind: counts[kind] for kind in ("bleu", "tokenized_bleu")}
        ),
        "lengths": describe_lengths(lengths, limit),
        "unit": "subword tokens" if view else unit_of_lengths,
        **({"tokenizer": name} if name != PLAIN else {}),
    }


class Bucket(NamedTuple):
    """The segments whose source length is in `low..high`, inclusive; `high` is None if unbounded."""

    low: int
    high: int | None
    members: list[int]


def split_by_length(lengths: Sequence[int], bounds: Sequence[int]) -> list[Bucket]:
    """Groups the indices of `lengths` by bucket, shortest first, without empty buckets.

    Every index is in one bucket: if a source has no words, the first bucket starts at 0.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        members[bisect_left(bounds, length)].append(i)
    lows, highs = [min([1, *lengths]), *(bound + 1 for bound in bounds)], [*bounds, None]
    return [Bucket(lows[at], highs[at], members[at]) for at in sorted(members)]


def score_buckets(lengths: Sequence[int], bounds: Sequence[int], counts: Mapping[str, Counts]) -> list[dict[str, Any]]:
    """Returns for each bucket `{low, high, segments}`, and each kind of BLEU (0..100) with `KIND_ci`.

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
    """Returns `{mean, median, p90, max, share_half}` of source lengths.

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


def read_references(
    corpora: Path,
    run: RunConfig,
    tokenizer: Tokenizer | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> References:
    """Reads the references of a run's test split. Raises `SettingsError` if a file is missing.

    tokenizer, warn: see `score_run`.
    """
    base, view = split_dataset(run.dataset)
    src, tgt = side_names(run.src, run.tgt)
    folder = corpora / base
    prepared = read_yaml(folder / "provenance.json")["configuration"]
    raw = read_lines(folder / "raw" / f"{SPLIT}.{tgt}")
    if view:
        segments = read_segments(folder / view / f"{SPLIT}.segments.tsv")
    else:
        names = read_lines(folder / f"{SPLIT}.documents.txt") if prepared.get("documents") else [""] * len(raw)
        segments = [Segment(name, slice(i, i + 1)) for i, name in enumerate(names)]
    references = References(
        raw=raw,
        tokenised=read_lines(folder / f"{SPLIT}.tok.{tgt}"),
        source=read_lines(folder / f"{SPLIT}.tok.{src}"),
        segments=segments,
        view=view is not None,
        documents=view is not None or bool(prepared.get("documents")),
        lowercase=prepared["lowercase"],
        truecase=prepared["truecase"],
        tokenizer=choose(run.tgt, tokenizer, warn),
        source_tokenizer=choose(run.src),
    )
    if not len(references.raw) == len(references.tokenised) == len(references.source):
        raise SettingsError(f"{folder}: the {SPLIT} split's raw and tokenised files differ in length; prepare it again")
    return references


def read_segments(path: Path) -> list[Segment]:
    """Reads the segments of one split of a document view, in corpus order."""
    segments = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            first = int(row["first"])
            segments.append(Segment(row["document"], slice(first, first + int(row["count"]))))
    return segments


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a prepared text, unchanged. Raises `SettingsError` if there is no such file."""
    try:
        text = path.read_bytes().decode("utf-8")  # keeps line ends unchanged
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text") from None
    return text.removesuffix("\n").split("\n") if text else []  # splitlines() also splits at other characters
