"""Reads `requests.jsonl` in pieces, as fast as its library parses JSON, and says what is wrong with which line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, BinaryIO

import msgspec
import numpy as np

from optuna_tuner.errors import BundleError

PIECE_BYTES = 1 << 18  # what a core keeps at hand; larger ones were slower
LONGEST_LINE = 1 << 20  # bytes; ours have some 400
LONGEST_S = 1e8  # three years
LATEST = 1e11  # seconds since 1970; a clock in milliseconds is beyond it
MOST_TOKENS = 10**9  # of one request
NEWLINE = 10

Seconds = Annotated[float, msgspec.Meta(ge=0, le=LONGEST_S)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=LATEST)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class Line(msgspec.Struct, gc=False):
    """What a summary needs of one request, of `optuna_tuner.request_log.RequestLine`; the rest is not looked at."""

    success: bool
    measurement: str = ""
    level: str = ""
    service_type: str = ""
    timestamp_start: Moment | None = None
    timestamp_end: Moment | None = None
    latency_s: Seconds | None = None
    ttft_s: Seconds | None = None
    tpot_s: Seconds | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    error: str | None = None


_decoder = msgspec.json.Decoder(Line)


class Reader:
    """The lines of one stream, piece by piece; memory does not grow with the stream. `name` is said in errors."""

    def __init__(self, stream: BinaryIO, name: str, also: Callable[[bytes], object] = len) -> None:
        """`also` is given the bytes of each piece whose lines are sound: to hash them, or to copy them."""
        self._stream, self.name, self._also = stream, name, also
        self.before = 0  # lines before the present piece
        self._present: Sequence[Line] = ()
        self.truncated = False  # whether the last line was cut off, and left out

    def __iter__(self) -> Iterator[Sequence[Line]]:
        """Pieces, none of them empty. Raises BundleError at the first line that cannot be read."""
        rest = b""
        while read := self._stream.read(PIECE_BYTES):
            whole, end, rest = (rest + read).rpartition(b"\n")
            if len(rest) > LONGEST_LINE:
                number = whole.count(b"\n") + len(end)
                raise self._at(number, f"a line of more than {LONGEST_LINE} bytes")
            if end:
                yield from self._piece(whole + end)
        yield from self._last(rest)

    def wrong(self, line: Line, what: str) -> BundleError:
        """An error about a line of the present piece."""
        return self._at(next(place for place, each in enumerate(self._present) if each is line), what)

    def _at(self, place: int, what: str) -> BundleError:
        return BundleError(f"{self.name}:{self.before + place + 1}: {what}")

    def _piece(self, text: bytes) -> Iterator[Sequence[Line]]:
        try:
            lines = _decoder.decode_lines(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._first_wrong(text) from None
        if len(lines) != np.count_nonzero(np.frombuffer(text, np.uint8) == NEWLINE):  # faster than bytes.count
            raise self._first_wrong(text)
        self._present = lines
        yield lines
        self._also(text)
        self.before += len(lines)

    def _last(self, rest: bytes) -> Iterator[Sequence[Line]]:
        """Without an end it is whole all the same, or it was cut off."""
        if rest and _is_cut(rest):
            self.truncated = True
        elif rest:
            yield from self._piece(rest + b"\n")

    def _first_wrong(self, text: bytes) -> BundleError:
        faults = ((place, _fault(line)) for place, line in enumerate(text.split(b"\n")[:-1]))
        return next(self._at(place, fault) for place, fault in faults if fault)


def _fault(line: bytes) -> str:
    """What is wrong with it, in words; empty for nothing."""
    if not line.strip():
        return "an empty line"
    try:
        _decoder.decode(line)
    except msgspec.MsgspecError as error:
        said, _, path = str(error).partition(" - at `$.")
        return f"{path.rstrip('`')}: {said}" if path else said
    except (UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return ""


def _is_cut(line: bytes) -> bool:
    """Whether it ends too early to be JSON; what is JSON may still be wrong."""
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False
