"""A jar that stays empty."""

from __future__ import annotations

from http.client import HTTPResponse
from http.cookiejar import CookieJar
from urllib.request import Request


class NoCookies(CookieJar):
    """Takes no cookies.

    To look for them Python parses the address of each answer, and keeps the last 128. Every trial's server has a port
    of its own; so these small pieces lay everywhere in the memory of a worker, and kept it from being given back.
    """

    def extract_cookies(self, response: HTTPResponse, request: Request) -> None:
        """Does nothing."""
