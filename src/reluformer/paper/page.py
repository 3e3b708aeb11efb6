"""HTML pages from `templates/`: self-contained, readable on a phone, a desk and paper, in a light and a dark scheme."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

HOLES = ("not run", "not scored", "not translated", "not analysed", "diverged")
NUMBER = re.compile(r"\S+ ± [^\s,;]+|\[[^\]\s]+, [^\]\s]+\]")
"""What no line breaks into: a mean with its deviation, an interval."""


def render(template: str, **values: Any) -> str:
    """The page of a template in `templates/`; text is escaped, `Markup` is not."""
    return ENVIRONMENT.get_template(template).render(values)


def render_table(
    title: str,
    lead: str,
    tables: Iterable[tuple[str, pd.DataFrame]],
    notes: Sequence[str],
    stamp: str | None = None,
    answer: str | None = None,
) -> str:
    """The page of tables: title, toy stamp, lead, answer, each table under its title or "", notes."""
    sections = [(heading, list(one.columns), list(one.itertuples(index=False, name=None))) for heading, one in tables]
    return render("table.html", title=title, lead=lead, sections=sections, notes=notes, stamp=stamp, answer=answer)


def unbroken(value: object) -> Markup:
    """A cell's text with its numbers kept in one line; markup stays as it is."""
    if isinstance(value, Markup):
        return value
    return Markup(NUMBER.sub(r'<span class="number">\g<0></span>', str(escape(value))))


def is_hole(value: object) -> bool:
    """Whether a cell says that there is no number."""
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
