from __future__ import annotations

from pathlib import Path

from reluformer.cli.watching.jobs import progress
from reluformer.config.experiment import Experiment
from reluformer.files import write_json

ROOT = Path(__file__).parents[4]


def test_tuning_runs_are_counted_as_their_scores_ask_for_them(tmp_path):
    experiment = Experiment.from_files(ROOT / "config" / "config.yaml")
    steps = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert steps["tune"].all == 9 and steps["train"].all == len(experiment.runs) + 54
    first = experiment.tuning.search("iwslt14", "rela").first_runs()
    for run in first:  # the smallest learning rate is best, so one more run follows
        rate = float(run.system.partition("learning_rate=")[2].partition("+")[0])
        summary = {"status": "finished", "best_valid_bleu": 30 - 1000 * rate, "best_valid_loss": 3.0}
        write_json(tmp_path / "results" / "runs" / run.path / "summary.json", summary)
    after = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert (after["train"].done, after["train"].all) == (6, steps["train"].all + 1)


def test_a_job_is_done_when_its_last_file_is_there(tmp_path):
    experiment = Experiment.from_files(ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
    before = {step.name: step for step in progress(experiment, tmp_path / "results")}
    assert before["train"].all == len(experiment.runs) and not any(step.done for step in before.values())
    run = next(iter(experiment.runs))
    files = [f"runs/{run.path}/summary.json", "corpora/demo-sentences/statistics.json", "paper/variance_law.json"]
    files += ["corpora/demo-documents/within-64/statistics.json", "paper/tables/gamma.csv", "paper/report.html"]
    for name in files:
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    after = {step.name: step.done for step in progress(experiment, tmp_path / "results")}
    done = {name for name, count in after.items() if count}
    assert done == {"train", "prepare", "pack", "study", "report"} | {"variance_law"}
    assert all(after[name] == 1 for name in done)
