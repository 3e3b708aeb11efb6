from __future__ import annotations

import sys

from reluformer.cli.checks.check import last_line, run


def test_a_command_that_is_not_there():
    ended = run(["no-such-command"], 5)
    assert ended.code is None and last_line(ended) == "no-such-command: No such file or directory"


def test_a_command_that_hangs_is_killed_with_its_children():
    ended = run(["sh", "-c", "sleep 3600 & sleep 3600"], 0.3)
    assert ended.code is None and "no answer within" in last_line(ended)


def test_what_a_command_says():
    ended = run([sys.executable, "-c", "import sys; print(1); sys.exit('first\\nlast\\n')"], 10)
    assert ended.code == 1 and ended.output == "1\n" and last_line(ended) == "last"
