"""How a new image is to be encrypted: the options, validated in qemu's words."""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.luks1 import make
from instar_core.luks1 import options as luks_options
from instar_qcow2 import encryption, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    from instar_core.types import KeyPlan
else:
    from instar_core.record import NamedTuple

PREFIX = "encrypt."
OF_AES = (PREFIX + "format", PREFIX + "key-secret")
"""The options that method 1 knows."""


class Encryption(NamedTuple):
    """The method by its number in the header, the cipher as dm-crypt names it, bytes of its key, and of the LUKS header
    with its key material (0 without one). `order` are the key slots that are to be made."""

    method: int = layout.CRYPT_NONE
    cipher: str = ""
    key_size: int = 0
    luks_length: int = 0
    order: KeyPlan | None = None


UNENCRYPTED = Encryption()


def refuse_alias(options: Mapping[str, Any]) -> None:
    """Raise FormatError where the method is named twice."""
    if options.get("encryption") and options.get("encrypt.format") is not None:
        raise FormatError("'encrypt.format' and its alias 'encryption' can't be used at the same time")


def choose(options: Mapping[str, Any]) -> Encryption:
    """What the options ask for. Raises FormatError: what qemu-img refuses, with its message."""
    given = [name for name, value in options.items() if name.startswith(PREFIX) and value is not None]
    method = "aes" if options.get("encryption") else options.get("encrypt.format")
    if method is None:
        if given:
            raise FormatError("Parameter 'encrypt.format' is missing")
        return UNENCRYPTED
    if method == "aes":
        for name in given:
            if name not in OF_AES:
                raise FormatError(f"Parameter '{name}' is unexpected")
        order = encryption.PLAIN._replace(material=())
        return Encryption(layout.CRYPT_AES, encryption.AES, encryption.AES_KEY, 0, order)
    if method != "luks":
        raise FormatError(f"Parameter 'format' does not accept value '{method}'")
    order = make.order(luks_options.choose(options, PREFIX))
    return Encryption(layout.CRYPT_LUKS, order.cipher, order.key_size, make.size(order.key_size), order)
