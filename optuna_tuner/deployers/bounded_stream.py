"""The beginning and the end of a log that somebody else keeps, without ever holding all of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


def bounded(parts: Iterable[bytes], most_bytes: int) -> bytes:
    """All of it, or about a fifth of `most_bytes` from its beginning and the rest from its end."""
    head, tail, kept, left_out = bytearray(), deque[bytes](), 0, False
    for part in parts:
        if len(head) < most_bytes // 5:
            head += part
            continue
        tail.append(part)
        kept += len(part)
        while kept > most_bytes:
            kept -= len(tail.popleft())
            left_out = True
    gap = b"\n[... the middle of this log was not kept ...]\n" if left_out else b""
    return bytes(head) + gap + b"".join(tail)
