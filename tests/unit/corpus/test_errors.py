from __future__ import annotations

from reluformer.corpus.errors import CorpusError
from reluformer.settings import SettingsError


def test_a_corpus_error_is_a_mistake_of_a_person() -> None:
    assert issubclass(CorpusError, SettingsError)
