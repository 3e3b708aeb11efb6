from collections import Counter

from reluformer.cli.jobs import Job, list_jobs
from reluformer.config.run import Run


def test_every_run_is_trained_once_and_jobs_follow_their_dependencies(paper):
    jobs = list_jobs(paper)
    steps = Counter(job.step for job in jobs)
    assert steps["train"] == len(paper.runs) + 54 and steps["tune"] == 9
    previous = set()
    for job in jobs:
        assert set(job.after) <= previous
        previous.add(job.name)
    assert jobs[-1].step == "report" and len(previous) == len(jobs)


def test_a_run_waits_for_the_tuning_of_its_system_and_that_for_its_rounds(paper):
    jobs = {job.name: job for job in list_jobs(paper)}
    assert jobs["train iwslt14/reluformer/seed1"].after == ("prepare iwslt14", "tune iwslt14/reluformer")
    assert "tune iwslt14/reluformer" in jobs["train europarl7@within-128/reluformer/seed1"].after
    assert jobs["tune iwslt14/reluformer"].after == ("tuning_round iwslt14/reluformer/round2",)
    last = jobs["tuning_round iwslt14/reluformer/round2"].after
    assert len(last) == 2
    for name in last:
        assert jobs[name].after == ("prepare iwslt14", "tuning_round iwslt14/reluformer/round1")


def test_a_run_goes_through_the_steps_that_its_studies_need(demo):
    names = {job.name: job for job in list_jobs(demo)}
    sweep = "demo-sentences/ffn-softmax+slots=32+recipe=sweep/seed1"
    assert f"score {sweep}" in names and f"analyse {sweep}" not in names
    assert names[f"score {sweep}"].after == (f"translate {sweep}",)
    scratch = names["train demo-documents@within-128/transformer+recipe=scratch/seed1"]
    assert scratch.after == ("pack demo-documents@within-128",)
    assert names["pack demo-documents@within-128"].after == ("prepare demo-documents",)
    assert f"score {sweep}" in names["study memory-size"].after
    assert f"score {sweep}" in names["significance memory-size"].after
    assert "significance memory-size" in names["study memory-size"].after and names["report"].after == ("index",)


def test_outputs_and_logs_are_those_of_the_rules():
    places = {
        (str(job.output), str(job.log)) for job in (Job("pack", "d@within-32"), Job("tuning_round", "d/s/round0"))
    }
    assert places == {
        ("corpora/d/within-32/statistics.json", "pack/d/within-32.log"),
        ("tuning/d/s/round0.json", "tune/d/s/round0.log"),
    }
    run = Run("d@within-32", "s", 1)
    job = Job("train", run.path, run)
    assert (str(job.output), str(job.log)) == (f"runs/{run.path}/summary.json", f"train/{run.path}.log")
    assert str(Job("claims", "").log) == "claims.log"
