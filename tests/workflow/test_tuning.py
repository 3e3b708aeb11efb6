"""Tuning rounds by the workflow's checkpoints; the results of all trainings are written beforehand."""

from __future__ import annotations

import json

import pytest

from reluformer.config.experiment import Experiment
from reluformer.files import write_json, write_text

pytestmark = pytest.mark.slow


def test_rounds_follow_each_other_until_the_best_value_is_inside(project, jobs):
    search = Experiment.from_files(project.folder / "config" / "config.yaml").tuning.search("iwslt14", "rela")
    results = project.folder / "results"
    write_json(results / "corpora" / "iwslt14" / "statistics.json", {})
    listed = search.grid["learning_rate"]
    for rate in (*listed, 0.000179, 0.000128):  # first the smallest is best, then the one beyond it; the next is worse
        run = results / "runs" / search.run_at({"learning_rate": rate}).path
        bleu = 30 - 1e4 * abs(rate - 0.000179)
        for name in ("model.safetensors", "config.yaml", "log.jsonl"):
            write_text(run / name, "")
        write_json(run / "summary.json", {"status": "finished", "best_valid_bleu": bleu, "best_valid_loss": 3.0})
    target = f"results/{search.path}"

    result = project.snakemake("--", target)

    assert result.returncode == 0, result.stdout
    assert "rule train" not in result.stdout
    search = json.loads((project.folder / target).read_text(encoding="utf-8"))
    assert search["choice"]["changes"] == {"learning_rate": 0.000179}
    assert search["widened"] == {"learning_rate": [0.000179, 0.000128]} and len(search["runs"]) == 8
    rounds = sorted(path.name for path in (results / "tuning" / "iwslt14" / "rela").iterdir())
    assert rounds == ["round0.json", "round1.json", "round2.json"]
    assert "Nothing to be done" in project.snakemake("-n", "--", target).stdout
