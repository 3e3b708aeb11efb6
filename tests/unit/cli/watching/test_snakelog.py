from __future__ import annotations

from reluformer.cli.watching.snakelog import SnakeJob, last_line, newest_log, read_log


def test_jobs_that_run_and_jobs_that_failed(said, again):
    state = read_log(said())
    analyse = SnakeJob("analyse", "numbers/rela/seed1", "logs/analyse/numbers/rela/seed1.log")
    train = SnakeJob("train", "numbers/transformer/seed1", "logs/train/numbers/transformer/seed1.log")
    assert state.running == {3: analyse} and state.failed == {0: (train, False)}
    assert (state.done, state.all) == (1, 4)
    state = read_log(said(again))
    assert state.running == {3: analyse, 0: train} and state.failed == {0: (train, True)}
    state = read_log(said("Finished jobid: 0 (Rule: train)\n2 of 4 steps (50%) done\n"))
    assert state.running == {3: analyse} and state.failed == {} and state.done == 2


def test_the_log_of_a_step_comes_before_that_of_the_scheduler(said):
    path = said()
    text = path.read_text(encoding="utf-8")
    step = "logs/train/numbers/transformer/seed1.log"
    assert step in text
    path.write_text(text.replace(step, f"{step}, /cluster/logs/2.log"), encoding="utf-8")
    [(job, _)] = read_log(path).failed.values()
    assert job.log == step


def test_dry_runs_are_passed_over(said, tmp_path):
    path = said()
    (path.parent / "2026-11-25T000000.1.snakemake.log").write_text("host: x\nBuilding DAG of jobs...\nJob stats:\n")
    assert newest_log(tmp_path) == path
    assert newest_log(tmp_path / "elsewhere") is None and read_log(None).running == {}


def test_the_last_line_of_a_log(tmp_path):
    path = tmp_path / "a.log"
    assert last_line(path) == "(no such file or directory)"
    path.write_text("one\nerror: two\n\n")
    assert last_line(path) == "error: two"
