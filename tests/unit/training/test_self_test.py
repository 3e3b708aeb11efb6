"""The self-test fails on wrong numbers; cli/test_checks.py tests that it passes on a working machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

POISONED = """
import sys, torch
from pathlib import Path
from reluformer.training import self_test
build = self_test.build_engine
def poisoned(module, *rest):
    torch.nn.init.constant_(next(module.parameters()), torch.nan)
    return build(module, *rest)
self_test.build_engine = poisoned
sys.exit(self_test.main(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_weights_that_are_not_finite_are_no_success(tmp_path):
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    environment = {**os.environ, **alone, "DS_ACCELERATOR": "cpu"}
    output = tmp_path / "result.json"
    ended = subprocess.run([sys.executable, "-c", POISONED, output], env=environment, check=False)
    result = json.loads(output.read_text(encoding="utf-8"))
    assert ended.returncode == 1 and result["processes"] == 1 and result["good"] is False
