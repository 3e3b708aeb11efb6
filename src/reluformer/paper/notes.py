"""The notes under a study's table: dataset, updates, real lengths of each L, tuning, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.claims import ClaimConfig
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, metric
from reluformer.config.run import Run
from reluformer.config.settings import read_json
from reluformer.config.studies import SENTENCE, AnswerConfig
from reluformer.config.tuning import read_choice
from reluformer.paper.runs import DIVERGED, NOT_RUN, measured_note

SOURCE_NOTE = (
    "Marks of what the paper reports: (A) the abstract; (S) third-party summaries that agree with each other, not the "
    "paper's own text; (D) derived; (?) open."
)


def toy_stamp(experiment: Experiment) -> str | None:
    """Returns the line on every table and figure of a toy configuration; None for others."""
    return "TOY CONFIGURATION: shows the machinery, not the paper's results" if experiment.config.toy else None


def footer(experiment: Experiment, study: str, frame: pd.DataFrame, results: Path) -> list[str]:
    """Returns the lines under a study's table, without the toy stamp."""
    titles = {name: experiment.dataset(name).title for name in frame["dataset"].unique()}
    seeds = frame["seed"].nunique()
    spread = "one seed, so neither spread nor interval is known"
    if seeds > 1:
        spread = f"mean ± standard deviation over {seeds} seeds, [the mean's 95 % interval by Student's t]"
    config = experiment.studies[study]
    if config.measured:
        return [f"Dimensions of {', '.join(titles.values())}. Cells: median ± sd over rounds.", *measured_note(results)]
    lines = [f"Dataset: {', '.join(titles.values())}. {updates_line(experiment, study)} Cells: {spread}."]
    lines += length_lines(frame, results)
    if "tuned.validation_bleu" in config.columns and is_tuned(experiment, study):
        lines += tuning_lines(experiment, study, results)
    if any(name.startswith("measured.") for name in config.columns):
        lines += measured_note(results)
    missing = int((frame["status"] == NOT_RUN).sum())
    if missing:
        lines.append(f"{missing} of {len(frame)} runs are not there yet; their cells say so.")
    return lines


def reported(figures: Iterable[Mapping[str, Any]]) -> str:
    """Formats reported figures with their source marks: `ReLU 34.22 (S); Softmax 33.08 (S)`."""
    return "; ".join(f"{figure['what']} {figure['value']} ({figure['source']})" for figure in figures)


def reported_lines(claims: Mapping[str, ClaimConfig], study: str) -> list[str]:
    """Returns the figures that the paper reports on the claims of a study, with their sources."""
    lines = []
    for claim in claims.values():
        if claim.study == study and claim.reported:
            lines.append(f"The paper reports: {reported(figure.model_dump() for figure in claim.reported)}.")
    return [*lines, SOURCE_NOTE] if lines else []


def updates_line(experiment: Experiment, study: str) -> str:
    """Returns the configured updates, `Updates: 50,000.`, or a range if the study's runs differ."""
    updates = sorted({experiment.resolve(run).training.updates for run in experiment.study_runs(study)})
    shown = f"{updates[0]:,}" if len(updates) == 1 else f"{updates[0]:,} to {updates[-1]:,}, depending on the run"
    return f"Updates: {shown}."


def is_tuned(experiment: Experiment, study: str) -> bool:
    """Returns whether a study has a run with tuned values."""
    return any(experiment.tuning.choice_file(run, Path()) for run in experiment.study_runs(study))


def tuning_lines(experiment: Experiment, study: str, results: Path) -> list[str]:
    """Returns how each system of a study was tuned: its grid, its extensions, and the choice."""
    texts = {
        (run.dataset, split_system(run.system).base): _tuning(experiment, run, results)
        for run in experiment.study_runs(study)
    }
    shown: dict[str, list[str]] = {}
    for (_, system), text in texts.items():
        shown.setdefault(text, []).append(experiment.systems[system].title)
    return [f"Tuning of {'; '.join(dict.fromkeys(titles))}: {text}" for text, titles in shown.items()]


def _tuning(experiment: Experiment, run: Run, results: Path) -> str:
    search, file = experiment.tuning.search_for(run), experiment.tuning.choice_file(run, results)
    if file is None:
        return "none, the recipe is as it is."
    if search is None:
        pinned = read_choice(file)
        return f"chosen before, in {pinned.source}: {_values(pinned.changes)}."
    grid = "; ".join(f"{key} ∈ {{{', '.join(map(str, values))}}}" for key, values in search.grid.items())
    result = read_json(results / search.path)
    if result is None:
        return f"{grid}; not tuned yet."
    added = "".join(f", {key} widened by {', '.join(map(str, values))}" for key, values in result["widened"].items())
    edges = "".join(f", {key} still best at the edge" for key in result["edges"])
    chosen = result["choice"]
    choice = _values(chosen["changes"]) if chosen else "nothing, as every run diverged"
    return f"{grid}{added}; {len(result['runs'])} runs of seed {result['seed']}; chosen: {choice}{edges}."


def _values(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in changes.items()) or "nothing"


def length_lines(frame: pd.DataFrame, results: Path) -> list[str]:
    """Returns the real lengths of the test segments for each L of a document study."""
    lines = []
    if (frame["length"] == SENTENCE).any():
        lines.append("Source lengths of single sentences are in words, those of segments in subword tokens.")
    for (packing, length), group in frame.dropna(subset=["length"]).groupby(["packing", "length"], sort=False):
        every = (read_json(results / "runs" / run / SCORES) for run in group["run"])
        lengths = next((scores["lengths"] for scores in every if scores and scores["lengths"]), None)
        if lengths is None:
            lines.append(f"L = {length:.0f} ({packing} documents): lengths not known, no run is scored.")
            continue
        lines.append(
            f"L = {length:.0f} ({packing} documents): test sources have mean {lengths['mean']:.0f}, median "
            f"{lengths['median']:.0f}, 90th percentile {lengths['p90']:.0f}, longest {lengths['max']:.0f} tokens; "
            f"{lengths['share_half']:.0%} reach L/2."
        )
    return lines


def answer(config: AnswerConfig, frame: pd.DataFrame) -> str:
    """Returns the sentence that answers a study's question: the best value of a varied key, and those equally good.

    Means are over seeds; values within the tolerance of the best count as equally good.
    """
    shown = metric(config.metric)
    groups = [(str(value), group) for value, group in frame.groupby(config.key, sort=False)]
    known = {value: group[shown.name].dropna() for value, group in groups}
    means = {value: shown.centre(values) for value, values in known.items() if len(values)}
    space = ", ".join(known)
    lost = [value for value, group in groups if (group["status"] == DIVERGED).all()]
    if not means or len(means) + len(lost) < 2:
        return f"“{config.question}” Not answered yet: no two of {config.symbol} ∈ {{{space}}} have a {shown.title}."
    best = max(means, key=lambda value: means[value])
    n = len(known[best])
    close = [value for value, mean in means.items() if value != best and means[best] - mean <= config.tolerance]
    unknown = [value for value in known if value not in means and value not in lost]
    spread = float(known[best].std(ddof=1)) if n > 1 else None
    parts = [
        f"of the search space {config.symbol} ∈ {{{space}}}, {config.symbol} = {best} is best with "
        f"{shown.title} {shown.show(means[best], spread)} ({n} seed{'s' * (n > 1)})",
        f"within {config.tolerance} of it: {', '.join(close) or 'none'}",
        f"the range over all values is {shown.show(max(means.values()) - min(means.values()))}",
    ]
    if lost:
        parts.append(f"diverged: {', '.join(lost)}")
    if unknown:
        parts.append(f"not run: {', '.join(unknown)}")
    return f"“{config.question}” Here, {'; '.join(parts)}."
