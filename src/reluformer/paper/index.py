"""The reader's page: claims first, then every table and figure, every run, the corpora, and what all of it rests on.

One self-contained file, made from what is there: what is not yet says so. Tables and corpora are shown as their own
pages have them, nothing is computed anew.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment
from markupsafe import Markup

from reluformer.config.experiment import Experiment
from reluformer.config.metrics import LOG, MEASURED, SCORES, SUMMARY, TRANSLATION, metric
from reluformer.config.run import Run
from reluformer.files import write_text
from reluformer.paper import assets
from reluformer.paper.claims import label
from reluformer.paper.curves import curve
from reluformer.paper.notes import reported, source_note, toy_stamp
from reluformer.paper.outputs import FIGURE_FORMATS, TABLE_FORMATS
from reluformer.paper.page import STYLE, grid
from reluformer.paper.provenance import provenance
from reluformer.paper.records import NOT_RUN, read_json, read_lines

PAGE = "paper/index.html"
RUN_METRICS = ("updates", "best_valid_loss", "tokenized_bleu", "training_speed")
RUN_FILES = ("config.yaml", SUMMARY, LOG, "hypotheses.jsonl", TRANSLATION, SCORES, "analysis.json")
RUN_STEPS = ("train", "translate", "score", "analyse")


def build_index(experiment: Experiment, results: Path, logs: Path) -> None:
    """Writes `results/paper/index.html`; its links to files, and to the steps' logs in `logs`, are relative."""
    folder = results / "paper"
    judged = read_json(folder / "claims.json") or {"claims": [], "rule": ""}
    studies = [_study(experiment, name, folder) for name in experiment.studies]
    runs = [_run(experiment, run, results, logs) for run in experiment.runs]
    told = provenance(experiment, results)
    trained = {run["path"] for run in runs}
    measured = MEASURED if (folder / MEASURED).is_file() else ""
    done = sum(run["status"] != NOT_RUN for run in runs)
    state = "" if done == len(runs) else f"So far {done} of {len(runs)} runs are there; holes say so."
    names = {"code": "code version", "packages": "packages", "machines": "machine"}
    claims = [_claim(claim, {study["name"] for study in studies}, trained, measured) for claim in judged["claims"]]
    text = (
        Environment(autoescape=True)
        .from_string(assets.TEMPLATE)
        .render(
            title=experiment.config.title,
            stamp=toy_stamp(experiment),
            state=state,
            style=Markup(STYLE + assets.STYLE),
            script=Markup(assets.SCRIPT),
            rule=judged["rule"],
            claims=claims,
            verdicts=_verdicts(claims),
            sources=source_note(),
            studies=studies,
            maps=[figure for study in studies for figure in study["figures"] if figure["kind"] == "attention-maps"],
            runs=_runs(runs),
            grid=grid,
            corpora=_corpora(experiment, folder),
            configuration=_yaml(experiment.config.model_dump(mode="json")),
            said={title: list(told[key].items()) for key, title in names.items()},
            archives=[_archive(one) for one in told["archives"]],
            data=sorted(told["data"].items()),
        )
    )
    write_text(results / PAGE, text)


def _claim(claim: Mapping[str, Any], built: set[str], trained: set[str], measured: str) -> dict[str, Any]:
    """A claim with links to its runs, or to the file that holds what was measured without a training."""
    links = [(run, f"#run-{run}" if run in trained else measured) for run in claim["runs"]]
    rules = [(rule["outcome"], rule["rule"], rule["seen"]) for rule in claim["rules"]]
    told = {"label": label(claim), "rules": rules, "reported": reported(claim["reported"]) or "no figures available"}
    return {**claim, **told, "section": claim["study"] in built, "links": links}


def _verdicts(claims: Sequence[Mapping[str, Any]]) -> Markup:
    rows = []
    for claim in claims:
        rests = Markup('<a href="#claim-{}">what it rests on</a>').format(claim["id"])
        if claim["section"]:
            rests += Markup('<br><a href="#study-{}">table and figures</a>').format(claim["study"])
        verdict = Markup("<strong>{}</strong>").format(claim["label"])
        rows.append((verdict, f"{claim['sentence']} ({claim['source']})", claim["reported"], rests))
    return grid(("verdict", "claim", "reported", "rests on"), rows)


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
    """The body of a page of the project's own, its title left out and its headings two steps lower."""
    body = path.read_text(encoding="utf-8").partition("<body>")[2].partition("</body>")[0]
    body = re.sub(r"<h1>.*?</h1>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"(</?)h2\b", r"\1h4", body)
    return Markup(body)


def _runs(runs: Sequence[Mapping[str, Any]]) -> Markup:
    titles = [metric(name).title for name in RUN_METRICS]
    columns = ["dataset", "system", "changes", "seed", "status", "training", *titles, "files"]
    return grid(columns, [run["cells"] for run in runs], [f"run-{run['path']}" for run in runs])


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
