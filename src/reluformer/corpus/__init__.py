"""Corpora: fetched, verified, prepared, stored, batched."""

from __future__ import annotations

from reluformer.config.settings import SettingsError


class CorpusError(SettingsError):
    """A corpus cannot be fetched or prepared; the message is one line that names the file and, if known, its line."""
