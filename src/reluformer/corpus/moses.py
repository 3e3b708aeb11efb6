"""Moses' tokenisation, lowercasing and truecasing, identical to the Perl scripts that the field used; detokenisation.

`Tokenizer` corrects sacremoses, a port of `tokenizer.perl`: the last word of a line always loses its final period
("usw." and "75." at the end of a line); the marks inside words of Finnish, Swedish and Catalan and the contractions of
Irish and Catalan are Moses' ("EU:n", "il·lusió", "d'aquell"); and character sets are built once instead of per word.

`Truecaser` is Moses' train-truecaser.perl and truecase.perl, as G-Transformer prepares Europarl7. sacremoses' learner
skips opening quotes everywhere instead of only at the start of a line, and is too slow for millions of lines.

Imports nothing of this package: `reluformer export` copies this file. Importing sacremoses takes 0.2 s.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from sacremoses import MosesDetokenizer, MosesTokenizer
from sacremoses.corpus import Perluniprops

# Marks that stay inside a word before a lower-case letter.
INNER_MARKS = {"fi": ":", "sv": ":", "ca": "·"}
# Languages that Moses splits as French, after the apostrophe, and sacremoses does not.
CONTRACTED_LEFT = ("ca", "ga")

SENTENCE_END = frozenset(".:?!")
DELAYED_START = frozenset(("(", "[", '"', "'", "&apos;", "&quot;", "&#91;", "&#93;"))

_PERIOD = re.compile(r"(\S+)\.")
_NUMBER = re.compile(r"[0-9]")


class Tokenizer(MosesTokenizer):
    """`tokenizer.perl -l LANGUAGE`: special characters escaped, hyphens left alone."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        if mark := INNER_MARKS.get(language):
            lower = "".join(Perluniprops().chars("Lowercase_Letter"))
            special = rf"([^{self.IsAlnum}\s.'`,\-{mark}]|{mark}(?![{lower}]))"
            self.PAD_NOT_ISALNUM = re.compile(special), r" \1 "
        if language in CONTRACTED_LEFT:
            self.lang = "fr"  # from here on only selects the rules for apostrophes
        self._lower = frozenset(self.IsLower)
        self._alpha = frozenset(self.IsAlpha)
        self._numeric = frozenset(self.NUMERIC_ONLY_PREFIXES)
        self._prefixes = frozenset(self.NONBREAKING_PREFIXES) - self._numeric

    def __call__(self, text: str) -> str:
        """Returns the tokens of one line, joined by spaces; "" for white space."""
        return self.tokenize(text, return_str=True)

    def handles_nonbreaking_prefixes(self, text: str) -> str:
        """Splits off the period that ends a word, except after an abbreviation inside the line."""
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


tokenizer = lru_cache(maxsize=8)(Tokenizer)
detokenizer = lru_cache(maxsize=8)(MosesDetokenizer)
"""The tokenizer and the detokenizer of a language, built once in a process."""


def tokenise(text: str, language: str, *, lower: bool, straighten: bool) -> str:
    """Returns the tokens of a line, joined by spaces; "" for a blank one.

    lower: whether to lowercase. straighten: whether to replace ’ with '.
    """
    if is_blank(text):
        return ""
    tokens = tokenizer(language)(text.replace("’", "'") if straighten else text)
    return lowercase(tokens) if lower else tokens


def is_blank(text: str) -> bool:
    """Returns whether nothing is visible: only white space, controls and marks without a width (a BOM)."""
    return not text.strip() or all(one.isspace() or unicodedata.category(one) in ("Cc", "Cf") for one in text)


def lowercase(text: str) -> str:
    """Returns Perl's `lc` of a text: Python's lower() except for the final sigma, which Perl lacks."""
    return text.replace("Σ", "σ").lower()


class Truecaser:
    """The most frequent casing of each word, and all casings of the training text."""

    def __init__(self, model: Path) -> None:
        """Reads a model in Moses' format: `best (n/total) other (n) ...`, one word a line."""
        self.best: dict[str, str] = {}
        casings: set[str] = set()
        with model.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                forms = line.split(" ")[::2]
                self.best[lowercase(forms[0])] = forms[0]
                casings.update(forms)
        self.known = frozenset(casings)

    def __call__(self, line: str) -> str:
        """Truecases a tokenised line: the first word of each sentence, and words in an unknown casing."""
        words = line.split()
        start = True
        for i, word in enumerate(words):
            if start or word not in self.known:
                words[i] = self.best.get(lowercase(word), word)
            if word in SENTENCE_END:
                start = True
            elif word not in DELAYED_START:
                start = False
        return " ".join(words)


def count_casings(lines: Iterable[str]) -> Counter[str]:
    """Counts each word form wherever it does not start a sentence."""
    counts: Counter[str] = Counter()
    for line in lines:
        words = line.split()
        first = 0
        while first < len(words) and words[first] in DELAYED_START:
            first += 1
        counts.update(
            word for before, word in zip(words[first:], words[first + 1 :], strict=False) if before not in SENTENCE_END
        )
    return counts


def write_truecaser(counts: Mapping[str, int], path: Path) -> None:
    """Writes Moses' model file; of equally frequent forms the first in code point order is the best."""
    casings: dict[str, list[tuple[int, str]]] = {}
    for form, n in counts.items():
        casings.setdefault(lowercase(form), []).append((-n, form))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for word in sorted(casings):
            (n, best), *others = sorted(casings[word])
            total = -sum(m for m, _ in casings[word])
            file.write(" ".join([best, f"({-n}/{total})", *(f"{form} ({-m})" for m, form in others)]) + "\n")


def detokenise(sentence: str, language: str, recase: bool = False) -> str:
    """Detokenises and unescapes a Moses-tokenised sentence.

    `recase` undoes truecasing as Moses' detruecase does: the first letter becomes a capital.
    """
    text: str = detokenizer(language).detokenize(sentence.split())
    first = next((i for i, character in enumerate(text) if character.isalnum()), len(text))
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :] if recase else text


def detokenise_all(sentences: Iterable[str], language: str, recase: bool = False) -> list[str]:
    """Detokenises each sentence."""
    return [detokenise(sentence, language, recase) for sentence in sentences]
