"""What a plain word in a study file means: YAML 1.2's core schema, so that `on`, `no` and `1:30` stay text."""

from __future__ import annotations

import math
import re

from optuna_tuner.values import Scalar

LARGEST = 2**63 - 1  # what a database column holds
LONGEST_NUMBER = 400  # characters; a longer one is surely no flag, and slow to read

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|NaN|-?Infinity")


class ScalarError(ValueError):
    """A word that looks like a number but is none that can be used."""


def plain(text: str) -> Scalar | None:
    """The value of a word without quotes. Raises ScalarError for numbers that are not finite or too large."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ScalarError(f"must be a finite number, not {text}")
    if _INT.fullmatch(text) or _BASED.fullmatch(text):
        return _whole(text)
    return _real(text) if _FLOAT.fullmatch(text) else text


def _whole(text: str) -> int:
    number = int(text, 0 if text[:2] in {"0o", "0x"} else 10) if len(text) <= LONGEST_NUMBER else LARGEST + 1
    if abs(number) > LARGEST:
        raise ScalarError("number too large: whole numbers end at 9223372036854775807")
    return number


def _real(text: str) -> float:
    number = float(text) if len(text) <= LONGEST_NUMBER else math.inf
    if math.isinf(number):
        raise ScalarError("number too large: numbers end at 1.8e308")
    return number
