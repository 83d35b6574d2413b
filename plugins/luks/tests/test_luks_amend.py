"""Key slots of LUKS1 volumes added and erased, judged by qemu-img and cryptsetup."""

from __future__ import annotations

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_luks import hooks

from instar_core.errors import FormatError
from instar_core.types import Amend

PASS, NEW, THIRD = b"first", b"second", b"third"
MATERIAL = 4096
SLOT, SLOT_SIZE = 208, 48


@pytest.fixture
def volume(maker, tmp_path):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, 1 << 20, cipher_alg="aes-128", cipher_mode="cbc")
    return path


def active(image, path):
    slots = hooks.instar_info(image(path)).details["slots"]
    return [number for number, slot in enumerate(slots) if slot["active"]]


@pytest.mark.oracle
def test_a_new_slot_opens_by_its_own_passphrase_and_the_old_one_as_before(programs, maker, image, volume):
    maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    maker.amend(volume, NEW, THIRD, state="active", keyslot=5, iter_time=1)
    assert active(image, volume) == [0, 1, 5]
    for passphrase in (PASS, NEW, THIRD):
        assert programs.opens(volume, passphrase)
        assert programs.qemu_io(volume, passphrase.decode(), "read 0 512").returncode == 0
    assert programs.luks_info(volume)["format-specific"]["data"] == hooks.instar_info(image(volume)).details


@pytest.mark.oracle
def test_an_erased_slot_opens_no_more_and_its_material_is_gone(programs, maker, image, volume):
    maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    maker.amend(volume, PASS, state="inactive", keyslot=0)
    assert active(image, volume) == [1]
    assert not programs.opens(volume, PASS)
    assert programs.opens(volume, NEW)
    data = volume.read_bytes()
    assert data[MATERIAL : MATERIAL + 64000] == bytes(64000)
    assert data[SLOT : SLOT + 40] == b"\0\0\xde\xad" + bytes(36)


@pytest.mark.oracle
def test_all_slots_of_a_passphrase_are_erased_and_no_other(programs, maker, image, volume):
    for _ in range(2):
        maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    maker.amend(volume, PASS, opened=NEW, state="inactive")
    assert active(image, volume) == [0]
    assert programs.opens(volume, PASS)
    assert not programs.opens(volume, NEW)


REFUSED = [
    (dict(state="active"), {}, "'new-secret' is required to activate a keyslot"),
    (dict(state="foo"), {}, "Parameter 'state' does not accept value 'foo'"),
    (dict(keyslot=1), {}, "Parameter 'state' is missing"),
    (
        dict(state="inactive"),
        {},
        "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given",
    ),
    (dict(state="inactive", keyslot=7), {}, "Given keyslot 7 is already erased (inactive) "),
    (dict(state="inactive", keyslot=9), {}, "Invalid keyslot 9 specified, must be between 0 and 7"),
    (dict(state="inactive", keyslot=-1), {}, "Invalid keyslot -1 specified, must be between 0 and 7"),
    (
        dict(state="inactive", keyslot=0, iter_time=5),
        {},
        "'iter-time' must not be given when erasing keyslots",
    ),
    (
        dict(state="inactive", keyslot=0),
        {"opened": NEW},
        "Given keyslot 0 doesn't contain the given old password for erase operation",
    ),
    (dict(state="inactive"), {"opened": NEW}, "No keyslots match given (old) password for erase operation"),
    (
        dict(state="inactive"),
        {"opened": PASS},
        "All the active keyslots match the (old) password that was given and erasing them will erase all the data in "
        "the image irreversibly - refusing operation",
    ),
    (
        dict(state="inactive", keyslot=0),
        {},
        "Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - refusing "
        "operation",
    ),
    (
        dict(state="active", keyslot=0, iter_time=1),
        {"new": NEW},
        "Refusing to overwrite active keyslot 0 - please erase it first",
    ),
    (dict(state="active", keyslot=-1), {"new": NEW}, "Invalid keyslot 4294967295 specified, must be between 0 and 7"),
    (dict(state="active", keyslot=8), {"new": NEW}, "Invalid keyslot 8 specified, must be between 0 and 7"),
    (dict(state="inactive", keyslot=0), {"new": NEW}, "'new-secret' must not be given when erasing keyslots"),
    (
        dict(state="active", iter_time=1),
        {"new": NEW, "opened": PASS},
        "'old-secret' must not be given when activating keyslots",
    ),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("given", "secrets", "message"), REFUSED, ids=[case[2][:50] for case in REFUSED])
def test_what_makes_no_sense_is_refused_in_the_words_of_qemu_img(programs, maker, volume, given, secrets, message):
    before = volume.read_bytes()
    with pytest.raises(FormatError) as caught:
        maker.amend(volume, PASS, **secrets, **given)
    assert caught.value.message == message
    options = [f"{name.replace('_', '-')}={value}" for name, value in given.items()]
    options += ["new-secret=n"] if "new" in secrets else []
    options += ["old-secret=o"] if "opened" in secrets else []
    objects = [("s", PASS), ("n", NEW), ("o", secrets.get("opened", b""))]
    done = programs.qemu_img(
        "amend", *[part for name, value in objects for part in ("--object", f"secret,id={name},data={value.decode()}")],
        "--image-opts", f"driver=luks,key-secret=s,file.filename={volume}", "-o", ",".join(options), check=False,
    )  # fmt: skip
    assert done.stderr.decode() == f"qemu-img: {message}\n"
    assert volume.read_bytes() == before


def test_a_ninth_key_has_no_slot(maker, volume):
    for _ in range(7):
        maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    with pytest.raises(FormatError, match=r"^Can't add a keyslot - all keyslots are in use$"):
        maker.amend(volume, PASS, NEW, state="active", iter_time=1)


@pytest.mark.oracle
def test_force_does_what_cannot_be_undone(programs, maker, image, volume):
    maker.amend(volume, PASS, NEW, force=True, state="active", keyslot=0, iter_time=1)
    assert programs.opens(volume, NEW)
    assert not programs.opens(volume, PASS)
    maker.amend(volume, NEW, force=True, state="inactive", keyslot=0)
    assert active(image, volume) == []


@pytest.mark.oracle
@pytest.mark.parametrize("stop", range(7))
def test_a_stop_anywhere_leaves_the_old_passphrase_working(programs, maker, image, volume, stop):
    maker.amend(volume, PASS, NEW, stop=stop, state="active", iter_time=1)
    assert programs.opens(volume, PASS)
    assert active(image, volume) in ([0], [0, 1])
    assert programs.opens(volume, NEW) == (active(image, volume) == [0, 1])
    maker.amend(volume, PASS, NEW, state="active", keyslot=2, iter_time=1)
    maker.amend(volume, PASS, stop=stop, state="inactive", keyslot=2)
    assert programs.opens(volume, PASS)
    if stop == 2:
        assert active(image, volume) in ([0], [0, 1]), "the header goes first: no slot leads to erased material"


def test_a_slot_in_a_detached_header_is_changed_there(maker, image, tmp_path):
    header, payload = tmp_path / "h.luks", tmp_path / "payload"
    maker.create(header, PASS, 1 << 20, detached_header="on", cipher_alg="aes-128", cipher_mode="cbc")
    payload.write_bytes(bytes(1 << 20))
    maker.amend(payload, PASS, NEW, header=header, state="active", iter_time=1)
    assert payload.read_bytes() == bytes(1 << 20)
    slots = hooks.instar_info(image(payload, header)).details["slots"]
    assert [slot["active"] for slot in slots[:3]] == [True, True, False]


def test_another_key_than_the_volumes_is_not_sealed_into_it(image, volume):
    from instar_core import keys
    from instar_core.settings import Settings

    request = Amend({"state": "active", "iter-time": 1})
    order = hooks.instar_seal(image(volume), request)
    with pytest.raises(FormatError, match="not the one of this volume"):
        keys.seal(order, NEW, bytes(order.key_size), Settings(sandbox="inline"))


@pytest.mark.parametrize("sector", [2**32 - 504, 2**32 - 1])
def test_material_that_lies_elsewhere_is_never_written(maker, header, image, tmp_path, sector):
    """A header may say so, since sums of sectors wrap around; reading then gives no key."""
    content = header(slots={7: {"sector": sector, "active": 0x00AC71F3, "iterations": 1}}).ljust(3 << 20, b"m")
    for given in ({"state": "inactive", "keyslot": 7}, {"state": "active", "keyslot": 7}):
        volume = image(content)
        with pytest.raises(FormatError, match="Keyslot 7 is overlapping with the encrypted payload"):
            request = Amend(given, force=True)
            if given["state"] == "active":
                hooks.instar_seal(volume, request)
            list(hooks.instar_write(volume, request, iter(())))
