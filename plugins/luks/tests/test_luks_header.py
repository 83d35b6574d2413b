"""What a LUKS1 header is refused for, in whose words; and that qemu-img, where installed, says the same."""

from __future__ import annotations

import pytest
from instar_luks import hooks

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import ImageInfo

SIZE = 3 << 20
ALL = b"a" * 32


def mode(text, **fields):
    return dict(cipher_mode=text, **fields)


CASES = [
    ("magic", dict(magic=b"LUKS\xba\xbf"), "Volume is not in LUKS format"),
    ("version 3", dict(version=3), "LUKS version 3 is not supported"),
    ("version 0", dict(version=0), "LUKS version 0 is not supported"),
    ("magic goes before version", dict(magic=b"LUKS\0\0", version=2), "Volume is not in LUKS format"),
    ("cipher name", dict(cipher_name=ALL), "LUKS header cipher name is not NUL terminated"),
    ("cipher mode", dict(cipher_mode=ALL), "LUKS header cipher mode is not NUL terminated"),
    ("hash", dict(hash_spec=ALL), "LUKS header hash spec is not NUL terminated"),
    ("payload 0", dict(payload=0), "LUKS payload is overlapping with the header"),
    ("payload 7", dict(payload=7), "LUKS payload is overlapping with the header"),
    ("payload 8", dict(payload=8), "Keyslot 0 is overlapping with the encrypted payload"),
    ("payload one short", dict(payload=4039), "Keyslot 7 is overlapping with the encrypted payload"),
    ("payload past the end", dict(payload=6145), "Could not refresh total sector count: Input/output error"),
    ("payload far past", dict(payload=2**32 - 1), "Could not refresh total sector count: Input/output error"),
    ("no iterations", dict(iterations=0), "LUKS key iteration count is zero"),
    ("stripes", dict(slots={0: {"stripes": 3999}}), "Keyslot 0 is corrupted (stripes 3999 != 4000)"),
    ("stripes are signed", dict(slots={1: {"stripes": 2**32 - 1}}), "Keyslot 1 is corrupted (stripes -1 != 4000)"),
    ("state", dict(slots={2: {"active": 1}}), "Keyslot 2 state (active/disable) is corrupted"),
    ("slot iterations", dict(slots={0: {"iterations": 0}}), "Keyslot 0 iteration count is zero"),
    ("in the header", dict(slots={0: {"sector": 7}}), "Keyslot 0 is overlapping with the LUKS header"),
    ("in the payload", dict(slots={7: {"sector": 3537}}), "Keyslot 7 is overlapping with the encrypted payload"),
    (
        "sum of sectors does not wrap",
        dict(slots={7: {"sector": 2**32 - 505}}),
        "Keyslot 7 is overlapping with the encrypted payload",
    ),
    ("split key wraps", dict(key_bytes=2**31), "Algorithm 'aes' with key size 1073741824 bytes not supported"),
    ("over another", dict(slots={0: {"sector": 9}}), "Keyslots 0 and 1 are overlapping in the header"),
    ("over one before", dict(slots={6: {"sector": 8}}), "Keyslots 0 and 6 are overlapping in the header"),
    ("stripes go first", dict(slots={0: {"stripes": 0, "active": 5}}), "Keyslot 0 is corrupted (stripes 0 != 4000)"),
    ("long key", dict(key_bytes=65), "Keyslots 0 and 1 are overlapping in the header"),
    ("huge key", dict(key_bytes=2**32 - 1), "Keyslot 0 is overlapping with the encrypted payload"),
    ("key of 16", dict(key_bytes=16), "Algorithm 'aes' with key size 8 bytes not supported"),
    ("no key", dict(key_bytes=0), "Algorithm 'aes' with key size 0 bytes not supported"),
    ("cipher", dict(cipher_name=b"foo"), "Algorithm 'foo' with key size 32 bytes not supported"),
    ("case counts", dict(cipher_name=b"AES"), "Algorithm 'AES' with key size 32 bytes not supported"),
    ("one word", mode(b"xts"), "Unexpected cipher mode string format 'xts'"),
    ("mode", mode(b"foo-plain64"), "Cipher mode 'foo' not supported"),
    ("mode before cipher", mode(b"foo-plain64", cipher_name=b"foo"), "Cipher mode 'foo' not supported"),
    ("cbc needs less key", mode(b"cbc-plain64"), "Algorithm 'aes' with key size 64 bytes not supported"),
    ("hash name", dict(hash_spec=b"whirlpool"), "Hash algorithm 'whirlpool' not supported"),
    ("no hash", dict(hash_spec=b""), "Hash algorithm '' not supported"),
    (
        "cipher before hash",
        dict(cipher_name=b"x", hash_spec=b"y"),
        "Algorithm 'x' with key size 32 bytes not supported",
    ),
    ("IV", mode(b"xts-null"), "IV generator 'null' not supported"),
    ("hash before IV", mode(b"xts-null", hash_spec=b"foo"), "Hash algorithm 'foo' not supported"),
    ("essiv alone", mode(b"cbc-essiv", key_bytes=32), "Missing IV generator hash specification"),
    ("essiv hash", mode(b"cbc-essiv:foo", key_bytes=32), "Hash algorithm 'foo' not supported"),
    ("essiv hash too long", mode(b"cbc-essiv:sha1", key_bytes=32), "No AES cipher with key size 20 available"),
    (
        "essiv of cast5",
        mode(b"cbc-essiv:sha256", cipher_name=b"cast5", key_bytes=16),
        "Cipher cast5-128 not supported with essiv",
    ),
    (
        "essiv of serpent",
        mode(b"cbc-essiv:sha512", cipher_name=b"serpent", key_bytes=16),
        "No Serpent cipher with key size 64 available",
    ),
]

ACCEPTED = [
    ("as it is", {}),
    ("longer payload offset", dict(payload=4048)),
    ("empty disk", dict(payload=SIZE // 512)),
    ("unused hash", mode(b"xts-plain64:sha1")),
    ("essiv of md5", mode(b"cbc-essiv:md5", key_bytes=32)),
    ("odd key", dict(key_bytes=33)),
    ("serpent", mode(b"cbc-plain", cipher_name=b"serpent", key_bytes=24)),
    ("twofish", dict(cipher_name=b"twofish")),
    ("cast5", mode(b"ctr-plain64", cipher_name=b"cast5", key_bytes=16)),
    ("sm4", mode(b"ecb-plain", cipher_name=b"sm4", key_bytes=16)),
    ("ripemd160", dict(hash_spec=b"ripemd160")),
    ("no active slot", dict(slots={0: {"active": 0xDEAD}})),
    ("slots in any order", dict(slots={1: {"sector": 1016}, 2: {"sector": 512, "active": 0xAC71F3, "iterations": 1}})),
    ("uuid without an end", dict(uuid=b"u" * 40)),
    ("no uuid", dict(uuid=b"")),
    ("sum of sectors wraps around", dict(slots={7: {"sector": 2**32 - 504}})),
    ("last sector there is", dict(slots={0: {"sector": 2**32 - 1}})),
]


def answer(image, content):
    try:
        return hooks.instar_info(image(content))
    except FormatError as error:
        return error.message


@pytest.mark.parametrize(("name", "fields", "message"), CASES, ids=[case[0] for case in CASES])
def test_a_header_with_a_wrong_field_is_refused_and_says_why(header, image, name, fields, message):
    assert answer(image, header(**fields).ljust(SIZE, b"\0")) == message


@pytest.mark.parametrize("length", [0, 3, 6, 7, 8, 100, 104, 207, 208, 300, 591])
def test_a_header_cut_short_reads_as_zeros_and_is_refused(header, image, length):
    assert isinstance(answer(image, header()[:length]), str)


@pytest.mark.oracle
def test_qemu_img_refuses_in_the_same_words(header, image, programs, tmp_path):
    path = tmp_path / "v.luks"
    contents = [header(**fields).ljust(SIZE, b"\0") for _, fields, _ in CASES]
    contents += [header()[:length] for length in (0, 3, 6, 7, 8, 100, 207, 208, 300, 591, 592)]
    differ = []
    for content in contents:
        path.write_bytes(content)
        theirs, ours = programs.luks_info(path), answer(image, content)
        if theirs != ours:
            differ.append((theirs, ours))
    assert differ == []


@pytest.mark.oracle
def test_qemu_img_describes_volumes_alike(header, image, programs, tmp_path):
    path = tmp_path / "v.luks"
    for name, fields in ACCEPTED:
        content = header(**fields).ljust(SIZE, b"\0")
        path.write_bytes(content)
        theirs, ours = programs.luks_info(path), answer(image, content)
        assert isinstance(ours, ImageInfo), (name, ours)
        if name == "sm4" and theirs == "Algorithm 'sm4' with key size 16 bytes not supported":
            continue  # a qemu-img that was built without it
        assert isinstance(theirs, dict), (name, theirs)
        assert theirs["format-specific"]["data"] == ours.details, name
        assert theirs["virtual-size"] == ours.virtual_size
        assert theirs["encrypted"] is ours.encrypted is True
        assert theirs.get("cluster-size", 0) == ours.cluster_size


def test_key_material_at_the_end_of_the_number_range_is_read_as_zeros(header, image):
    slot = {"sector": 2**32 - 1, "active": 0x00AC71F3, "iterations": 1}
    plan = hooks.instar_unlock(image(header(slots={7: slot}).ljust(SIZE, b"m")))
    assert [slot.index for slot in plan.slots] == [0, 7]
    assert plan.material[1] == bytes(64 * 4000)


def test_more_iterations_than_the_limit_are_shown_but_not_tried(header, image):
    """quirk("luks-iterations")"""
    for fields in (dict(iterations=2**32 - 1), dict(slots={0: {"iterations": 1 << 27}})):
        volume = image(header(**fields).ljust(SIZE, b"\0"))
        assert hooks.instar_info(volume).encrypted
        with pytest.raises(FormatError, match="iteration count") as caught:
            hooks.instar_unlock(volume)
        assert caught.value.kind == ErrorKind.LIMIT


def test_iterations_of_an_inactive_slot_do_not_matter(header, image):
    volume = image(header(slots={1: {"iterations": 2**32 - 1}}).ljust(SIZE, b"\0"))
    assert [slot.index for slot in hooks.instar_unlock(volume).slots] == [0]
