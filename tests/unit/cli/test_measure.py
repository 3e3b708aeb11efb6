"""`reluformer measure` writes its file, and says when there is nothing to measure."""

import json

import pytest

from reluformer.benchmark import step
from reluformer.cli.main import main


def test_writes_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "measure", lambda plan, threads, tell: {"study": plan.study, "threads": threads})
    output = tmp_path / "measured.json"
    with pytest.raises(SystemExit) as left:
        main(["measure", "--output", str(output), "--threads", "3"])
    assert not left.value.code
    assert json.loads(output.read_text(encoding="utf-8")) == {"study": "speed-by-length", "threads": 3}


def test_nothing_to_measure(tmp_path, capsys):
    only = tmp_path / "only.yaml"
    only.write_text("only: [ablation]", encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["measure", "--config", str(only), "--output", str(tmp_path / "measured.json")])
    assert left.value.code == 2 and "no study of this configuration is measured" in capsys.readouterr().err
