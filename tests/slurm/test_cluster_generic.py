"""Jobs submitted by the generic cluster plugin and its profile; SLURM's sbatch stands in for other schedulers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "workflow" / "profiles" / "cluster-generic" / "config.yaml"
COMMAND = re.compile(r"^(?:# )?(cluster-generic-submit-cmd: .*)$", re.MULTILINE)
SBATCH = "sbatch --parsable --cpus-per-task={threads} --mem={resources.mem_mb} --time={resources.runtime}"
RUN = "results/runs/numbers/transformer/seed1"


def test_each_schedulers_command_asks_for_threads_memory_and_time():
    commands = [yaml.safe_load(line)["cluster-generic-submit-cmd"] for line in COMMAND.findall(PROFILE.read_text())]
    assert [re.search(r"\b[bq]sub\b", command)[0] for command in commands] == ["qsub", "bsub", "qsub"]
    for command in commands:
        fields = set(re.findall(r"{(.*?)}", command))
        assert (
            {"rule", "threads", "resources.mem_mb", "resources.runtime"}
            <= fields
            <= {*("rule", "threads", "resources.mem_mb", "resources.runtime", "resources.gpu")}
        )


@pytest.mark.slurm
@pytest.mark.slow
def test_a_run_is_trained_and_scored_by_jobs(quick_workflow):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    quick_workflow.profile = "cluster-generic"
    submit = ("--cluster-generic-submit-cmd", f"{SBATCH} --gres=gpu:{{resources.gpu}}")
    quick_workflow.start(f"{RUN}/scores.json", options=(*submit, "--cluster-generic-cancel-cmd", "scancel"))
    assert quick_workflow.wait() == 0, quick_workflow.said()[-6000:]
    assert (quick_workflow.folder / RUN / "scores.json").is_file()
    submitted = re.findall(r"Submitted job \d+ with external jobid '\d+'", quick_workflow.said())
    assert len(submitted) == 2  # train and translate; the score is computed locally
