"""From a passphrase to a key, and the key into the codings of an image."""

from __future__ import annotations

import hashlib
import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_core import keys, limits, wire
from instar_core.codecs import cipher
from instar_core.errors import ErrorKind, FormatError, ImageError, NotInstalled, SandboxError
from instar_core.settings import Settings
from instar_core.types import Coding, ImageInfo, KeyPlan, KeySlot
from instar_core.worker import antiforensic
from instar_core.worker import key as key_worker

PLACES = ["inline", "process"]
OTHERS = [("aes-cbc-essiv:sha256", 32), ("aes-cbc-plain64", 24), ("aes-xts-plain", 48)]


def split(key, stripes, hash_name, rng):
    """What AFsplit of the specification makes of a key: random stripes, and a last one that completes it."""
    size = hashlib.new(hash_name).digest_size
    made, mixed = [], bytes(len(key))
    for _ in range(stripes - 1):
        made.append(rng.randbytes(len(key)))
        block = bytes(a ^ b for a, b in zip(mixed, made[-1], strict=True))
        mixed = b"".join(
            hashlib.new(hash_name, number.to_bytes(4, "big") + block[at : at + size]).digest()[: len(block) - at]
            for number, at in enumerate(range(0, len(block), size))
        )
    made.append(bytes(a ^ b for a, b in zip(mixed, key, strict=True)))
    return b"".join(made)


def make_slot(index, key, passphrase, spec, hash_name, iterations, stripes, rng):
    salt = rng.randbytes(32)
    slot_key = hashlib.pbkdf2_hmac(hash_name, passphrase, salt, iterations, len(key))
    plain = split(key, stripes, hash_name, rng)
    plain += bytes(-len(plain) % 512)
    material = bytearray(len(plain))
    cipher.sectors(spec, slot_key, 512, decrypt=False, fast=False)(memoryview(plain), memoryview(material), 0)
    slot = KeySlot(index, "pbkdf2", {"iterations": iterations}, salt, stripes, 4096, len(material), spec, hash_name)
    return slot, bytes(material)


def make_plan(key, passphrases, spec="aes-xts-plain64", hash_name="sha256", iterations=20, stripes=40):
    rng = random.Random(1)
    slots = [
        make_slot(index, key, passphrase, spec, hash_name, iterations, stripes, rng)
        for index, passphrase in enumerate(passphrases)
    ]
    salt = rng.randbytes(32)
    digest = hashlib.pbkdf2_hmac(hash_name, key, salt, iterations, 20)
    check = {"hash": hash_name, "salt": salt, "iterations": iterations, "digest": digest}
    return KeyPlan(spec, len(key), tuple(s for s, _ in slots), tuple(m for _, m in slots), check)


KEY = random.Random(0).randbytes(64)


@pytest.mark.parametrize("hash_name", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("size", [16, 24, 32, 48, 64])
def test_a_split_key_merges_to_itself(hash_name, size):
    rng = random.Random(size)
    for stripes in (1, 2, 77):
        key = rng.randbytes(size)
        assert antiforensic.merge(split(key, stripes, hash_name, rng), size, stripes, hash_name) == key


@pytest.mark.parametrize("place", PLACES)
def test_the_passphrase_of_any_slot_gives_the_key(place):
    passphrases = [b"one", b"two", b"three \xff\x00"]
    plan = make_plan(KEY, passphrases)
    settings = Settings(sandbox=place)
    for passphrase in passphrases:
        assert keys.unlock(plan, passphrase, settings) == (KEY, passphrases.index(passphrase))


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_passphrase_gives_none(place):
    plan = make_plan(KEY, [b"one", b"two"])
    for passphrase in (b"", b"One", b"one\n", b"on"):
        assert keys.unlock(plan, passphrase, Settings(sandbox=place)) is None
    assert keys.unlock(make_plan(KEY, []), b"one", Settings(sandbox=place)) is None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("spec", "size"), [("aes-cbc-essiv:sha256", 32), ("aes-cbc-plain64", 24), ("aes-xts-plain", 48)]
)
def test_other_ciphers_work_behind_the_walls_too(place, spec, size):
    plan = make_plan(KEY[:size], [b"one"], spec=spec, hash_name="sha512")
    assert keys.unlock(plan, b"one", Settings(sandbox=place)) == (KEY[:size], 0)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"cipher": "camellia-xts-plain64"}, ErrorKind.UNSUPPORTED),
        ({"hash": "no such hash"}, ErrorKind.UNSUPPORTED),
        ({"kdf": "scrypt"}, ErrorKind.UNSUPPORTED),
        ({"params": {"iterations": 0}}, ErrorKind.UNSUPPORTED),
        ({"params": {"iterations": 1 << 63}}, ErrorKind.UNSUPPORTED),
        ({"stripes": 1 << 40}, ErrorKind.CORRUPT),
        ({"stripes": 0}, ErrorKind.CORRUPT),
    ],
)
def test_a_plan_that_makes_no_sense_is_the_images_fault(place, changes, kind):
    plan = make_plan(KEY, [b"one"])
    plan = plan._replace(slots=(plan.slots[0]._replace(**changes),))
    with pytest.raises(FormatError) as caught:
        keys.unlock(plan, b"one", Settings(sandbox=place))
    assert caught.value.kind == kind


def test_work_without_end_is_stopped_by_the_limit(monkeypatch):
    monkeypatch.setattr(limits, "KEY_CPU", 1)
    plan = make_plan(KEY, [b"one"])
    plan = plan._replace(slots=(plan.slots[0]._replace(params={"iterations": (1 << 31) - 1}),))
    with pytest.raises(SandboxError, match="CPU"):
        keys.unlock(plan, b"one", Settings(sandbox="process"))


def test_a_deadline_stops_it(monkeypatch):
    plan = make_plan(KEY, [b"one"])
    plan = plan._replace(slots=(plan.slots[0]._replace(params={"iterations": (1 << 31) - 1}),))
    with pytest.raises(SandboxError, match="deadline"):
        keys.unlock(plan, b"one", Settings(sandbox="process", timeout=0.5))


def test_a_missing_library_is_reported_and_not_a_crash(monkeypatch):
    def missing(ciphers):
        raise NotInstalled("encrypted images need the package cryptography", hint="x")

    monkeypatch.setattr(cipher, "prepare", missing)
    with pytest.raises(NotInstalled, match="cryptography") as caught:
        keys.unlock(make_plan(KEY, [b"one"]), b"one", Settings(sandbox="inline"))
    assert "instar[crypto]" in caught.value.hint


class Answering:
    """A key worker that says what it likes."""

    def __init__(self, frame):
        self.frame = frame

    def __call__(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def send(self, frame):
        pass

    def receive(self):
        return self.frame


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        wire.VALUE + wire.encode(b"short"),
        wire.VALUE + wire.encode("k" * 64),
        wire.VALUE + wire.encode([KEY]),
        wire.VALUE + wire.encode(KEY),
        wire.VALUE + wire.encode([KEY, 1]),
        wire.VALUE + wire.encode([KEY[:32], 0]),
        wire.DONE,
        wire.ERROR + wire.encode(5),
        wire.ERROR + wire.encode(["FormatError", "invalid", None, 5]),
        b"Z" + wire.encode(KEY),
    ],
)
def test_a_worker_that_answers_with_no_key_is_not_believed(monkeypatch, frame):
    monkeypatch.setattr("instar_sandbox.start", Answering(frame))
    with pytest.raises(keys.ContractViolation):
        keys.unlock(make_plan(KEY, [b"one"]), b"one", Settings())


def test_the_worker_serves_one_request_and_ends():
    class Channel:
        def __init__(self):
            self.sent = []

        def receive(self):
            return wire.REQUEST + wire.encode(["derive", make_plan(KEY, [b"one"]), b"one"])

        def send(self, frame):
            self.sent.append(frame)

    channel = Channel()
    key_worker.serve(key_worker.prepare(b"", ()), channel)
    assert channel.sent == [wire.VALUE + wire.encode([KEY, 0])]


def image(*codings):
    return ImageInfo("luks", 1024, codings=codings, encrypted=True, blocked="key-secret is wanted")


def test_a_key_goes_into_cipher_codings_and_nowhere_else():
    plain = Coding("zlib", 65536)
    locked = Coding("cipher", 512, False, {"cipher": "aes-xts-plain64", "key_size": 64, "iv_base": 0})
    info = image(plain, locked)
    opened = keys.with_key(info, KEY)
    assert opened.codings == (plain, locked._replace(params={**locked.params, "key": KEY}))
    assert opened.blocked == ""
    assert "key" not in locked.params, "the image without its key is as it was"
    assert info.blocked == "key-secret is wanted"


def test_a_passphrase_that_opens_nothing_is_refused_in_the_words_of_qemu_img():
    plan = make_plan(KEY, [b"one"])
    with pytest.raises(ImageError, match=r"^Invalid password, cannot unlock any keyslot$"):
        keys.unlocked(image(), plan, b"two", Settings(sandbox="inline"))
    coding = Coding("cipher", 512, False, {"cipher": "aes-xts-plain64", "key_size": 64})
    opened = keys.unlocked(image(coding), plan, b"one", Settings(sandbox="inline"))
    assert opened.codings[0].params["key"] == KEY


def test_what_holds_a_key_is_not_what_forks(monkeypatch):
    import instar_sandbox

    from instar_core.dataplane.coding import DECODE, CodecPool
    from instar_core.types import Coding

    asked = []
    real = instar_sandbox.start

    def start(*arguments, **more):
        asked.append((arguments[1].module, more.get("server")))
        return real(*arguments, **more)

    monkeypatch.setattr(instar_sandbox, "start", start)
    assert keys.unlock(make_plan(KEY, [b"one"]), b"one", Settings(sandbox="process")) == (KEY, 0)
    params = {"cipher": "aes-xts-plain64", "key_size": len(KEY), "key": KEY}
    with CodecPool("process") as pool:
        for coding in (Coding("cipher", 512, params=params), Coding("zlib", 512)):
            pool.job(DECODE, coding)
    program = "instar_core.worker.codec"
    assert asked == [("instar_core.worker.key", True), (program, True), (program, None)]


def test_what_is_blocked_for_another_reason_stays_blocked():
    info = image()._replace(blocked="the block map is cut off")
    assert keys.with_key(info, KEY).blocked == "the block map is cut off"
