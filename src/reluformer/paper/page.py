"""How every HTML page of the project begins, looks and shows a table: on a desk, on a phone and printed, nothing is
beyond the edge."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
"""
"""How a page's template begins, before its styles."""
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 84rem; padding: 0 1rem; }
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
td.hole { color: #9a3b00; font-style: italic; }
.number { white-space: nowrap; }
.dense table { font-size: .8rem; }
.dense th, .dense td { padding: .3rem .4rem; }
.dense .number { white-space: normal; }
code { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; background: #f6f6f6; padding: .6rem; }
.notes { color: #444; font-size: .9rem; }
@media screen and (max-width: 48rem) {
  body { font-size: 15px; margin: .6rem auto; padding: 0 .7rem; }
  thead { display: none; }
  table, tbody, tr:not([hidden]) { display: block; }
  .dense table { font-size: inherit; }
  tr { border-bottom: 2px solid #bbb; padding: .3rem 0; }
  td, .dense td { display: flow-root; border: 0; padding: .1rem 0 .1rem 40%; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: #555; font-weight: normal; font-style: normal; }
  td::before { float: left; width: 63%; margin-left: -66.67%; }
  td:first-child { font-weight: 600; }
}
@media print {
  .wide { overflow: visible; }
  .wide table { font-size: 7.5pt; }
  .wide td, .wide th { overflow-wrap: anywhere; padding: .15rem .3rem; }
  .number { white-space: normal; }
}"""
"""CSS of every page: the rows of a table wrap on a desk, and on a phone each is a card of labelled cells."""
HOLES = ("not run", "not scored", "not translated", "not analysed", "diverged")
DENSE = 10
"""Columns from which on a table is set small."""
NUMBER = re.compile(r"\S+ ± [^\s,;]+|\[[^\]\s]+, [^\]\s]+\]")
"""What no line breaks into: a mean with its deviation, an interval."""


def grid(columns: Sequence[object], rows: Sequence[Sequence[object]], ids: Sequence[str] = ()) -> Markup:
    """A table as markup.

    columns: the titles, which a phone shows beside each cell; rows: their cells, text or markup; ids: one for each row,
    for links to it.
    """
    head = Markup().join(Markup('<th scope="col">{}</th>').format(name) for name in columns)
    lines = []
    for number, row in enumerate(rows):
        mark = Markup(' id="{}"').format(ids[number]) if ids else ""
        cells = Markup().join(_cell(name, value) for name, value in zip(columns, row, strict=True))
        lines.append(Markup("<tr{}>{}</tr>").format(mark, cells))
    return Markup(
        '<div class="{}" tabindex="0"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody></table></div>'
    ).format("wide dense" if len(columns) >= DENSE else "wide", head, Markup("\n").join(lines))


def _cell(name: object, value: object) -> Markup:
    text = value if isinstance(value, Markup) else _unbroken(str(value))
    hole = Markup(' class="hole"') if text.striptags().startswith(HOLES) else ""
    return Markup('<td data-label="{}"{}>{}</td>').format(name, hole, text)


def _unbroken(text: str) -> Markup:
    return Markup(NUMBER.sub(r'<span class="number">\g<0></span>', str(escape(text))))
