"""A study's table as one self-contained page for the report: readable on a phone, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from jinja2 import Environment

from reluformer.paper.page import HEAD, STYLE, grid

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
{% endif %}{% for heading, table in sections %}{% if heading %}<h2>{{ heading }}</h2>
{% endif %}{{ table }}
{% endfor %}<div class="notes">{% for note in notes %}<p>{{ note }}</p>{% endfor %}</div>
</body>
</html>
"""
)


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
        (heading, grid(list(table.columns), list(table.itertuples(index=False, name=None))))
        for heading, table in tables
    ]
    template = Environment(autoescape=True).from_string(TEMPLATE)
    shown = {"title": title, "lead": lead, "sections": sections, "notes": notes, "stamp": stamp, "answer": answer}
    return template.render(style=STYLE, **shown)
