from __future__ import annotations

from reluformer.config.settings import SettingsError
from reluformer.corpus.errors import CorpusError


def test_a_corpus_error_is_a_mistake_of_a_person() -> None:
    assert issubclass(CorpusError, SettingsError)
