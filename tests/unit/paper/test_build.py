import subprocess
import sys
from pathlib import Path

import pytest

from reluformer.config.experiment import Experiment
from reluformer.config.settings import SettingsError
from reluformer.paper.build import build_study
from reluformer.paper.outputs import study_inputs, study_outputs


def test_a_study_makes_exactly_what_it_says(make):
    """Of the project's studies these; tests/workflow/test_smoke.py has the others."""
    studies = ("penalty-parts", "readings")
    made = make(toy=True)
    made.fill(*studies)
    expected = set()
    for study in studies:
        build_study(made.experiment, study, made.results)
        expected |= {Path(path) for path in study_outputs(made.experiment, study, str(made.results))}
    assert {path for path in (made.results / "paper").rglob("*") if path.is_file()} == expected


def test_a_study_is_built_from_its_inputs_alone(make):
    made = make()
    made.fill("ablation")
    needed = {Path(path) for path in study_inputs(made.experiment, "ablation", str(made.results))}
    build_study(made.experiment, "ablation", made.results)
    tables = made.results / "paper" / "tables"
    before = (tables / "ablation.csv").read_text(encoding="utf-8")
    for path in (made.results / "runs").rglob("*"):
        if path.is_file() and path not in needed:
            path.unlink()
    build_study(made.experiment, "ablation", made.results)
    assert (tables / "ablation.csv").read_text(encoding="utf-8") == before


def test_without_a_single_run_everything_is_built_and_says_so(make):
    made = make()
    for study in ("gamma", "length-variance", "concentration", "distance"):
        build_study(made.experiment, study, made.results)
        text = (made.results / f"paper/tables/{study}.md").read_text(encoding="utf-8")
        assert "not run" in text and "runs are not there yet" in text


def test_building_again_writes_the_same_bytes(make):
    made = make()
    made.fill("variance-ratio")
    build_study(made.experiment, "variance-ratio", made.results)
    first = {path: path.read_bytes() for path in (made.results / "paper").rglob("*.*")}
    build_study(made.experiment, "variance-ratio", made.results)
    assert first == {path: path.read_bytes() for path in (made.results / "paper").rglob("*.*")}


def test_a_new_table_of_existing_kinds_is_a_few_lines_of_configuration(make):
    made = make()
    path = made.experiment.folder / "studies.yaml"
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
    made.experiment = Experiment(made.experiment.config.model_dump(), made.experiment.folder)
    made.fill("penalty-weight")
    build_study(made.experiment, "penalty-weight", made.results)
    for file in study_outputs(made.experiment, "penalty-weight", str(made.results)):
        assert Path(file).stat().st_size > 0
    text = (made.results / "paper/tables/penalty-weight.md").read_text(encoding="utf-8")
    assert "0.0005" in text and "0.001" in text and "ReLUFormer" in text and "not run" not in text


def test_an_unknown_study_is_refused(make):
    made = make()
    with pytest.raises(SettingsError, match="did you mean 'gamma'"):
        build_study(made.experiment, "gama", made.results)


def test_asking_what_a_study_makes_is_cheap():
    heavy = "{'torch', 'pandas', 'matplotlib', 'numpy'}"
    code = f"import sys, reluformer.paper.build; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_building_needs_no_torch():
    modules = "reluformer.paper.figures, reluformer.paper.study, reluformer.paper.claims"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
