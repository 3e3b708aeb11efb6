import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from reluformer.paper.build import build_study
from reluformer.paper.claims import build_claims
from reluformer.paper.index import build_index


class Links(HTMLParser):
    """The anchors, the links and the pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.images, self.rows = set(), [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found["id"]} if "id" in found else set()
        self.links += [found["href"]] if tag == "a" else []
        self.images += [found["src"]] if tag == "img" else []


@pytest.fixture
def page(make, tmp_path):
    """Builds the page of an experiment; returns its text and its links."""

    def build(made, *studies):
        made.fill(*studies)
        made.law()
        for study in studies:
            build_study(made.experiment, study, made.results)
        build_claims(made.experiment, made.results)
        run = made.experiment.study_runs("ablation")[0]
        log = tmp_path / "logs" / "train" / f"{run.path}.log"
        log.parent.mkdir(parents=True)
        log.write_text("trained\n", encoding="utf-8")
        (made.results / "paper" / "measured.json").write_text("{}", encoding="utf-8")
        build_index(made.experiment, made.results, tmp_path / "logs")
        text = (made.results / "paper" / "index.html").read_text(encoding="utf-8")
        return text, Links(text)

    return build


def test_every_link_opens(make, page):
    made = make(toy=True)
    _text, links = page(made, *made.experiment.studies)
    assert len(links.links) > 100
    for href in links.links:
        if href.startswith("#"):
            assert unquote(href[1:]) in links.ids, href
        elif not href.startswith("https://arxiv.org"):
            assert (made.results / "paper" / unquote(href)).is_file(), href
    assert sum("/logs/train/" in href for href in links.links) == 1
    assert "measured.json" in links.links  # a claim about speed rests on no trained run


def test_everything_is_on_the_page_claims_first(make, page):
    made = make(toy=True, seeds=[1, 2])
    text, links = page(made, *made.experiment.studies)
    assert text.index("The claims</h2>") < text.index('<section id="study-')
    figures = {f"figure-{study}-{name}" for study, one in made.experiment.studies.items() for name in one.figures}
    assert figures <= links.ids and len(links.images) == len(figures)
    assert all(image.startswith("data:image/svg+xml;base64,") for image in links.images)
    assert {f"run-{run.path}" for run in made.experiment.runs} <= links.ids
    assert text.count('<svg class="curve"') == len(made.experiment.runs)
    assert "TOY CONFIGURATION" in text and "some-sentences" in text


def test_each_claim_links_to_its_runs_and_its_study(make, page):
    made = make()
    text, _links = page(made, *made.experiment.studies)
    rows = re.findall(r'<tr><td data-label="verdict".*?</tr>', text, flags=re.DOTALL)
    assert len(rows) == 15 and all('href="#claim-' in row for row in rows)
    assert sum('href="#study-' in row for row in rows) == 14  # one holds by construction


def test_half_of_the_runs_make_a_page_that_says_what_is_missing(make, page):
    made = make()
    text, _links = page(made, "ablation")
    run = made.experiment.study_runs("ablation")[0]
    (made.folder(run) / "summary.json").unlink()
    build_index(made.experiment, made.results, made.results / "no-logs")
    text = (made.results / "paper" / "index.html").read_text(encoding="utf-8")
    assert f"So far 2 of {len(made.experiment.runs)} runs are there" in text
    assert "The table is not built yet." in text and "Not drawn yet." in text
    assert "None is prepared yet." in text


def test_the_page_is_the_same_every_time(make, page):
    made = make()
    text, _ = page(made, "ablation")
    build_index(made.experiment, made.results, made.results.parent / "logs")
    assert (made.results / "paper" / "index.html").read_text(encoding="utf-8") == text
