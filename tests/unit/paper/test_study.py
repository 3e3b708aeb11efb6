import csv

import pytest

from reluformer.paper.study import write_tables


def test_the_csv_holds_raw_numbers(make):
    made = make(seeds=[1, 2])
    for run in made.experiment.study_runs("ffn-activation"):
        made.write(run, score=20.0 + run.seed)
    write_tables(made.experiment, "ffn-activation", made.results)
    with (made.results / "paper" / "tables" / "ffn-activation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["transformer", "ffn-softmax", "ffn-softmax-layernorm"]
    assert float(rows[0]["tokenized_bleu_mean"]) == 21.5
    assert float(rows[0]["tokenized_bleu_sd"]) == pytest.approx(0.5**0.5)
    assert rows[0]["tokenized_bleu_n"] == "2"


def test_a_toy_is_stamped_in_every_text(make):
    made = make(toy=True)
    made.fill("anisotropy")
    write_tables(made.experiment, "anisotropy", made.results)
    for form in ("md", "tex", "html"):
        assert "TOY CONFIGURATION" in (made.results / f"paper/tables/anisotropy.{form}").read_text(encoding="utf-8")


def test_reported_figures_stand_under_our_own(make):
    made = make()
    write_tables(made.experiment, "ablation", made.results)
    text = (made.results / "paper/tables/ablation.md").read_text(encoding="utf-8")
    assert "The paper reports: BLEU −1.37 (S); entropy −1.52 (S)." in text and "third-party" in text


def test_the_answer_and_the_metric_of_the_cells_are_on_the_page(make):
    made = make()
    made.fill("gamma", "memory-size")
    write_tables(made.experiment, "gamma", made.results)
    write_tables(made.experiment, "memory-size", made.results)
    folder = made.results / "paper" / "tables"
    assert 'class="answer"' in (folder / "gamma.html").read_text(encoding="utf-8")
    assert "is best with" in (folder / "gamma.tex").read_text(encoding="utf-8")
    assert "In the cells: BLEU (tokenised, lower-cased)." in (folder / "memory-size.md").read_text(encoding="utf-8")
