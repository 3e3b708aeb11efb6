"""The benchmark of the beam search, without its peers."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.beam import LENGTH, Fixed, best, check

from reluformer.model.config import ModelConfig
from reluformer.translation.config import TranslationConfig
from reluformer.translation.decode import translate


def test_every_output_has_the_same_length_and_its_end_costs_nothing():
    config = ModelConfig(encoder_layers=1, decoder_layers=1, width=16, heads=2, slots=16, vocabulary=50)
    search = TranslationConfig(beam=3, max_ratio=1e-6, max_extra=LENGTH)
    found = translate(Fixed(config).eval(), [np.arange(5, 5 + length) for length in (2, 9, 30)], search)
    assert [len(hypothesis.tokens) for hypothesis in found] == [LENGTH] * 3
    assert all(-5 < hypothesis.score < 0 for hypothesis in found)


def test_other_lengths_or_other_translations_are_an_error():
    ours = [[5] * LENGTH, [6] * LENGTH]
    check({"ours": ours, "ctranslate": ours})
    with pytest.raises(SystemExit, match="other lengths"):
        check({"ours": ours, "ctranslate": [ours[0], [6]]})
    with pytest.raises(SystemExit, match="as we do"):
        check({"ours": ours, "ctranslate": [ours[0], ours[0]]})


def test_the_best_setting_is_the_fastest():
    assert best(lambda batch: -abs(batch - 7), [{"batch": n} for n in (3, 8, 20)]) == {"batch": 8}
