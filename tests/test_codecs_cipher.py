"""Encrypted sectors in bulk are what the cipher library makes of them one by one."""

from __future__ import annotations

import hashlib
import os
import random
import sys

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

import instar_sandbox
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from instar_core import codecs, limits, wire
from instar_core.codecs import cipher, sector_bulk
from instar_core.errors import ErrorKind, FormatError, NotInstalled
from instar_core.worker import codec as codec_worker

SPECS = [
    ("aes-xts-plain64", 64),
    ("aes-xts-plain64", 32),
    ("aes-xts-plain", 64),
    ("aes-xts-essiv:sha256", 64),
    ("aes-cbc-plain64", 16),
    ("aes-cbc-plain", 24),
    ("aes-cbc-essiv:sha256", 32),
    ("aes-cbc-essiv:md5", 32),
    ("aes-ctr-plain64", 32),
    ("aes-ctr-essiv:sha256", 16),
    ("aes-ecb-plain", 32),
]
FIRST_SECTORS = [0, 1, 1023, (1 << 32) - 2, 1 << 32, (1 << 40) + 5, (1 << 64) - 3]
ARITHMETIC = [pytest.param(True, id="numpy"), pytest.param(False, id="integers")]


def one_by_one(spec, key, unit, data, number, decrypt):
    """The same by the library's own modes, sector by sector."""
    _, mode, vectors, digest = cipher.parse(spec)
    made = []
    for at in range(0, len(data), unit):
        sector = number + at // unit
        vector = (sector % (1 << 32 if vectors == "plain" else 1 << 64)).to_bytes(16, "little")
        if vectors == "essiv":
            salt = hashlib.new(digest, key).digest()
            vector = Cipher(algorithms.AES(salt), modes.ECB()).encryptor().update(vector)
        how = {"xts": modes.XTS, "cbc": modes.CBC, "ctr": modes.CTR, "ecb": lambda _: modes.ECB()}[mode](vector)
        context = Cipher(algorithms.AES(key), how)
        made.append((context.decryptor() if decrypt else context.encryptor()).update(data[at : at + unit]))
    return b"".join(made)


def run(code, data, number):
    room = bytearray(len(data))
    assert code(memoryview(data), memoryview(room), number) == len(data)
    return bytes(room)


@pytest.mark.parametrize("fast", ARITHMETIC)
@pytest.mark.parametrize(("spec", "size"), SPECS)
def test_sectors_in_bulk_equal_the_library_one_by_one(spec, size, fast):
    rng = random.Random(f"{spec} {size}")
    for number in FIRST_SECTORS:
        for unit, count in ((512, 1), (512, 7), (4096, 3)):
            key, data = rng.randbytes(size), rng.randbytes(unit * count)
            for decrypt in (True, False):
                code = cipher.sectors(spec, key, unit, decrypt=decrypt, fast=fast)
                assert run(code, data, number) == one_by_one(spec, key, unit, data, number, decrypt)


@pytest.mark.parametrize(("spec", "size"), SPECS)
def test_more_than_a_batch_is_done_in_batches_without_a_seam(spec, size):
    rng = random.Random(2)
    key, data = rng.randbytes(size), rng.randbytes(cipher.BATCH + 512 * 3)
    for decrypt in (True, False):
        code = cipher.sectors(spec, key, 512, decrypt=decrypt, fast=True)
        whole = run(code, data, 9)
        seam = cipher.BATCH - 1024
        assert whole[seam : seam + 2048] == run(code, data[seam : seam + 2048], 9 + seam // 512)
        assert whole[seam : seam + 2048] == one_by_one(
            spec, key, 512, data[seam : seam + 2048], 9 + seam // 512, decrypt
        )


@pytest.mark.parametrize("fast", ARITHMETIC)
@pytest.mark.parametrize(("spec", "size"), SPECS)
def test_batches_of_any_length_at_any_place_leave_what_lies_around_their_room(spec, size, fast):
    rng = random.Random(6)
    key = rng.randbytes(size)
    for decrypt in (True, False):
        code = cipher.sectors(spec, key, 512, decrypt=decrypt, fast=fast)
        for count, place in ((3, 1), (1, 0), (5, 7), (5, 8), (2, 3)):
            data = rng.randbytes(512 * count)
            stored = memoryview(bytes(place) + data)[place:]
            room = bytearray(b"\xee" * (place + len(data) + 9))
            assert code(stored, memoryview(room)[place:], 40) == len(data)
            assert room[place:-9] == one_by_one(spec, key, 512, data, 40, decrypt)
            assert room[:place] + room[-9:] == b"\xee" * (place + 9)


@pytest.mark.parametrize("fast", ARITHMETIC)
def test_the_vectors_of_ieee_1619_come_out(fast):
    key = b"\x11" * 16 + b"\x22" * 16
    encrypt = cipher.sectors("aes-xts-plain64", key, 32, decrypt=False, fast=fast)
    expected = "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0"
    assert run(encrypt, b"\x44" * 32, 0x3333333333).hex() == expected
    same_halves = cipher.sectors("aes-xts-plain64", bytes(32), 32, decrypt=False, fast=fast)
    expected = "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"
    assert run(same_halves, bytes(32), 0).hex() == expected


@pytest.mark.parametrize("fast", ARITHMETIC)
def test_xts_of_192_bits_which_the_library_lacks_is_undone_by_itself(fast):
    rng = random.Random(3)
    key, data = rng.randbytes(48), rng.randbytes(512 * 5)
    there = run(cipher.sectors("aes-xts-plain64", key, 512, decrypt=False, fast=fast), data, 77)
    assert there != data
    assert run(cipher.sectors("aes-xts-plain64", key, 512, decrypt=True, fast=not fast), there, 77) == data


@pytest.mark.parametrize("count", [1, 2, 3, 32, 33, 64, 100, 256])
def test_tweaks_by_numpy_equal_those_by_integers(count):
    first = random.Random(count).randbytes(16 * 9)
    assert bytes(sector_bulk.bulk(True).tweaks(first, count)) == bytes(sector_bulk.bulk(False).tweaks(first, count))


def test_without_numpy_the_same_bytes_come_out(monkeypatch):
    rng = random.Random(4)
    params = {"cipher": "aes-xts-plain64", "key_size": 64, "iv_base": 5, "key": rng.randbytes(64)}
    data = rng.randbytes(5120)
    fast = run(codecs.decoder("cipher")(params, 512), data, 1)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert run(codecs.decoder("cipher")(params, 512), data, 1) == fast


def test_the_coding_counts_sectors_from_its_base():
    params = {"cipher": "aes-xts-plain64", "key_size": 64, "key": bytes(range(64))}
    data = bytes(range(256)) * 4
    based = codecs.encoder("cipher")({**params, "iv_base": 1000}, 512)
    plain = codecs.encoder("cipher")(params, 512)
    assert run(based, data, 3) == run(plain, data, 1003)
    assert run(codecs.decoder("cipher")({**params, "iv_base": 1000}, 512), run(based, data, 3), 3) == data


@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"key": None}, ErrorKind.REFUSED),
        ({"key": bytes(32)}, ErrorKind.INVALID),
        ({"cipher": "camellia-xts-plain64"}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-xts"}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-foo-plain64"}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-xts-eboiv"}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-cbc-essiv:foo", "key": bytes(32), "key_size": 32}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-cbc-essiv:sha1", "key": bytes(32), "key_size": 32}, ErrorKind.UNSUPPORTED),
        ({"cipher": "aes-cbc-plain64"}, ErrorKind.UNSUPPORTED),
        ({"key": bytes(33), "key_size": 33}, ErrorKind.UNSUPPORTED),
    ],
)
def test_params_that_make_no_sense_are_refused_before_any_data(params, kind):
    good = {"cipher": "aes-xts-plain64", "key_size": 64, "key": bytes(64)}
    with pytest.raises(FormatError) as caught:
        codecs.decoder("cipher")({**good, **params}, 512)
    assert caught.value.kind == kind


def test_part_of_a_sector_or_too_little_room_is_refused():
    code = cipher.sectors("aes-xts-plain64", bytes(64), 512, decrypt=True, fast=False)
    with pytest.raises(FormatError, match="whole sectors"):
        code(memoryview(bytes(700)), memoryview(bytearray(1024)), 0)
    with pytest.raises(FormatError, match="do not fit"):
        code(memoryview(bytes(1024)), memoryview(bytearray(512)), 0)
    with pytest.raises(FormatError, match="blocks"):
        cipher.sectors("aes-xts-plain64", bytes(64), 520, decrypt=True, fast=False)


def test_nothing_is_no_sectors():
    code = cipher.sectors("aes-xts-plain64", bytes(64), 512, decrypt=True, fast=False)
    assert code(memoryview(b""), memoryview(bytearray()), 0) == 0


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(NotInstalled) as caught:
        cipher.sectors("aes-xts-plain64", bytes(64), 512, decrypt=True, fast=False)
    assert "instar[crypto]" in caught.value.hint


def test_a_codec_worker_decrypts_behind_the_walls():
    data = random.Random(5).randbytes(1 << 20)
    params = {"cipher": "aes-xts-plain64", "key_size": 64, "iv_base": 0, "key": bytes(range(64))}
    stored = run(codecs.encoder("cipher")(params, 512), data, 40)
    arena = os.memfd_create("arena")
    try:
        os.pwrite(arena, stored + bytes(len(stored)), 0)
        order = {"direction": "decode", "name": "cipher", "params": params, "unit": 512, "size": 2 * len(stored)}
        program = instar_sandbox.Program("instar_core.worker.codec", wire.encode(order))
        bounds = instar_sandbox.Limits(30, limits.WORKER_MEMORY, 30)
        with instar_sandbox.start("process", program, [arena], bounds) as session:
            session.send(codec_worker.ENTRY.pack(0, len(stored), len(stored), len(stored), 40))
            assert session.receive() == codec_worker.LENGTHS + codec_worker.MADE.pack(len(stored))
        assert os.pread(arena, len(stored), len(stored)) == data
    finally:
        os.close(arena)
