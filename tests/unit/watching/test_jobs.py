from __future__ import annotations

from pathlib import Path

from reluformer.experiment import Experiment
from reluformer.watching.jobs import progress

ROOT = Path(__file__).parents[3]


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
