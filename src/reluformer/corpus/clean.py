"""Which pairs are kept, and how many were dropped for which reason."""

from __future__ import annotations

from collections.abc import Iterable

from reluformer.config.dataset import CorpusConfig
from reluformer.corpus.pairs import SPLITS, Pair, Split

# Moses' clean-corpus-n.perl drops a pair with a longer word (-max-word-length).
LONGEST_WORD = 1000

STEPS = ("read", "min_words", "empty", "max_tokens", "max_ratio", "long_word", "repeated", "in_held_out", "kept")


def held_out_texts(pairs: Iterable[Pair], min_words: int) -> dict[Split, set[int]]:
    """What `Cleaner` needs for `disjoint`: the texts of valid and test, both sides, as hashes."""
    texts: dict[Split, set[int]] = {"valid": set(), "test": set()}
    for pair in pairs:
        if pair.split != "train" and not _short(pair, min_words):
            texts[pair.split].update((_key(pair.src), _key(pair.tgt)))
    return texts


class Cleaner:
    """Decides pair by pair, in corpus order; `counts[split][step]` says what was dropped at each step.

    Training pairs go through Moses' clean-corpus-n (empty side, more than `max_tokens`, ratio over `max_ratio`, a word
    of more than 1000 characters). Valid and test text is never filtered, but for `min_words`, `unique`, `disjoint`.
    """

    def __init__(self, config: CorpusConfig, held_out: dict[Split, set[int]] | None = None) -> None:
        self.counts: dict[Split, dict[str, int]] = {split: dict.fromkeys(STEPS, 0) for split in SPLITS}
        self._config = config
        self._held_out = held_out or {}
        self._seen: set[int] = set()
        self._kept_training = 0

    def admit(self, pair: Pair) -> bool:
        """Whether the raw pair has enough words to be worth tokenising."""
        counts = self.counts[pair.split]
        counts["read"] += 1
        short = _short(pair, self._config.min_words)
        counts["min_words"] += short
        return not short

    def split(self, pair: Pair, src: str, tgt: str) -> Split | None:
        """The split that an admitted pair goes to, or None where it is dropped. `src`, `tgt`: its tokenised text."""
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
        if pair.split == "train" and (not src or not tgt):
            return "empty"
        if pair.split == "train":
            tokens, other = src.count(" ") + 1, tgt.count(" ") + 1
            if max(tokens, other) > config.max_tokens:
                return "max_tokens"
            if config.max_ratio is not None and (
                tokens / other > config.max_ratio or other / tokens > config.max_ratio
            ):
                return "max_ratio"
            for text in (src, tgt):
                if len(text) > LONGEST_WORD and max(map(len, text.split(" "))) > LONGEST_WORD:
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


def _short(pair: Pair, words: int) -> bool:
    return bool(words) and min(len(pair.src.split()), len(pair.tgt.split())) < words


def _key(text: str) -> int:
    """Equal for texts that differ only in case or white space."""
    return hash(" ".join(text.casefold().split()))
