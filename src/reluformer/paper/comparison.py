"""Two runs side by side as a self-contained page: readable on a phone, no script, nothing fetched."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from tabulate import tabulate

from reluformer.evaluation.compare import Comparison, Segment, differing
from reluformer.paper.page import HEAD, STYLE, grid

TEMPLATE = (
    HEAD
    + """<style>
{{ style|safe }}
article { border: 1px solid #d8d8d8; border-radius: .4rem; margin: .7rem 0; padding: .4rem .7rem; max-width: 60rem; }
article p { margin: .25rem 0; max-width: none; }
.label { display: inline-block; min-width: 5.5rem; color: #555; font-size: .85rem; }
.score { color: #555; font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
mark.a { background: #fbdcc4; } mark.b { background: #cfe5f7; }
.better { font-weight: 600; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>The test split of <b>{{ comparison.dataset }}</b>, {{ counts.segments }} segments. A is <b>{{ a }}</b>, B is
<b>{{ b }}</b>. By {{ by }} of single segments, A is better in {{ counts.a_better }} and B in {{ counts.b_better }};
in {{ counts.same_text }} they say the same.</p>
<h2>Corpus scores</h2>
{{ scores }}
<h2>By length of the source, in {{ comparison.unit }}: mean of single segments</h2>
{{ lengths }}
{% for heading, segments in sections %}<h2>{{ heading }}</h2>
{% for segment in segments %}<article>
<p><span class="label">source {{ segment.number }}</span> {{ segment.source }}</p>
<p><span class="label">reference</span> {{ segment.reference }}</p>
{% for side in segment.sides %}<p{% if side.better %} class="better"{% endif %}>\
<span class="label">{{ side.name }}</span>
{% for text, differs in side.parts %}{% if differs %}<mark class="{{ side.mark }}">{{ text }}</mark>\
{% else %}{{ text }}{% endif %} {% endfor %}\
<span class="score">BLEU {{ "%.1f"|format(side.bleu) }}, chrF {{ "%.1f"|format(side.chrf) }}\
</span></p>
{% endfor %}</article>
{% else %}<p>None.</p>
{% endfor %}{% endfor %}<div class="notes"><p>Sentence BLEU is of the n-gram orders that a sentence has, by sacreBLEU; \
single segments are noisy, the corpus scores are what counts. Marked: words that the other translation lacks.</p></div>
</body>
</html>
"""
)
NAMES = {"bleu": "BLEU", "chrf": "chrF"}


def render_comparison(comparison: Comparison, by: str, show: int) -> str:
    """The page; by: the score (`bleu`, `chrf`) whose difference ranks segments; show: segments for each side."""
    a, b = comparison.names
    ordered = comparison.ordered(by)
    sections = [
        (f"Where B ({b}) is better", [_shown(s) for s in ordered if s.difference(by) > 0][:show]),
        (f"Where A ({a}) is better", [_shown(s) for s in ordered if s.difference(by) < 0][:show]),
    ]
    return (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            title=f"{a} and {b}",
            style=STYLE,
            comparison=comparison,
            counts=comparison.counts(by),
            a=a,
            b=b,
            by=NAMES[by],
            scores=_scores(comparison),
            lengths=_lengths(comparison),
            sections=sections,
        )
    )


def _scores(comparison: Comparison) -> Markup:
    rows = []
    for name, (a, b) in comparison.metrics.items():
        signature = Markup("<code>{}</code>").format(a["signature"])
        rows.append(
            (NAMES[name], f"{a['score']:.2f}", f"{b['score']:.2f}", f"{b['score'] - a['score']:+.2f}", signature)
        )
    return grid(("score", "A", "B", "B − A", "signature"), rows)


def _lengths(comparison: Comparison) -> Markup:
    rows = []
    for row in comparison.by_length():
        span = f"{row['low']}–{row['high']}" if row["high"] else f"{row['low']} and more"
        scores = [f"{row[score]:.1f}" for score in ("bleu_a", "bleu_b", "chrf_a", "chrf_b")]
        rows.append((span, row["segments"], *scores))
    return grid(("length", "segments", "BLEU A", "BLEU B", "chrF A", "chrF B"), rows)


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
