"""The text side of an exported model, for Hugging Face's transformers: sacremoses and sentencepiece.

Written by `reluformer export` out of the code that prepared the corpus.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import PreTrainedTokenizer

from reluformer.corpus.text import Preprocessor, TextFiles
from reluformer.evaluation.detokenise import detokenise_all


class ReLUFormerTokenizer(PreTrainedTokenizer):
    """Raw text of the source language in; detokenised text of the target language out."""

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
        config: Any = SimpleNamespace(**(text or {}))
        self.files = TextFiles(Path(vocab_file), Path(truecaser_file or ""), config)
        self.preprocessor = Preprocessor(self.files, src)
        self.subword = self.preprocessor.subword
        self.tgt = tgt
        kwargs.setdefault("split_special_tokens", True)  # a special token written in a text is just text
        super().__init__(src=src, tgt=tgt, text=text, **kwargs)

    @property
    def vocab_size(self) -> int:
        """V, special symbols included."""
        return len(self.subword)

    def get_vocab(self) -> dict[str, int]:
        """Every piece and its id."""
        return {piece: i for i, piece in enumerate(self.subword.pieces(range(self.vocab_size)))}

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """The pieces of a raw sentence."""
        return self.subword.pieces(self.preprocessor.ids([text]))

    def _convert_token_to_id(self, token: str) -> int:
        return self.subword.processor.piece_to_id(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self.subword.processor.id_to_piece(index)

    def build_inputs_with_special_tokens(self, ids: list[int], _: list[int] | None = None) -> list[int]:
        """A source ends with EOS."""
        return [*ids, self.eos_token_id]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The tokenised text of pieces."""
        return self.subword.processor.decode_pieces(tokens)

    def _decode(self, token_ids: Any, skip_special_tokens: bool = False, *_: Any, **__: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
        if not skip_special_tokens:
            return " ".join(self.subword.pieces(ids))
        sentences = self.subword.sentences(ids)
        return " ".join(detokenise_all(sentences, self.tgt, recase=self.files.config.truecase))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Copies the models of subwords and of casing."""
        copies = []
        for file, name in ((self.files.subword, "vocab_file"), (self.files.truecaser, "truecaser_file")):
            if file.is_file():
                target = Path(save_directory) / ((filename_prefix or "") + self.vocab_files_names[name])
                if target.resolve() != file.resolve():
                    shutil.copyfile(file, target)
                copies.append(str(target))
        return tuple(copies)
