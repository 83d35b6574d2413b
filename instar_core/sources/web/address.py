"""URLs of web servers: what of them goes where."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from instar_core.errors import DeviceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NamedTuple
else:
    from instar_core.record import NamedTuple

PORTS: Final = {"http": 80, "https": 443}
KEPT: Final = "/?:@!$&'()*+,;=-._~%[]"
"""What stands in a path and a query as it is."""


class Address(NamedTuple):
    """Where a request goes: `target` is what the server is asked for, `authority` whom the user claims to be."""

    scheme: str
    host: str
    port: int
    target: str
    authority: str = ""

    @property
    def url(self) -> str:
        """The URL, without any secret of the user."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"

    def follow(self, location: str) -> Address:
        """Where the server says that it lies. Raises DeviceError for what is not gone to."""
        try:
            found = parse(urljoin(self.url, location))
        except ValueError as error:
            raise DeviceError("No valid URL specified") from error
        if self.scheme == "https" and found.scheme != "https":
            raise DeviceError(f"the server leads from https to {found.scheme}, which is not gone to")
        same = (self.scheme, self.host, self.port) == found[:3]
        return found._replace(authority=self.authority) if same and not found.authority else found


def parse(url: str) -> Address:
    """The URL taken apart. Raises DeviceError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DeviceError("No valid URL specified") from error
    if parts.scheme not in PORTS or not parts.hostname or not url.isprintable() or port == 0:
        raise DeviceError("No valid URL specified")
    target = quote(parts.path or "/", safe=KEPT) + (f"?{quote(parts.query, safe=KEPT)}" if parts.query else "")
    return Address(parts.scheme, parts.hostname, port or PORTS[parts.scheme], target, _authority(parts))


def _authority(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + b64encode(text.encode("utf-8", "surrogateescape")).decode()
