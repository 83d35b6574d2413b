"""Ciphers beside AES: the vectors of their authors, and behind the walls."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_core import codecs
from instar_core.codecs import blocks, cipher
from instar_core.errors import ErrorKind, FormatError, NotInstalled

VECTORS = {
    # RFC 2144, appendix B.1
    "cast5": ("0123456712345678234567893456789a", "0123456789abcdef", "238b4fe5847e44b2"),
    # GB/T 32907-2016, appendix A.1
    "sm4": (
        "0123456789abcdeffedcba9876543210",
        "0123456789abcdeffedcba9876543210",
        "681edf34d206965e86b3e94f536e4246",
    ),
    # The submission of Twofish, known answers of 128 bits, I=1
    "twofish": ("0" * 32, "0" * 32, "9f589f5cf6122c32b6bfec2f2ae8c35a"),
    # As Linux tests its own (crypto/testmgr.h)
    "serpent": (bytes(range(16)).hex(), bytes(range(16)).hex(), "4c7d8a328072a22c823e4a1f3acda16d"),
}


def have(name):
    try:
        return blocks.ecb(name, bytes(16), decrypt=False)
    except NotInstalled as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("name", VECTORS)
def test_the_vectors_of_the_authors_come_out(name):
    have(name)
    key, plain, stored = map(bytes.fromhex, VECTORS[name])
    assert bytes(blocks.ecb(name, key, decrypt=False)(plain)) == stored
    assert bytes(blocks.ecb(name, key, decrypt=True)(stored * 3)) == plain * 3
    assert bytes(blocks.cbc(name, key)(bytes(len(plain)), plain)) == stored


SPECS = [
    ("cast5-cbc-plain64", 16),
    ("cast5-ctr-plain64", 16),
    ("cast5-ecb-plain64", 16),
    ("cast5-cbc-essiv:md5", 16),
    ("serpent-xts-plain64", 64),
    ("serpent-xts-plain64", 48),
    ("serpent-cbc-essiv:sha256", 32),
    ("twofish-xts-plain64", 64),
    ("twofish-ctr-plain", 16),
    ("sm4-xts-plain64", 32),
    ("sm4-cbc-plain64be", 16),
    ("aes-cbc-null", 16),
]


@pytest.mark.parametrize(("spec", "size"), SPECS)
@pytest.mark.parametrize("fast", [False, True])
def test_what_is_encrypted_is_decrypted_whatever_the_batch(spec, size, fast):
    have(spec.partition("-")[0])
    rng = random.Random(spec)
    key, data = rng.randbytes(size), rng.randbytes(4096 * 5)
    for unit, step in ((512, 1), (4096, 8), (4096, 1)):
        encrypt, decrypt = (cipher.sectors(spec, key, unit, decrypt=way, fast=fast, step=step) for way in (False, True))
        stored, again, part = bytearray(len(data)), bytearray(len(data)), bytearray(4096)
        encrypt(memoryview(data), memoryview(stored), 7)
        assert bytes(stored) != data
        decrypt(memoryview(stored), memoryview(again), 7)
        assert bytes(again) == data
        decrypt(memoryview(stored)[8192:12288], memoryview(part), 7 + 8192 // unit * step)
        assert bytes(part) == data[8192:12288]


def test_sectors_of_4096_bytes_are_numbered_by_their_first_512():
    key, data = bytes(range(64)), bytes(range(256)) * 48
    params = {"cipher": "aes-xts-plain64", "key_size": 64, "key": key}
    small, large = codecs.encoder("cipher")(params, 4096), codecs.encoder("cipher")({**params, "iv_step": 8}, 4096)
    made = bytearray(len(data))
    large(memoryview(data), memoryview(made), 16)
    for sector in range(3):
        one = bytearray(4096)
        small(memoryview(data)[sector * 4096 : sector * 4096 + 4096], memoryview(one), 16 + sector * 8)
        assert made[sector * 4096 : sector * 4096 + 4096] == one


@pytest.mark.parametrize("step", [0, -1, "8", 4097, None, True])
def test_a_step_that_makes_no_sense_is_refused(step):
    params = {"cipher": "aes-xts-plain64", "key_size": 64, "key": bytes(64), "iv_step": step}
    with pytest.raises(FormatError, match="numbered"):
        codecs.decoder("cipher")(params, 4096)


@pytest.mark.parametrize(
    ("spec", "size"),
    [("cast5-xts-plain64", 32), ("sm4-cbc-plain64", 32), ("serpent-cbc-plain64", 20), ("des-ecb-plain", 8)],
)
def test_what_a_cipher_cannot_do_is_refused(spec, size):
    with pytest.raises(FormatError) as caught:
        cipher.sectors(spec, bytes(size), 512, decrypt=True, fast=False)
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_a_missing_libgcrypt_is_named(monkeypatch):
    from instar_core.codecs import gcrypt

    monkeypatch.setattr(gcrypt, "LIBRARY", "libgcrypt-that-is-not-there.so.20")
    with pytest.raises(NotInstalled, match="Serpent and Twofish") as caught:
        blocks.ecb("serpent", bytes(32), decrypt=True)
    assert "libgcrypt" in caught.value.hint


@pytest.mark.parametrize("name", ["serpent", "twofish", "cast5"])
def test_key_material_of_rare_ciphers_is_made_and_opened_behind_the_walls(name):
    from instar_core import keys
    from instar_core.luks1 import make, options
    from instar_core.settings import Settings

    have(name)
    key = bytes(range(16))
    order = make.order(options.Choice(f"{name}-cbc-plain64", 16, "sha256", 1))
    plan = keys.seal(order, b"pw", key, Settings(sandbox="process"))
    assert keys.unlock(plan, b"pw", Settings(sandbox="process")) == (key, 0)
