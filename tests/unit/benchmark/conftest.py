"""Small runs of two systems."""

from __future__ import annotations

import pytest

from reluformer.config.run import RunConfig


@pytest.fixture
def small_run():
    def make(system: str = "transformer", width: int = 16, layers: int = 1, **attention) -> RunConfig:
        kinds = ("encoder_attention", "decoder_attention", "cross_attention")
        model = {"encoder_layers": layers, "decoder_layers": layers, "width": width, "heads": 2, "slots": 32}
        model |= {"vocabulary": 50, **dict.fromkeys(kinds, attention)}
        names = {"dataset": "made-up", "system": system, "seed": 1, "src": "xx", "tgt": "yy"}
        return RunConfig.model_validate({**names, "model": model, "training": {}, "translation": {"beam": 2}})

    return make
