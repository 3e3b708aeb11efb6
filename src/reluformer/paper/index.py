"""The reader's page: claims first, then every table and figure, every run, the corpora, and what all of it rests on.

One self-contained file, made from what is there: what is not yet says so. Tables and corpora are shown as their own
pages have them, nothing is computed anew.
"""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import quote

import yaml
from markupsafe import Markup

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import LOG, MEASURED, SCORES, SUMMARY, TRANSLATION, metric
from reluformer.config.run import Run
from reluformer.files import write_text
from reluformer.paper.claims import label
from reluformer.paper.curves import curve
from reluformer.paper.notes import reported, source_note, toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS, TABLE_FORMATS
from reluformer.paper.page import render
from reluformer.paper.provenance import provenance
from reluformer.paper.records import NOT_RUN, read_json, read_lines

PAGE = "paper/index.html"
RUN_METRICS = ("updates", "best_valid_loss", "tokenized_bleu", "training_speed")
RUN_FILES = ("config.yaml", SUMMARY, LOG, "hypotheses.jsonl", TRANSLATION, SCORES, "analysis.json")
RUN_STEPS = ("train", "translate", "score", "analyse")
SHOWN_VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run", "by construction")
MOST = 160
"""Characters of our figures in the table of claims; all of them are in what the verdict rests on."""
LINES = 4
"""Intervals drawn for a claim, at most."""


def build_index(experiment: Experiment, results: Path, logs: Path) -> None:
    """Writes `results/paper/index.html`; its links to files, and to the steps' logs in `logs`, are relative."""
    folder = results / "paper"
    judged = read_json(folder / "claims.json") or {"claims": [], "rule": ""}
    studies = [_study(experiment, name, folder) for name in experiment.studies]
    runs = [_run(experiment, run, results, logs) for run in experiment.runs]
    made_with = provenance(experiment, results)
    trained = {run["path"] for run in runs}
    measured = MEASURED if (folder / MEASURED).is_file() else ""
    names = {"code": "code version", "packages": "packages", "machines": "machine"}
    claims = [_claim(claim, {study["name"] for study in studies}, trained, measured) for claim in judged["claims"]]
    text = render(
        "index.html",
        title=experiment.config.title,
        stamp=toy_stamp(experiment),
        found=summary(claims, sum(run["status"] != NOT_RUN for run in runs), len(runs)),
        rule=judged["rule"],
        claims=claims,
        sources=source_note(),
        studies=studies,
        maps=[figure for study in studies for figure in study["figures"] if figure["kind"] == "attention-maps"],
        runs=runs,
        run_columns=[
            "dataset",
            "system",
            "changes",
            "seed",
            "status",
            "training",
            *map(title_of, RUN_METRICS),
            "files",
        ],
        corpora=_corpora(experiment, folder),
        configuration=_yaml(experiment.config.model_dump(mode="json")),
        made_with={title: list(made_with[key].items()) for key, title in names.items()},
        archives=[_archive(one) for one in made_with["archives"]],
        data=sorted(made_with["data"].items()),
    )
    write_text(results / PAGE, text)


def summary(claims: Sequence[Mapping[str, Any]], done: int, runs: int) -> list[str]:
    """What was found, in a few sentences: the paper's headlines, then all of its claims, and how far the runs are."""
    counts = Counter(claim["verdict"] for claim in claims)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in SHOWN_VERDICTS if counts[verdict])
    headlines = [claim for claim in claims if claim["headline"]]
    sentences = [f"{claim['headline']} Here: {claim['ours']} ({claim['label']})." for claim in headlines]
    if claims:
        sentences.append(f"Of {len(claims)} claims of the paper: {verdicts}.")
    if done < runs:
        sentences.append(f"So far {done} of {runs} runs are there; holes say so.")
    return sentences


def title_of(name: str) -> str:
    """A metric's title."""
    return metric(name).title


def _claim(claim: Mapping[str, Any], built: set[str], trained: set[str], measured: str) -> dict[str, Any]:
    """A claim with links to its runs, or to the file that holds what was measured without a training."""
    links = [(run, f"#run-{run}" if run in trained else measured) for run in claim["runs"]]
    rules = [(rule["outcome"], rule["rule"], rule["seen"]) for rule in claim["rules"]]
    ours = "; ".join(dict.fromkeys(rule["ours"] for rule in claim["rules"])) or claim["rests_on"]
    return {
        **claim,
        "label": label(claim),
        "rules": rules,
        "reported": reported(claim["reported"]) or "no figures available",
        "ours": shorten(ours, MOST),
        "marks": interval_marks([point for rule in claim["rules"] for point in rule["points"]]),
        "section": claim["study"] in built,
        "links": links,
    }


def interval_marks(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first `LINES` differences that have an interval, placed on a line of 160 pixels with 0 in its middle.

    Each rule's metric has a unit of its own, so each line has a scale of its own: what counts is its side of 0.
    """
    marks: list[dict[str, Any]] = []
    for point in points:
        if point["interval"] is None or len(marks) == LINES:
            continue
        low, high = point["interval"]
        reach = max(abs(low), abs(high)) or 1.0
        ends = {
            name: f"{80 + 74 * value / reach:.1f}" for name, value in zip(("low", "high"), (low, high), strict=True)
        }
        centre = f"{80 + 74 * point['difference'] / reach:.1f}"
        text = f"difference {point['difference']:.3g}, from {low:.3g} to {high:.3g}: {point['outcome']}"
        marks.append({**ends, "centre": centre, "outcome": point["outcome"], "text": text})
    return marks


def _study(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    config = experiment.studies[name]
    table = folder / "tables" / f"{name}.html"
    body = (
        page_body(table)
        if table.is_file()
        else Markup("<p>{}</p><p>The table is not built yet.</p>").format(config.question)
    )
    figures = []
    for figure, drawn in config.figures.items():
        files = {form: folder / "figures" / f"{name}-{figure}.{form}" for form in FIGURE_FORMATS}
        figures.append(
            {
                "id": f"figure-{name}-{figure}",
                "study": config.title,
                "kind": drawn.kind,
                "title": drawn.title,
                "data": _data(files["svg"]),
                "picture": _address(files["svg"], folder),
                "files": _links(files.items(), folder),
            }
        )
    tables = [(form, folder / "tables" / f"{name}.{form}") for form in TABLE_FORMATS]
    return {
        "name": name,
        "title": config.title,
        "body": body,
        "files": _links(tables, folder),
        "figures": figures,
        "configuration": _yaml(config.model_dump(mode="json", exclude_defaults=True)),
    }


def page_body(path: Path) -> Markup:
    """The body of another page: without its title, its headings a step lower, its later tables folded."""
    body = path.read_text(encoding="utf-8").partition("<body>")[2].partition("</body>")[0]
    body = re.sub(r"<h1>.*?</h1>|</?main>", "", body, flags=re.DOTALL).replace("<details open>", "<details>")
    body = re.sub(r"(</?)h2\b", r"\1h3", body)
    return Markup(body)


def _run(experiment: Experiment, run: Run, results: Path, logs: Path) -> dict[str, Any]:
    folder, home = results / "runs" / run.path, results / "paper"
    files = {file: read_json(folder / file) for file in (SUMMARY, SCORES)}
    summary = files[SUMMARY]
    status = summary["status"] if summary else NOT_RUN
    base, _, changes = run.system.partition("+")
    values = [(shown, shown.read(files)) for shown in map(metric, RUN_METRICS)]
    numbers = ["–" if value is None else shown.show(value) for shown, value in values]
    drawn = Markup(curve(read_lines(folder / LOG)))  # numbers alone
    kept = [(file, folder / file) for file in RUN_FILES]
    kept += [(f"{step}'s log", logs / step / f"{run.path}.log") for step in RUN_STEPS]
    return {
        "path": run.path,
        "id": f"run-{run.path}",
        "status": status,
        "cells": [run.dataset, base, changes.replace("+", ", "), run.seed, status, drawn, *numbers, _links(kept, home)],
    }


def _corpora(experiment: Experiment, folder: Path) -> list[dict[str, Any]]:
    pages = [(name, folder / "corpora" / f"{name}.html") for name in experiment.datasets]
    return [{"name": name, "body": page_body(path)} for name, path in pages if path.is_file()]


def _archive(found: Mapping[str, Any]) -> tuple[object, ...]:
    published = found["published"]
    where = published if isinstance(published, str) else " ".join(published)
    checksum = Markup("<code>{}</code>").format(found["sha256"])
    return found["corpus"], found["name"], checksum, f"{found['bytes']:,}", where


def _links(files: Iterable[tuple[str, Path]], home: Path) -> Markup:
    """Those of the files that are there, each a link under its name."""
    link = Markup('<a href="{}">{}</a>')
    return Markup(", ").join(link.format(_address(path, home), text) for text, path in files if path.is_file())


def _address(path: Path, home: Path) -> str:
    return quote(Path(os.path.relpath(path, home)).as_posix())


def _data(path: Path) -> str:
    """A figure as an address that holds it; "" where it is not drawn."""
    if not path.is_file():
        return ""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
