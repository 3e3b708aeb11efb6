"""The joint subword vocabulary: sentencepiece BPE, learned from word counts.

BPE depends on the words and their counts alone, so training on counts gives the same pieces as the text, in memory that
grows with the number of distinct words instead of the length of the corpus.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import sentencepiece

from reluformer.corpus import CorpusError

PAD, UNK, BOS, EOS, SENT = range(5)
SENT_PIECE = "<sent>"

# Longer "words" are URLs and garbage; sentencepiece drops those over its limit in bytes.
_LONGEST_WORD = 256


class Subword:
    """A trained model: text to ids and back. Raises `CorpusError` if `path` is not one."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise CorpusError(f"{path}: there is no such file; the corpus has not been prepared")
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError):
            raise CorpusError(f"{path}: not a subword model of sentencepiece") from None

    def __len__(self) -> int:
        """Returns V, special symbols included."""
        return self.processor.get_piece_size()

    def encode(self, lines: list[str]) -> list[list[int]]:
        """Returns the ids of each tokenised line, without BOS and EOS. Treats a literal `<sent>` as plain text."""
        plain = [line.replace(SENT_PIECE, "< sent >") for line in lines]
        return self.processor.encode(plain, out_type=int, num_threads=1)

    def decode(self, ids: list[int]) -> str:
        """Returns the tokenised text of ids without specials; unknown pieces become sentencepiece's ⁇."""
        return self.processor.decode(ids)

    def sentences(self, ids: Iterable[int]) -> list[str]:
        """Returns the tokenised sentences of a segment, split at SENT; PAD, BOS and EOS are skipped."""
        parts: list[list[int]] = [[]]
        for i in map(int, ids):
            if i == SENT:
                parts.append([])
            elif i not in (PAD, BOS, EOS):
                parts[-1].append(i)
        return [self.decode(part) for part in parts]

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Returns the piece of each id."""
        return [self.processor.id_to_piece(int(i)) for i in ids]


def train(counts: Mapping[str, int], vocabulary: int, path: Path) -> int:
    """Learns `vocabulary` pieces (the five specials and every character included) and writes the model.

    Returns the size of the vocabulary. Raises `CorpusError` if the text is too small for it.
    """
    words = sorted(
        ((word, n) for word, n in counts.items() if len(word) <= _LONGEST_WORD), key=lambda item: (-item[1], item[0])
    )
    if not words:
        raise CorpusError("no training text is left to learn subwords from")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{n}" for word, n in words),
            model_writer=model,
            input_format="tsv",
            model_type="bpe",
            vocab_size=vocabulary,
            character_coverage=1.0,
            normalization_rule_name="identity",
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            user_defined_symbols=[SENT_PIECE],
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        for pattern, limit in ((r"value <= (\d+)", "at most"), (r"required_chars\. \d+ vs (\d+)", "at least")):
            if match := re.search(pattern, str(error)):
                reason = f"it takes {limit} {match[1]} pieces, its characters and the special ones included"
                raise CorpusError(f"vocabulary: {vocabulary}: does not fit the training text: {reason}") from None
        raise CorpusError(f"vocabulary: {vocabulary}: sentencepiece: {' '.join(str(error).split())}") from None
    path.write_bytes(model.getvalue())
    return len(Subword(path))
