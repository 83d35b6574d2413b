"""Requests to a web server over one connection that is kept: redirects followed, and what may pass tried again."""

from __future__ import annotations

import errno
import http.client
import os
import ssl
import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from instar_core import limits
from instar_core.errors import DeviceError
from instar_core.sources.web.address import Address, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    T = TypeVar("T")

REDIRECTS: Final = 10
"""Most of them on the way to one answer: as browsers and curl have it, or fewer."""
WAITS: Final = 0.1, 0.4, 1.6
"""Seconds before each further attempt."""
MOVED: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that say that another attempt may do better."""
STALE: Final = frozenset({400, 401, 403, 404, 410})
"""Statuses by which a place that was led to says that it has expired."""
AGENT: Final = "instar"


class Passing(Exception):
    """What went wrong may be different at the next attempt."""


class Client:
    """One user of one URL. All methods raise DeviceError."""

    def __init__(self, url: str) -> None:
        self.first = parse(url)
        self._now = self.first
        self._connection: http.client.HTTPConnection | None = None
        self._tls: ssl.SSLContext | None = None
        self._reached = False

    def get(self, headers: dict[str, str], take: Callable[[http.client.HTTPResponse], T]) -> T:
        """What `take` makes of the answer, which is no redirect and no error that may pass; it reads the body."""
        why: Exception | None = None
        for wait in (*WAITS, None):
            try:
                found = self._once(headers, take)
            except DeviceError:
                self.close()  # what is left of the answer is of no use
                raise
            except (OSError, http.client.HTTPException, Passing) as error:
                self.close()
                why = error
                if wait is None or not self._worth(error):
                    break
                time.sleep(wait)
            else:
                self._reached = True
                return found
        raise self._failed(why)

    def close(self) -> None:
        """The connection has ended."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _worth(self, error: Exception) -> bool:
        """Whether another attempt makes sense: a server that was never reached is not there."""
        return self._reached or isinstance(error, Passing)

    def _once(self, headers: dict[str, str], take: Callable[[http.client.HTTPResponse], T]) -> T:
        for _ in range(REDIRECTS + 1):
            answer = self._ask(headers)
            if answer.status in MOVED:
                location = answer.headers.get("Location")
                self.close()
                if not location:
                    raise DeviceError("the server leads elsewhere without saying where")
                self._now = self._now.follow(location)
            elif answer.status in STALE and self._now != self.first:
                self.close()
                self._now = self.first
                raise Passing(_status(answer))
            elif answer.status in PASSING:
                raise Passing(_status(answer))
            else:
                return take(answer)
        self._now = self.first
        raise DeviceError(f"the server leads elsewhere more than {REDIRECTS} times")

    def _ask(self, headers: dict[str, str]) -> http.client.HTTPResponse:
        place = self._now
        if self._connection is None:
            self._connection = self._connected(place)
        sent = {"User-Agent": AGENT, "Accept-Encoding": "identity", **headers}
        if place.authority:
            sent["Authorization"] = place.authority
        through = place.scheme == "http" and self._proxy(place) is not None
        self._connection.request("GET", place.url if through else place.target, headers=sent)
        return self._connection.getresponse()

    def _connected(self, place: Address) -> http.client.HTTPConnection:
        proxy = self._proxy(place)
        host, port = (place.host, place.port) if proxy is None else proxy
        if place.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=limits.SOURCE_PATIENCE)
        self._tls = self._tls or ssl.create_default_context()
        made = http.client.HTTPSConnection(host, port, timeout=limits.SOURCE_PATIENCE, context=self._tls)
        if proxy is not None:
            made.set_tunnel(place.host, place.port)
        return made

    def _proxy(self, place: Address) -> tuple[str, int] | None:
        """Host and port of the proxy that the environment names for the place."""
        name = getproxies().get(place.scheme)
        if not name or proxy_bypass(f"{place.host}:{place.port}"):
            return None
        parts = urlsplit(name if "://" in name else f"http://{name}")
        if not parts.hostname:
            raise DeviceError(f"the proxy '{name}' is none")
        return parts.hostname, parts.port or 80

    def _failed(self, error: Exception | None) -> DeviceError:
        place = f"{self._now.host}:{self._now.port}"
        if isinstance(error, Passing):
            return DeviceError(str(error), errno=errno.EIO)
        if isinstance(error, TimeoutError):
            text = f"the server {place} has not answered for {limits.SOURCE_PATIENCE} s"
            return DeviceError(text, errno=errno.ETIMEDOUT)
        if isinstance(error, ssl.SSLError):
            reason = getattr(error, "verify_message", None) or error.reason or str(error)
            return DeviceError(f"no trusted connection to {place}: {reason}", errno=errno.EACCES)
        if isinstance(error, OSError) and not self._reached:
            why = error.strerror or os.strerror(error.errno or errno.EIO)
            return DeviceError(f"Failed to connect to '{place}': {why}", errno=errno.EIO)
        return DeviceError(f"the connection to {place} broke: {_words(error)}", errno=errno.EIO)


def refused(answer: http.client.HTTPResponse) -> DeviceError:
    """The error that a status is."""
    code = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT, 410: errno.ENOENT}.get(answer.status, errno.EIO)
    return DeviceError(_status(answer), errno=code)


def _status(answer: http.client.HTTPResponse) -> str:
    return f"the server says: {answer.status} {answer.reason or ''}".rstrip()


def _words(error: Exception | None) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "it ended too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
