"""Moses tokenisation, truecasing and lowercasing, equal to the Perl scripts that the field used.

sacremoses is a port of Moses' `tokenizer.perl`. `Tokenizer` is its thin correction: the last word of a line always
loses its final period, as the published script does ("usw." and "75." at the end of a line); the marks inside words of
Finnish, Swedish and Catalan and the contractions of Irish and Catalan are Moses' ("EU:n", "il·lusió", "d'aquell"); and
the character sets are looked up instead of being rebuilt for every word.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sacremoses import MosesTokenizer
from sacremoses.corpus import Perluniprops

# Marks that stay inside a word where a lower-case letter follows.
INNER_MARKS = {"fi": ":", "sv": ":", "ca": "·"}
# Languages that sacremoses would split as any other, but Moses splits as French: after the apostrophe.
CONTRACTED_LEFT = ("ca", "ga")

_PERIOD = re.compile(r"(\S+)\.")
_NUMBER = re.compile(r"[0-9]")


class Tokenizer(MosesTokenizer):
    """`tokenizer.perl -l LANGUAGE`, special characters escaped, hyphens left alone."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        if mark := INNER_MARKS.get(language):
            lower = "".join(Perluniprops().chars("Lowercase_Letter"))
            special = rf"([^{self.IsAlnum}\s.'`,\-{mark}]|{mark}(?![{lower}]))"
            self.PAD_NOT_ISALNUM = re.compile(special), r" \1 "
        if language in CONTRACTED_LEFT:
            self.lang = "fr"  # only the choice of apostrophe rules depends on it from here on
        self._lower = frozenset(self.IsLower)
        self._alpha = frozenset(self.IsAlpha)
        self._numeric = frozenset(self.NUMERIC_ONLY_PREFIXES)
        self._prefixes = frozenset(self.NONBREAKING_PREFIXES) - self._numeric

    def __call__(self, text: str) -> str:
        """The tokens of one line, joined by single spaces; "" for a line of white space."""
        return self.tokenize(text, return_str=True)

    def handles_nonbreaking_prefixes(self, text: str) -> str:
        """Separates the period that ends a word, except after an abbreviation inside the line."""
        words = text.split()
        last = len(words) - 1
        for i, word in enumerate(words):
            if word[-1] != "." or not (match := _PERIOD.fullmatch(word)):
                continue
            prefix = match[1]
            if i < last:
                following = words[i + 1]
                if (
                    prefix in self._prefixes
                    or following[0] in self._lower
                    or ("." in prefix and not self._alpha.isdisjoint(prefix))
                    or (prefix in self._numeric and _NUMBER.match(following))
                ):
                    continue
            words[i] = f"{prefix} ."
        return " ".join(words)


@lru_cache(maxsize=8)
def tokenizer(language: str) -> Tokenizer:
    """The tokenizer of a language, made once a process."""
    return Tokenizer(language)


def lowercase(text: str) -> str:
    """Perl's `lc`: Python's lower() but for the final sigma, which Perl does not know."""
    return text.replace("Σ", "σ").lower()
