"""A Python package index, asked which wheels there are of a project."""

from __future__ import annotations

import os
import ssl
from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin

import httpx
import stamina
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from optuna_tuner.errors import CatalogError

PYPI = "https://pypi.org/simple"
TIMEOUT_S = 60.0
ATTEMPTS = 3
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")  # the first that is set


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelLink:
    """One wheel of an index. `sha256` is as the index states it; empty where it states none."""

    name: str
    url: str
    sha256: str

    @property
    def version(self) -> Version:
        """The release that this wheel is of."""
        return parse_wheel_filename(self.name)[1]

    @property
    def fits(self) -> bool:
        """Whether it is made for Linux on x86_64, where the engines run, or for everything."""
        platforms = {tag.platform for tag in parse_wheel_filename(self.name)[3]}
        return any(each == "any" or ("linux" in each and each.endswith("x86_64")) for each in platforms)


@contextmanager
def http_client() -> Iterator[httpx.Client]:
    """To ask an index and its files by; with the proxies of the environment and the certificates that pip is told."""
    bundle = next((os.environ[name] for name in CERTIFICATES if os.environ.get(name)), None)
    trusted = ssl.create_default_context(cafile=bundle) if bundle else httpx.create_ssl_context()
    with httpx.Client(verify=trusted, timeout=TIMEOUT_S, follow_redirects=True) as client:
        yield client


def versions(project: str) -> tuple[str, ...]:
    """The releases of a project that have a wheel for Linux on x86_64, oldest first. Raises CatalogError."""
    with http_client() as client:
        return _releases(wheels(client, project))


def find_wheel(client: httpx.Client, project: str, version: str) -> WheelLink:
    """The wheel of exactly this version. Raises CatalogError, with the nearest versions where there is none."""
    links = wheels(client, project)
    try:
        asked = Version(version)
    except InvalidVersion as error:
        raise CatalogError(f'"{version}" is no version; an example of one is {_releases(links)[-1]}') from error
    found = [link for link in links if link.version == asked]
    if not found:
        near = ", ".join(_neighbours(asked, links))
        raise CatalogError(f"{public(_index())} has no wheel of {project} {version}; the nearest are {near}")
    fitting = sorted((link for link in found if link.fits), key=lambda link: link.name)
    if not fitting:
        others = ", ".join(link.name for link in found)
        raise CatalogError(f"{project} {version} has no wheel for Linux on x86_64, only {others}")
    return fitting[-1]  # of several, for several Pythons, the newest; their sources are the same


def wheels(client: httpx.Client, project: str) -> tuple[WheelLink, ...]:
    """All wheels of a project, as PEP 503 has them. Raises CatalogError."""
    address = f"{_index()}/{canonicalize_name(project)}/"
    try:
        answer = get(client, address)
    except httpx.HTTPError as error:
        raise CatalogError(f"the package index {public(address)} cannot be reached: {reason(error)}") from error
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise CatalogError(f'{public(address)} says that there is no package "{project}"')
    if answer.is_error:
        raise CatalogError(f"the package index {public(address)} answers {answer.status_code}")
    links = tuple(_wheel_links(answer.text, str(answer.url)))
    if not links:
        raise CatalogError(f'{public(address)} names no wheel of "{project}"')
    return links


def get(client: httpx.Client, url: str, **headers: str) -> httpx.Response:
    """The answer, asked for again when the line breaks. A 200 that ignores a `Range` is given without its body."""
    for attempt in stamina.retry_context(on=httpx.TransportError, attempts=ATTEMPTS):
        with attempt, client.stream("GET", url, headers=headers) as answer:
            if not ("Range" in headers and answer.status_code == httpx.codes.OK):
                answer.read()
    return answer


def public(address: str) -> str:
    """An address for people: without a password that a private index has in its address."""
    url = httpx.URL(address)
    return str(url.copy_with(userinfo=b"") if url.userinfo else url)


def reason(error: httpx.HTTPError) -> str:
    """What went wrong on the line, for people; some of these errors have no text."""
    return str(error) or type(error).__name__


def _releases(links: tuple[WheelLink, ...]) -> tuple[str, ...]:
    return tuple(str(version) for version in sorted({link.version for link in links if link.fits}))


def _neighbours(asked: Version, links: tuple[WheelLink, ...]) -> tuple[str, ...]:
    """The last two releases before this one, and the first after it."""
    known = _releases(links)
    place = bisect(known, asked, key=Version)
    return known[max(0, place - 2) : place + 1]


def _index() -> str:
    asked = os.environ.get("PIP_INDEX_URL", "")
    return (asked if asked.startswith(("http://", "https://")) else PYPI).rstrip("/")


def _wheel_links(page: str, address: str) -> Iterator[WheelLink]:
    reader = _Anchors()
    reader.feed(page)
    for href in reader.hrefs:
        url, mark = urldefrag(urljoin(address, href))
        name = httpx.URL(url).path.rpartition("/")[2]
        try:
            parse_wheel_filename(name)
        except InvalidWheelFilename:
            continue  # a source archive, or something older
        yield WheelLink(name=name, url=url, sha256=mark.removeprefix("sha256=") if mark.startswith("sha256=") else "")


class _Anchors(HTMLParser):
    """The addresses of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs.extend(value for name, value in attrs if name == "href" and value)
