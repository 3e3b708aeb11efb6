import json
from pathlib import Path

from reluformer.config.experiment import Experiment

CONFIG = Path(__file__).parents[3] / "config"


def test_a_plan_is_printed_for_people_and_for_machines(run):
    text = run("plan", "--config", "config/demo.yaml", "--card", "a100", "--devices", "2").stdout
    assert "GPU-hours on: NVIDIA A100" in text and "What this rests on" in text
    plan = json.loads(run("plan", "--config", "config/demo.yaml", "--json").stdout)
    demo = Experiment.from_files(CONFIG / "config.yaml", CONFIG / "demo.yaml")
    assert plan["totals"]["runs"] == len(demo.runs) and plan["device"] == "NVIDIA H100 SXM"


def test_an_unknown_card_is_one_line(run):
    result = run("plan", "--card", "h10")
    assert result.returncode == 2 and result.stderr.startswith("reluformer: --card: 'h10'")
