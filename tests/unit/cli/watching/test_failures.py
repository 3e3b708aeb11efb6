"""What a person reads at the end of a failed workflow."""

from __future__ import annotations

import pytest

from reluformer.cli.watching.failures import SHOWN, explain_failures

LOG = "logs/train/numbers/rela/seed{}.log"


def snakemake_log(*jobs: tuple[str, str, str], again: bool = False) -> str:
    """Failed jobs, each (rule, wildcards, log), as Snakemake's log has them."""
    lines = ["Provided cores: 2"]
    for number, (rule, wildcards, log) in enumerate(jobs):
        about = [f"    jobid: {number}", *([f"    wildcards: {wildcards}"] if wildcards else [])]
        begun = [f"rule {rule}:", f"    log: {log}", *reversed(about)]
        failed = [f"Error in rule {rule}:", f"    jobid: {number}", f"    log: {log} (check log file(s) for details)"]
        lines += [*begun, *failed, *(begun if again else [])]
    return "\n".join(lines) + "\n"


def run(seed: int) -> tuple[str, str, str]:
    return ("train", f"dataset=numbers, system=rela, seed={seed}", LOG.format(seed))


@pytest.mark.parametrize(
    ("jobs", "again", "said"),
    [
        pytest.param([run(1)], False, "train numbers/rela/seed1 failed; the end of " + LOG.format(1), id="a run"),
        pytest.param(
            [("fetch", "archive=a b.fi", "logs/fetch/a b.fi.log")], False, "fetch a b.fi failed", id="a space"
        ),
        pytest.param([("claims", "", "logs/claims.log")], False, "claims failed", id="no wildcards"),
        pytest.param([run(s) for s in range(9)], False, f"and {9 - SHOWN} more:\n  train numbers/rela/seed", id="many"),
        pytest.param([run(1)], True, "Snakemake's log says why: ", id="started again"),
        pytest.param([], False, "Snakemake's log says why: ", id="no job"),
    ],
)
def test_a_failure_names_step_log_and_remedy(tmp_path, jobs, again, said):
    log = tmp_path / "snakemake.log"
    log.write_text(snakemake_log(*jobs, again=again))
    for _, _, path in jobs:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("".join(f"line {n}\n" for n in range(500)) + "reluformer: out of memory\n\n")
    text = explain_failures(log, tmp_path)
    assert said in text
    if "failed" in said or "more" in said:
        assert text.count("  | reluformer: out of memory") == min(len(jobs), SHOWN)
        assert "line 499" in text and "line 400" not in text
        assert "start the same command again" in text


def test_a_log_that_is_gone_is_said(tmp_path):
    log = tmp_path / "snakemake.log"
    log.write_text(snakemake_log(run(1)))
    assert "  | (no such file or directory)" in explain_failures(log, tmp_path)
