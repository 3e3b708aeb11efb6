"""`index.html`, the reader's page: claims first, then every table and figure, every run, corpora and provenance.

Shows what exists, and says what does not exist yet. Tables and corpora are taken from their own pages; nothing is
recomputed.
"""

from __future__ import annotations

import base64
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import yaml
from markupsafe import Markup

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import LOG, MEASURED, SCORES, SUMMARY, TRANSLATION, metric
from reluformer.config.run import Run
from reluformer.config.settings import read_json
from reluformer.files import write_text
from reluformer.paper.claims import label
from reluformer.paper.notes import SOURCE_NOTE, footer, reported, toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS, TABLE_FORMATS
from reluformer.paper.pages import archive_cells, render
from reluformer.paper.runs import NOT_RUN, read_lines, read_runs
from reluformer.paper.tables import cells, shown_table
from reluformer.paper.verdicts import VERDICTS, Verdict

PAGE = "paper/index.html"
RUN_METRICS = ("updates", "best_valid_loss", "tokenized_bleu", "training_speed")
RUN_FILES = ("config.yaml", SUMMARY, LOG, "hypotheses.jsonl", TRANSLATION, SCORES, "analysis.json")
RUN_STEPS = ("train", "translate", "score", "analyse")
MOST = 3
"""The most comparisons of a claim in the table of claims; its own section has all of them."""
AGREES = {
    "reproduced": "These runs agree",
    "not reproduced": "These runs contradict it",
    "inconclusive": "These runs do not decide it",
    "not run": "Not all of its runs exist",
    "by construction": "It holds by construction",
}
"""What a verdict says about a headline."""
ALT = {
    "lines": "a line for each system",
    "bars": "a bar for each system",
    "layers": "a line for each system, layer by layer",
    "buckets": "a line for each system, by source length",
    "top-share": "a line for each system, by share of the slots",
    "training-curves": "a line for each run, by update",
    "learning-curves": "a line for each run, by update",
    "alignment-curves": "a line for each run, by update",
    "heat-map": "a cell for each pair of values",
    "variance-law": "the variance of the output by number of tokens, a line for each activation",
    "attention-maps": "a map for each system, darker where the weight is larger",
}
"""Alternative text for each kind of figure."""
INTERVALS = 4
"""The most intervals drawn for a claim."""
WIDTH, HEIGHT, EDGE = 168, 44, 3
"""Pixels of a training curve and of the margin around it."""


def build_index(experiment: Experiment, results: Path, logs: Path) -> None:
    """Writes `results/paper/index.html`; its links to files, and to the steps' logs in `logs`, are relative."""
    folder = results / "paper"
    judged = read_json(folder / "claims.json") or {"claims": [], "rule": ""}
    studies = [_study(experiment, name, folder) for name in experiment.studies]
    runs = [_run(experiment, run, results, logs) for run in experiment.runs]
    sources = provenance(experiment, results)
    anchors = {run["id"] for run in runs}
    measured = MEASURED if (folder / MEASURED).is_file() else ""
    claims = [_claim(claim, set(experiment.studies), anchors, measured) for claim in judged["claims"]]
    corpora = [(name, folder / "corpora" / f"{name}.html") for name in experiment.datasets]
    titles = [metric(name).title for name in RUN_METRICS]
    text = render(
        "index.html",
        title=experiment.config.title,
        stamp=toy_stamp(experiment),
        summary=summary(claims, sum(run["status"] != NOT_RUN for run in runs), len(runs)),
        rule=judged["rule"],
        claims=claims,
        sources=SOURCE_NOTE,
        studies=studies,
        maps=[figure for study in studies for figure in study["figures"] if figure["kind"] == "attention-maps"],
        runs=runs,
        run_columns=["dataset", "system", "changes", "seed", "status", "training", *titles, "files"],
        corpora=[{"name": name, "body": page_body(path)} for name, path in corpora if path.is_file()],
        configuration=_yaml(experiment.config.model_dump(mode="json")),
        provenance=sources,
        archives=[(archive["corpus"], *archive_cells(archive)) for archive in sources["archives"]],
        data=sorted(sources["data"].items()),
    )
    write_text(results / PAGE, text)


def summary(claims: Sequence[Mapping[str, Any]], done: int, runs: int) -> list[str]:
    """Returns the results in a few sentences: the paper's headlines, the count of verdicts, the progress."""
    counts = Counter(claim["verdict"] for claim in claims)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict])
    sentences = [headline(claim) for claim in claims if claim["headline"]]
    last = [f"Of {len(claims)} claims: {verdicts}."] if claims else []
    last += [f"So far {done} of {runs} runs exist; holes say so."] if done < runs else []
    return [*sentences, *([" ".join(last)] if last else [])]


def headline(claim: Mapping[str, Any]) -> str:
    """Returns a claim's headline, whether the runs agree, and the numbers of the deciding rule."""
    says = f"{claim['headline']} {AGREES[claim['verdict']]}"
    ruled = [rule for rule in claim["rules"] if rule["points"] and rule["points"][-1]["ours"]["centre"] is not None]
    decisive = [rule for rule in ruled if VERDICTS[rule["outcome"]] == claim["verdict"]]
    if not ruled:
        return f"{claim['headline']} Not run yet." if claim["verdict"] == "not run" else f"{says}."
    rule = (decisive or ruled)[0]
    point = rule["points"][-1]
    sides = [side for side in (point["ours"], point["other"]) if side and side["centre"] is not None]
    numbers = " against ".join(
        f"{side['centre']:.1f}" + (f" ± {side['sd']:.1f}" if side["sd"] is not None else "") for side in sides
    )
    other = f" ({rule['than']})" if len(sides) > 1 and rule["than"] else ""
    where = f" at length {point['at']['length']}" if "length" in point["at"] else ""
    return f"{says}: {rule['measure']} {numbers}{other}{where}."


def _claim(claim: Mapping[str, Any], studies: set[str], anchors: set[str], measured: str) -> dict[str, Any]:
    """Returns a claim with links to its runs, or to the file of what was measured without a training."""
    ours = list(dict.fromkeys(part for rule in claim["rules"] for part in rule["ours"].split("; ")))
    ours = ours or [claim["rests_on"]]
    more = len(ours) - MOST
    return {
        **claim,
        "label": label(claim),
        "grounds": [(rule["outcome"], rule["rule"], rule["seen"]) for rule in claim["rules"]],
        "reported": reported(claim["reported"]) or "no figures available",
        "ours": [*ours[:MOST], *([f"and {more} more"] if more > 0 else [])],
        "marks": interval_marks([point for rule in claim["rules"] for point in rule["points"]]),
        "section": claim["study"] in studies,
        "links": [(run, f"#run-{run}" if f"run-{run}" in anchors else measured) for run in claim["runs"]],
    }


def interval_marks(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the first `INTERVALS` intervals of differences, placed on lines of 160 pixels with 0 in the middle.

    Each line has its own scale, since each rule's metric has its own unit: compare the side of 0 only.
    """
    marks: list[dict[str, Any]] = []
    for point in [point for point in points if point["interval"] is not None][:INTERVALS]:
        (low, high), centre = point["interval"], point["difference"]
        scale = 74 / (max(abs(low), abs(high)) or 1.0)
        x = {name: f"{80 + scale * value:.1f}" for name, value in (("low", low), ("high", high), ("centre", centre))}
        text = f"difference {centre:.3g}, from {low:.3g} to {high:.3g}: {point['outcome']}"
        marks.append({**x, "outcome": point["outcome"], "text": text})
    return marks


def _study(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    config = experiment.studies[name]
    table = folder / "tables" / f"{name}.html"
    figures = []
    for figure, settings in config.figures.items():
        files = {form: folder / "figures" / f"{name}-{figure}.{form}" for form in FIGURE_FORMATS}
        figures.append(
            {
                "id": f"figure-{name}-{figure}",
                "study": config.title,
                "kind": settings.kind,
                "title": settings.title,
                "alt": f"{settings.title}: {ALT[settings.kind]}. The numbers are in the study's table.",
                "data": _data(files["svg"]),
                "picture": _address(files["svg"], folder),
                "files": _links(files.items(), folder),
            }
        )
    return {
        "name": name,
        "title": config.title,
        "question": config.question,
        "table": page_body(table) if table.is_file() else None,
        "files": _links([(form, folder / "tables" / f"{name}.{form}") for form in TABLE_FORMATS], folder),
        "figures": figures,
        "configuration": _yaml(config.model_dump(mode="json", exclude_defaults=True)),
    }


def page_body(path: Path) -> Markup:
    """Returns the body of another page: without its title, headings one level lower, later tables folded."""
    body = path.read_text(encoding="utf-8").partition("<body>")[2].partition("</body>")[0]
    body = re.sub(r"<h1>.*?</h1>|</?main>", "", body, flags=re.DOTALL).replace("<details open>", "<details>")
    return Markup(re.sub(r"(</?)h2\b", r"\1h3", body))


def _run(experiment: Experiment, run: Run, results: Path, logs: Path) -> dict[str, Any]:
    folder, home = results / "runs" / run.path, results / "paper"
    files = {file: read_json(folder / file) for file in (SUMMARY, SCORES)}
    summary = files[SUMMARY]
    status = summary["status"] if summary else NOT_RUN
    base, _, changes = run.system.partition("+")
    values = [(shown, shown.read(files)) for shown in map(metric, RUN_METRICS)]
    numbers = ["–" if value is None else shown.show(value) for shown, value in values]
    links = [(file, folder / file) for file in RUN_FILES]
    links += [(f"{step}'s log", logs / step / f"{run.path}.log") for step in RUN_STEPS]
    about = [run.dataset, base, changes.replace("+", ", "), run.seed, status]
    return {
        "id": f"run-{run.path}",
        "status": status,
        "cells": [*about, curve(read_lines(folder / LOG)), *numbers, _links(links, home)],
    }


def curve(log: Sequence[Mapping[str, Any]]) -> Markup:
    """Returns a run's losses against its updates as SVG, empty for a log without losses.

    The axes span 0 to the last update and the lowest to the highest finite loss.
    """
    series = {
        event: [
            (float(line["update"]), float(line["loss"]))
            for line in log
            if line["event"] == event and line.get("loss") is not None and math.isfinite(line["loss"])
        ]
        for event in ("train", "valid")
    }
    updates, losses = ([point[axis] for points in series.values() for point in points] for axis in (0, 1))
    if not updates:
        return Markup("")
    last, low, high = max(updates) or 1.0, min(losses), max(losses)
    across, down = (WIDTH - 2 * EDGE) / last, (HEIGHT - 2 * EDGE) / ((high - low) or 1.0)
    lines = [
        (event, " ".join(f"{EDGE + across * update:.1f},{EDGE + down * (high - loss):.1f}" for update, loss in points))
        for event, points in series.items()
        if points
    ]
    title = f"loss from {high:.2f} to {low:.2f} nats per token over {last:,.0f} updates"
    return Markup(render("curve.svg", width=WIDTH, height=HEIGHT, title=title, lines=lines))


def _links(files: Iterable[tuple[str, Path]], home: Path) -> Markup:
    """Returns links to those files that exist, by name."""
    link = Markup('<a href="{}">{}</a>')
    return Markup(", ").join(link.format(_address(path, home), text) for text, path in files if path.is_file())


def _address(path: Path, home: Path) -> str:
    return quote(Path(os.path.relpath(path, home)).as_posix())


def _data(path: Path) -> str:
    """Returns a figure as a data URL; "" if it is not drawn yet."""
    if not path.is_file():
        return ""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def provenance(experiment: Experiment, results: Path, runs: Sequence[Run] | None = None) -> dict[str, Any]:
    """Returns the provenance of the runs and prepared corpora that exist; `runs` by default the experiment's.

    `code`, `packages`, `machines`: the number of runs by description; `archives`: a `{corpus, name, published, sha256,
    bytes}` each; `data`: the sha256 of every corpus file that a training read, by its name.
    """
    counts: dict[str, Counter[str]] = {"code": Counter(), "packages": Counter(), "machines": Counter()}
    data: dict[str, str] = {}
    for run in experiment.runs if runs is None else runs:
        summary = read_json(results / "runs" / run.path / SUMMARY)
        if summary is not None:
            counts["code"][str(summary.get("code_version", "unknown"))] += 1
            counts["packages"][", ".join(" ".join(pair) for pair in summary.get("versions", {}).items())] += 1
            counts["machines"][_machine(summary.get("machine", {}))] += 1
            data |= summary.get("data", {})
    archives = [
        {"corpus": corpus, **archive}
        for corpus in experiment.datasets
        for archive in (read_json(results / "corpora" / corpus / "provenance.json") or {}).get("archives", [])
    ]
    return {**{key: dict(count) for key, count in counts.items()}, "archives": archives, "data": data}


def _machine(machine: dict[str, Any]) -> str:
    parts = [str(machine.get("cpu", "unknown processor")), f"{machine.get('cores', '?')} cores"]
    parts += [f"{number} × {name}" for name, number in Counter(machine.get("gpus") or []).items()]
    return ", ".join(parts)


def overview(experiment: Experiment, results: Path) -> str:
    """Returns what a finished workflow prints: the table and notes of the study marked `main` (or the first one), the
    verdicts, the report's path.
    """
    study = next((name for name, config in experiment.studies.items() if config.main), next(iter(experiment.studies)))
    config = experiment.studies[study]
    metrics = [metric(name) for name in config.columns]
    frame = read_runs(experiment, study, metrics, results)
    shown = shown_table(cells(frame, config, metrics), config, metrics)
    layout: dict[str, Any] = {"tablefmt": "simple", "disable_numparse": True, "maxheadercolwidths": 14}
    table = shown.astype(str).to_markdown(index=False, **layout)
    stamp = toy_stamp(experiment)
    notes = [*([stamp] if stamp else []), *footer(experiment, study, frame, results)]
    parts = [config.title, table, "\n".join(notes)]
    path = results / "paper" / "claims.json"
    if claims := read_json(path):
        counts = Counter(claim["verdict"] for claim in claims["claims"])
        mark = "Verdicts (toy)" if experiment.config.toy else "Verdicts"
        parts.append(f"{mark}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}; see {path}")
    page = results / PAGE
    parts.append(f"Report: {page}" if page.is_file() else f"Report: not built yet ({page})")
    return "\n\n".join(parts)
