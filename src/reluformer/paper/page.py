"""A study's table as one self-contained page for the report: readable on a phone, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem; }
body { color: #1a1a1a; background: #fff; }
h1 { font-size: 1.3rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.toy { background: #fff1d6; border-left: 4px solid #d98200; padding: .4rem .7rem; font-weight: 600; }
.answer { background: #eaf3fb; border-left: 4px solid #0072b2; padding: .4rem .7rem; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: left; border-bottom: 1px solid #d8d8d8; vertical-align: top; }
thead th { border-bottom: 2px solid #555; vertical-align: bottom; }
td:not(:first-child) { white-space: nowrap; }
td.hole { color: #9a3b00; font-style: italic; }
td.prose { white-space: normal; min-width: 16rem; }
.notes { color: #444; font-size: .9rem; }
@media (max-width: 40rem) {
  body { font-size: 15px; margin: .6rem auto; padding: 0 .7rem; }
  th, td { padding: .3rem .5rem; }
}
@media print { .wide { overflow: visible; } }"""
"""CSS of every page of this room."""
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
"""
"""How every page begins, before its styles."""
TEMPLATE = (
    HEAD
    + """<style>
{{ style|safe }}
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if stamp %}<p class="toy">{{ stamp }}</p>
{% endif %}<p>{{ lead }}</p>
{% if answer %}<p class="answer">{{ answer }}</p>
{% endif %}{% for section in sections %}{% if section.title %}<h2>{{ section.title }}</h2>
{% endif %}<div class="wide" tabindex="0"><table>
<thead><tr>{% for name in section.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in section.rows %}<tr>
{% for cell in row %}<td{% if cell.kind %} class="{{ cell.kind }}"{% endif %}>{{ cell.text }}</td>
{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
{% endfor %}<div class="notes">{% for note in notes %}<p>{{ note }}</p>{% endfor %}</div>
</body>
</html>
"""
)
HOLES = ("not run", "not scored", "not translated", "not analysed", "diverged")
PROSE = 60
"""Characters from which on a cell is wrapped."""


def render(
    title: str,
    lead: str,
    tables: Sequence[tuple[str, pd.DataFrame]],
    notes: Sequence[str],
    stamp: str | None = None,
    answer: str | None = None,
) -> str:
    """The page: title, toy stamp, lead, answer, each table (cells may be markup) under its title or "", notes."""
    sections = [
        {
            "title": heading,
            "columns": list(table.columns),
            "rows": [[_cell(value) for value in row] for row in table.itertuples(index=False)],
        }
        for heading, table in tables
    ]
    template = Environment(autoescape=True).from_string(TEMPLATE)
    shown = {"title": title, "lead": lead, "sections": sections, "notes": notes, "stamp": stamp, "answer": answer}
    return template.render(style=STYLE, **shown)


def _cell(value: object) -> dict[str, str]:
    text = value if isinstance(value, Markup) else str(value)
    seen = text.striptags() if isinstance(text, Markup) else text
    return {"text": text, "kind": "hole" if seen.startswith(HOLES) else "prose" if len(seen) > PROSE else ""}
