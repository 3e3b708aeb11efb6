"""A user's mistake prints one line and exits with code 2."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reluformer.cli.app import typed_text
from reluformer.cli.main import name_user
from reluformer.config.settings import SettingsError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "name a run (DATASET/SYSTEM/seedN) or pass --settings"),
        (("train", "--settings", "{broken"), "--settings: not valid JSON"),
        (("train", "--settings", "[1]"), "--settings: [1]: input should be a valid dictionary"),
        (("train", "--settings", '{"dataset": "d", "sistem": "s"}'), "--settings: "),
        (("train", "a/b", "--config", "none.yaml"), "config/config.yaml: there is no such file"),
        (("fetch", "--output", "x", "--settings", '{"nam": "x"}'), "--settings: "),
        (("prepare", "a.gz", "--output", "x"), "name a dataset or pass --settings"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.code == 2, result.err
    assert result.err.startswith("reluformer: ") and message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


NO_RUN = "train nonsense"
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STARTS = [
    # label, command line, environment, exit code, start of standard error
    ("closed standard output", "--help >&-", {}, 1, "reluformer: standard input or output: bad file descriptor\n"),
    ("a full disk", "--help > /dev/full", {}, 1, "reluformer: standard input or output: no space left on device\n"),
    ("a full disk for JSON", "plan --json > /dev/full", {}, 1, "reluformer: standard input or output: no space"),
    ("closed standard error", f"{NO_RUN} 2>&-", {}, 2, ""),
    ("standard error on a full disk", f"{NO_RUN} 2> /dev/full", {}, 2, ""),
    ("all closed", f"{NO_RUN} <&- >&- 2>&-", {}, 2, ""),
    ("closed standard input", "translate nothing <&-", {}, 2, "reluformer: nothing: there is no such run"),
    ("the C locale", "train 'ä→/b/c'", C_LOCALE, 2, "reluformer: "),
    ("an ASCII terminal", "overview --config config/demo.yaml", {"PYTHONIOENCODING": "ascii"}, 0, ""),
    ("no home", NO_RUN, {"HOME": None, "USER": None, "LOGNAME": None}, 2, "reluformer: 'nonsense': a run is named"),
    ("no temporary folder", NO_RUN, {"TMPDIR": "/nonexistent"}, 2, "reluformer: 'nonsense': a run is named"),
    ("a terminal without columns", "plan --help", {"COLUMNS": "0", "TERM": "dumb"}, 0, ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "environment", "code", "says"), [c[1:] for c in STARTS], ids=[c[0] for c in STARTS])
def test_however_it_is_started_there_is_no_traceback(line, environment, code, says):
    changed = {**os.environ, **environment}
    ended = subprocess.run(
        ["bash", "-c", f'"$0" -P -m reluformer.cli {line}', sys.executable],
        env={key: value for key, value in changed.items() if value is not None},
        capture_output=True,
        timeout=600,
    )
    error = ended.stderr.decode("utf-8")
    assert ended.returncode == code and error.startswith(says) and error.count("\n") == bool(says), error
    assert "Traceback" not in error
    ended.stdout.decode("utf-8")


def test_a_user_without_an_entry_has_a_name_and_a_home(monkeypatch):
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    name_user()
    assert getpass.getuser() == f"user{os.getuid()}" and Path.home().is_absolute()


def test_text_of_a_foreign_locale_is_read_as_utf_8():
    assert typed_text("neljä".encode().decode("ascii", errors="surrogateescape")) == "neljä" == typed_text("neljä")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        typed_text(b"nelj\xe4".decode("ascii", errors="surrogateescape"))
