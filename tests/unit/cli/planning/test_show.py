import io

import pytest
from rich.console import Console

from reluformer.cli.planning.gpus import CARDS
from reluformer.cli.planning.plan import collect, make_plan, stated
from reluformer.cli.planning.show import count, duration, show, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.2, "3 s"), (725, "12 min 5 s"), (11_040, "3 h 4 min"), (86_400 * 12 + 3600 * 3, "12 d 3 h")],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_numbers_are_short():
    assert count(1_500_000) == "1.5 M" and count(12) == "12" and size(2e9) == "2.0 GB"


def test_a_plan_shows_its_runs_totals_and_basis(demo, tmp_path):
    sizes, kinds = collect(demo, tmp_path)
    plan = make_plan(demo, sizes, kinds, stated(kinds, sizes, CARDS["a100"], 0.5), 4)
    out = io.StringIO()
    show(plan, Console(file=out, width=120))
    text = out.getvalue()
    assert "demo-documents@within-128" in text and "GPU-hours on: NVIDIA A100" in text
    assert "on 4 GPUs" in text and "critical path: " in text and "What this rests on:" in text
    assert "variance_law" in text and "measure " in text
