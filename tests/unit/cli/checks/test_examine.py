from __future__ import annotations

import io

from rich.console import Console

from reluformer.cli.checks.check import Check
from reluformer.cli.checks.examine import demo_can_run, show

GOOD = Check("torch", "ok", "2.13", "everything", "nothing to mend")
OPTIONAL = Check("compiler", "missing", "no g++ [on] PATH", "slower", "apt install g++")
NEEDED = Check("memory", "missing", "1 GB", "too little", "buy some", needed=True)


def test_only_what_is_needed_keeps_the_demo_from_running():
    assert demo_can_run([GOOD, OPTIONAL]) and not demo_can_run([GOOD, NEEDED])


def test_each_line_says_its_state_and_how_to_mend_it():
    console = Console(file=io.StringIO(), width=60)
    show([GOOD, OPTIONAL, NEEDED], console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].split() == ["ok", "torch", "2.13:", "everything"]
    assert lines[1].endswith("no g++ [on] PATH: slower") and lines[2].strip() == "mend: apt install g++"
    assert lines[-1] == "1 ok, 0 warn, 2 missing; the demo cannot run here yet"
