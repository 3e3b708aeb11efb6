"""HTML pages from `templates/`: self-contained, for phones, desktops and print, in a light and a dark scheme.

`index.html` is written by `reluformer.paper.index`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from tabulate import tabulate

from reluformer.corpus.pairs import STEPS
from reluformer.corpus.store import SIDES
from reluformer.evaluation.compare import RunComparison, differing
from reluformer.files import write_text

HOLES = ("not run", "not scored", "not translated", "not analysed", "diverged")
"""The beginnings of cells without a number."""
NUMBER = re.compile(r"\S+ ± [^\s,;]+|\[[^\]\s]+, [^\]\s]+\]")
"""A mean with its deviation, or an interval, neither of which is broken across lines."""
SCORES = {"bleu": "BLEU", "chrf": "chrF"}


def unbroken(value: object) -> Markup:
    """Keeps the numbers in a cell's text from breaking across lines; leaves markup unchanged."""
    if isinstance(value, Markup):
        return value
    return Markup(NUMBER.sub(r'<span class="number">\g<0></span>', str(escape(value))))


def is_hole(value: object) -> bool:
    """Returns whether a cell states why it has no number."""
    text = value.striptags() if isinstance(value, Markup) else str(value)
    return text.startswith(HOLES)


ENVIRONMENT = Environment(
    loader=PackageLoader("reluformer.paper"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
ENVIRONMENT.filters["unbroken"] = unbroken
ENVIRONMENT.tests["hole"] = is_hole


def render(template: str, **values: Any) -> str:
    """Renders a template of `templates/`; text is escaped, `Markup` is not."""
    return ENVIRONMENT.get_template(template).render(values)


def render_table(
    title: str,
    lead: str,
    tables: Iterable[tuple[str, pd.DataFrame]],
    notes: Sequence[str],
    stamp: str | None = None,
    answer: str | None = None,
) -> str:
    """Renders a page of tables: title, toy stamp, lead, answer, each table under its title (or ""), notes."""
    sections = [
        (heading, list(table.columns), list(table.itertuples(index=False, name=None))) for heading, table in tables
    ]
    return render("table.html", title=title, lead=lead, sections=sections, notes=notes, stamp=stamp, answer=answer)


def archive_cells(archive: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the file, address, checksum and bytes of an archive, as listed in provenance.json."""
    published = archive["published"]
    address = published if isinstance(published, str) else " ".join(published)
    return archive["name"], address, Markup("<code>{}</code>").format(archive["sha256"]), f"{archive['bytes']:,}"


def write_corpus_page(corpus: Path, views: Sequence[str], output: Path, note: str = "") -> None:
    """Writes the page of a prepared corpus: sources, pairs after each cleaning step, splits and packed views.

    `corpus` is its folder, `views` are e.g. `within-128`; `note` is shown under the title.
    """
    statistics, provenance, *packed = (
        json.loads((corpus / path).read_text(encoding="utf-8"))
        for path in ("statistics.json", "provenance.json", *(f"{view}/statistics.json" for view in views))
    )
    languages, splits = statistics["languages"], statistics["splits"]
    text = render(
        "corpus.html",
        title=f"Corpus {corpus.name}: {languages['src']} to {languages['tgt']}",
        note=note,
        archives=[archive_cells(archive) for archive in provenance["archives"]],
        steps=[step.replace("_", " ") for step in STEPS],
        cleaning=[(split, *(f"{n[step]:,}" for step in STEPS)) for split, n in statistics["cleaning"].items()],
        left_out=", ".join(f"{n:,} {what}" for what, n in statistics.get("left_out", {}).items()),
        vocabulary=f"{statistics['vocabulary']:,}",
        splits=[_split(f"{name} {side}", split, side) for name, split in splits.items() for side in SIDES],
        views=[
            _view(f"{view} {name}", split)
            for view, content in zip(views, packed, strict=True)
            for name, split in content["splits"].items()
        ],
        versions=", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
        configuration=json.dumps(provenance["configuration"], indent=1, ensure_ascii=False),
    )
    write_text(output, text)


def _split(title: str, split: Mapping[str, Any], side: str) -> tuple[str, ...]:
    counts = (split["pairs"], split.get("documents"), split["subwords"][side], split["unknown"][side])
    return title, *("" if n is None else f"{n:,}" for n in counts), *_lengths(split["lengths"][side])


def _view(title: str, split: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (f"{split[unit]:,}" for unit in ("documents", "sentences", "segments"))
    shares = (f"{split['lengths'][key]:.1%}" for key in ("share_half", "share_over"))
    return title, *counts, *_lengths(split["lengths"]), *shares


def _lengths(lengths: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{lengths[key]:,}" for key in ("mean", "median", "p90", "max"))


def render_comparison(comparison: RunComparison, by: str, show: int) -> str:
    """Renders the page of two runs side by side, with `show` segments for each, ranked by a score: `bleu`, `chrf`."""
    a, b = comparison.names
    ordered = [(segment, *differing(segment.a.text, segment.b.text)) for segment in comparison.ordered(by)]
    lengths = [
        (
            f"{row['low']}–{row['high']}" if row["high"] else f"{row['low']} and more",
            row["segments"],
            *(f"{row[score]:.1f}" for score in ("bleu_a", "bleu_b", "chrf_a", "chrf_b")),
        )
        for row in comparison.by_length()
    ]
    return render(
        "comparison.html",
        title=f"{a} and {b}",
        a=a,
        b=b,
        by=SCORES[by],
        comparison=comparison,
        counts=comparison.counts(by),
        scores=[_score_cells(SCORES[name], *pair) for name, pair in comparison.metrics.items()],
        lengths=lengths,
        sections=[
            (f"Where B ({b}) is better", [entry for entry in ordered if entry[0].difference(by) > 0][:show]),
            (f"Where A ({a}) is better", [entry for entry in ordered if entry[0].difference(by) < 0][:show]),
        ],
    )


def _score_cells(title: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    signature = Markup("<code>{}</code>").format(a["signature"])
    return title, f"{a['score']:.2f}", f"{b['score']:.2f}", f"{b['score'] - a['score']:+.2f}", signature


def comparison_text(comparison: RunComparison, by: str) -> str:
    """Summarises a comparison for a terminal: corpus scores, better segments of each run, scores by length."""
    counts, title = comparison.counts(by), SCORES[by]
    scores = [
        (SCORES[name], a["score"], b["score"], b["score"] - a["score"]) for name, (a, b) in comparison.metrics.items()
    ]
    lengths = [
        (f"{row['low']}-{row['high'] or ''}", row["segments"], row[f"{by}_a"], row[f"{by}_b"])
        for row in comparison.by_length()
    ]
    head = (
        f"A: {comparison.names[0]}\nB: {comparison.names[1]}\n{comparison.dataset}, {counts['segments']} segments; "
        f"by {title} of each, A is better in {counts['a_better']} and B in {counts['b_better']}; "
        f"{counts['same_text']} are identical"
    )
    columns = [comparison.unit, "segments", f"{title} A", f"{title} B"]
    tables = [
        tabulate(scores, headers=["score", "A", "B", "B - A"], floatfmt=".2f"),
        tabulate(lengths, headers=columns, floatfmt=".1f"),
    ]
    return "\n\n".join([head, *tables])
