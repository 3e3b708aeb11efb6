"""A study's table: its cells over seeds, laid out for machines and for people, as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from reluformer.config.metrics import Metric
from reluformer.config.studies import StudyConfig
from reluformer.paper.inference import Effect, centre_effect, sample
from reluformer.paper.runs import DIVERGED

KEY_TITLES = {"length": "L", "gamma": "γ", "penalty.weight": "λ"}
"""Titles of keys in tables and figures; other keys appear under their own names."""
TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "α": r"$\alpha$",
    "×": r"$\times$",
    "|": r"$|$",
    "Σ": r"$\Sigma$",
    "γ": r"$\gamma$",
    "λ": r"$\lambda$",
    "∈": r"$\in$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "−": r"$-$",
    "≈": r"$\approx$",
    "√": r"$\surd$",
    "“": "``",
    "”": "''",
    "’": "'",
    "–": "--",
}


def key_columns(study: StudyConfig, frame: pd.DataFrame) -> list[str]:
    """Returns the columns that identify a row of a study, without the seed."""
    document = ["packing", "length"] if frame["length"].notna().any() else []
    return [*document, "system", *study.vary]


def cells(
    frame: pd.DataFrame,
    study: StudyConfig,
    metrics: Sequence[Metric],
    marks: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """Aggregates a study's runs over seeds, in the study's order.

    Columns: `dataset`, the keys, `title`, `runs` (configured seeds), `status`, and for every metric `NAME_mean`
    (or `NAME_median`), `NAME_sd` (over seeds, n − 1), `NAME_low`..`NAME_high` (its 95 % interval by Student's t, of two
    seeds or more), `NAME_n`, and the cell for people: `NAME_text`, and `NAME_short` without interval.
    `marks` are added to the cells of (DATASET/SYSTEM, metric), see `reluformer.paper.differences`.
    """
    keys = ["dataset", *key_columns(study, frame)]
    rows = []
    for values, group in frame.groupby(keys, sort=False, dropna=False):
        row: dict[str, Any] = dict(zip(keys, values, strict=True))
        row |= {"title": group["title"].iloc[0], "runs": len(group), "status": _statuses(group)}
        for metric in metrics:
            known = group[metric.name].dropna()
            effect = centre_effect(sample(known.tolist(), metric.robust)) if len(known) else None
            mark = (marks or {}).get((point_of(group), metric.name), "")
            row[f"{metric.name}_{metric.average}"] = metric.centre(known) if len(known) else None
            row[f"{metric.name}_sd"] = known.std(ddof=1) if len(known) > 1 else None
            row[f"{metric.name}_low"], row[f"{metric.name}_high"] = effect.interval if effect else (None, None)
            row[f"{metric.name}_n"] = len(known)
            row[f"{metric.name}_text"] = cell_text(group, metric, effect, mark)
            row[f"{metric.name}_short"] = cell_text(group, metric, None, mark)
        rows.append(row)
    return pd.DataFrame(rows)


def point_of(group: pd.DataFrame) -> str:
    """Returns the DATASET/SYSTEM of runs that differ only by seed."""
    return str(group["run"].iloc[0]).rpartition("/")[0]


def cell_text(group: pd.DataFrame, metric: Metric, effect: Effect | None = None, mark: str = "") -> str:
    """Returns one cell: mean ± sd of the seeds with the metric, its interval, and why the others lack it."""
    known = group[metric.name].dropna()
    holes = group.loc[group[metric.name].isna()]
    reasons = {str(why): part for why, part in holes.groupby(f"missing:{metric.name}", sort=False) if why}
    if known.empty:
        return "; ".join(_reason(why, part) for why, part in reasons.items()) or "–"
    text = metric.show(metric.centre(known), known.std(ddof=1) if len(known) > 1 else None)
    if effect is not None and metric.tested and "±" in text:
        text += f" {metric.show_interval(effect.interval)}"
    text += f" {mark}" if mark else ""
    if reasons:
        text += " (" + "; ".join(f"{len(part)} of {len(group)} {why}" for why, part in reasons.items()) + ")"
    return text


def _reason(why: str, part: pd.DataFrame) -> str:
    if why != DIVERGED:
        return why
    updates = [str(int(update)) for update in part["diverged_at"].dropna()]
    return f"diverged (update{'s' * (len(updates) > 1)} {', '.join(updates)})" if updates else "diverged"


def _statuses(group: pd.DataFrame) -> str:
    counts = group["status"].value_counts(sort=False)
    return str(counts.index[0]) if len(counts) == 1 else "; ".join(f"{n} {status}" for status, n in counts.items())


def raw_table(table: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """Returns the table for machines, without texts."""
    return table.drop(columns=[f"{metric.name}_{form}" for metric in metrics for form in ("text", "short")])


def shown_table(
    table: pd.DataFrame, study: StudyConfig, metrics: Sequence[Metric], form: Literal["text", "short"] = "text"
) -> pd.DataFrame:
    """Returns the table for people: row titles, and a column per metric, or per metric and value of `across`.

    `form`: `text`, cells with their intervals, or `short`.
    """
    keys = key_columns(study, table) if "length" in table else ["system", *study.vary]
    view = table.assign(system=table["title"])
    texts = {f"{metric.name}_{form}": metric.title for metric in metrics}
    if study.across is None:
        return view[[*_telling(view, keys), *texts]].rename(columns={**KEY_TITLES, **texts}).fillna("–")
    rest = [key for key in _telling(view, keys) if key != study.across] or ["dataset"]
    label = "" if study.across == "system" else f"{KEY_TITLES.get(study.across, study.across)} "
    view[rest] = view[rest].astype(object).fillna("–")
    wide = pd.DataFrame(view.set_index([*rest, study.across])[[*texts]].unstack(sort=False))
    prefixes = dict.fromkeys(texts, "") if len(texts) == 1 else {text: f"{title}: " for text, title in texts.items()}
    wide.columns = pd.Index([f"{prefixes[text]}{label}{value}" for text, value in map(tuple, wide.columns)])
    return wide.reset_index().rename(columns=KEY_TITLES).fillna("–")


def _telling(view: pd.DataFrame, keys: list[str]) -> list[str]:
    """Returns the keys that differ between rows, or the system."""
    return [key for key in keys if view[key].nunique(dropna=False) > 1] or ["system"]


def markdown(
    title: str, table: pd.DataFrame, lines: Sequence[str], more: Mapping[str, pd.DataFrame] | None = None
) -> str:
    """Returns a table under its title, lines below it, and more tables under their titles, as Markdown."""
    parts = [f"# {title}", pipe_table(table), *lines]
    for heading, extra in (more or {}).items():
        parts += [f"## {heading}", pipe_table(extra)]
    return "\n\n".join(parts) + "\n"


def pipe_table(table: pd.DataFrame) -> str:
    """Returns a table as Markdown."""
    return table.map(lambda cell: str(cell).replace("|", "\\|")).to_markdown(index=False, disable_numparse=True)


def latex(label: str, title: str, table: pd.DataFrame, lines: Sequence[str]) -> str:
    """Returns a floating LaTeX table, labelled `tab:LABEL`, with lines below it, at most as wide as the text.

    It needs the packages booktabs and graphicx.
    """
    escaped = table.astype(str).map(escape_tex).rename(columns=escape_tex)
    body = escaped.to_latex(index=False, escape=False).rstrip()
    notes = "".join(f"\n\\par\\smallskip{{\\footnotesize {escape_tex(line)}\\par}}" for line in lines)
    head = f"\\begin{{table}}\n\\centering\n\\caption{{{escape_tex(title)}}}\n\\label{{tab:{label}}}\n"
    fitted = f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n{body}}}"
    return f"{head}{fitted}{notes}\n\\end{{table}}\n"


def escape_tex(text: str) -> str:
    """Escapes LaTeX's special characters, and writes the project's symbols as mathematics."""
    return "".join(TEX.get(character, character) for character in str(text))
