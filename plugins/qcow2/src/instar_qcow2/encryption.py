"""How the content of an encrypted image is encrypted, told without a key.

Method 1 (AES) takes the passphrase itself as key and counts sectors by the virtual disk; method 2 (LUKS) has a LUKS1
header in clusters of the image and counts sectors by their place in the file. Compressed clusters are never encrypted.
Source: docs/interop/qcow2.txt of QEMU, "crypt_method" and "Full disk encryption header pointer".
"""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.luks1 import header as luks1
from instar_core.luks1.details import details
from instar_core.luks1.layout import HEADER_SIZE
from instar_core.types import Coding, KeyPlan, KeySlot
from instar_qcow2 import layout
from instar_qcow2.header import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from instar_core.source import Image, Source
    from instar_qcow2.header import Header

SECTOR = 512
AES = "aes-cbc-plain64"
AES_KEY = 16
"""Bytes of the key of method 1."""

PLAIN = KeyPlan(AES, AES_KEY, (KeySlot(0, "plain", {}, b"", 1, 0, 0, AES, ""),), (b"",), {})
"""Method 1 keeps nothing: the passphrase, cut or padded with zeros, is the key, and any passphrase opens."""


def coding(cipher: str, key_size: int, *, by_offset: bool) -> Coding:
    """Content encrypted sector by sector; `cipher` as dm-crypt names it, the key in bytes."""
    params = {"cipher": cipher, "key_size": key_size, "iv_base": 0, "by": "offset" if by_offset else "start"}
    return Coding("cipher", SECTOR, False, params)


def image_coding(source: Source, header: Header) -> Coding | None:
    """How the image's content is encrypted; None where it is not. Raises FormatError for a LUKS header that is bad."""
    if header.crypt_method == layout.CRYPT_NONE:
        return None
    if header.crypt_method == layout.CRYPT_AES:
        return coding(AES, AES_KEY, by_offset=False)
    found = luks_header(source, header)
    return coding(found.cipher_spec, found.key_bytes, by_offset=True)


def encrypt_details(source: Source, header: Header) -> dict[str, Any]:
    """What qemu-img info prints under `encrypt`. Offsets of key slots are bytes within the LUKS header."""
    if header.crypt_method == layout.CRYPT_AES:
        return {"format": "aes"}
    return {"format": "luks", **details(luks_header(source, header))}


def key_plan(image: Image) -> KeyPlan:
    """The key slots of the image, without any secret. Raises FormatError where it is not encrypted."""
    header = read_header(image.main)
    if header.crypt_method == layout.CRYPT_NONE:
        raise FormatError("the image is not encrypted")
    if header.crypt_method == layout.CRYPT_AES:
        return PLAIN
    found = luks_header(image.main, header)
    base, length = place(header)
    for slot in found.slots:
        if slot.active and slot.offset + found.material_size > length:
            raise FormatError("Request for data outside of extension header", offset=base + slot.offset)
    from instar_core.luks1 import unlock

    return unlock.plan(image.main, found, base)


def luks_header(source: Source, header: Header) -> luks1.Header:
    """The LUKS header, every field checked. Raises FormatError in qemu's words."""
    base, length = place(header)
    if length < HEADER_SIZE:
        raise FormatError("Request for data outside of extension header", offset=base)
    return luks1.read(source, base)


def place(header: Header) -> tuple[int, int]:
    """(offset, length) of the LUKS header with its key material."""
    return header.extensions.crypto or (0, 0)
