"""One process of a training, run by `conftest.Training` in a process forked from the server (not a test)."""

from __future__ import annotations

import os
import sys

import torch

from reluformer.training.stopping import Signals
from reluformer.training.worker import main

given = globals()  # `runpy.run_path` puts them there
os.environ.update({key: str(value) for key, value in given["environment"].items()})
sys.stderr = sys.stdout = open(given["log"], "a", buffering=1)  # noqa: SIM115, PTH123
torch.set_num_threads(1)
os._exit(main(given["arguments"], Signals()))
