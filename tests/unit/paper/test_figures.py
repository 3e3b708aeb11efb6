from typing import get_args

from reluformer.config.studies import FigureKind
from reluformer.paper.figures import KINDS, draw


def test_every_kind_that_a_study_may_name_is_drawn():
    assert set(KINDS) == set(get_args(FigureKind))


def test_each_figure_is_written_as_vectors_and_pixels(make):
    made = make(toy=True)
    made.fill("gamma")
    draw(made.experiment, "gamma", made.results)
    folder = made.results / "paper" / "figures"
    assert {path.name for path in folder.iterdir()} == {f"gamma-gamma.{form}" for form in ("svg", "pdf", "png")}
    assert (folder / "gamma-gamma.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "gamma-gamma.svg").read_text(encoding="utf-8")
