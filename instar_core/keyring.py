"""Passphrases, by the names that options call them by. They stay in the host, and go to key sessions only."""

from __future__ import annotations

from instar_core.errors import ErrorKind, InstarError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Keyring:
    """Passphrases by id. What shows a keyring shows no passphrase; `clear` overwrites them all."""

    __slots__ = ("_held",)

    def __init__(self, passphrases: Mapping[str, bytes | bytearray] | None = None) -> None:
        self._held = {id: bytearray(value) for id, value in (passphrases or {}).items()}

    def __repr__(self) -> str:
        return f"Keyring({', '.join(sorted(self._held))})"

    def __contains__(self, id: str) -> bool:
        return id in self._held

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, id: str, passphrase: bytearray) -> None:
        """The passphrase is known by this id; the keyring takes the bytearray over."""
        self._held[id] = passphrase

    def raw(self, id: str) -> bytes:
        """The bytes held by this id. Raises InstarError in qemu-img's words where there are none."""
        held = self._held.get(id)
        if held is None:
            raise InstarError(f"No secret with id '{id}'", kind=ErrorKind.MISSING)
        return bytes(held)

    def passphrase(self, id: str) -> bytes:
        """The passphrase of this id. Raises InstarError in qemu-img's words where there is none or it is no text."""
        held = self.raw(id)
        try:
            held.decode("utf-8")
        except UnicodeDecodeError:
            raise InstarError(f"Data from secret {id} is not valid UTF-8", kind=ErrorKind.INVALID) from None
        return held

    def clear(self) -> None:
        """No passphrase is held any more; the memory of those that were is zeroed."""
        for held in self._held.values():
            held[:] = bytes(len(held))
        self._held.clear()
