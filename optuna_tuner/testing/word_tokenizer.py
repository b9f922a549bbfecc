"""A tokenizer whose tokens are whole words: clients that insist on one then count exactly as the fake server does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

UNKNOWN = "[UNK]"


def write(folder: Path, words: Iterable[str]) -> Path:
    """Write a tokenizer that transformers and tokenizers load; other words than these become one unknown token."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate([UNKNOWN, *dict.fromkeys(words)])}
    unknown = {"id": 0, "content": UNKNOWN, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**unknown, "normalized": False}],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": UNKNOWN, "model_max_length": 1000000}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
