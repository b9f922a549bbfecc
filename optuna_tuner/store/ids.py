"""Names that we make ourselves: unique, and sortable by the time of making."""

from __future__ import annotations

import re
import secrets
import time

from optuna_tuner.errors import NotFoundError

ID_LENGTH = 26
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in the small letters that Kubernetes asks for
_SHAPE = re.compile(rf"[{_DIGITS}]{{{ID_LENGTH}}}")


def new_id() -> str:
    """26 small letters and digits: 48 bits of milliseconds, then 80 random bits (the layout of a ULID)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def checked_id(text: str) -> str:
    """The same text, if it is shaped like one of our ids; so that it can be part of a path. Raises NotFoundError."""
    if not _SHAPE.fullmatch(text):
        raise NotFoundError(f"{text!r} is no id of this store")
    return text
