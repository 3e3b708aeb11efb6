"""`plan`, `watch`, and `doctor` on a simulated machine without compiler, SLURM, network and GPU."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from reluformer.config.experiment import Experiment

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bare(tmp_path_factory, warm_python):
    """The output of `reluformer doctor --json` on a machine that has only Python."""
    closed = "http://127.0.0.1:9"
    environment = {
        **{key: value for key, value in os.environ.items() if "proxy" not in key.lower()},
        "PATH": str(tmp_path_factory.mktemp("empty")),
        **dict.fromkeys(("http_proxy", "https_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"), closed),
        "PIP_CONFIG_FILE": "/dev/null",
        "CUDA_VISIBLE_DEVICES": "",
    }
    environment.pop("RELUFORMER_ARCHIVES", None)
    command = [warm_python, "-m", "reluformer.cli", "doctor", "--json", "--config", "config/config.yaml"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_doctor_names_what_is_missing_and_the_fix(bare):
    checks = {check["name"]: check for check in json.loads(bare.stdout)["checks"]}
    for name, words in {
        "compiler": "apt install g++",
        "SLURM": "login node",
        "GPU": "NVIDIA GPU",
        "corpus iwslt14": "archives=DIR",
        "corpus europarl7": "archives=DIR",
    }.items():
        assert checks[name]["state"] == "missing" and words in checks[name]["fix"], name


@pytest.mark.slow
def test_doctor_trains_on_two_processes(bare):
    checks = {check["name"]: check for check in json.loads(bare.stdout)["checks"]}
    assert checks["two processes"]["state"] == "ok", checks["two processes"]
    assert "gloo" in checks["two processes"]["detail"] and "equal" in checks["two processes"]["effect"]
    assert any(name.endswith("(cpu)") for name in checks), "the fast paths of the CPU"


@pytest.mark.slow
def test_the_exit_code_is_whether_the_demo_can_run(bare):
    report = json.loads(bare.stdout)
    wheel = next(check for check in report["checks"] if check["name"] == "corpus demo-sentences")
    at_hand = any((ROOT / "resources").glob("homeassistant-*.whl"))
    assert wheel["state"] == ("ok" if at_hand else "missing")
    assert bare.returncode == (0 if report["demo"] else 1) and report["demo"] == (at_hand and _rest_is_there(report))


def _rest_is_there(report) -> bool:
    return not any(check["needed"] and check["state"] == "missing" for check in report["checks"])


def test_a_plan_is_printed_for_people_and_for_machines(run):
    text = run("plan", "--config", "config/demo.yaml", "--gpu", "a100", "--devices", "2").stdout
    assert "GPU-hours on: NVIDIA A100" in text and "Assumptions:" in text
    plan = json.loads(run("plan", "--config", "config/demo.yaml", "--json").stdout)
    demo = Experiment.from_files(ROOT / "config" / "config.yaml", ROOT / "config" / "demo.yaml")
    assert plan["totals"]["runs"] == len(demo.runs) and plan["device"] == "NVIDIA H100 SXM"


def test_an_unknown_gpu_is_one_line(run):
    result = run("plan", "--gpu", "h10")
    assert result.returncode == 2 and result.stderr.startswith("reluformer: --gpu: 'h10'")


def test_watch_once_prints_plain_text_and_exits(run):
    result = run("watch", "--once", "--config", "config/demo.yaml", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout and result.stdout.splitlines()[0] == "ReLUFormer in small: the toy configuration"
    assert any(line.split()[:1] == ["train"] and " of " in line for line in result.stdout.splitlines())


@pytest.mark.slow
def test_watch_prints_once_into_a_pipe(run):
    assert run("watch", cwd=ROOT).returncode == 0
