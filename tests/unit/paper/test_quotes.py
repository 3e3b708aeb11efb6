"""README.md of a record shows its claims, tables and figures, and how they were obtained."""

from __future__ import annotations

import re

from reluformer.paper.quotes import readme
from reluformer.paper.recompute import update_paper
from reluformer.paper.record import take


def test_the_page_shows_findings_and_evidence(scored, tmp_path):
    example, record = scored(), tmp_path / "record"
    take(example.experiment, example.results, record)
    statistics = record / "corpora" / "some-sentences" / "statistics.json"
    statistics.write_text('{"splits": {"train": {"pairs": 123886}}}', "utf-8")
    update_paper(example.experiment, record)
    text = (record / "README.md").read_text("utf-8")
    assert text == readme(example.experiment, record)
    assert "# Record: Made up" in text and "TOY CONFIGURATION" in text
    assert "| some-sentences | finished and scored | 3 " in text
    assert "| some-sentences | train   | 123,886 " in text
    assert "unknown processor" in text  # the summaries name no machine
    assert re.search(r"^- Of \d+ claims: ", text, flags=re.MULTILINE)
    assert "## ReLU against Softmax in the FFN" in text and "![BLEU by the FFN's activation: a bar for" in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 2 and [target for target in targets if not (record / target).is_file()] == []
