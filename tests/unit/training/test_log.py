from __future__ import annotations

import json

from reluformer.training.log import RunLog


def test_events_are_json_lines_and_plain_lines(tmp_path, capsys):
    log = RunLog(tmp_path, 10, active=True)
    log.event(event="train", update=1, loss=2.5, grad_norm=float("nan"))
    assert json.loads(log.lines.read_text()) == {"event": "train", "update": 1, "loss": 2.5, "grad_norm": None}
    assert "train update 1 loss 2.5" in log.plain.read_text()
    assert "train update 1 loss 2.5" in capsys.readouterr().err
    log.progress(1, 2.5, 1e-3, 100.0)  # no terminal: nothing
    log.close()


def test_rewind_drops_later_events_and_a_cut_off_line(tmp_path):
    log = RunLog(tmp_path, 10, active=True)
    for update in (1, 2, 3):
        log.event(event="train", update=update)
    with log.lines.open("a") as file:
        file.write('{"event": "tra')
    log.rewind(2)
    assert [json.loads(line)["update"] for line in log.lines.read_text().splitlines()] == [1, 2]
    log.rewind(-1)
    assert log.lines.read_text() == ""


def test_other_processes_write_nothing(tmp_path):
    log = RunLog(tmp_path, 10, active=False)
    log.rewind(-1)
    log.event(event="train", update=1)
    log.message("x")
    log.sync()
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    log = RunLog(tmp_path, 10, active=True)
    log.progress(5, 2.5, 1e-3, 1234.0)
    log.message("said above the bar")
    log.close()
    shown = capsys.readouterr().err
    assert "5/10" in shown and "said above the bar" in shown
