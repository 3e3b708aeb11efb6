"""Checks each figure of a table of synthetic hypotheses against the sacrebleu command line."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random
from statistics import mean, stdev

import pandas as pd
import pytest
from scipy import stats

from reluformer.evaluation.score import score_run
from reluformer.paper.differences import write_significance
from reluformer.paper.study import build_study

WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "rt")]
SEGMENTS = 150
NOISE = {"transformer": 0.30, "ffn-softmax": 0.36, "ffn-softmax-layernorm": 0.30}
SEEDS = [1, 2]


def noisy(lines, share, seed):
    random = Random(seed)
    return [
        " ".join(random.choice(WORDS) if random.random() < share else word for word in line.split()) for line in lines
    ]


def sacrebleu(folder, references, systems, *arguments):
    """Returns the JSON output of `sacrebleu`: one score, or one per system with a paired test."""
    for name, lines in {"ref": references, **systems}.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", *systems, "-f", "json", "-w", "9", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def scored(make):
    """Translates, scores and tabulates every run of ffn-activation; returns references and hypotheses, too."""
    example = make(seeds=SEEDS, significance={"bootstrap": 300, "randomisation": 300})
    random = Random(0)
    references = [" ".join(random.choices(WORDS, k=random.randint(5, 20))) for _ in range(SEGMENTS)]
    corpus = example.results / "corpora" / "some-sentences"
    (corpus / "raw").mkdir(parents=True)
    for name in ("raw/test.en", "test.tok.en", "test.tok.de"):
        (corpus / name).write_text("\n".join(references) + "\n", encoding="utf-8")
    provenance = {"configuration": {"lowercase": True, "truecase": False}}
    (corpus / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    hypotheses = {}
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run)
        folder = example.folder(run)
        example.experiment.resolve(run).save(folder / "config.yaml")
        lines = noisy(references, NOISE[run.system], seed=f"{run.system}{run.seed}")
        entries = [{"index": i, "sentences": [line], "source_tokens": 9} for i, line in enumerate(lines)]
        (folder / "hypotheses.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
        score_run(folder, example.results / "corpora")
        hypotheses[run.system, run.seed] = lines
    write_significance(example.experiment, "ffn-activation", example.results)
    build_study(example.experiment, "ffn-activation", example.results)
    return example, references, hypotheses


KINDS = {
    "bleu": ("-m", "bleu", "-lc"),
    "tokenized_bleu": ("-m", "bleu", "-lc", "--tokenize", "none", "--force"),
    "chrf": ("-m", "chrf", "--chrf-lowercase"),
}


@pytest.mark.slow
def test_figures_and_p_values_of_a_table_equal_the_sacrebleu_command_line(scored, tmp_path):
    example, references, hypotheses = scored
    tables = example.results / "paper" / "tables"
    table = pd.read_csv(tables / "ffn-activation.csv").set_index("system")
    against = pd.read_csv(tables / "ffn-activation-differences.csv").set_index(["system", "metric"])
    for kind, arguments in KINDS.items():
        scores, p_values = {}, {}
        for seed in SEEDS:
            systems = {system: hypotheses[system, seed] for system in NOISE}
            if kind == "chrf":
                for system, lines in systems.items():
                    scores[system, seed] = sacrebleu(tmp_path, references, {system: lines}, *arguments)["score"]
                continue
            for test, name in (("bs", "bootstrap"), ("ar", "randomisation")):
                paired = (f"--paired-{test}", f"--paired-{test}-n", "300")
                results = sacrebleu(tmp_path, references, systems, *arguments, *paired)  # against the first
                for system, result in zip(systems, results, strict=True):
                    scores[system, seed] = result["BLEU"]["score"]
                    p_values.setdefault((system, name), []).append(result["BLEU"]["p_value"])
        by_system = {system: [scores[system, seed] for seed in SEEDS] for system in NOISE}
        for system, values in by_system.items():
            assert table.loc[system, f"{kind}_mean"] == pytest.approx(mean(values), abs=1e-6)
            assert table.loc[system, f"{kind}_sd"] == pytest.approx(stdev(values), abs=1e-6)
            interval = stats.t.interval(0.95, len(values) - 1, loc=mean(values), scale=stats.sem(values))
            assert tuple(table.loc[system, [f"{kind}_low", f"{kind}_high"]]) == pytest.approx(interval, abs=1e-5)
        for system in ("ffn-softmax", "ffn-softmax-layernorm"):
            row = against.loc[system, kind]
            expected = stats.ttest_ind(by_system[system], by_system["transformer"], equal_var=False).pvalue
            assert row["p_seeds"] == pytest.approx(expected, rel=1e-4)
            for name in ("bootstrap", "randomisation") if kind != "chrf" else ():
                assert row[f"p_{name}"] == pytest.approx(max(p_values[system, name]), abs=1e-12)
