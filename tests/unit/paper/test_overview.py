from reluformer.paper.claims import build_claims
from reluformer.paper.overview import main_study, overview


def test_the_main_table_verdicts_and_report_are_named(make):
    made = make(toy=True)
    made.fill("attention-activation")
    assert main_study(made.experiment) == "attention-activation"
    before = overview(made.experiment, made.results)
    assert "ReLUFormer" in before and "not built yet" in before and "Verdicts" not in before
    build_claims(made.experiment, made.results)
    (made.results / "paper" / "index.html").touch()
    after = overview(made.experiment, made.results)
    assert "Verdicts (toy): " in after and after.endswith(f"Report: {made.results / 'paper' / 'index.html'}")
    assert "TOY CONFIGURATION" in after


def test_without_a_main_study_the_first_is_shown(make):
    assert main_study(make(only=["gamma", "anisotropy"]).experiment) == "gamma"
