"""The built-in model's tokenizer: byte-level BPE, trained on the text of Python's own documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SPECIAL = ("<|unknown|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
UNKNOWN, BEGIN, END = range(3)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """A trained tokenizer as Hugging Face's `tokenizer.json` text, and views on it."""

    text: str

    @classmethod
    def train(cls, size: int) -> Vocabulary:
        """Train on the standard library's `pydoc_data.topics`: about half a megabyte of English."""
        from pydoc_data.topics import topics  # noqa: PLC0415  half a megabyte of text

        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415  an extra

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator([topics[name] for name in sorted(topics)], trainer)
        return cls(tokenizer.to_str())

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """All tokens by id, in the byte-level alphabet."""
        vocabulary: Mapping[str, int] = json.loads(self.text)["model"]["vocab"]
        return tuple(sorted(vocabulary, key=vocabulary.__getitem__))

    @cached_property
    def merges(self) -> tuple[str, ...]:
        """The merges in order, each as two tokens and a blank between."""
        return tuple(" ".join(pair) for pair in json.loads(self.text)["model"]["merges"])

    def speakable(self, token: int) -> bool:
        """Whether a reply may hold it: plain ASCII that shows, so that no chunk of a stream is empty or half a letter.

        In the byte-level alphabet a printable ASCII byte stands for itself and a blank is U+0120.
        """
        text = self.tokens[token].removeprefix("\u0120")
        return token >= len(SPECIAL) and text.isascii() and text.isprintable() and text != ""

    def write(self, folder: Path, context: int) -> None:
        """Write the files that vLLM, SGLang and transformers read."""
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": SPECIAL[UNKNOWN],
            "bos_token": SPECIAL[BEGIN],
            "eos_token": SPECIAL[END],
            "model_max_length": context,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        }
        (folder / "tokenizer.json").write_text(self.text, encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
