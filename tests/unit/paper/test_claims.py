import json
import re
from html.parser import HTMLParser

import pytest

from reluformer.paper.claims import build_claims, label
from reluformer.paper.differences import write_significance
from reluformer.paper.index import build_index
from reluformer.paper.outputs import claims_outputs, compared_runs, read_claims

SEEDS = [1, 2, 3]


@pytest.fixture
def judged(make):
    def build(fill, **config):
        example = make(**config)
        fill(example)
        build_claims(example.experiment, example.results)
        content = json.loads((example.results / "paper" / "claims.json").read_text(encoding="utf-8"))
        return example, content, {claim["id"]: claim for claim in content["claims"]}

    return build


def ffn(transformer, softmax, layernorm):
    scores = {"transformer": transformer, "ffn-softmax": softmax, "ffn-softmax-layernorm": layernorm}

    def fill(example):
        for run in example.experiment.study_runs("ffn-activation"):
            example.write(run, score=scores[run.system] + 0.05 * (run.seed - 2))
            example.translate(run, share=0.5 if run.system == "ffn-softmax" else 0.0)

    return fill


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((34.2, 33.1, 34.2), "reproduced"),
        ((34.2, 33.1, 33.0), "not reproduced"),
        ((33.0, 34.0, 33.0), "not reproduced"),
        ((34.2, 34.0, 34.2), "inconclusive"),
    ],
)
def test_verdicts_follow_from_the_figures(judged, scores, verdict):
    _, _, claims = judged(ffn(*scores), seeds=SEEDS)
    assert claims["ffn-activation"]["verdict"] == verdict
    point = claims["ffn-activation"]["rules"][0]["points"][0]
    means = point["ours"]["centre"], point["other"]["centre"]
    assert means == pytest.approx(scores[:2]) and point["ours"]["n"] == 3
    low, high = point["interval"]
    assert low < point["difference"] < high and point["difference"] == pytest.approx(scores[0] - scores[1])


def test_a_configuration_adds_its_own_claims_to_the_papers(judged):
    rule = {"metric": "bleu", "system": "ffn-softmax-layernorm", "relation": "above", "than": "ffn-softmax"}
    own = {"sentence": "LayerNorm helps.", "source": "D", "study": "ffn-activation", "rule": [rule]}
    example, content, claims = judged(ffn(34.2, 33.1, 34.2), seeds=SEEDS, claims={"layernorm-helps": own})
    assert content["claims"][-1]["id"] == "layernorm-helps" and claims["ffn-activation"]["verdict"] == "reproduced"
    assert claims["layernorm-helps"]["verdict"] == "reproduced"
    pairs = [(run.system, baseline.system) for run, baseline in compared_runs(example.experiment, "ffn-activation")]
    assert ("ffn-softmax-layernorm", "ffn-softmax") in pairs  # also tested on the test set


def test_a_claims_p_value_is_that_of_its_weakest_comparison_or_of_the_claim_itself(judged):
    _, content, claims = judged(ffn(34.2, 33.1, 34.2), seeds=SEEDS)
    points = [rule["points"][0] for rule in claims["ffn-activation"]["rules"]]
    assert claims["ffn-activation"]["p"] == max(point["p_for"] for point in points) <= content["level"]
    _, _, claims = judged(ffn(34.2, 33.1, 33.0), seeds=SEEDS)
    points = [rule["points"][0] for rule in claims["ffn-activation"]["rules"]]
    assert claims["ffn-activation"]["p"] == min(point["p_against"] for point in points) <= content["level"]


def test_one_seed_leaves_a_claim_open_and_shows_the_test_sets_own_p_values(judged):
    def fill(example):
        ffn(34.2, 33.1, 34.2)(example)
        write_significance(example.experiment, "ffn-activation", example.results)

    _, _, claims = judged(fill, significance={"bootstrap": 200, "randomisation": 200})
    claim = claims["ffn-activation"]
    assert claim["verdict"] == "inconclusive" and claim["p"] is None
    point = claim["rules"][0]["points"][0]
    assert point["why"] == "one seed: nothing is known of another training"
    assert point["test_set"]["bootstrap"] < 0.05 and point["test_set"]["randomisation"] < 0.05
    assert "on the test set bootstrap p = 0.00" in claim["rules"][0]["seen"]


def test_claims_without_runs_are_not_judged(judged):
    example, content, claims = judged(lambda example: None)
    assert {claim["verdict"] for claim in claims.values()} == {"not run", "by construction"}
    assert {claim["p"] for claim in claims.values()} == {None}
    assert claims["equivalence"]["verdict"] == "by construction"
    assert set(claims) == set(read_claims(example.experiment)) and content["toy"] is False


def test_divergence_is_a_finding(judged):
    _, _, claims = judged(lambda example: example.fill("length-variance"), seeds=SEEDS)
    assert claims["length-variance"]["verdict"] == "reproduced"
    assert claims["length-variance"]["rules"][0]["seen"] == "diverged"
    assert any("attention-relu/seed1" in run for run in claims["length-variance"]["runs"])


def test_a_toy_verdict_is_labelled(judged):
    example, content, claims = judged(ffn(34.2, 33.1, 34.2), toy=True, seeds=SEEDS)
    assert content["toy"] and label(claims["ffn-activation"]) == "toy: reproduced"
    assert label(claims["memory-size"]) == "not run"
    text = (example.results / "paper" / "claims.md").read_text(encoding="utf-8")
    assert "toy: reproduced" in text and "TOY CONFIGURATION" in text


def test_every_page_is_written_and_marks_what_is_reported(judged):
    example, _, claims = judged(ffn(34.2, 33.1, 34.2), seeds=SEEDS)
    for path in claims_outputs():
        assert "34.22" in (example.results.parent / path).read_text(encoding="utf-8")
    assert all(figure["source"] in "SAD?" for claim in claims.values() for figure in claim["reported"])
    text = (example.results / "paper" / "claims.md").read_text(encoding="utf-8")
    assert "BLEU with ReLU 34.22 (S)" in text and "34.20 ± 0.05 against 33.10 ± 0.05, difference +1.10 [0." in text


class Rows(HTMLParser):
    """Collects the IDs of a page, and the links of each row in its tables' bodies."""

    def __init__(self, text):
        super().__init__()
        self.names, self.rows = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names |= {values["id"]} if "id" in values else set()
        if tag == "tr":
            self.rows.append([])
        if tag == "a" and self.rows:
            self.rows[-1].append(values["href"])


def test_every_row_links_to_the_evidence_of_its_claim(judged, tmp_path):
    example, _, claims = judged(lambda example: example.fill(*example.experiment.studies))
    for study in example.experiment.studies:
        table = example.results / "paper" / "tables" / f"{study}.html"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.touch()
    build_index(example.experiment, example.results, tmp_path / "logs")
    folder = example.results / "paper"
    pages = {name: Rows((folder / name).read_text(encoding="utf-8")) for name in ("claims.html", "index.html")}

    def opens(here, href):
        path, _, name = href.partition("#")
        return (folder / (path or here)).is_file() and (not name or name in pages[path or here].names)

    rows = [row for row in pages["claims.html"].rows if row]
    assert len(rows) == len(claims) + sum(max(1, len(claim["rules"])) for claim in claims.values())
    for row in rows:
        assert row[0].startswith("#")  # within the page, as a single-file report needs
        assert all(opens("claims.html", href) for href in row)
    ran = [claim for claim in claims.values() if claim["runs"]]
    assert len(ran) > 10
    for claim in ran:
        wanted = [f"#rules-{claim['id']}", f"index.html#claim-{claim['id']}", f"tables/{claim['study']}.html"]
        assert wanted in rows
    links = re.findall(r"\]\(([^)]+)\)", (folder / "claims.md").read_text(encoding="utf-8"))
    assert len(links) >= len(rows) and all(opens("claims.md", href) for href in links)


def test_claims_on_a_study_of_another_stage_are_not_judged(judged):
    stages = {"first": ["anisotropy"], "second": ["ffn-activation"]}
    _, _, claims = judged(lambda example: example.fill("anisotropy"), stages=stages, stage="first")
    assert claims["anisotropy"]["verdict"] == "inconclusive"
    assert claims["ffn-activation"]["verdict"] == "not run"


def test_with_chosen_studies_only_their_claims_are_judged(judged):
    _, _, claims = judged(lambda example: example.fill("anisotropy"), only=["anisotropy"])
    assert {name: claim["verdict"] for name, claim in claims.items()} == {"anisotropy": "inconclusive"}
