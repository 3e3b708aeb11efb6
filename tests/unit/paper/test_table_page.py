from html.parser import HTMLParser

import pandas as pd
from markupsafe import Markup

from reluformer.paper.table_page import render

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


def test_the_page_is_whole_and_needs_nothing_else():
    text = render("T", "Q?", [("", TABLE), ("More", TABLE)], ["A note & more."], stamp="TOY", answer="Because.")
    tags = outline(text)
    assert [tag for tag, _ in tags].count("table") == 2
    assert not any("src" in attributes or "href" in attributes or tag == "script" for tag, attributes in tags)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in tags
    assert "A &lt;b&gt;" in text and "A note &amp; more." in text
    assert '<p class="toy">TOY</p>' in text and '<p class="answer">Because.</p>' in text and "<h2>More</h2>" in text


def test_markup_in_a_cell_stays_markup():
    long = Markup('<a href="{}">A &amp; B</a>').format("x" * 80)
    text = render("T", "Q?", [("", pd.DataFrame({"one": [long]}, dtype=object))], [])
    assert f'<td data-label="one">{long}</td>' in text


def test_holes_stand_out():
    text = render("T", "Q?", [("", TABLE)], [])
    assert '<td data-label="BLEU" class="hole">diverged (update 3)</td>' in text
    assert '<td data-label="BLEU">1.00</td>' in text
    assert "toy" not in text.split("<body>")[1] and "answer" not in text.split("<body>")[1]
