"""A record as Markdown for GitHub: its README.md, and the quotations of it in other pages.

A quotation stands between `<!-- record/NAME: WHAT -->` and `<!-- end -->`. WHAT is one of

    runs             the number of runs, out of those planned
    claims [STUDY]   the table of claims, or of those on one study: reported, ours, verdict
    claim ID         the verdict on one claim, with its figures
    table STUDY      a study's table
    systems STUDY[+STUDY...] METRIC...
                     a row for each system of these studies, with these metrics of its runs
    figure FILE      a figure, by its name below paper/figures, without suffix
    tuning           the best of each system's tuning runs
    text             the pairs of each corpus and split
    compute          the compute that the runs took
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from reluformer.config.changes import split_system
from reluformer.config.experiment import Experiment
from reluformer.config.metrics import SCORES, SUMMARY, metric
from reluformer.config.run import Run
from reluformer.config.search import Search
from reluformer.config.settings import SettingsError, read_json
from reluformer.paper.claims import label
from reluformer.paper.index import ALT, provenance, summary
from reluformer.paper.inference import show_p
from reluformer.paper.notes import SOURCE_NOTE, reported, toy_stamp
from reluformer.paper.plots.training_curves import tried
from reluformer.paper.record import ended_runs
from reluformer.paper.runs import NOT_RUN, read_runs
from reluformer.paper.tables import cell_text, pipe_table

QUOTE = re.compile(r"(<!-- (record/[\w.-]+): ([^>]+?) -->)(.*?)(<!-- end -->)", re.DOTALL)
PAGES = ("*.md", "docs/**/*.md", "record/*.md")
"""Pages that may quote a record, relative to the working folder."""
FILES = """\
| file | what |
|---|---|
| `experiment.json` | the configuration: `reluformer ... --config experiment.json` reads it |
| `runs/D/S/seedN/` | a run: settings, log, scores; `counts.npz`, which scores and p-values come from; measures |
| `corpora/D/` | where the text came from, with checksums; pairs at each step of cleaning |
| `tuning/` | the runs that the constants were chosen by |
| `paper/` | tables, figures and verdicts; `make record` computes them anew and compares |
| `README.md` | this page, from the files above |

No weights and no text are in it; attention maps are of text that may be passed on."""


class Quotes:
    """The quotations of a record whose paper is built, as Markdown; `base` is its path from the page, for links."""

    def __init__(self, experiment: Experiment, record: Path, base: str) -> None:
        self.experiment, self.record, self.base = experiment, record, base
        self.judged: list[dict[str, Any]] = (read_json(record / "paper" / "claims.json") or {"claims": []})["claims"]
        self.ended = ended_runs(record)
        self.done = [run for run in experiment.runs if run in self.ended]
        self.tuning = [run for run in sorted(self.ended) if experiment.tuning.tries(run)]

    def quote(self, what: str) -> str:
        """Returns one quotation. Raises `KeyError` for an unknown one."""
        name, _, of = what.partition(" ")
        quotations: dict[str, Callable[[], str]] = {
            "runs": self.runs,
            "claims": self.claims,
            "tuning": self.tuned,
            "text": self.text,
            "compute": self.compute,
        }
        about: dict[str, Callable[[str], str]] = {
            "claim": self.claim,
            "claims": self.claims,
            "table": self.table,
            "systems": self.systems,
            "figure": self.figure,
        }
        return about[name](of) if of else quotations[name]()

    def runs(self) -> str:
        """Returns the progress: `24 of 54 tuning runs and 0 of 124 runs`."""
        planned = sum(max(search.budget, len(self._tried(search))) for search in self.experiment.tuning.searches)
        return f"{len(self.tuning)} of {planned} tuning runs and {len(self.done)} of {len(self.experiment.runs)} runs"

    def claims(self, study: str | None = None) -> str:
        """Returns the claims, each with reported figures, ours and the verdict, which links to the study's table."""
        rows = []
        for claim in self.judged:
            if study not in (None, claim["study"]):
                continue
            ours = "; ".join(dict.fromkeys(rule["ours"] for rule in claim["rules"])) or claim["rests_on"]
            table = f"paper/tables/{claim['study']}.md"
            exists = (self.record / table).is_file()
            rests = f"[{label(claim)}]({self._link(table)})" if exists else label(claim)
            rows.append((f"{claim['sentence']} ({claim['source']})", reported(claim["reported"]) or "–", ours, rests))
        if study is not None and not rows:
            raise KeyError(study)
        return pipe_table(pd.DataFrame(rows, columns=["claim", "reported", "ours", "verdict"])) if rows else ""

    def claim(self, name: str) -> str:
        """Returns the verdict on a claim, its p-value and what each rule compares."""
        claim = {entry["id"]: entry for entry in self.judged}[name]
        p = f" ({show_p(claim['p'])})" if claim["p"] is not None else ""
        seen = [f"{rule['rule']}: {rule['seen']}" for rule in claim["rules"]] or [claim["rests_on"]]
        return "\n".join([f"**{label(claim)}**{p}", "", *(f"- {line}." for line in seen)])

    def table(self, study: str) -> str:
        """Returns a study's table and that of its differences, without their notes."""
        text = (self.record / "paper" / "tables" / f"{study}.md").read_text(encoding="utf-8")
        return "\n\n".join(block for block in text.rstrip().split("\n\n") if block.startswith("|"))

    def systems(self, of: str) -> str:
        """Returns the systems of one or several studies: the runs that ended, and metrics as mean ± sd over them."""
        studies, *names = of.split()
        metrics = [metric(name) for name in names]
        frames = [read_runs(self.experiment, study, metrics, self.record) for study in studies.split("+")]
        frame = pd.concat(frames).drop_duplicates("run")
        rows = []
        for title, runs in frame.groupby("title", sort=False):
            ended = runs[runs["status"] != NOT_RUN]
            cells = [cell_text(ended, one) for one in metrics]
            rows.append((title, f"{len(ended)} of {len(runs)}", *cells))
        return pipe_table(pd.DataFrame(rows, columns=["system", "runs", *(one.title for one in metrics)]))

    def figure(self, name: str) -> str:
        """Returns a figure, or a note that it does not exist yet."""
        path = f"paper/figures/{name}.svg"
        return f"![{name}]({self._link(path)})" if (self.record / path).is_file() else "(no run yet)"

    def tuned(self) -> str:
        """Returns each system's tuning: runs, best values, their validation BLEU and their lead over the next."""
        rows = []
        for search in self.experiment.tuning.searches:
            ranked = sorted(self._tried(search), key=lambda pair: pair[0] or 0.0, reverse=True)
            chosen = (read_json(self.record / search.path) or {}).get("choice")
            bleu = [score for score, _ in ranked if score is not None]
            values = ", ".join(f"{key}={value}" for key, value in chosen["changes"].items()) if chosen else ""
            rows.append(
                (
                    self.experiment.systems[search.system].title,
                    f"{len(ranked)} of {max(search.budget, len(ranked))}",
                    values or (f"{ranked[0][1]} (so far)" if ranked else "–"),
                    f"{bleu[0]:.2f}" if bleu else "–",
                    f"{bleu[0] - bleu[1]:.2f}" if len(bleu) > 1 else "–",
                )
            )
        columns = ["system", "runs", "best values", "validation BLEU", "lead over the next"]
        return pipe_table(pd.DataFrame(rows, columns=columns))

    def text(self) -> str:
        """Returns the pairs of each corpus and split."""
        statistics = {
            name: read_json(self.record / "corpora" / name / "statistics.json") or {}
            for name in self.experiment.datasets
        }
        rows = [
            (name, split, f"{counts['pairs']:,}")
            for name, content in statistics.items()
            for split, counts in content.get("splits", {}).items()
        ]
        return pipe_table(pd.DataFrame(rows, columns=["corpus", "split", "pairs kept"]))

    def compute(self) -> str:
        """Returns the number of trainings, their target tokens and hours, and the machines."""
        summaries = [self.summary(run) for run in [*self.done, *self.tuning]]
        tokens = sum(summary.get("target_tokens") or 0 for summary in summaries)
        hours = sum(summary.get("seconds") or 0.0 for summary in summaries) / 3600
        machines = sorted({summary["machine"]["cpu"] for summary in summaries if "machine" in summary})
        return (
            f"{len(summaries)} trainings, {tokens / 1e6:,.0f} million target tokens, {hours:.1f} hours of trainings "
            f"(one thread each, waiting included) on {', '.join(machines) or 'no machine'}"
        )

    def _link(self, path: str) -> str:
        return (PurePosixPath(self.base) / path).as_posix()

    def summary(self, run: Run) -> dict[str, Any]:
        """Returns the summary of a run; empty if it has none."""
        return read_json(self.record / "runs" / run.path / SUMMARY) or {}

    def _tried(self, search: Search) -> list[tuple[float | None, str]]:
        """Returns the validation BLEU and the values of each recorded run of a search."""
        runs = filter(search.tries, self.tuning)
        return [(self.summary(run).get("best_valid_bleu"), tried(run)) for run in runs]


def quoting_pages(record: Path) -> list[Path]:
    """Returns the pages that quote a record, among those of the working folder, its docs/ and its record/."""
    return [
        page
        for pattern in PAGES
        for page in sorted(Path().glob(pattern))
        if any(_quotes(quote, record) for quote in QUOTE.finditer(page.read_text("utf-8")))
    ]


def _quotes(quote: re.Match[str], record: Path) -> bool:
    """Returns whether a match of QUOTE is a quotation of a record."""
    return Path(quote[2]).resolve() == record.resolve()


def fill(page: Path, experiment: Experiment, record: Path, built: Path | None = None) -> str:
    """Returns a page with all quotations of a record updated from its files or those in `built`; others stay.

    Raises `SettingsError` for a quotation of something that the record does not have.
    """
    quotes = Quotes(experiment, built or record, os.path.relpath(record, page.parent))

    def renew(match: re.Match[str]) -> str:
        begin, named, what, _, end = match.groups()
        if not _quotes(match, record):
            return match[0]
        try:
            content = quotes.quote(what)
        except (KeyError, FileNotFoundError):
            raise SettingsError(f"{page}: {named}: {what!r}: the record has nothing of this name") from None
        gap = "\n\n" if "\n" in content or content.startswith("![") else ""
        return f"{begin}{gap}{content}{gap}{end}"

    return QUOTE.sub(renew, page.read_text(encoding="utf-8"))


def readme(experiment: Experiment, record: Path) -> str:
    """Returns README.md of a record whose paper is built. Raises `SettingsError` for a broken file in it."""
    quotes, stamp = Quotes(experiment, record, "."), toy_stamp(experiment)
    shown = [name for name in experiment.studies if has_results(experiment, name, record)]
    others = [f"[{name}](paper/tables/{name}.md)" for name in experiment.studies if name not in shown]
    parts = [
        f"# Record: {experiment.config.title}",
        *([stamp] if stamp else []),
        "\n".join(f"- {sentence}" for sentence in summary(quotes.judged, len(quotes.done), len(experiment.runs))),
        *(["## The claims", quotes.claims(), SOURCE_NOTE] if quotes.judged else []),
        *(part for name in shown for part in _study_section(experiment, name, record)),
        *([f"No run yet of: {', '.join(others)}."] if others else []),
        *_tuning(quotes),
        *_provenance(quotes),
        "## Files",
        FILES,
    ]
    return "\n\n".join(parts) + "\n"


def has_results(experiment: Experiment, study: str, record: Path) -> bool:
    """Returns whether the record has a run of a study, or its measurements."""
    if experiment.studies[study].measured:
        return (record / "paper" / "measured.json").is_file()
    return any((record / "runs" / run.path / SUMMARY).is_file() for run in experiment.study_runs(study))


def _study_section(experiment: Experiment, name: str, record: Path) -> list[str]:
    """Returns a study's table with its notes, and its figures."""
    study = experiment.studies[name]
    title, _, table = (record / "paper" / "tables" / f"{name}.md").read_text(encoding="utf-8").partition("\n\n")
    parts = [f"## {title.lstrip('# ')}", study.question, table.replace("\n## ", "\n### ").strip()]
    for figure, settings in study.figures.items():
        path = f"paper/figures/{name}-{figure}.svg"
        if (record / path).is_file():
            parts.append(f"![{settings.title}: {ALT[settings.kind]}]({path})")
    return parts


def _tuning(quotes: Quotes) -> list[str]:
    """Returns the section of the tuning runs: what each tried and what it reached."""
    rows = []
    for run in quotes.tuning:
        result = quotes.summary(run)
        numbers = [result.get(key) for key in ("best_valid_bleu", "best_valid_loss")]
        shown = ["–" if value is None else f"{value:.2f}" for value in numbers]
        rows.append((run.dataset, split_system(run.system).base, tried(run), *shown, result["status"]))
    if not rows:
        return []
    columns = ["dataset", "system", "tried", "validation BLEU", "validation loss", "status"]
    return [
        "## Tuning",
        f"{len(rows)} runs, whose scores choose each system's constants.",
        "![Validation BLEU of the tuning runs: a panel for each system, a line for each run](paper/figures/tuning.svg)",
        pipe_table(pd.DataFrame(rows, columns=columns)),
    ]


def _provenance(quotes: Quotes) -> list[str]:
    sources = provenance(quotes.experiment, quotes.record, quotes.ended)
    counts: Counter[tuple[str, str]] = Counter()
    for run in quotes.ended:
        scored = (quotes.record / "runs" / run.path / SCORES).is_file()
        counts[run.dataset, f"{quotes.summary(run)['status']}{' and scored' if scored else ''}"] += 1
    archives = [
        (archive["corpus"], archive["name"], f"{archive['bytes']:,}", f"`{archive['sha256']}`")
        for archive in sources["archives"]
    ]
    environment = [
        f"- {title}: {description} ({number} runs)"
        for title, key in (("code", "code"), ("packages", "packages"), ("machine", "machines"))
        for description, number in sources[key].items()
    ]
    return [
        "## Runs",
        pipe_table(pd.DataFrame([(*key, n) for key, n in counts.items()], columns=["dataset", "runs", "number"])),
        "## Text",
        quotes.text(),
        pipe_table(pd.DataFrame(archives, columns=["corpus", "file", "bytes", "sha256"])),
        "## Made with",
        "\n".join(environment),
    ]
