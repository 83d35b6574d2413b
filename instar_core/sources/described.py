"""Sources that are described by options, as qemu's drivers take them: their names."""

from __future__ import annotations

from urllib.parse import quote

from instar_core.errors import UsageError
from instar_core.sources import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Final

PORT: Final = "10809"
PLACES: Final = {"unix": ("path",), "inet": ("host", "port")}
"""What an object that describes a server must have, by its type."""
PACE: Final = "timeout", "readahead"
"""Options of qemu's curl driver that say how, and not what."""


def nbd(given: Mapping[str, str]) -> str:
    """The URI of the export. Raises UsageError, in qemu-img's words."""
    left = dict(given)
    if any(key.startswith("server.") for key in left):
        left.update(_server({key.removeprefix("server."): left.pop(key) for key in given if key.startswith("server.")}))
    export, path, host = quote(left.pop("export", ""), safe=""), left.pop("path", None), left.pop("host", None)
    port = left.pop("port", PORT)
    if path is not None and host is not None:
        raise UsageError("path and host may not be used at the same time")
    if path is None and host is None:
        raise UsageError("NBD server address missing")
    for key in left:
        raise UsageError(f"Block protocol 'nbd' doesn't support the option '{key}'")
    if path is not None:
        return f"nbd+unix:///{export}?socket={quote(path)}"
    return f"nbd://{f'[{host}]' if ':' in str(host) else host}:{port}/{export}"


def _server(given: dict[str, str]) -> dict[str, str]:
    """The server's place, of an object that describes it. Raises UsageError."""
    kind = given.pop("type", None)
    if kind is None:
        raise UsageError("Parameter 'type' is missing")
    if kind not in PLACES:
        raise UsageError(f"Parameter 'type' does not accept value '{kind}'")
    for key in PLACES[kind]:
        if key not in given:
            raise UsageError(f"Parameter '{key}' is missing")
    for key in given.keys() - PLACES[kind]:
        raise UsageError(f"Parameter '{key}' is unexpected")
    return given


def _url(driver: str) -> Callable[[Mapping[str, str]], str]:
    def found(given: Mapping[str, str]) -> str:
        left = dict(given)
        name = left.pop("url", None) or left.pop("filename", None)
        for key in PACE:
            left.pop(key, None)
        for key in left:
            raise UsageError(f"Block protocol '{driver}' doesn't support the option '{key}'")
        if name is None:
            raise UsageError(f"{driver} block driver requires an 'url' option")
        if names.scheme(name) != driver:
            raise UsageError(f"{driver} curl driver cannot handle the URL '{name}' (does not start with '{driver}://')")
        return name

    return found


NAMED: Final = {"nbd": nbd, "http": _url("http"), "https": _url("https")}
"""Drivers of which a description can be told as a name."""


def name(driver: str, given: Mapping[str, str]) -> str:
    """The name that means what the options describe. Raises UsageError."""
    found = NAMED[driver](given)
    names.value(found)
    return found


def node(named: str) -> dict[str, str]:
    """The options that describe the source of that name, as qemu's drivers take them."""
    if names.scheme(named) not in ("nbd", "nbd+unix", "nbd+tcp"):
        return {"driver": names.scheme(named), "url": named}
    from instar_core.sources.nbd.address import parse

    where = parse(named)
    place = {"path": where.path} if where.path else {"host": where.host, "port": str(where.port)}
    return {"driver": "nbd", **place, **({"export": where.export} if where.export else {})}
