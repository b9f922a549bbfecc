"""An HTTP client that looks for no cookies."""

from __future__ import annotations

import httpx


class _NoCookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Does nothing."""


class Cookieless(httpx.Client):
    """Takes no cookies, and does not look for them.

    To look for them httpx has Python parse the address of each request, of which Python keeps the last 128. Every
    trial's server has a port of its own; so these small pieces lay everywhere in the memory of a worker, and kept it
    from being given back.
    """

    _none = _NoCookies()

    @property  # type: ignore[misc]  # nobody sets any
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return self._none
