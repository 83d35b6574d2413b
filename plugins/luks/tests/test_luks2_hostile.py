"""LUKS2 metadata that nobody means well with: each bound, and what is said of it."""

from __future__ import annotations

import json
import random
import time

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_luks import hooks
from instar_luks import limits as bounds
from instar_luks.luks2 import copies, jsontext

from instar_core import limits
from instar_core.errors import ErrorKind, FormatError
from instar_core.source import bytes_source
from instar_core.types import Amend, Severity, Tally
from instar_core.worker import key as key_worker

PASS = b"pass one"
SIZE = 1 << 20


@pytest.fixture
def volume(maker, tmp_path):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, version=2, pbkdf="pbkdf2", cipher_alg="aes-128", cipher_mode="cbc")
    return path


def findings(image, path):
    return [found for found in hooks.instar_check(image(path)) if not isinstance(found, Tally)]


def test_more_work_or_memory_than_the_limits_is_shown_but_not_tried(maker, image, tmp_path):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, version=2, pbkdf="argon2id", pbkdf_memory=64, pbkdf_parallel=1)
    for changes in ({"time": 1 << 40}, {"memory": 1 << 40}):
        changed(path, lambda json, changes=changes: json["keyslots"]["0"]["kdf"].update(changes))
        assert hooks.instar_info(image(path)).encrypted
        with pytest.raises(FormatError, match="passes over") as caught:
            hooks.instar_unlock(image(path))
        assert caught.value.kind == ErrorKind.LIMIT
    assert limits.ARGON2_MEMORY <= limits.ARGON2_WORK * limits.KIB


def changed(path, change):
    """The metadata of both copies changed, with checksums that fit."""
    data = path.read_bytes()
    used = copies.read(bytes_source(data)).used
    metadata = json.loads(json.dumps(used.json))
    change(metadata)
    new = used._replace(json=metadata)
    made = b"".join(copies.build(new, offset, bytes(64)) for offset in (0, used.size))
    path.write_bytes(made + data[len(made) :])


HOSTILE = {
    "requirement": (lambda j: j["config"].update(requirements={"mandatory": ["online-reencrypt-v2"]}),
        "LUKS2 requirement 'online-reencrypt-v2' not supported"),
    "two segments": (lambda j: j["segments"].update({"1": j["segments"]["0"]}),
        "LUKS2 volume with 2 segments is not supported"),
    "no segment": (lambda j: (j["segments"].clear(), j["digests"]["0"].update(segments=[])),
        "LUKS2 volume with 0 segments is not supported"),
    "linear": (lambda j: j["segments"]["0"].update(type="linear"),
        "LUKS2 segment with type 'linear' is not supported"),
    "integrity": (lambda j: j["segments"]["0"].update(integrity={"type": "hmac(sha256)"}),
        "LUKS2 segment with integrity protection is not supported"),
    "sector size": (lambda j: j["segments"]["0"].update(sector_size=513), "has sectors of 513 bytes"),
    "huge sectors": (lambda j: j["segments"]["0"].update(sector_size=1 << 40), "has sectors of 1099511627776 bytes"),
    "offset": (lambda j: j["segments"]["0"].update(offset="1"), "does not consist of whole sectors"),
    "offset is text": (lambda j: j["segments"]["0"].update(offset="-512"), "has no possible number 'offset'"),
    "offset is a number": (lambda j: j["segments"]["0"].update(offset=512), "has no string 'offset'"),
    "huge offset": (lambda j: j["segments"]["0"].update(offset=str(1 << 63)), "has no possible number 'offset'"),
    "no digest": (lambda j: j["digests"].clear(), "segment 0 has 0 digests"),
    "two digests": (lambda j: j["digests"].update({"1": j["digests"]["0"]}), "segment 0 has 2 digests"),
    "digest of no slot": (lambda j: j["digests"]["0"].update(keyslots=["7"]), "names a keyslot that is not there"),
    "digest of no segment": (lambda j: j["digests"]["0"].update(segments=["7"]), "names a segment that is not there"),
    "digest type": (lambda j: j["digests"]["0"].update(type="x"), "digest 0 is of an unknown type"),
    "empty digest": (lambda j: j["digests"]["0"].update(digest=""), "digest 0 has 0 bytes"),
    "bad base64": (lambda j: j["digests"]["0"].update(salt="?"), "has no base64 'salt'"),
    "slot number": (lambda j: j["keyslots"].update({"32": j["keyslots"]["0"]}), "names an object '32'"),
    "slot name": (lambda j: j["keyslots"].update({"x": j["keyslots"]["0"]}), "names an object 'x'"),
    "slot no object": (lambda j: j["keyslots"].update({"0": 5}), "keyslot 0 is no object"),
    "slots no object": (lambda j: j.update(keyslots=[]), "keyslots of the header is no object"),
    "stripes": (lambda j: j["keyslots"]["0"]["af"].update(stripes=3999), "has 3999 stripes"),
    "area type": (lambda j: j["keyslots"]["0"]["area"].update(type="datashift"), "an area or stripes of an unknown"),
    "small area": (lambda j: j["keyslots"]["0"]["area"].update(size="4096"), "the area of keyslot 0 is too small"),
    "huge key": (lambda j: j["keyslots"]["0"].update(key_size=1 << 30), "has a key of more than 512 bytes"),
    "huge area key": (lambda j: j["keyslots"]["0"]["area"].update(key_size=1 << 30), "a key of more than 512 bytes"),
    "no key": (lambda j: j["keyslots"]["0"].update(key_size=0), "has no possible number 'key_size'"),
    "kdf": (lambda j: j["keyslots"]["0"]["kdf"].update(type="scrypt"), "function 'scrypt' not supported"),
    "no iterations": (lambda j: j["keyslots"]["0"]["kdf"].update(iterations=0), "no possible number 'iterations'"),
    "true is no number": (lambda j: j["keyslots"]["0"]["kdf"].update(iterations=True), "no possible number"),
    "huge area": (lambda j: j["keyslots"]["0"]["area"].update(size=str(1 << 62)), "area of keyslot 0 has more than"),
    "huge keyslots": (lambda j: j["config"].update(keyslots_size=str(1 << 62)), "the keyslots area has more than"),
    "no config": (lambda j: j.pop("config"), "config of the header is no object"),
    "flags": (lambda j: j["config"].update(flags=[1]), "has no list of strings 'flags'"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_metadata_that_cannot_be_are_refused_and_say_why(image, volume, case):
    change, message = HOSTILE[case]
    changed(volume, change)
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(image(volume))
    assert message in caught.value.message


AREAS = {
    "outside": (lambda j: j["keyslots"]["0"]["area"].update(offset="4096"), "lies outside of the keyslots area"),
    "odd": (lambda j: j["keyslots"]["0"]["area"].update(offset="33280"), "does not lie on a boundary"),
    "overlap": (lambda j: j["keyslots"].update({"1": j["keyslots"]["0"]}), "keyslots 0 and 1 overlap"),
    "payload": (lambda j: j["config"].update(keyslots_size="99999744"), "overlaps the encrypted payload"),
    "slot in the payload": (
        lambda j: j["keyslots"]["0"]["area"].update(offset=str(16 << 20)),
        "outside of the keyslots",
    ),
    "json size": (lambda j: j["config"].update(json_size="4096"), "do not say how large"),
}


@pytest.mark.parametrize("case", AREAS)
def test_areas_that_are_out_of_place_are_found_and_keep_the_volume_from_changes(image, volume, case):
    change, message = AREAS[case]
    changed(volume, change)
    assert any(message in found.text for found in findings(image, volume))
    for given in ({"state": "inactive", "keyslot": 0}, {"state": "active"}):
        request = Amend(given, force=True)
        with pytest.raises(FormatError, match="must be sound to be changed"):
            hooks.instar_seal(image(volume), request)
        with pytest.raises(FormatError, match="must be sound to be changed"):
            list(hooks.instar_write(image(volume), request, iter(())))


def test_an_unknown_checksum_is_refused_plainly(image, volume):
    data = bytearray(volume.read_bytes())
    for at in (0, 16384):
        data[at + 72 : at + 104] = b"whirlpool".ljust(32, b"\0")
    volume.write_bytes(data)
    with pytest.raises(FormatError, match="checksum 'whirlpool' not supported"):
        hooks.instar_info(image(volume))


def test_a_volume_without_any_slot_is_shown_and_opens_by_nothing(image, volume):
    changed(volume, lambda j: (j["keyslots"].clear(), j["digests"]["0"].update(keyslots=[])))
    assert hooks.instar_info(image(volume)).details["slots"] == []
    assert key_worker.derive(hooks.instar_unlock(image(volume)), PASS) is None
    assert [found.severity for found in findings(image, volume)] == [Severity.NOTE]


def value(random, depth=0):
    """Some JSON value that has no fractions."""
    kind = random.randrange(7 if depth < 4 else 5)
    if kind == 0:
        return random.choice([None, True, False])
    if kind == 1:
        return random.choice([0, -1, 1 << 62, random.randrange(-1000, 1000)])
    if kind < 5:
        return "".join(random.choice('ab"\\/\b\f\n\r\t\x01 é€\U0001f512') for _ in range(random.randrange(8)))
    if kind == 5:
        return [value(random, depth + 1) for _ in range(random.randrange(5))]
    return {str(number): value(random, depth + 1) for number in range(random.randrange(5))}


def test_json_is_read_and_written_as_others_do():
    rng = random.Random(11)
    for _ in range(500):
        made = value(rng)
        for indent in (None, 1):
            assert jsontext.loads(json.dumps(made, indent=indent, ensure_ascii=False).encode()) == made
        assert json.loads(jsontext.dumps(made)) == made
        assert jsontext.loads(jsontext.dumps(made)) == made
    assert jsontext.loads(b'"\\u0041\\/\\u00e9"') == "A/é"


def test_json_that_is_cut_or_changed_is_read_as_others_do_or_refused():
    rng = random.Random(12)
    refused = 0
    for _ in range(3000):
        text = bytearray(json.dumps(value(rng), ensure_ascii=True).encode())
        text[rng.randrange(len(text))] = rng.choice(b'{}[]",:0-9tfn\\ u')
        del text[rng.randrange(len(text) // 2, len(text) + 1) :]
        try:
            made = jsontext.loads(bytes(text))
        except FormatError:
            refused += 1
            continue
        assert json.loads(text) == made, text
    assert 1000 < refused < 3000


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"{", b"[", b'"', b"-", b"01x", b"01", b"-00", b"1.5", b"1e3", b"nul", b"[1,]", b'{"a":1,}',
        b'{"a" 1}', b"{1:2}",
        b'{"a":1,"a":2}', b'"\\q"', b'"\\u12"', b'"\\u12x4"', b'"\\ud800"', b'"\\u0000"', b"1 2", b"\xff", b"9" * 21,
        b"--1", b"[1 2]", b"NaN", b'"a\\',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(text):
    with pytest.raises(FormatError, match="LUKS2 metadata"):
        jsontext.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * (bounds.JSON_DEPTH + 2) + b"]" * (bounds.JSON_DEPTH + 2),
        b"[" * (4 << 20),
        b"[" + b"1," * bounds.JSON_VALUES + b"1]",
        b'{"a":' * 100000,
    ],
)
def test_more_json_than_the_limits_is_refused_at_once(text):
    begun = time.process_time()
    with pytest.raises(FormatError, match="too deep or too long") as caught:
        jsontext.loads(text)
    assert caught.value.kind == ErrorKind.LIMIT
    assert time.process_time() - begun < 5
