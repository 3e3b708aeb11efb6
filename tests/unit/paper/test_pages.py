import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from reluformer.corpus.pack import pack
from reluformer.corpus.prepare import prepare
from reluformer.evaluation.compare import RunComparison, Segment, Side
from reluformer.paper.pages import (
    ENVIRONMENT,
    comparison_text,
    render,
    render_comparison,
    render_table,
    write_corpus_page,
)

TABLE = pd.DataFrame({"system": ["A <b>", "B"], "BLEU": ["diverged (update 3)", "1.00"]})


class Outline(HTMLParser):
    """Collects the tags and rejects a page with unclosed ones."""

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
    """Renders the macro of all tables."""
    return ENVIRONMENT.get_template("macros.html").module.grid(columns, rows, ids)


def test_the_page_is_valid_and_self_contained():
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


def test_missing_values_stand_out():
    text = render_table("T", "Q?", [("", TABLE)], [])
    assert '<td data-label="BLEU" class="hole">diverged (update 3)</td>' in text
    assert '<td data-label="BLEU">1.00</td>' in text
    assert "toy" not in text.split("<body>")[1] and "answer" not in text.split("<body>")[1]


def test_cells_are_labelled_with_their_column_and_rows_have_ids():
    table = grid(("system", "a <b>"), [("A & B", 1.5), (Markup("<i>C</i>"), "not run")], ["run-1", "run-2"])
    assert '<tr id="run-1"><td data-label="system">A &amp; B</td><td data-label="a &lt;b&gt;">1.5</td></tr>' in table
    assert '<td data-label="system"><i>C</i></td><td data-label="a &lt;b&gt;" class="hole">not run</td>' in table
    assert '<th scope="col">a &lt;b&gt;</th>' in table


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("21.49 ± 1.36 [9.29, 33.70] †", ["21.49 ± 1.36", "[9.29, 33.70]"]),
        ("0.2 ± 0.1 against 0.3 ± 0.1, p = 0.002", ["0.2 ± 0.1", "0.3 ± 0.1"]),
        ("-0.67 [-2.19, 0.85]; slots 32", ["[-2.19, 0.85]"]),
        ("no number [length in {32}]", []),
    ],
)
def test_numbers_do_not_break_across_lines(text, numbers):
    table = grid(("seen",), [(text,)])
    assert Markup(table).striptags().endswith(" ".join(text.split()))
    assert table.count('<span class="number">') == len(numbers)
    assert all(f'<span class="number">{number}</span>' in table for number in numbers)


def test_many_columns_are_set_small():
    columns = [str(n) for n in range(10)]
    assert 'class="wide dense"' in grid(columns, [columns]) and 'class="wide"' in grid(columns[1:], [columns[1:]])


def test_a_missing_template_value_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        render("table.html", lead="", sections=[], notes=[], stamp=None, answer=None)


def test_no_page_fetches_anything():
    for name in ENVIRONMENT.list_templates():
        text = ENVIRONMENT.loader.get_source(ENVIRONMENT, name)[0]
        assert not re.search(r"@import|fetch\(|XMLHttpRequest|<link|src=\"http", text), name


@pytest.mark.parametrize("documents", [False, True])
def test_a_corpus_page_has_its_source_steps_and_lengths(write_corpus, tmp_path, documents):
    segments = {"packing": ["within"], "lengths": [48]} if documents else None
    config, archives = write_corpus(documents=documents, segments=segments)
    prepare(config, "de", "en", archives, tmp_path / "made-up", 1)
    if documents:
        pack(config, "de", "en", tmp_path / "made-up", "within", 48)
    views = ["within-48"] if documents else []
    write_corpus_page(tmp_path / "made-up", views, tmp_path / "page.html", "the toy <corpus>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    texts = re.findall(r"(?<=>)[^<>]+", text)
    assert "Corpus made-up: de to en" in texts
    assert {"train.src", "in held out", "300", "train tgt"} <= set(texts)
    assert ("within-48 test" in texts) == documents
    assert "<corpus>" not in text


@pytest.fixture
def comparison():
    metric = {"signature": "nrefs:1|case:mixed"}
    return RunComparison(
        names=("transformer/seed1", "reluformer/seed1"),
        dataset="numbers",
        unit="words",
        metrics={"bleu": ({"score": 10.0, **metric}, {"score": 12.5, **metric})},
        segments=[
            Segment(1, 4, "ein <b>Satz</b>", "a & b", Side("a cat", 10.0, 20.0), Side("a dog", 30.0, 60.0)),
            Segment(2, 40, "zwei", "two", Side("two", 90.0, 95.0), Side("too", 5.0, 50.0)),
            Segment(3, 5, "drei", "three", Side("three", 90.0, 100.0), Side("three", 90.0, 100.0)),
        ],
        bounds=(10, 20),
    )


def test_a_comparison_is_self_contained_and_marks_differences(comparison):
    page = render_comparison(comparison, "chrf", 10)
    assert not re.search(r"<script|<link|<img|https?://|@import", page)
    assert 'name="viewport"' in page and "ein &lt;b&gt;Satz&lt;/b&gt;" in page and "a &amp; b" in page
    assert '<mark class="a">cat</mark>' in page and '<mark class="b">dog</mark>' in page
    better_b, better_a = page.split("Where A (transformer/seed1) is better")
    assert "Satz" in better_b and "zwei" in better_a and "drei" not in page
    assert "+2.50" in page and "nrefs:1|case:mixed" in page


def test_a_comparison_shows_as_many_segments_as_asked_for(comparison):
    page = render_comparison(comparison, "bleu", 0)
    assert "<article>" not in page and page.count("<p>None.</p>") == 2


def test_the_summary_of_a_comparison_has_its_main_figures(comparison):
    text = comparison_text(comparison, "chrf")
    assert "A: transformer/seed1" in text and "A is better in 1 and B in 1; 1 are identical" in text
    assert re.search(r"BLEU\s+10\.00\s+12\.50\s+2\.50", text)
    assert re.search(r"1-10\s+2\s+60\.0\s+80\.0", text) and re.search(r"21-\s+1\s+95\.0\s+50\.0", text)
