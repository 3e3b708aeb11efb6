"""Two runs side by side as a self-contained page: readable on a phone, no script, nothing fetched."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from tabulate import tabulate

from reluformer.evaluation.compare import Comparison, Segment, differing
from reluformer.paper.page import render

NAMES = {"bleu": "BLEU", "chrf": "chrF"}


def render_comparison(comparison: Comparison, by: str, show: int) -> str:
    """The page; by: the score (`bleu`, `chrf`) whose difference ranks segments; show: segments for each side."""
    a, b = comparison.names
    ordered = comparison.ordered(by)
    sections = [
        (f"Where B ({b}) is better", [_shown(s) for s in ordered if s.difference(by) > 0][:show]),
        (f"Where A ({a}) is better", [_shown(s) for s in ordered if s.difference(by) < 0][:show]),
    ]
    return render(
        "comparison.html",
        title=f"{a} and {b}",
        comparison=comparison,
        counts=comparison.counts(by),
        a=a,
        b=b,
        by=NAMES[by],
        scores=_scores(comparison),
        lengths=_lengths(comparison),
        sections=sections,
    )


def _scores(comparison: Comparison) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name, (a, b) in comparison.metrics.items():
        signature = Markup("<code>{}</code>").format(a["signature"])
        rows.append(
            (NAMES[name], f"{a['score']:.2f}", f"{b['score']:.2f}", f"{b['score'] - a['score']:+.2f}", signature)
        )
    return rows


def _lengths(comparison: Comparison) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for row in comparison.by_length():
        span = f"{row['low']}–{row['high']}" if row["high"] else f"{row['low']} and more"
        scores = [f"{row[score]:.1f}" for score in ("bleu_a", "bleu_b", "chrf_a", "chrf_b")]
        rows.append((span, row["segments"], *scores))
    return rows


def _shown(segment: Segment) -> dict[str, Any]:
    parts = differing(segment.a.text, segment.b.text)
    sides = [
        {"name": name, "mark": mark, "parts": part, "better": side.chrf > other.chrf, **side._asdict()}
        for name, mark, part, side, other in (
            ("A", "a", parts[0], segment.a, segment.b),
            ("B", "b", parts[1], segment.b, segment.a),
        )
    ]
    return {"number": segment.number, "source": segment.source, "reference": segment.reference, "sides": sides}


def summary_text(comparison: Comparison, by: str) -> str:
    """The same in short, for a terminal: scores of both, who is better in how many segments, and by length."""
    counts = comparison.counts(by)
    scores = [
        [NAMES[name], pair[0]["score"], pair[1]["score"], pair[1]["score"] - pair[0]["score"]]
        for name, pair in comparison.metrics.items()
    ]
    lengths = [
        [f"{row['low']}-{row['high'] or ''}", row["segments"], row[f"{by}_a"], row[f"{by}_b"]]
        for row in comparison.by_length()
    ]
    better = (
        f"by {NAMES[by]} of each, A is better in {counts['a_better']} and B in {counts['b_better']}; "
        f"{counts['same_text']} read the same"
    )
    names = f"A: {comparison.names[0]}\nB: {comparison.names[1]}"
    head = f"{names}\n{comparison.dataset}, {counts['segments']} segments; {better}"
    columns = [comparison.unit, "segments", f"{NAMES[by]} A", f"{NAMES[by]} B"]
    tables = [
        tabulate(scores, headers=["score", "A", "B", "B - A"], floatfmt=".2f"),
        tabulate(lengths, headers=columns, floatfmt=".1f"),
    ]
    return "\n\n".join([head, *tables])
