"""Prepares raw text as subword ids. A module of its own because sacremoses is slow to import."""

from __future__ import annotations

from collections.abc import Sequence

from reluformer.corpus import CorpusError
from reluformer.corpus.moses import Truecaser, tokenise
from reluformer.corpus.subword import SENT, Subword
from reluformer.corpus.text import TextFiles

SENTENCE_ENDS = frozenset(("▁.", "▁?", "▁!", "▁…"))


class Preprocessor:
    """Tokenises text, lowercases or truecases it, and encodes it in subwords.

    language: of the side that `files` belong to. Raises `CorpusError` if a file is missing or damaged.
    """

    def __init__(self, files: TextFiles, language: str) -> None:
        self.config = files.config
        self.language = language
        self.subword = Subword(files.subword)
        try:
            self.truecaser = Truecaser(files.truecaser) if files.config.truecase else None
        except (FileNotFoundError, UnicodeDecodeError):
            raise CorpusError(f"{files.truecaser}: not a truecasing model; the corpus has not been prepared") from None

    def tokenise(self, sentence: str) -> str:
        """Returns the tokens of a sentence, joined by spaces and cased like the corpus; "" for a blank one."""
        config = self.config
        tokens = tokenise(sentence, self.language, lower=config.lowercase, straighten=config.straighten).strip()
        return tokens if self.truecaser is None else self.truecaser(tokens)

    def ids(self, segment: Sequence[str]) -> list[int]:
        """Returns the subword ids of consecutive sentences with SENT between them, without blank ones."""
        ids: list[int] = []
        for sentence in self.subword.encode([self.tokenise(sentence) for sentence in segment]):
            if len(sentence):
                ids += [SENT, *sentence] if ids else sentence
        return ids

    def parts(self, ids: list[int], limit: int, fill: bool) -> list[list[int]]:
        """Splits `ids` into parts of at most `limit`, if they are longer.

        Cuts at the end of each sentence, and a sentence that is too long between words if possible. fill: whether to
        join as many parts as fit, for models that read more than a sentence.
        """
        if len(ids) <= limit:
            return [ids]
        parts: list[list[int]] = []
        names = self.subword.pieces(ids)
        first = 0
        while first < len(ids):
            last = min(first + limit, len(ids))
            ends = (i + 1 for i in range(first, last) if names[i] in SENTENCE_ENDS)
            words = (i for i in range(last, first, -1) if i == len(ids) or names[i].startswith("▁"))
            cut = next(ends, None) or next(words, last)
            if fill and parts and len(parts[-1]) + cut - first <= limit:
                parts[-1] = parts[-1] + ids[first:cut]
            else:
                parts.append(ids[first:cut])
            first = cut
        return parts
