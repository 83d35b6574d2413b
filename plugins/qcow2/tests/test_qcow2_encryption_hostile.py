"""Encrypted images with impossible fields: refused as qemu-img refuses them, and never a hang or another error."""

from __future__ import annotations

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_qcow2 import hooks
from instar_qcow2.header import read_header

from instar_core.errors import ErrorKind, FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.beside import beside
from instar_core.types import Layer, Span

load = beside(__file__)
encryption = load("qcow2_encryption")
oracle = encryption.oracle
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]
SLOT, SLOT_SIZE = 208, 48

OF_LUKS = {
    "magic": (0, b"LUKT\xba\xbe"),
    "version 2": (6, b"\0\2"),
    "cipher without end": (8, b"a" * 32),
    "cipher unknown": (8, b"rot13\0"),
    "mode without end": (40, b"x" * 32),
    "mode without dash": (40, b"xts\0"),
    "mode unknown": (40, b"xyz-plain64\0"),
    "vectors unknown": (40, b"xts-benbi\0\0\0"),
    "essiv without hash": (40, b"xts-essiv\0\0\0"),
    "hash without end": (72, b"h" * 32),
    "hash unknown": (72, b"whirlpool\0"),
    "payload in the header": (104, (7).to_bytes(4, "big")),
    "payload over key material": (104, (500).to_bytes(4, "big")),
    "key of no size": (108, bytes(4)),
    "key of 30 bytes": (108, (30).to_bytes(4, "big")),
    "key without end": (108, b"\xff" * 4),
    "no iterations": (164, bytes(4)),
    "slot state": (SLOT, b"\x12\x34\x56\x78"),
    "slot without iterations": (SLOT + 4, bytes(4)),
    "slot over the header": (SLOT + 40, (1).to_bytes(4, "big")),
    "slot over the payload": (SLOT + 40, (5000).to_bytes(4, "big")),
    "slot over another": (SLOT + SLOT_SIZE + 40, (8).to_bytes(4, "big")),
    "stripes": (SLOT + 3 * SLOT_SIZE + 44, (17).to_bytes(4, "big")),
    "no stripes": (SLOT + 44, bytes(4)),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The bytes of an encrypted image, the place of its LUKS header and that of the extension that names it."""
    folder = tmp_path_factory.mktemp("sound")
    encryption.written(folder, encryption.FAST, 1 << 20)
    data = (folder / "x").read_bytes()
    base, _ = read_header(bytes_source(data)).extensions.crypto
    return data, base, data.index(b"\x05\x37\xbe\x77", 100)


def judged(folder, data):
    """What qemu-img says when it opens the image, and what the plugin says."""
    (folder / "x").write_bytes(data)
    done = oracle.run(folder, oracle.QEMU_IMG, "info", "-f", "qcow2", "x")
    theirs = done.stderr.removesuffix("\n").removeprefix("qemu-img: Could not open 'x': ")
    ours = ""
    try:
        hooks.instar_info(Image([bytes_source(bytes(data))]))
    except FormatError as error:
        ours = error.message
    return theirs, ours


@pytest.mark.parametrize("name", OF_LUKS)
def test_a_bad_field_of_the_luks_header_is_refused_with_qemus_words(tmp_path, sound, name):
    data, base, _ = sound
    at, value = OF_LUKS[name]
    spoiled = bytearray(data)
    spoiled[base + at : base + at + len(value)] = value
    theirs, ours = judged(tmp_path, spoiled)
    assert ours == theirs != ""


OF_EXTENSION = {
    "longer": (4, (24).to_bytes(4, "big")),
    "empty": (4, bytes(4)),
    "not aligned": (8, (0x30200).to_bytes(8, "big")),
    "at no LUKS header": (8, bytes(8)),
    "too short for the header": (16, (591).to_bytes(8, "big")),
    "of no length": (16, bytes(8)),
    "missing": (0, b"\x05\x37\xbe\x78"),
}


@pytest.mark.parametrize("name", OF_EXTENSION)
def test_a_bad_pointer_to_the_luks_header_is_refused_with_qemus_words(tmp_path, sound, name):
    data, _, place = sound
    at, value = OF_EXTENSION[name]
    spoiled = bytearray(data)
    spoiled[place + at : place + at + len(value)] = value
    theirs, ours = judged(tmp_path, spoiled)
    assert ours == theirs != ""


@pytest.mark.parametrize("where", [1 << 40, (1 << 62), (1 << 64) - (1 << 16)])
def test_a_luks_header_past_the_end_of_the_file_is_none(sound, where):
    data, _, place = sound
    spoiled = bytearray(data)
    spoiled[place + 8 : place + 16] = where.to_bytes(8, "big")
    with pytest.raises(FormatError, match=r"^Volume is not in LUKS format$"):
        hooks.instar_info(Image([bytes_source(bytes(spoiled))]))


@pytest.mark.parametrize("at", [SLOT + 4, 164])
def test_more_iterations_than_the_limit_are_shown_but_not_tried(sound, at):
    data, base, _ = sound
    spoiled = bytearray(data)
    spoiled[base + at : base + at + 4] = b"\xff" * 4
    image = Image([bytes_source(bytes(spoiled))])
    details = hooks.instar_info(image).details["encrypt"]
    assert 0xFFFFFFFF in (details["master-key-iters"], details["slots"][0]["iters"])
    with pytest.raises(FormatError, match="iteration count") as caught:
        hooks.instar_unlock(image)
    assert caught.value.kind == ErrorKind.LIMIT


def test_key_material_of_which_a_bit_is_wrong_opens_nothing(sound):
    data, base, _ = sound
    spoiled = bytearray(data)
    spoiled[base + 4096 + 777] ^= 1
    assert encryption.unlock(Image([bytes_source(bytes(spoiled))])) is None
    assert encryption.unlock(Image([bytes_source(data)])) is not None


def test_key_material_past_the_end_of_the_file_opens_nothing(sound):
    data, base, _ = sound
    assert encryption.unlock(Image([bytes_source(data[: base + 5000])])) is None


def test_a_wrong_key_is_noticed_before_anything_is_read_with_it(sound):
    assert encryption.unlock(Image([bytes_source(sound[0])]), b"wrong") is None


def test_a_check_finds_what_lies_over_the_luks_header(sound):
    """Guest content that lies where the key material does is counted twice."""
    data, base, _ = sound
    image = Image([bytes_source(data)])
    header = read_header(image.main)
    spoiled = bytearray(data)
    table = len(spoiled)
    spoiled += (base | 1 << 63).to_bytes(8, "big").ljust(header.cluster_size, b"\0")
    spoiled[header.l1_table_offset : header.l1_table_offset + 8] = (table | 1 << 63).to_bytes(8, "big")
    image = Image([bytes_source(bytes(spoiled))])
    lines = [finding.text for finding in list(hooks.instar_check(image))[:-1]]
    assert f"ERROR cluster {base >> 16} refcount=1 reference=2" in lines
    assert next(iter(hooks.instar_map(image, Layer(), Span(0, 1 << 20)))).coding == 2
