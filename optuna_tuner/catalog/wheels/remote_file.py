"""A file on a web server that is read in parts, so that a few members of a large archive cost little."""

from __future__ import annotations

import io
import re

import httpx

from optuna_tuner.catalog.wheels.package_index import get, public, reason
from optuna_tuner.errors import CatalogError

BLOCK = 256 * 1024  # bytes; the sources of one folder lie side by side in a wheel


class RemoteFile(io.RawIOBase):
    """A seekable file over HTTP range requests. What was read is kept. Raises CatalogError."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self._client, self._url = client, url
        self._blocks: dict[int, bytes] = {}
        self._at = 0
        self._size = 1
        self._size = self._fetch(0, 0)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Sets where the next read begins; no request."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer at the end."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        first, last = self._at // BLOCK, (end - 1) // BLOCK
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if missing:
            self._fetch(missing[0], missing[-1])
        joined = b"".join(self._blocks[number] for number in range(first, last + 1))
        found = joined[self._at - first * BLOCK : end - first * BLOCK]
        self._at = end
        return found

    def _fetch(self, first: int, last: int) -> int:
        """Keeps these blocks; the size of the whole file."""
        start, end = first * BLOCK, (last + 1) * BLOCK
        content, size = self._range(start, end)
        if len(content) != min(end, size) - start:
            raise CatalogError(
                f"{public(self._url)} cannot be read: the server gives other bytes than it was asked for"
            )
        for number in range(first, last + 1):
            self._blocks[number] = content[number * BLOCK - start : (number + 1) * BLOCK - start]
        return size

    def _range(self, start: int, end: int) -> tuple[bytes, int]:
        """The bytes from start to before end, or to the end of the file; and the file's size."""
        name = public(self._url)
        try:
            answer = get(self._client, self._url, Range=f"bytes={start}-{end - 1}")
        except httpx.HTTPError as error:
            raise CatalogError(f"{name} cannot be read: {reason(error)}") from error
        if answer.status_code == httpx.codes.OK:
            raise CatalogError(f"the server of {name} gives no parts of files; download it, and name the file instead")
        stated = re.fullmatch(rf"bytes {start}-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status_code != httpx.codes.PARTIAL_CONTENT or stated is None:
            raise CatalogError(f"{name} cannot be read: the server answers {answer.status_code}")
        return answer.content, int(stated[1])
