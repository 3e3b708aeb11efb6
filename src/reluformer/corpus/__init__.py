"""Corpora: fetched, verified, prepared, stored, batched."""

from __future__ import annotations

from reluformer.config.settings import SettingsError


class CorpusError(SettingsError):
    """A corpus cannot be fetched or prepared: one line that names the file, and its line."""
