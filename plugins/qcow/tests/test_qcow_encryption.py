"""Encrypted images: qemu's read here, ours read by qemu, the key the passphrase itself."""

from __future__ import annotations

import random
from importlib.util import find_spec

import pytest
from instar_qcow import hooks

from instar_core import keys
from instar_core.errors import FormatError
from instar_core.settings import Settings
from instar_core.source import Image, bytes_source

SIZE = 3 * (1 << 20) + 512 * 7
LOCKED = {"encrypt.format": "aes", "encrypt.key-secret": "s"}
SECRET = ("--object", "secret,id=s,data=abc")
GIVEN = ("-o", "encryption=on,encrypt.key-secret=s")
pytestmark = pytest.mark.skipif(not find_spec("cryptography"), reason="cryptography is not installed")


def noise(seed, size=SIZE):
    choose = random.Random(seed)
    made = bytearray(size)
    for _ in range(5):
        at = choose.randrange(size)
        length = min(size - at, choose.choice([512, 5000, 300000]))
        made[at : at + length] = choose.randbytes(length)
    return bytes(made)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_what_qemu_encrypted_is_read(seed, tmp_path, programs, agree):
    path = tmp_path / "disk.qcow"
    (tmp_path / "in.raw").write_bytes(noise(seed))
    programs.img("convert", *SECRET, "-f", "raw", "-O", "qcow", *GIVEN, tmp_path / "in.raw", path)
    assert agree(path, locked=True) == noise(seed)


@pytest.mark.oracle
def test_parts_of_clusters_that_qemu_encrypted_are_read(tmp_path, programs, agree):
    path = tmp_path / "disk.qcow"
    programs.img("create", "-q", *SECRET, "-f", "qcow", *GIVEN, path, SIZE)
    programs.io(path, "write -P 1 512 512", "write -P 2 1M 5k", "write -P 3 3M 512", locked=True)
    agree(path, locked=True)


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_what_is_encrypted_here_qemu_reads(seed, tmp_path, host, programs, agree):
    path = tmp_path / "disk.qcow"
    done = host.create(path, SIZE, noise(seed), chunk=(4096, 1 << 20, 16 << 20)[seed], **LOCKED)
    assert done.geometry.cipher is not None
    assert agree(path, locked=True) == noise(seed)
    with host.Opened(path) as opened:
        assert opened.findings() == []


@pytest.mark.oracle
def test_zeros_over_a_parent_are_encrypted_too(tmp_path, host, programs):
    size = 64 << 10
    (tmp_path / "base.raw").write_bytes(b"p" * size)
    path = tmp_path / "disk.qcow"
    backing = {"name": b"base.raw", "format": "raw", "size": size}
    host.create(path, size, bytes(size // 2), skip=[(size // 2, size)], backing=backing, **LOCKED)
    wanted = bytes(size // 2) + b"p" * (size // 2)
    with host.Opened(path) as opened:
        assert opened.content(parent=b"p" * size) == wanted
    assert programs.content(path, locked=True) == wanted


@pytest.mark.oracle
def test_the_header_of_an_encrypted_image_is_qemus(tmp_path, host, programs):
    programs.img("create", "-q", *SECRET, "-f", "qcow", *GIVEN, tmp_path / "theirs", SIZE)
    host.create(tmp_path / "ours", SIZE, **LOCKED)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_an_encrypted_image_is_blocked_until_it_has_its_key(builder):
    image = Image([bytes_source(builder(1 << 20, {1: b"x"}, 12, 9, crypt=1))])
    info = hooks.instar_info(image)
    assert info.encrypted
    assert info.blocked == "Parameter 'encrypt.key-secret' is required for cipher"
    assert keys.with_key(info, bytes(16)).blocked == ""


@pytest.mark.parametrize(
    "passphrase, key",
    [
        (b"abc", b"abc" + bytes(13)),
        (b"", bytes(16)),
        (b"0123456789abcdef", b"0123456789abcdef"),
        (b"0123456789abcdefg", b"0123456789abcdef"),
    ],
)
def test_the_passphrase_is_the_key_cut_or_filled_up_with_zeros(passphrase, key, builder):
    plan = hooks.instar_unlock(Image([bytes_source(builder(1 << 20, {}, 12, 9, crypt=1))]))
    assert plan.slots[0].kdf == "plain"
    found = keys.unlock(plan, passphrase, Settings(sandbox="inline"))
    assert found is not None
    assert found[0] == key


def test_an_image_that_is_not_encrypted_has_no_key(builder):
    with pytest.raises(FormatError, match="not encrypted"):
        hooks.instar_unlock(Image([bytes_source(builder(1 << 20, {}, 12, 9))]))


def test_what_is_to_be_sealed_holds_no_material(host):
    order = hooks.instar_seal(None, host.request(SIZE, **LOCKED))
    assert order.material == ()
    assert [slot.kdf for slot in order.slots] == ["plain"]
    with pytest.raises(FormatError, match=r"Parameter 'encrypt\.format' is missing"):
        hooks.instar_seal(None, host.request(SIZE, **{"encrypt.key-secret": "s"}))


def test_compressed_clusters_of_an_encrypted_image_are_read_as_they_are(host, builder, tmp_path):
    """They are stored as they are: only the others are encrypted."""
    path = tmp_path / "disk.qcow"
    data = bytearray(builder(1 << 20, {0: b"x", 1: b"y"}, 12, 9, crypt=1))
    stored = host.deflate(b"z" * 4096)
    table = int.from_bytes(data[48:56], "big")
    data[table : table + 8] = (1 << 63 | len(stored) << 51 | len(data)).to_bytes(8, "big")
    path.write_bytes(data + stored)
    with host.Opened(path) as opened:
        assert [extent.coding for extent in opened.extents()][:2] == [1, 2]
        assert opened.content(0, 4096) == b"z" * 4096
        assert opened.content(4096, 4096) == host.sectors(b"y" * 4096, 8, decrypt=True)
