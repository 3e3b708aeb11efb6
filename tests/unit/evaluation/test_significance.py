"""The paired tests against the sacrebleu command line, on synthetic hypotheses and references."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from reluformer.config.evaluation import SignificanceConfig
from reluformer.config.settings import SettingsError
from reluformer.evaluation.bleu import count, tokenized
from reluformer.evaluation.significance import least_p, paired_tests, paired_tests_of_runs

WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("a", "eno", "Ir", "ust", "o'll", "at.")]
CONFIG = SignificanceConfig(bootstrap=1000, randomisation=1000)


def sentences(count: int, seed: int) -> list[str]:
    random = Random(seed)
    return [" ".join(random.choices(WORDS, k=random.randint(6, 25))) for _ in range(count)]


def worsened(lines: list[str], share: float, seed: int, noise: float = 0.4) -> list[str]:
    """Returns `lines` with random words replaced in a share of them."""
    random = Random(seed)

    def change(line: str) -> str:
        return " ".join(random.choice(WORDS) if random.random() < noise else word for word in line.split())

    return [change(line) if random.random() < share else line for line in lines]


REFERENCES = sentences(200, seed=1)
BASELINE = worsened(REFERENCES, 1.0, seed=2, noise=0.3)


def p_values(ours, baseline):
    return paired_tests([(ours, baseline)], CONFIG)[0]


def command_line(folder, systems: list[list[str]], test: str, samples: str, *arguments: str) -> list[dict]:
    """Returns what `sacrebleu ref -i baseline system ... --paired-TEST` prints for the baseline and each system."""
    for name, lines in {"ref": REFERENCES, **{f"s{i}": lines for i, lines in enumerate(systems)}}.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", *(f"s{i}" for i in range(len(systems)))]
    command += ["-m", "bleu", "-f", "json", f"--paired-{test}", f"--paired-{test}-n", samples, *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "SACREBLEU_SEED"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return [system["BLEU"] for system in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("metric", "arguments"),
    [(BLEU(lowercase=True), ("-lc",)), (BLEU(), ()), (tokenized(), ("-lc", "--tokenize", "none", "--force"))],
    ids=["detokenised", "cased", "tokenised"],
)
def test_scores_and_p_values_equal_the_sacrebleu_command_line(tmp_path, metric, arguments):
    close = worsened(BASELINE, 0.5, seed=4, noise=0.05)
    systems = [BASELINE, worsened(REFERENCES, 1.0, seed=3, noise=0.3), close]
    counts = [count(metric, lines, REFERENCES) for lines in systems]
    ours = [p_values(system, counts[0]) for system in counts[1:]]
    for test, name in (("bs", "bootstrap"), ("ar", "randomisation")):
        baseline, *theirs = command_line(tmp_path, systems, test, "1000", *arguments)
        for mine, expected in zip(ours, theirs, strict=True):
            assert mine["baseline_score"] == pytest.approx(baseline["score"], abs=1e-9)
            assert mine["score"] == pytest.approx(expected["score"], abs=1e-9)
            assert mine[name] == pytest.approx(expected["p_value"], abs=1e-12)


def test_a_system_equal_to_itself_is_never_significant(tmp_path):
    counts = count(BLEU(), BASELINE, REFERENCES)
    result = p_values(counts, counts.copy())
    assert result["difference"] == 0 and result["bootstrap"] == result["randomisation"] == 1
    # sacreBLEU itself gives its smallest p-value here, which is why `least_p` exists
    assert command_line(tmp_path, [BASELINE, BASELINE], "bs", "1000")[1]["p_value"] < 0.001


def test_a_system_worse_on_30_percent_of_the_sentences_is_significant():
    counts = count(BLEU(), BASELINE, REFERENCES)
    for seed in range(5):
        worse = count(BLEU(), worsened(BASELINE, 0.3, seed=seed), REFERENCES)
        result = p_values(worse, counts)
        assert result["difference"] < 0 and result["bootstrap"] < 0.01 and result["randomisation"] < 0.01


def test_no_p_value_is_below_what_the_differing_segments_allow():
    counts = np.ones((9, 10))
    for k, least in ((0, 1.0), (1, 1.0), (2, 0.5), (6, 2**-5)):
        other = counts.copy()
        other[:k] += 1
        assert least_p(other, counts) == least
    one_worse = [worsened(BASELINE[:1], 1, seed=9, noise=0.9)[0], *BASELINE[1:]]
    pair = [count(BLEU(), lines, REFERENCES) for lines in (one_worse, BASELINE)]
    assert p_values(*pair)["randomisation"] == 1


def save(folder, **kinds):
    folder.mkdir(parents=True)
    np.savez(folder / "counts.npz", **{kind: rows.astype(np.int32) for kind, rows in kinds.items()})


def test_existing_runs_are_compared(tmp_path):
    counts = count(BLEU(), BASELINE, REFERENCES)
    save(tmp_path / "a", bleu=counts)
    save(tmp_path / "b", bleu=counts)
    save(tmp_path / "diverged")
    pairs = [("a", name, "bleu") for name in ("b", "diverged", "not there")]
    rows = paired_tests_of_runs(tmp_path, pairs, CONFIG)
    assert [(row["run"], row["baseline"], row["metric"], row["segments"]) for row in rows] == [("a", "b", "bleu", 200)]
    save(tmp_path / "c", bleu=counts[1:])
    with pytest.raises(SettingsError, match="a and c: 200 segments against 199; score both again"):
        paired_tests_of_runs(tmp_path, [("a", "c", "bleu")], CONFIG)
