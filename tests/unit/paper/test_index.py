import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from tests.unit.paper.conftest import make_up

from reluformer.files import write_text
from reluformer.paper import study as study_files
from reluformer.paper.claims import build_claims
from reluformer.paper.index import EDGE, HEIGHT, WIDTH, build_index, curve, overview, provenance
from reluformer.paper.outputs import study_outputs


class Links(HTMLParser):
    """Collects the IDs, links and images of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.images, self.rows = set(), [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values["id"]} if "id" in values else set()
        self.links += [values["href"]] if tag == "a" else []
        self.images += [values["src"]] if tag == "img" else []


PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
"""Stands in for a figure: drawing figures is slow and not tested here."""


def stand_ins(experiment, study, results):
    """Writes `PICTURE` as every figure of a study."""
    for path in study_outputs(experiment, study):
        if path.endswith(".svg"):
            write_text(results.parent / path, PICTURE)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Builds the page of an experiment; returns the experiment, the text of the page and its links."""

    def build(*studies, **config):
        folder = tmp_path_factory.mktemp("page")
        example = make_up(folder, **config)
        example.fill(*(studies := studies or example.experiment.studies))
        example.law()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study_files, "draw_figures", stand_ins)
            for study in studies:
                study_files.build_study(example.experiment, study, example.results)
        build_claims(example.experiment, example.results)
        run = example.experiment.study_runs("ablation")[0]
        write_text(folder / "logs" / "train" / f"{run.path}.log", "trained\n")
        write_text(example.results / "paper" / "measured.json", "{}")
        build_index(example.experiment, example.results, folder / "logs")
        text = (example.results / "paper" / "index.html").read_text(encoding="utf-8")
        return example, text, Links(text)

    return build


@pytest.fixture(scope="module")
def whole(page):
    """The page of all studies, with two seeds."""
    return page(toy=True, seeds=[1, 2])


def test_every_link_opens(whole):
    example, _text, links = whole
    assert len(links.links) > 100
    for href in links.links:
        if href.startswith("#"):
            assert unquote(href[1:]) in links.ids, href
        elif not href.startswith("https://arxiv.org"):
            assert (example.results / "paper" / unquote(href)).is_file(), href
    assert sum("/logs/train/" in href for href in links.links) == 1
    assert "measured.json" in links.links  # a claim about speed links to measurements, not runs


def test_everything_is_on_the_page_claims_first(whole):
    example, text, links = whole
    assert text.index("The claims</h2>") < text.index('<section id="study-')
    figures = {
        f"figure-{name}-{figure}" for name, study in example.experiment.studies.items() for figure in study.figures
    }
    assert figures <= links.ids and len(links.images) == len(figures)
    assert all(image.startswith("data:image/svg+xml;base64,") for image in links.images)
    assert {f"run-{run.path}" for run in example.experiment.runs} <= links.ids
    assert text.count('<svg class="curve"') == len(example.experiment.runs)
    assert "TOY CONFIGURATION" in text and "some-sentences" in text


def test_each_claim_links_to_its_runs_and_its_study(whole):
    _made, text, _links = whole
    rows = re.findall(r'<tr><td data-label="claim".*?</tr>', text, flags=re.DOTALL)
    assert len(rows) == 15 and all('href="#claim-' in row for row in rows)
    articles = re.findall(r'<article id="claim-.*?</article>', text, flags=re.DOTALL)
    assert sum('href="#study-' in article for article in articles) == 14  # one holds by construction


def test_the_first_screen_states_the_findings_with_the_papers_figures(whole):
    _made, text, _links = whole
    top = text.partition('<section id="claims">')[0]
    sentences = re.findall(r"<li>(.*?)</li>", top)
    number = r"\d+\.\d( ± \d\.\d)?"
    first = rf"A Transformer with ReLU .* than the Transformer\. These runs .*: BLEU {number} against {number} \(.*\)\."
    assert len(sentences) == 3 and re.fullmatch(first, sentences[0]), sentences
    assert " at length 128." in sentences[1] and sentences[2].startswith("Of 15 claims: ")
    row = re.search(r'<tr><td data-label="claim">On IWSLT14 De-En, ReLU beats.*?</tr>', text, flags=re.DOTALL)[0]
    assert "BLEU with ReLU 34.22 (S)" in row and re.search(r'data-label="ours">.* against ', row)
    assert '<svg class="intervals"' in row and 'class="verdict ' in row


def test_a_page_of_half_of_the_runs_states_what_is_missing(page):
    example, _text, _links = page("ablation")
    run = example.experiment.study_runs("ablation")[0]
    (example.folder(run) / "summary.json").unlink()
    build_index(example.experiment, example.results, example.results / "no-logs")
    text = (example.results / "paper" / "index.html").read_text(encoding="utf-8")
    assert f"So far 2 of {len(example.experiment.runs)} runs exist" in text
    assert "The table is not built yet." in text and "Not drawn yet." in text
    assert "None is prepared yet." in text


def test_the_page_is_reproducible(page):
    example, text, _links = page("ablation")
    build_index(example.experiment, example.results, example.results.parent / "logs")
    assert (example.results / "paper" / "index.html").read_text(encoding="utf-8") == text


LOG = [
    {"event": "train", "update": 10, "loss": 8.0},
    {"event": "train", "update": 20, "loss": None},
    {"event": "valid", "update": 20, "loss": 4.0},
    {"event": "train", "update": 40, "loss": 2.0},
]


def test_figures_have_alternative_texts(whole):
    _made, text, _links = whole
    alts = re.findall(r'<img alt="(.*?)"', text)
    assert len(alts) > 20 and all(alt.endswith(". The numbers are in the study&#39;s table.") for alt in alts)
    assert "BLEU by the FFN&#39;s activation: a bar for each system. " in "".join(alts)


def test_a_curve_goes_from_the_highest_loss_to_the_lowest():
    svg = ElementTree.fromstring(curve(LOG))
    train, valid = (line.get("points") for line in svg.iter("polyline"))
    first, last = train.split(" ")
    assert float(first.split(",")[1]) == EDGE and last == f"{WIDTH - EDGE:.1f},{HEIGHT - EDGE:.1f}"
    assert len(valid.split(" ")) == 1
    assert svg.get("aria-label") == "loss from 8.00 to 2.00 nats per token over 40 updates"


def test_a_run_without_logged_losses_has_no_curve():
    assert curve([]) == "" and curve([{"event": "train", "update": 1, "loss": None}]) == ""


def test_a_flat_curve_is_drawn():
    assert "polyline" in curve(LOG[:1])


def test_the_main_table_verdicts_and_report_are_named(make):
    example = make(toy=True)
    example.fill("attention-activation")
    before = overview(example.experiment, example.results)
    assert before.startswith(example.experiment.studies["attention-activation"].title)
    assert "ReLUFormer" in before and "not built yet" in before and "Verdicts" not in before
    build_claims(example.experiment, example.results)
    (example.results / "paper" / "index.html").touch()
    after = overview(example.experiment, example.results)
    assert "Verdicts (toy): " in after and after.endswith(f"Report: {example.results / 'paper' / 'index.html'}")
    assert "TOY CONFIGURATION" in after


def test_without_a_main_study_the_first_is_shown(make):
    example = make(only=["gamma", "anisotropy"])
    shown = overview(example.experiment, example.results)
    assert shown.startswith(example.experiment.studies["gamma"].title)


def test_provenance_lists_code_machines_and_corpora(make):
    example = make(only=["anisotropy"])
    runs = example.experiment.study_runs("anisotropy")
    for number, run in enumerate(runs[:2]):
        example.write(run)
        path = example.folder(run) / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8"))
        summary |= {
            "code_version": f"c{number}",
            "versions": {"torch": "2"},
            "machine": {"cpu": "A CPU", "cores": 2, "gpus": ["G", "G"]},
            "data": {"some-sentences/subword.model": "ab"},
        }
        path.write_text(json.dumps(summary), encoding="utf-8")
    corpus = example.results / "corpora" / "some-sentences"
    corpus.mkdir(parents=True)
    archive = {"name": "a.whl", "published": ["https://x"], "sha256": "cd", "bytes": 9}
    (corpus / "provenance.json").write_text(json.dumps({"archives": [archive]}), encoding="utf-8")
    sources = provenance(example.experiment, example.results)
    assert sources["code"] == {"c0": 1, "c1": 1} and sources["packages"] == {"torch 2": 2}
    assert sources["machines"] == {"A CPU, 2 cores, 2 × G": 2}
    assert sources["archives"] == [{"corpus": "some-sentences", **archive}]
    assert sources["data"] == {"some-sentences/subword.model": "ab"}


def test_without_runs_the_provenance_is_empty(make):
    example = make(only=["anisotropy"])
    assert provenance(example.experiment, example.results) == {
        "code": {},
        "packages": {},
        "machines": {},
        "archives": [],
        "data": {},
    }
