"""Splits and cleans sentence pairs on their way from an archive to the store."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from reluformer.config.dataset import CorpusConfig, HeldOutConfig

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")

STEPS = ("read", "min_words", "empty", "max_tokens", "max_ratio", "long_word", "repeated", "in_held_out", "kept")
"""The keys of `Cleaner.counts`."""

LONGEST_WORD = 1000
"""Characters; Moses' clean-corpus-n.perl drops a pair with a longer word (-max-word-length)."""

# Some tools end lines at these; replacing them with a space keeps line numbers the same everywhere.
_VERTICAL = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")


class Pair(NamedTuple):
    """One aligned pair of raw text lines; `document` is the id of its document, "" without documents."""

    split: Split
    document: str
    src: str
    tgt: str


def one_line(text: str) -> str:
    """Replaces every character that some tool treats as the end of a line with a space."""
    return _VERTICAL.sub(" ", text)


def share(key: str) -> float:
    """Returns a number in [0, 1) that depends on `key` alone: the same on every machine and in every order."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest()[:8], "big") / 2**64


def split_of(key: str, held_out: HeldOutConfig) -> Split:
    """Returns the split of a document id, or of a source text so that equal texts stay together."""
    at = share(key)
    if at < held_out.test:
        return "test"
    return "valid" if at < held_out.test + held_out.valid else "train"


def held_out_texts(
    pairs: Iterable[Pair], min_words: int, spaces: tuple[bool, bool] = (True, True)
) -> dict[Split, set[int]]:
    """Returns hashes of the texts of valid and test, both sides, for `Cleaner`'s `disjoint`."""
    texts: dict[Split, set[int]] = {"valid": set(), "test": set()}
    for pair in pairs:
        if pair.split != "train" and not _short(pair, min_words, spaces):
            texts[pair.split].update((_key(pair.src), _key(pair.tgt)))
    return texts


class Cleaner:
    """Keeps or drops pairs one at a time, in corpus order; `counts[split][step]` counts the pairs dropped at each step.

    Training pairs pass Moses' clean-corpus-n (empty side, more than `max_tokens`, ratio over `max_ratio`, a word of
    more than 1000 characters). Only `min_words`, `unique` and `disjoint` filter valid and test.

    spaces: whether source and target write spaces between words. Where one does not, its characters count in place of
    words, and lengths in different units have no ratio.
    """

    def __init__(
        self,
        config: CorpusConfig,
        held_out: dict[Split, set[int]] | None = None,
        spaces: tuple[bool, bool] = (True, True),
    ) -> None:
        self.counts: dict[Split, dict[str, int]] = {split: dict.fromkeys(STEPS, 0) for split in SPLITS}
        self._config = config
        self._spaces = spaces
        self._held_out = held_out or {}
        self._seen: set[int] = set()
        self._kept_training = 0

    def admit(self, pair: Pair) -> bool:
        """Returns whether the raw pair has enough words to be tokenised."""
        counts = self.counts[pair.split]
        counts["read"] += 1
        short = _short(pair, self._config.min_words, self._spaces)
        counts["min_words"] += short
        return not short

    def split(self, pair: Pair, src: str, tgt: str) -> Split | None:
        """Returns the split of an admitted pair, None if it is dropped. src, tgt: its tokenised text."""
        if reason := self._reason(pair, src, tgt):
            self.counts[pair.split][reason] += 1
            return None
        split = pair.split
        if split == "train" and self._config.valid_every:
            self._kept_training += 1
            if self._kept_training % self._config.valid_every == 0:
                split = "valid"
        self.counts[split]["kept"] += 1
        return split

    def _reason(self, pair: Pair, src: str, tgt: str) -> str | None:
        config = self._config
        if pair.split == "train":
            if not src or not tgt:
                return "empty"
            tokens, other = (
                text.count(" ") + 1 if spaced else len(text) - text.count(" ")
                for text, spaced in zip((src, tgt), self._spaces, strict=True)
            )
            if max(tokens, other) > config.max_tokens:
                return "max_tokens"
            limit = config.max_ratio if self._spaces[0] == self._spaces[1] else None
            if limit is not None and max(tokens / other, other / tokens) > limit:
                return "max_ratio"
            for text, spaced in zip((src, tgt), self._spaces, strict=True):
                if spaced and len(text) > LONGEST_WORD and max(map(len, text.split(" "))) > LONGEST_WORD:
                    return "long_word"
        if config.unique:
            key = hash((pair.split, _key(pair.src), _key(pair.tgt)))
            if key in self._seen:
                return "repeated"
            self._seen.add(key)
        if config.disjoint:
            keys = {_key(pair.src), _key(pair.tgt)}
            later: tuple[Split, ...] = SPLITS[SPLITS.index(pair.split) + 1 :]
            if any(not keys.isdisjoint(self._held_out[split]) for split in later):
                return "in_held_out"
        return None


def _count(text: str, spaced: bool) -> int:
    """Counts the words of a raw text, or the characters of a language that writes no spaces."""
    words = text.split()
    return len(words) if spaced else sum(map(len, words))


def _short(pair: Pair, words: int, spaces: tuple[bool, bool]) -> bool:
    return bool(words) and min(_count(pair.src, spaces[0]), _count(pair.tgt, spaces[1])) < words


def _key(text: str) -> int:
    """Returns the same number for texts that differ only in case or white space."""
    return hash(" ".join(text.casefold().split()))
