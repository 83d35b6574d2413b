"""Options that every verb has besides qemu-img's own. They are long only, and an abbreviation means them last."""

from __future__ import annotations

from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SANDBOXES: Final = ("auto", "kvm", "process", "inline")
LEAST_MEMORY: Final = 256 << 20
"""Bytes of address space with which a worker is sure to start, as a guest too."""
MOST_MEMORY: Final = 1 << 46
EFFORTS: Final = ("fast", "small")
POLICIES: Final = ("default", "untrusted", "qemu", "openstack", "proxmox", "ovirt", "strict")


def sandbox(text: str) -> str:
    """The name of a sandbox. Raises ValueError."""
    return _one_of(text, SANDBOXES)


def policy(text: str) -> str:
    """The name of an image policy. Raises ValueError."""
    return _one_of(text, POLICIES)


def compression(text: str) -> str:
    """The name of an effort. Raises ValueError."""
    return _one_of(text, EFFORTS)


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise ValueError(f"expects {', '.join(words[:-1])} or {words[-1]}, not '{text}'")
    return text


def seconds(text: str) -> float:
    """A positive number of seconds. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"expects a number of seconds, not '{text}'")
    return value


def cpu(text: str) -> int:
    """A whole number of seconds of CPU time. Raises ValueError."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise ValueError(f"expects a whole number of seconds, not '{text}'")
    return int(text)


def memory(text: str) -> int:
    """A size that a worker can start with. Raises ValueError."""
    from instar_core.sizes import parse_size

    try:
        value = parse_size(text)
    except ValueError:
        value = 0
    if not LEAST_MEMORY <= value < MOST_MEMORY:
        raise ValueError(f"expects a size of at least {LEAST_MEMORY >> 20}M, not '{text}'")
    return value


def truth(text: str) -> bool:
    """on or off, in the usual spellings. Raises ValueError."""
    word = text.lower()
    if word in ("1", "on", "yes", "true", "y"):
        return True
    if word in ("", "0", "off", "no", "false", "n"):
        return False
    raise ValueError(f"expects on or off, not '{text}'")


def _option(name: str, value: str, text: str, read: object = None) -> Opt:
    def reader(given: str) -> object:
        try:
            return read(given) if callable(read) else True
        except ValueError as error:
            raise Fault(f"--{name} {error}", usage=True) from None

    return Opt(name, "", name, value, (text,), reader if value else None)


EXTRAS: Final = (
    _option("sandbox", "|".join(SANDBOXES), "where the image is parsed (default: auto)", sandbox),
    _option("image-policy", "POLICY", f"what images may refer to: {', '.join(POLICIES)}", policy),
    _option("unsafe-quirks", "", "do as qemu-img also where that is unsafe: anything may be a raw disk"),
    _option("ignore-quirks", "", "leave out qemu-img's oddities of presentation"),
    _option("extra-detail", "", "show facts of the format that qemu-img does not"),
    _option("compression", "|".join(EFFORTS), "how content is compressed (default: fast)", compression),
    _option("timeout", "SECONDS", "stop after this time", seconds),
    _option("cpu-limit", "SECONDS", "CPU time of each worker that parses (default: by the work)", cpu),
    _option("memory-limit", "SIZE", "address space of each worker that parses (default: 1G)", memory),
)
