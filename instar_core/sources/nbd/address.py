"""Names of NBD exports: URIs (doc/uri.md of the NBD project) and qemu's older `nbd:host:port` and `nbd:unix:path`."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, unquote, urlsplit

from instar_core.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NamedTuple
else:
    from instar_core.record import NamedTuple

PORT: Final = 10809
EXPORT: Final = 4096
"""Longest name of an export: the protocol's own bound of strings."""


class Address(NamedTuple):
    """Where an export is: the path of a Unix socket, or host and port; and its name."""

    path: str
    host: str
    port: int
    export: str

    @property
    def place(self) -> str:
        """The server, as qemu-img names it in messages."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def shown(self) -> str:
        """The name as qemu writes it."""
        name = quote(self.export, safe="/:@!$&'()*+,;=")
        if self.path:
            return f"nbd+unix://{'/' if name else ''}{name}?socket={self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nbd://{host}:{self.port}{'/' if name else ''}{name}"


def parse(name: str) -> Address:
    """The export that the name means. Raises UsageError, in qemu-img's words."""
    found = _uri(name) if "://" in name else _legacy(name)
    if len(found.export.encode("utf-8", "surrogateescape")) > EXPORT:
        raise UsageError("export name is too long", path=name)
    return found


def _uri(name: str) -> Address:
    try:
        parts = urlsplit(name)
        port = parts.port
        query = parse_qs(parts.query.replace("+", "%2B"), strict_parsing=bool(parts.query))
    except ValueError:
        raise _invalid(name) from None
    export = unquote(parts.path.removeprefix("/"), errors="surrogateescape")
    if parts.scheme == "nbd+unix":
        if parts.netloc or len(query.get("socket", ())) != 1 or len(query) != 1:
            raise _invalid(name)
        return Address(query["socket"][0], "", 0, export)
    if query or parts.fragment or not parts.hostname or port == 0:
        raise _invalid(name)
    return Address("", parts.hostname, PORT if port is None else port, export)


def _legacy(name: str) -> Address:
    rest, _, export = name.removeprefix("nbd:").partition(":exportname=")
    if not rest:
        raise UsageError("NBD server address missing", path=name)
    if rest.startswith("unix:"):
        path = rest.removeprefix("unix:")
        if not path:
            raise UsageError("NBD server address missing", path=name)
        return Address(path, "", 0, export)
    host, colon, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not colon or not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 1 << 16:
        raise UsageError(f"error parsing address '{rest}'", path=name)
    return Address("", host, int(port), export)


def _invalid(name: str) -> UsageError:
    return UsageError("No valid URL specified", path=name)
