import csv
import subprocess
import sys
from typing import get_args

import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.settings import SettingsError
from reluformer.config.studies import FigureKind
from reluformer.paper.outputs import study_inputs, study_outputs
from reluformer.paper.study import KINDS, build_study, draw_figures, write_tables


def test_a_study_writes_exactly_its_declared_outputs(make):
    """Covers some of the project's studies; tests/workflow/test_smoke.py covers the others."""
    studies = ("penalty-parts", "readings")
    example = make(toy=True)
    example.fill(*studies)
    expected = set()
    for study in studies:
        build_study(example.experiment, study, example.results)
        expected |= {example.results.parent / path for path in study_outputs(example.experiment, study)}
    assert {path for path in (example.results / "paper").rglob("*") if path.is_file()} == expected


def test_a_study_is_built_from_its_inputs_alone(make):
    example = make()
    example.fill("ablation")
    needed = {example.results.parent / path for path in study_inputs(example.experiment, "ablation")}
    build_study(example.experiment, "ablation", example.results)
    tables = example.results / "paper" / "tables"
    before = (tables / "ablation.csv").read_text(encoding="utf-8")
    for path in (example.results / "runs").rglob("*"):
        if path.is_file() and path not in needed:
            path.unlink()
    build_study(example.experiment, "ablation", example.results)
    assert (tables / "ablation.csv").read_text(encoding="utf-8") == before


def test_without_any_run_everything_is_built_and_labelled(make):
    example = make()
    build_study(example.experiment, "length-variance", example.results)
    for study in ("gamma", "length-variance", "concentration", "distance"):
        write_tables(example.experiment, study, example.results)
        text = (example.results / f"paper/tables/{study}.md").read_text(encoding="utf-8")
        assert "not run" in text and "runs are not there yet" in text


@pytest.mark.slow
def test_building_again_writes_the_same_bytes(make):
    example = make()
    example.fill("variance-ratio")
    build_study(example.experiment, "variance-ratio", example.results)
    first = {path: path.read_bytes() for path in (example.results / "paper").rglob("*.*")}
    build_study(example.experiment, "variance-ratio", example.results)
    assert first == {path: path.read_bytes() for path in (example.results / "paper").rglob("*.*")}


def test_a_new_table_of_existing_kinds_is_a_few_lines_of_configuration(make):
    example = make()
    path = example.experiment.folder / "studies.yaml"
    new = """
penalty-weight:
  title: The weight of the penalty
  question: How does BLEU depend on the weight of the penalty?
  dataset: sentences
  systems: [reluformer, transformer]
  vary: {learning_rate: [0.0005, 0.001]}
  columns: [tokenized_bleu, attention.entropy]
  across: system
  figures:
    bleu: {kind: lines, title: BLEU against the learning rate, x: learning_rate, y: [tokenized_bleu]}
"""
    path.write_text(path.read_text(encoding="utf-8") + new, encoding="utf-8")
    example.experiment = Experiment(example.experiment.config.model_dump(), example.experiment.folder)
    example.fill("penalty-weight")
    build_study(example.experiment, "penalty-weight", example.results)
    for file in study_outputs(example.experiment, "penalty-weight"):
        assert (example.results.parent / file).stat().st_size > 0
    text = (example.results / "paper/tables/penalty-weight.md").read_text(encoding="utf-8")
    assert "0.0005" in text and "0.001" in text and "ReLUFormer" in text and "not run" not in text


def test_an_unknown_study_is_refused(make):
    example = make()
    with pytest.raises(SettingsError, match="did you mean 'gamma'"):
        build_study(example.experiment, "gama", example.results)


@pytest.mark.slow
def test_building_needs_no_torch():
    modules = "reluformer.paper.study, reluformer.paper.claims"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_csv_holds_raw_numbers(make):
    example = make(seeds=[1, 2])
    for run in example.experiment.study_runs("ffn-activation"):
        example.write(run, score=20.0 + run.seed)
    write_tables(example.experiment, "ffn-activation", example.results)
    with (example.results / "paper" / "tables" / "ffn-activation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["transformer", "ffn-softmax", "ffn-softmax-layernorm"]
    assert float(rows[0]["tokenized_bleu_mean"]) == 21.5
    assert float(rows[0]["tokenized_bleu_sd"]) == pytest.approx(0.5**0.5)
    assert rows[0]["tokenized_bleu_n"] == "2"


def test_a_toy_is_stamped_in_every_text(make):
    example = make(toy=True)
    example.fill("anisotropy")
    write_tables(example.experiment, "anisotropy", example.results)
    for form in ("md", "tex", "html"):
        assert "TOY CONFIGURATION" in (example.results / f"paper/tables/anisotropy.{form}").read_text(encoding="utf-8")


def test_reported_figures_are_shown_below_ours(make):
    example = make()
    write_tables(example.experiment, "ablation", example.results)
    text = (example.results / "paper/tables/ablation.md").read_text(encoding="utf-8")
    assert "The paper reports: BLEU −1.37 (S); entropy −1.52 (S)." in text and "third-party" in text


def test_the_answer_and_the_metric_of_the_cells_are_on_the_page(make):
    example = make()
    example.fill("gamma", "memory-size")
    write_tables(example.experiment, "gamma", example.results)
    write_tables(example.experiment, "memory-size", example.results)
    folder = example.results / "paper" / "tables"
    assert 'class="answer"' in (folder / "gamma.html").read_text(encoding="utf-8")
    assert "is best with" in (folder / "gamma.tex").read_text(encoding="utf-8")
    assert "In the cells: BLEU (tokenised, lower-cased)." in (folder / "memory-size.md").read_text(encoding="utf-8")


def test_every_kind_that_a_study_may_name_is_drawn():
    assert set(KINDS) == set(get_args(FigureKind))


def test_each_figure_is_written_as_vectors_and_pixels(make):
    example = make(toy=True)
    example.fill("gamma")
    draw_figures(example.experiment, "gamma", example.results)
    folder = example.results / "paper" / "figures"
    assert {path.name for path in folder.iterdir()} == {f"gamma-gamma.{form}" for form in ("svg", "pdf", "png")}
    assert (folder / "gamma-gamma.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "gamma-gamma.svg").read_text(encoding="utf-8")
