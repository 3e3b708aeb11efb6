"""Compares every row of a study's table with its baseline: across seeds, and in pairs of runs on the test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import Metric
from reluformer.config.settings import read_json
from reluformer.evaluation.significance import TESTS, paired_tests_of_runs
from reluformer.files import write_json
from reluformer.paper.inference import ALPHA, difference, holm, p_cell, sample
from reluformer.paper.outputs import PAIRED, baseline, baseline_runs, compared_runs, paired_kinds, significance_file
from reluformer.paper.runs import DIVERGED, system_title
from reluformer.paper.tables import KEY_TITLES, key_columns, point_of

SEEDS, TEST_SET = "*", "†"
"""Marks of a significant difference: across seeds; on the test set."""
COLUMNS = ["point", "metric", "n", "baseline_n", "difference", "low", "high", "p_seeds", "holm_seeds"]
COLUMNS += [f"{kind}_{test}" for test in TESTS for kind in ("p", "holm")] + ["marks"]
Tests = dict[tuple[str, str, str], dict[str, Any]]
"""The paired tests of a study's runs, by both runs, in either order, and the kind of BLEU."""


def write_significance(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/significance/STUDY.json`: the paired tests of every pair of runs that exists.

    Raises `SettingsError` for an unknown study, or for runs that were not scored on the same segments.
    """
    experiment.study(study)
    pairs = [
        (ours.path, other.path, kind)
        for ours, other in compared_runs(experiment, study)
        for kind in paired_kinds(experiment, study)
    ]
    config = experiment.config.significance
    rows = paired_tests_of_runs(results / "runs", pairs, config)
    write_json(results / significance_file(study), {"study": study, "samples": config.model_dump(), "pairs": rows})


def read_tests(study: str, results: Path) -> Tests:
    """Reads `results/paper/significance/STUDY.json`; returns {} if it does not exist."""
    rows = (read_json(results / significance_file(study)) or {"pairs": []})["pairs"]
    return {(*pair, row["metric"]): row for row in rows for pair in permutations((row["run"], row["baseline"]))}


def worst_p(tests: Tests, pairs: Iterable[tuple[str, str]], metric: str, test: str) -> float | None:
    """Returns the largest p-value over the pairs of runs that were tested; None if none was.

    It is small only if every pair differs, so it tests whether all of them do.
    """
    rows = (tests.get((*pair, metric)) for pair in pairs)
    return max((float(row[test]) for row in rows if row is not None), default=None)


def differences(
    experiment: Experiment, study: str, frame: pd.DataFrame, metrics: Sequence[Metric], results: Path
) -> pd.DataFrame:
    """Returns a row for each tested metric at each point of a study other than the baseline.

    Columns: the keys; `point` (DATASET/SYSTEM); `n` and `baseline_n` seeds; `difference` of the means with its 95 %
    interval `low`..`high` and `p_seeds` by Welch's t (both need two seeds); `p_bootstrap` and `p_randomisation` on the
    test set, the largest over seed-matched pairs. All p-values are two-sided; `holm_...` are corrected for all
    comparisons of the kind in the table. `marks` holds `*` if `holm_seeds`, `†` if both test-set p-values are at most
    0.05.
    """
    baseline_of = {ours.path: other.path for ours, other in baseline_runs(experiment, study).items()}
    tests, by_run = read_tests(study, results), frame.set_index("run")
    keys = key_columns(experiment.studies[study], frame)
    rows = []
    for _, group in frame.groupby(["dataset", *keys], sort=False, dropna=False):
        pairs = [(run, baseline_of[run]) for run in group["run"] if run in baseline_of]
        if not pairs:
            continue
        others = by_run.loc[[other for _, other in pairs]]
        point = {key: group[key].iloc[0] for key in keys}
        rows += [point | _row(group, others, pairs, metric, tests) for metric in metrics if metric.tested]
    return _corrected(pd.DataFrame(rows, columns=[*keys, *COLUMNS]))


def _row(
    group: pd.DataFrame, others: pd.DataFrame, pairs: list[tuple[str, str]], metric: Metric, tests: Tests
) -> dict[str, Any]:
    ours, other = (side[metric.name].dropna().tolist() for side in (group, others))
    row: dict[str, Any] = {"point": point_of(group), "metric": metric.name, "n": len(ours), "baseline_n": len(other)}
    if len(ours) and len(other):
        row["difference"] = mean(ours) - mean(other)
        # Where runs diverged, the mean of the others is not the system's.
        complete = metric.survives or not any((side["status"] == DIVERGED).any() for side in (group, others))
        if complete and (effect := difference(sample(ours), sample(other))):
            row["low"], row["high"] = effect.interval
            row["p_seeds"] = effect.p
    if metric.name in PAIRED:
        row |= {f"p_{test}": worst_p(tests, pairs, metric.name, test) for test in TESTS}
    return row


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    for kind in ("seeds", *TESTS):
        table[f"holm_{kind}"] = holm([None if pd.isna(p) else float(p) for p in table[f"p_{kind}"]])
    seeds = table["holm_seeds"].astype(float) <= ALPHA
    test_set = (table[[f"holm_{test}" for test in TESTS]].astype(float) <= ALPHA).all(axis=1)
    table["marks"] = [SEEDS * one + TEST_SET * two for one, two in zip(seeds, test_set, strict=True)]
    return table


def marks(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Returns the marks of a table's cells, by point and metric."""
    return {(row["point"], row["metric"]): row["marks"] for row in table.to_dict("records")}


def baseline_title(experiment: Experiment, study: str) -> str:
    """Returns the title of what a table's rows are tested against."""
    config = experiment.studies[study]
    return ", ".join(
        system_title(experiment, value, config) if key == "system" else f"{KEY_TITLES.get(key, key)} = {value}"
        for key, value in baseline(config).items()
    )


def legend(experiment: Experiment, study: str, table: pd.DataFrame) -> list[str]:
    """Returns what the marks in a study's table mean, and what could not be tested."""
    if table.empty:
        return []
    against = baseline_title(experiment, study)
    seeds, sets = int(table["p_seeds"].notna().sum()), int(table["p_bootstrap"].notna().sum())
    lines = [f"No test across seeds against {against}: it takes two seeds of both."]
    if seeds:
        lines = [
            f"{SEEDS} differs from {against} across seeds: Welch's t, two-sided, at {ALPHA} after Holm's correction "
            f"for the {seeds} comparisons of this table."
        ]
    if sets:
        lines.append(
            f"{TEST_SET} differs from {against} on this test set, in every pair of runs with the same seed: "
            f"sacreBLEU's paired bootstrap and paired approximate randomisation, both at {ALPHA} after Holm's "
            f"correction for {sets} comparisons. It says nothing of another training."
        )
    return lines


def differences_table(
    experiment: Experiment, study: str, table: pd.DataFrame, metrics: Sequence[Metric]
) -> dict[str, pd.DataFrame]:
    """Returns the tested differences for people, under their title; {} if nothing could be tested."""
    tested = table[table[["p_seeds", "p_bootstrap"]].notna().any(axis=1)]
    if tested.empty:
        return {}
    by_name = {metric.name: metric for metric in metrics}
    rows = []
    for row in tested.to_dict("records"):
        metric = by_name[row["metric"]]
        text = metric.show_difference(row["difference"])
        if not pd.isna(row["low"]):
            text += f" {metric.show_interval((row['low'], row['high']))}"
        keys = {KEY_TITLES.get(key, key): row[key] for key in table.columns[: -len(COLUMNS)] if not pd.isna(row[key])}
        keys |= {"system": system_title(experiment, row["system"], experiment.studies[study])}
        cells = {"metric": metric.title, "difference": text, "significant": row["marks"] or "no"}
        for kind in ("seeds", *TESTS):
            cells[f"p ({kind})"] = p_cell(row[f"holm_{kind}"])
        rows.append(keys | cells)
    title = f"Differences from {baseline_title(experiment, study)}, p-values after Holm's correction"
    return {title: pd.DataFrame(rows).fillna("–")}
