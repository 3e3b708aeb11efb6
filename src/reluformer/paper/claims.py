"""What the paper claims beside what we see: each claim's reported figures, ours, and a verdict by a stated rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from reluformer.experiment import Experiment
from reluformer.files import write_json, write_text
from reluformer.paper import page
from reluformer.paper.config import ClaimConfig
from reluformer.paper.formats import markdown, pipe_table
from reluformer.paper.metrics import metric
from reluformer.paper.notes import reported, source_note, toy_stamp
from reluformer.paper.outputs import read_claims
from reluformer.paper.records import records, system_title
from reluformer.paper.tables import key_columns
from reluformer.paper.verdicts import STATED, VERDICTS, Comparison, compare, state, total

TITLE = "The paper's claims, and what we see"
LEAD = "Each verdict rests on the runs of one study, compared by the rules in the second table."
GROUNDS = "What the verdicts rest on"


def build_claims(experiment: Experiment, results: Path) -> None:
    """Writes `results/paper/claims.{json,md,html}`. Raises `SettingsError` for a mistake in claims.yaml."""
    judged = [judge(experiment, name, claim, results) for name, claim in read_claims(experiment).items()]
    verdicts = pd.DataFrame([_verdict_row(claim) for claim in judged])
    grounds = pd.DataFrame([row for claim in judged for row in _rule_rows(claim)])
    stamp = toy_stamp(experiment)
    notes = [STATED, source_note()]
    content = {"title": experiment.config.title, "toy": experiment.config.toy, "rule": STATED, "claims": judged}
    folder = results / "paper"
    write_json(folder / "claims.json", content)
    pages = [*([stamp] if stamp else []), f"## {GROUNDS}", pipe_table(grounds), *notes]
    write_text(folder / "claims.md", markdown(TITLE, verdicts, pages))
    tables = [("", verdicts), (GROUNDS, grounds)]
    write_text(folder / "claims.html", page.render(TITLE, LEAD, tables, notes, stamp=stamp))


def judge(experiment: Experiment, name: str, claim: ClaimConfig, results: Path) -> dict[str, Any]:
    """One claim as claims.json has it: what is reported, each rule with its points, the verdict, the runs."""
    entry: dict[str, Any] = {
        "id": name,
        "sentence": claim.sentence,
        "source": claim.source,
        "study": claim.study,
        "reported": [figure.model_dump() for figure in claim.reported],
        "toy": experiment.config.toy,
        "rules": [],
        "runs": [],
    }
    if claim.study is None:
        return entry | {"verdict": "by construction", "rests_on": claim.construction}
    if claim.study not in experiment.studies:
        return entry | {"verdict": "not run", "rests_on": f"the study {claim.study} is not among those chosen"}
    names = dict.fromkeys(rule.metric for rule in claim.rule)
    frame = records(experiment, claim.study, [metric(one) for one in names], results)
    study = experiment.studies[claim.study]
    keys = [key for key in key_columns(study, frame) if key != "system"]
    titles = {system: system_title(experiment, system) for system in study.systems}
    outcomes = []
    for rule in claim.rule:
        comparisons = compare(rule, frame, keys)
        outcomes.append(total([one.outcome for one in comparisons]))
        entry["rules"].append(
            {
                "rule": state(rule, titles),
                "outcome": outcomes[-1],
                "points": [_point(one) for one in comparisons],
                "seen": seen(comparisons, rule.metric),
            }
        )
    entry["runs"] = list(frame["run"])
    return entry | {"verdict": VERDICTS[total(outcomes)], "rests_on": f"tables/{claim.study}.html"}


def seen(comparisons: list[Comparison], name: str) -> str:
    """Our figures at each point, as people read them."""
    shown = metric(name)
    parts = []
    for one in comparisons:
        where = ", ".join(f"{key} {value}" for key, value in one.at.items())
        sides = [one.ours.text(shown)]
        if one.other is not None and (one.other.n or one.other.mean is None):  # not a number that the rule states
            sides.append(one.other.text(shown))
        parts.append((f"{where}: " if where else "") + " against ".join(sides))
    return "; ".join(parts) or "no such runs in this configuration"


def _point(one: Comparison) -> dict[str, Any]:
    sides = {"ours": one.ours._asdict(), "other": one.other._asdict() if one.other else None}
    return {"at": {key: _plain(value) for key, value in one.at.items()}, **sides, "outcome": one.outcome}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def label(claim: Mapping[str, Any]) -> str:
    """A verdict as it is shown: that of a toy configuration says so."""
    verdict = str(claim["verdict"])
    return f"toy: {verdict}" if claim["toy"] and verdict not in ("not run", "by construction") else verdict


def _verdict_row(claim: Mapping[str, Any]) -> dict[str, str]:
    return {
        "claim": claim["id"],
        "verdict": label(claim),
        "the paper": f"{claim['sentence']} ({claim['source']})",
        "reported": reported(claim["reported"]) or "no figures available",
    }


def _rule_rows(claim: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row a rule; a claim without rules has one that says what it rests on."""
    if not claim["rules"]:
        return [{"claim": claim["id"], "outcome": "–", "rule": "–", "ours": claim["rests_on"]}]
    return [
        {"claim": claim["id"], "outcome": rule["outcome"], "rule": rule["rule"], "ours": rule["seen"]}
        for rule in claim["rules"]
    ]
