"""An exported model's text processing as a tokenizer of Hugging Face's transformers: sacremoses and sentencepiece."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizer

from .moses import Truecaser, detokenise, tokenise

SENTENCE_BREAK = "<sent>"


class ReLUFormerTokenizer(PreTrainedTokenizer):
    """Raw text of the source language in; detokenised text of the target language out.

    text: how the corpus was prepared: `truecase`, `lowercase`, `straighten` (typographic apostrophes).
    """

    vocab_files_names = {"vocab_file": "subword.model", "truecaser_file": "truecaser.txt"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str,
        truecaser_file: str | None = None,
        src: str = "",
        tgt: str = "",
        text: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.preparation = text or {}
        self.files = {"vocab_file": Path(vocab_file), "truecaser_file": Path(truecaser_file or "")}
        self.subword = SentencePieceProcessor(model_file=str(vocab_file))
        self.truecaser = Truecaser(self.files["truecaser_file"]) if self.preparation.get("truecase") else None
        self.src, self.tgt = src, tgt
        kwargs.setdefault("split_special_tokens", True)  # special tokens in the input are plain text
        super().__init__(src=src, tgt=tgt, text=text, **kwargs)

    @property
    def vocab_size(self) -> int:
        """The number of pieces, special symbols included."""
        return self.subword.get_piece_size()

    def get_vocab(self) -> dict[str, int]:
        """Returns the id of every piece."""
        return {self.subword.id_to_piece(i): i for i in range(self.vocab_size)}

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """Returns the pieces of a raw sentence."""
        return self.subword.encode(self._prepare(text).replace(SENTENCE_BREAK, "< sent >"), out_type=str)

    def build_inputs_with_special_tokens(self, ids: list[int], _: list[int] | None = None) -> list[int]:
        """Appends EOS to a source."""
        return [*ids, self.eos_token_id]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Joins pieces into tokenised text."""
        return self.subword.decode_pieces(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copies the subword and truecasing models."""
        copies = []
        for name, file in self.files.items():
            if file.is_file():
                target = Path(save_directory) / ((filename_prefix or "") + self.vocab_files_names[name])
                if target.resolve() != file.resolve():
                    shutil.copyfile(file, target)
                copies.append(str(target))
        return tuple(copies)

    def _convert_token_to_id(self, token: str) -> int:
        return self.subword.piece_to_id(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.subword.id_to_piece(index)

    def _prepare(self, text: str) -> str:
        """Returns the tokens of a sentence, cased like the corpus; "" for a blank one."""
        lower, straighten = (bool(self.preparation.get(key)) for key in ("lowercase", "straighten"))
        tokens = tokenise(text, self.src, lower=lower, straighten=straighten).strip()
        return tokens if self.truecaser is None else self.truecaser(tokens)

    def _decode(self, token_ids: Any, skip_special_tokens: bool = False, *_: Any, **__: Any) -> str:
        pieces = [self.subword.id_to_piece(int(i)) for i in ([token_ids] if isinstance(token_ids, int) else token_ids)]
        if not skip_special_tokens:
            return " ".join(pieces)
        sentences: list[list[str]] = [[]]
        for piece in pieces:
            if piece == SENTENCE_BREAK:
                sentences.append([])
            elif piece not in (self.pad_token, self.bos_token, self.eos_token):
                sentences[-1].append(piece)
        return " ".join(
            detokenise(self.subword.decode_pieces(sentence), self.tgt, recase=self.truecaser is not None)
            for sentence in sentences
        )
