"""The paired tests of a study's runs on their test set: which are made, and what they found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reluformer.config.experiment import Experiment
from reluformer.evaluation.significance import compare_runs
from reluformer.files import write_json
from reluformer.paper.comparisons import compared_runs
from reluformer.paper.outputs import paired_kinds, significance_file
from reluformer.paper.records import read_json


def write_significance(experiment: Experiment, study: str, results: Path) -> None:
    """Writes `results/paper/significance/STUDY.json`: the paired tests of every pair of runs that is there."""
    wanted = [
        {"run": ours.path, "baseline": other.path, "metric": kind}
        for ours, other in compared_runs(experiment, study)
        for kind in paired_kinds(experiment, study)
    ]
    config = experiment.config.significance
    rows = compare_runs(results / "runs", wanted, config)
    content = {"study": study, "samples": config.model_dump(), "pairs": rows}
    write_json(Path(significance_file(study, str(results))), content)


class PairedTests:
    """The paired tests of a study's runs, by pair of runs and kind of BLEU."""

    def __init__(self, rows: Iterable[dict[str, Any]] = ()) -> None:
        self._found = {}
        for row in rows:
            self._found[row["run"], row["baseline"], row["metric"]] = row
            self._found[row["baseline"], row["run"], row["metric"]] = row

    @classmethod
    def read(cls, study: str, results: Path) -> PairedTests:
        """Those of `results/paper/significance/STUDY.json`; none where there is no such file."""
        content = read_json(Path(significance_file(study, str(results))))
        return cls(content["pairs"] if content else ())

    def worst(self, pairs: Iterable[tuple[str, str]], metric: str, test: str) -> float | None:
        """The largest p-value over the pairs of runs that were tested; None where none was.

        Small only where every pair differs: a p-value of the claim that all of them do.
        """
        found = (self._found.get((ours, other, metric)) for ours, other in pairs)
        return max((float(row[test]) for row in found if row is not None), default=None)
