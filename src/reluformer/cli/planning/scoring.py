"""What it costs to score a sentence and to test two systems in pairs: stated, or timed on made-up text."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.run import RunConfig, split_dataset
from reluformer.evaluation.bleu import count, tokenized
from reluformer.evaluation.score import References, count_run, score_run_counts
from reluformer.evaluation.significance import paired_tests

LINES = 1000
"""Made-up sentences, of 5 to 30 of so many words."""
WORDS = 2000
SAMPLES = 200


class Scoring(NamedTuple):
    """Seconds to score a sentence, and seconds a segment of one sample of a paired test."""

    line: float
    sample: float


STATED = Scoring(1e-3, 1e-8)
"""Of a core of a server."""


def paired_seconds(scoring: Scoring, segments: int, config: SignificanceConfig) -> float:
    """Both paired tests of two systems by one kind of BLEU."""
    return scoring.sample * segments * (config.bootstrap + config.randomisation)


def time_scoring(config: RunConfig) -> Scoring:
    """Scores made-up text as a run's, and tests it against other text; by this process's own time."""
    rng = np.random.default_rng(1)
    words = np.array([f"word{number}" for number in range(WORDS)])
    texts = [rng.choice(words, length).tolist() for length in rng.integers(5, 30, LINES)]
    lines = [" ".join(text) for text in texts]
    entries = [{"index": at, "sentences": [" ".join(text[:-1])]} for at, text in enumerate(texts)]
    references = References(lines, lines, lines, None, None, lowercase=True, truecase=False)
    plain = config.model_copy(update={"dataset": split_dataset(config.dataset)[0]})
    begin = time.process_time()
    counts = count_run(entries, references, plain)
    score_run_counts(counts, plain.dataset)
    scored = time.process_time()
    other = count(tokenized(), [line[1:] for line in lines], lines)
    tested = time.process_time()
    paired_tests(counts["tokenized_bleu"], other, SignificanceConfig(bootstrap=SAMPLES, randomisation=SAMPLES))
    return Scoring((scored - begin) / LINES, (time.process_time() - tested) / (2 * SAMPLES * LINES))
