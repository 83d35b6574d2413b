"""LUKS2 volumes: cryptsetup's read, ours opened by cryptsetup, and their content by the cipher library alone."""

from __future__ import annotations

import hashlib
import json
import os
import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from instar_luks import hooks

from instar_core.errors import FormatError
from instar_core.types import Repair, Severity, Tally
from instar_core.worker import key as key_worker

PASS, NEW, THIRD = b"pass one", b"pass two", b"pass three"
SIZE = 1 << 20
OFFSET = 16 << 20
CHEAP = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
ARGON2 = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "1024", "--pbkdf-parallel")
KINDS = [
    CHEAP,
    ("--pbkdf", "argon2id", *ARGON2, "4"),
    ("--pbkdf", "argon2i", *ARGON2, "1"),
    (*CHEAP, "--sector-size", "4096"),
    (*CHEAP, "--sector-size", "2048", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"),
    (*CHEAP, "--cipher", "aes-xts-plain64", "--key-size", "256", "--hash", "sha512"),
    (*CHEAP, "--cipher", "aes-cbc-plain64be", "--key-size", "128"),
    (*CHEAP, "--cipher", "serpent-xts-plain64"),
    (*CHEAP, "--cipher", "twofish-cbc-plain64", "--key-size", "256"),
    (*CHEAP, "--luks2-metadata-size", "64k", "--luks2-keyslots-size", "4m"),
]


def by_cryptsetup(programs, path, *arguments, size=OFFSET + SIZE):
    with path.open("wb") as file:
        file.truncate(size)
    command = (programs.find("cryptsetup"), "-q", "luksFormat", "--type", "luks2", *arguments, str(path), "-")
    done = programs.run(*command, stdin=PASS, check=False)
    if b"Cannot initialize device-mapper" in done.stderr or b"running as non-root user" in done.stderr:
        pytest.skip("cryptsetup needs the kernel for this cipher")
    assert done.returncode == 0, done.stderr
    return path


def add_key(programs, path, *arguments):
    old, new = path.with_suffix(".old"), path.with_suffix(".new")
    old.write_bytes(PASS)
    new.write_bytes(NEW)
    programs.cryptsetup("luksAddKey", "--key-file", old, *arguments, path, new)


def volume_key(programs, path, *arguments):
    dump = programs.cryptsetup("luksDump", "--dump-volume-key", *arguments, "--key-file", "-", path, stdin=PASS)
    return bytes.fromhex(dump.stdout.decode().partition("MK dump:")[2])


def decrypted(spec, key, data, sector_size):
    """The payload by the modes of the cipher library, sector by sector, numbered in 512 bytes as dm-crypt does."""
    _, mode, vectors = spec.split("-", 2)
    made = []
    for at in range(0, len(data), sector_size):
        vector = (at // 512).to_bytes(16, "big" if vectors == "plain64be" else "little")
        if vectors.startswith("essiv"):
            salt = hashlib.new(vectors.partition(":")[2], key).digest()
            vector = Cipher(algorithms.AES(salt), modes.ECB()).encryptor().update(vector)
        context = Cipher(algorithms.AES(key), (modes.XTS if mode == "xts" else modes.CBC)(vector)).decryptor()
        made.append(context.update(data[at : at + sector_size]))
    return b"".join(made)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(word.strip("-") for word in kind[1::2]))
def test_a_volume_of_cryptsetup_opens_with_all_its_passphrases(programs, image, plain, tmp_path, kind):
    path = by_cryptsetup(programs, tmp_path / "v.luks", *kind)
    pbkdf = kind[: kind.index("--sector-size")] if "--sector-size" in kind else CHEAP
    add_key(programs, path, *pbkdf)
    key = volume_key(programs, path)
    metadata = json.loads(programs.cryptsetup("luksDump", "--dump-json-metadata", path).stdout)
    payload = int(metadata["segments"]["0"]["offset"])
    stored = random.Random(1).randbytes(path.stat().st_size - payload)
    with path.open("r+b") as file:
        file.seek(payload)
        file.write(stored)
    volume = image(path)
    info = hooks.instar_info(volume)
    assert (info.virtual_size, info.details["payload-offset"]) == (len(stored), payload)
    plan = hooks.instar_unlock(volume)
    assert key_worker.derive(plan, PASS) == (key, 0)
    assert key_worker.derive(plan, NEW) == (key, 1)
    assert key_worker.derive(plan, THIRD) is None
    assert key_worker.opened(plan, NEW) == (1,)
    if info.details["cipher"].startswith("aes"):
        part = slice(0, 64 << 10)
        expected = decrypted(info.details["cipher"], key, stored[part], info.details["sector-size"])
        assert plain(volume, key)[part] == expected


@pytest.mark.oracle
def test_info_says_what_luks_dump_says(programs, image, tmp_path):
    path = by_cryptsetup(
        programs, tmp_path / "v.luks", "--pbkdf", "argon2id", *ARGON2, "2", "--label", "the label", "--subsystem", "sub"
    )
    add_key(programs, path, *CHEAP)
    programs.cryptsetup("token", "import", "--key-slot", "1", path, stdin=b'{"type":"mine","keyslots":["1"]}')
    programs.cryptsetup("config", "--priority", "prefer", "--key-slot", "1", path)
    theirs = json.loads(programs.cryptsetup("luksDump", "--dump-json-metadata", path).stdout)
    ours = hooks.instar_info(image(path)).details
    dump = programs.cryptsetup("luksDump", path).stdout.decode()
    for line in (
        f"UUID:          \t{ours['uuid']}",
        f"Epoch:         \t{ours['sequence-id']}",
        "Label:         \tthe label",
    ):
        assert line in dump
    assert (ours["label"], ours["subsystem"]) == ("the label", "sub")
    assert ours["tokens"] == [{"id": 0, "type": "mine", "slots": [1]}]
    for slot in ours["slots"]:
        other = theirs["keyslots"][str(slot["id"])]
        assert other["area"]["offset"] == str(slot["key-offset"])
        assert other["kdf"]["type"] == slot["pbkdf"]
        assert other["kdf"].get("memory") == slot.get("memory")
        assert (other["kdf"].get("time") or other["kdf"]["iterations"]) == slot["iters"]
    assert [slot["priority"] for slot in ours["slots"]] == ["normal", "preferred"]
    assert [slot.index for slot in hooks.instar_unlock(image(path)).slots] == [1, 0], "the preferred one comes first"


@pytest.mark.oracle
@pytest.mark.parametrize(
    "choice",
    [
        {"pbkdf": "pbkdf2"},
        {"pbkdf": "argon2id", "pbkdf_memory": 2048},
        {"pbkdf": "argon2i", "pbkdf_memory": 64, "pbkdf_parallel": 1, "pbkdf_force_iterations": 5},
        {"pbkdf": "pbkdf2", "sector_size": 4096, "label": "mine", "subsystem": "sub"},
        {"pbkdf": "pbkdf2", "cipher_alg": "aes-128", "cipher_mode": "cbc", "ivgen_alg": "essiv", "hash_alg": "sha512"},
    ],
    ids=lambda choice: "-".join(map(str, choice.values())),
)
def test_cryptsetup_opens_what_was_written(programs, maker, image, plain, tmp_path, choice):
    path = tmp_path / "v.luks"
    content = random.Random(2).randbytes(SIZE)
    key = maker.create(path, PASS, SIZE, content, version=2, **choice)
    assert programs.opens(path, PASS)
    assert not programs.opens(path, NEW)
    assert volume_key(programs, path) == key
    dump = programs.cryptsetup("luksDump", path).stdout.decode()
    assert f"PBKDF:      {choice['pbkdf']}" in dump
    assert f"sector: {choice.get('sector_size', 512)} [bytes]" in dump
    assert f"Label:         \t{choice.get('label', '(no label)')}" in dump
    if "pbkdf_force_iterations" in choice:
        assert "Time cost:  5" in dump
        assert "Memory:     64" in dump
    info = hooks.instar_info(image(path))
    with path.open("rb") as file:
        file.seek(OFFSET)
        stored = file.read()
    assert decrypted(info.details["cipher"], key, stored, info.details["sector-size"]) == content
    assert plain(image(path), key) == content
    assert [found for found in hooks.instar_check(image(path)) if not isinstance(found, Tally)] == []


@pytest.mark.oracle
def test_cryptsetup_goes_on_where_we_stopped(programs, maker, image, tmp_path):
    """Its own changes of a header of ours: a key slot, a token, a label, a repair, and a whole decryption."""
    path = tmp_path / "v.luks"
    content = random.Random(3).randbytes(SIZE)
    key = maker.create(path, PASS, SIZE, content, version=2, pbkdf="pbkdf2")
    add_key(programs, path, *CHEAP)
    programs.cryptsetup("config", "--label", "changed", path)
    programs.cryptsetup("repair", path)
    assert key_worker.derive(hooks.instar_unlock(image(path)), NEW) == (key, 1)
    assert hooks.instar_info(image(path)).details["label"] == "changed"


@pytest.mark.oracle
def test_a_detached_header_of_either_side(programs, maker, image, plain, tmp_path):
    payload, theirs, ours = tmp_path / "payload", tmp_path / "c.luks", tmp_path / "o.luks"
    stored = random.Random(4).randbytes(SIZE)
    payload.write_bytes(stored)
    programs.cryptsetup("luksFormat", "--type", "luks2", *CHEAP, "--header", theirs, payload, "-", stdin=PASS)
    payload.write_bytes(stored)
    maker.create(ours, PASS, SIZE, version=2, pbkdf="pbkdf2", detached_header="on")
    assert programs.opens(payload, PASS, "--header", ours)
    for header in (theirs, ours):
        volume = image(payload, header)
        info = hooks.instar_info(volume)
        assert (info.virtual_size, info.details["payload-offset"]) == (SIZE, 0)
        key, _ = key_worker.derive(hooks.instar_unlock(volume), PASS)
        part = slice(0, 16 << 10)
        expected = decrypted(info.details["cipher"], key, stored[part], info.details["sector-size"])
        assert plain(volume, key)[part] == expected


@pytest.fixture
def volume(maker, tmp_path):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, version=2, pbkdf="pbkdf2", cipher_alg="aes-128", cipher_mode="cbc")
    return path


@pytest.mark.oracle
def test_key_slots_come_and_go(programs, maker, image, volume):
    maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    maker.amend(volume, NEW, THIRD, state="active", keyslot=9, iter_time=1)
    for passphrase in (PASS, NEW, THIRD):
        assert programs.opens(volume, passphrase)
    maker.amend(volume, PASS, opened=NEW, state="inactive")
    assert [programs.opens(volume, passphrase) for passphrase in (PASS, NEW, THIRD)] == [True, False, True]
    place = next(s for s in hooks.instar_info(image(volume)).details["slots"] if s["id"] == 9)["key-offset"]
    maker.amend(volume, PASS, state="inactive", keyslot=9)
    assert not programs.opens(volume, THIRD)
    assert volume.read_bytes()[place : place + 65536] == bytes(65536)
    assert [found for found in hooks.instar_check(image(volume)) if not isinstance(found, Tally)] == []
    assert hooks.instar_info(image(volume)).details["sequence-id"] == 5


@pytest.mark.oracle
def test_an_argon2_slot_is_followed_by_another(programs, maker, image, tmp_path):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, version=2, pbkdf="argon2id", pbkdf_memory=512, pbkdf_parallel=2)
    maker.amend(path, PASS, NEW, state="active", iter_time=1)
    assert programs.opens(path, NEW)
    assert [slot["pbkdf"] for slot in hooks.instar_info(image(path)).details["slots"]] == ["argon2id"] * 2


@pytest.mark.oracle
@pytest.mark.parametrize("stop", range(8))
def test_a_stop_anywhere_leaves_a_whole_header(programs, maker, image, volume, stop):
    maker.amend(volume, PASS, NEW, stop=stop, state="active", keyslot=1, iter_time=1)
    assert programs.opens(volume, PASS)
    before = programs.opens(volume, NEW)
    maker.amend(volume, PASS, THIRD, state="active", keyslot=2, iter_time=1)
    maker.amend(volume, PASS, stop=stop, state="inactive", keyslot=2)
    assert programs.opens(volume, PASS)
    assert programs.opens(volume, NEW) == before


@pytest.mark.parametrize(
    ("given", "secrets", "message"),
    [
        (dict(state="active", keyslot=0, iter_time=1), {"new": NEW}, "Refusing to overwrite active keyslot 0"),
        (dict(state="active", keyslot=32), {"new": NEW}, "Invalid keyslot 32 specified, must be between 0 and 31"),
        (dict(state="active"), {}, "'new-secret' is required"),
        (dict(state="inactive", keyslot=0), {}, "Attempt to erase the only active keyslot 0"),
        (dict(state="inactive"), {"opened": PASS}, "All the active keyslots match"),
        (dict(state="inactive", keyslot=3), {}, "Given keyslot 3 is already erased"),
        (dict(state="inactive", keyslot=0, iter_time=3), {}, "'iter-time' must not be given"),
    ],
)
def test_what_makes_no_sense_is_refused_as_of_version_1(maker, volume, given, secrets, message):
    before = volume.read_bytes()
    with pytest.raises(FormatError) as caught:
        maker.amend(volume, PASS, **secrets, **given)
    assert caught.value.message.startswith(message)
    assert volume.read_bytes() == before


def findings(image, path):
    return [found for found in hooks.instar_check(image(path)) if not isinstance(found, Tally)]


DAMAGES = {
    "first magic": (0, None, "first copy of the header: Volume is not in LUKS format"),
    "first checksum": (460, None, "first copy of the header: LUKS2 header checksum does not match"),
    "first metadata": (5000, None, "first copy of the header: LUKS2 header checksum does not match"),
    "first size": (8, b"\1", "first copy of the header: LUKS2 header size"),
    "second magic": (16384, None, "second copy of the header: Volume is not in LUKS format"),
    "second metadata": (16384 + 5000, None, "second copy of the header: LUKS2 header checksum does not match"),
}


@pytest.mark.oracle
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_found_and_made_anew_from_the_other(programs, maker, image, volume, damage):
    at, byte, message = DAMAGES[damage]
    sound = volume.read_bytes()
    broken = bytearray(sound)
    broken[at : at + 1] = byte or bytes([broken[at] ^ 0x20])
    volume.write_bytes(broken)
    assert hooks.instar_info(image(volume)).details["uuid"], "the other copy is used"
    found = findings(image, volume)
    assert [(f.severity, f.repairable) for f in found] == [(Severity.LEAK, True)]
    assert message in found[0].text
    for mode in ("leaks", "all"):
        volume.write_bytes(broken)
        maker.apply([volume], hooks.instar_write(image(volume), Repair(mode, entropy=bytes(64)), iter(())))
        assert findings(image, volume) == []
        assert programs.opens(volume, PASS)
        mended = volume.read_bytes()
        maker.apply([volume], hooks.instar_write(image(volume), Repair(mode, entropy=os.urandom(64)), iter(())))
        assert volume.read_bytes() == mended


def test_a_copy_of_the_same_time_that_differs_is_a_corruption(maker, image, volume):
    before = volume.read_bytes()
    maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    after = volume.read_bytes()
    volume.write_bytes(before)
    maker.amend(volume, PASS, NEW, state="active", keyslot=5, iter_time=1)
    other = volume.read_bytes()
    volume.write_bytes(after[:16384] + other[16384:])
    (found,) = findings(image, volume)
    assert (found.severity, found.repairable) == (Severity.CORRUPTION, True)
    assert "differs from the other one" in found.text
    maker.apply([volume], hooks.instar_write(image(volume), Repair("leaks"), iter(())))
    assert len(findings(image, volume)) == 1
    maker.apply([volume], hooks.instar_write(image(volume), Repair("all", entropy=bytes(64)), iter(())))
    assert findings(image, volume) == []


def test_the_newer_copy_counts_whichever_it_is(maker, image, volume):
    old = volume.read_bytes()
    maker.amend(volume, PASS, NEW, state="active", iter_time=1)
    new = volume.read_bytes()
    for first, second in ((old, new), (new, old)):
        volume.write_bytes(first[:16384] + second[16384:32768] + new[32768:])
        assert len(hooks.instar_info(image(volume)).details["slots"]) == 2
        (found,) = findings(image, volume)
        assert "of another time (sequence id 1, not 2)" in found.text
        maker.apply([volume], hooks.instar_write(image(volume), Repair("all"), iter(())))
        assert findings(image, volume) == []
        assert len(hooks.instar_info(image(volume)).details["slots"]) == 2


def test_both_copies_damaged_is_no_volume(image, volume):
    data = bytearray(volume.read_bytes())
    data[5000] ^= 1
    data[16384 + 5000] ^= 1
    volume.write_bytes(data)
    with pytest.raises(FormatError, match="checksum does not match"):
        hooks.instar_info(image(volume))


def test_material_that_is_gone_is_found(image, volume):
    os.truncate(volume, 32768 + 1000)
    assert "past the end of the file" in findings(image, volume)[0].text
    with volume.open("r+b") as file:
        file.truncate(OFFSET + SIZE)
        file.seek(32768)
        file.write(bytes(4096))
    assert [found.text for found in findings(image, volume)] == ["ERROR keyslot 0: its key material is zeros"]
