"""The one kind of error that a corpus ends in."""

from __future__ import annotations

from reluformer.config.settings import SettingsError


class CorpusError(SettingsError):
    """A corpus that cannot be fetched or prepared, as one line that names the file (and line)."""
