"""The limits of a search's configuration."""

from __future__ import annotations

import pytest

from reluformer.config.settings import SettingsError, parse
from reluformer.config.translation import TranslationConfig


@pytest.mark.parametrize(
    ("key", "value"), [("beam", 0), ("length_penalty", -1), ("max_ratio", 0), ("max_extra", -1), ("batch_tokens", 0)]
)
def test_a_search_that_cannot_work_is_refused(key, value):
    with pytest.raises(SettingsError, match=f"^t: {key}: {value}: "):
        parse(TranslationConfig, {key: value}, "t")
