import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from reluformer.paper.page import ENVIRONMENT, render, render_table

TABLE = pd.DataFrame({"system": ["A <b>", "B"], "BLEU": ["diverged (update 3)", "1.00"]})


class Outline(HTMLParser):
    """Collects the open tags and refuses a page whose tags do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


def grid(columns, rows, ids=()):
    """The macro of all tables."""
    return ENVIRONMENT.get_template("macros.html").module.grid(columns, rows, ids)


def test_the_page_is_whole_and_needs_nothing_else():
    text = render_table("T", "Q?", [("", TABLE), ("More", TABLE)], ["A note & more."], stamp="TOY", answer="Because.")
    tags = outline(text)
    assert [tag for tag, _ in tags].count("table") == 2
    assert not any("src" in attributes or "href" in attributes or tag == "script" for tag, attributes in tags)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert "A &lt;b&gt;" in text and "A note &amp; more." in text
    assert (
        '<p class="toy">TOY</p>' in text
        and '<p class="answer">Because.</p>' in text
        and "<details open><summary><h2>More</h2>" in text
    )


def test_markup_in_a_cell_stays_markup():
    long = Markup('<a href="{}">A &amp; B</a>').format("x" * 80)
    text = render_table("T", "Q?", [("", pd.DataFrame({"one": [long]}, dtype=object))], [])
    assert f'<td data-label="one">{long}</td>' in text


def test_holes_stand_out():
    text = render_table("T", "Q?", [("", TABLE)], [])
    assert '<td data-label="BLEU" class="hole">diverged (update 3)</td>' in text
    assert '<td data-label="BLEU">1.00</td>' in text
    assert "toy" not in text.split("<body>")[1] and "answer" not in text.split("<body>")[1]


def test_a_cell_knows_its_column_and_a_row_its_name():
    table = grid(("system", "a <b>"), [("A & B", 1.5), (Markup("<i>C</i>"), "not run")], ["run-1", "run-2"])
    assert '<tr id="run-1"><td data-label="system">A &amp; B</td><td data-label="a &lt;b&gt;">1.5</td></tr>' in table
    assert '<td data-label="system"><i>C</i></td><td data-label="a &lt;b&gt;" class="hole">not run</td>' in table
    assert '<th scope="col">a &lt;b&gt;</th>' in table


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("21.49 ± 1.36 [9.29, 33.70] †", ["21.49 ± 1.36", "[9.29, 33.70]"]),
        ("0.2 ± 0.1 against 0.3 ± 0.1, p = 0.002", ["0.2 ± 0.1", "0.3 ± 0.1"]),
        ("-0.67 [-2.19, 0.85]; slots 32", ["[-2.19, 0.85]"]),
        ("no number [length in {32}]", []),
    ],
)
def test_no_line_breaks_into_a_number(text, kept):
    table = grid(("seen",), [(text,)])
    assert Markup(table).striptags().endswith(" ".join(text.split()))
    assert table.count('<span class="number">') == len(kept)
    assert all(f'<span class="number">{one}</span>' in table for one in kept)


def test_many_columns_are_set_small():
    many = [str(n) for n in range(10)]
    assert 'class="wide dense"' in grid(many, [many]) and 'class="wide"' in grid(many[1:], [many[1:]])


def test_a_value_that_a_template_needs_is_asked_for():
    with pytest.raises(UndefinedError, match="title"):
        render("table.html", lead="", sections=[], notes=[], stamp=None, answer=None)


def test_no_page_fetches_anything():
    for name in ENVIRONMENT.list_templates():
        text = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0]
        assert not re.search(r"@import|fetch\(|XMLHttpRequest|<link|src=\"http", text), name
