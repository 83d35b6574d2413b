"""New key slots: made by a key worker, opened by the passphrase, and as costly as was asked."""

from __future__ import annotations

import hashlib
import time

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_core import keys, limits, wire
from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.luks1 import make, options
from instar_core.settings import Settings
from instar_core.types import KeyPlan, KeySlot
from instar_core.worker import antiforensic, kdf, kdfcost
from instar_core.worker import key as key_worker

PLACES = ["inline", "process"]
KEY = bytes(range(64))
PASS = b"pass \0\xff"


def order(kdf_name="pbkdf2", key_size=64, hash_name="sha256", milliseconds=1, **params):
    made = make.order(options.Choice("aes-xts-plain64", key_size, hash_name, milliseconds))
    slot = made.slots[0]
    return made._replace(slots=(slot._replace(kdf=kdf_name, params={**slot.params, **params}),))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_what_was_sealed_is_opened_by_its_passphrase_only(place, hash_name):
    settings = Settings(sandbox=place)
    plan = keys.seal(order(hash_name=hash_name), PASS, KEY, settings)
    assert keys.unlock(plan, PASS, settings) == (KEY, 0)
    assert keys.opened(plan, PASS, settings) == (0,)
    assert keys.unlock(plan, PASS[:-1], settings) is None
    assert keys.opened(plan, PASS[:-1], settings) == ()
    again = keys.seal(order(hash_name=hash_name), PASS, KEY, settings)
    assert again.slots[0].salt != plan.slots[0].salt != bytes(32)
    assert again.material != plan.material
    assert again.check["salt"] != plan.check["salt"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["argon2id", "argon2i"])
def test_argon2_slots_are_sealed_and_opened_behind_the_walls(place, name):
    if kdf._argon2_cffi(name) is None and kdf._cryptography(name) is None:
        pytest.skip("no library for argon2 is installed")
    settings = Settings(sandbox=place)
    for params in ({"iterations": 4, "memory": 1024, "lanes": 4}, {"memory": 2048, "lanes": 2}):
        plan = keys.seal(order(name, **params), PASS, KEY, settings)
        assert plan.slots[0].params["memory"] <= params["memory"]
        assert plan.slots[0].params["iterations"] >= 4
        assert keys.unlock(plan, PASS, settings) == (KEY, 0)
        assert keys.unlock(plan, b"other", settings) is None


def test_argon2_of_both_libraries_is_the_same():
    params = {"iterations": 3, "memory": 256, "lanes": 4}
    for name in ("argon2i", "argon2id"):
        first, second = kdf._argon2_cffi(name), kdf._cryptography(name)
        if first is None or second is None:
            pytest.skip("one of the libraries is not installed")
        assert first(b"pw", bytes(16), params, 64) == second(b"pw", bytes(16), params, 64)


def test_the_vector_of_rfc_9106_without_secret_comes_out():
    """Computed by the reference program: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 24 -v 13."""
    if kdf._argon2_cffi("argon2id") is None and kdf._cryptography("argon2id") is None:
        pytest.skip("no library for argon2 is installed")
    params = {"iterations": 2, "memory": 1 << 16, "lanes": 1}
    made = kdf.argon2("argon2id", b"password", b"somesalt", params, 32)
    assert made.hex() == "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_plain_passphrase_is_cut_or_padded_to_the_key(size):
    slot = KeySlot(0, "plain", {}, b"", 0, 0, 0, "aes-cbc-plain64", "")
    plan = KeyPlan("aes-cbc-plain64", size, (slot,), (b"",), {})
    for place in PLACES:
        settings = Settings(sandbox=place)
        assert keys.unlock(plan, b"0123456789abcdefXYZ", settings) == ((b"0123456789abcdefXYZ" + bytes(32))[:size], 0)
        sealed = keys.seal(plan._replace(material=()), b"short", bytes(size), settings)
        assert sealed == plan


def test_several_slots_of_one_passphrase_are_all_told():
    settings = Settings(sandbox="inline")
    first = keys.seal(order(), PASS, KEY, settings)
    second = order()._replace(check=first.check)
    second = second._replace(slots=(second.slots[0]._replace(index=5),))
    added = keys.seal(second, PASS, KEY, settings)
    both = first._replace(slots=first.slots + added.slots, material=first.material + added.material)
    assert keys.opened(both, PASS, settings) == (0, 5)
    assert keys.unlock(both, PASS, settings) == (KEY, 0)
    assert added.check == first.check, "a check that a volume has stays as it is"


def test_more_time_makes_more_work():
    little, much = (kdfcost.iterations("sha256", 64, milliseconds) for milliseconds in (20, 200))
    assert 4 * little < much < 25 * little
    begun = time.process_time()
    kdf.pbkdf2("sha256", PASS, bytes(32), much, 64)
    assert 0.05 < time.process_time() - begun < 0.8
    assert kdfcost.iterations("sha256", 64, 0) == kdfcost.LEAST_ITERATIONS


def test_argon2_gets_memory_first_and_then_passes():
    if kdf._argon2_cffi("argon2id") is None and kdf._cryptography("argon2id") is None:
        pytest.skip("no library for argon2 is installed")
    wide = kdfcost.argon2("argon2id", {"memory": 1 << 20, "lanes": 4}, 64, 100)
    narrow = kdfcost.argon2("argon2id", {"memory": 256, "lanes": 4}, 64, 100)
    least = kdfcost.argon2("argon2id", {"memory": 1 << 20, "lanes": 4}, 64, 0)
    assert wide["iterations"] == 4
    assert 1 << 20 >= wide["memory"] > 4096
    assert narrow["memory"] == 256
    assert narrow["iterations"] > 40
    assert (least["iterations"], least["memory"]) == (4, 32)


def test_more_work_than_would_ever_be_tried_is_refused():
    with pytest.raises(FormatError, match=r"^PBKDF iterations \d+ larger than 67108864$") as caught:
        keys.seal(order(milliseconds=10**9), PASS, KEY, Settings(sandbox="inline"))
    assert caught.value.kind == ErrorKind.LIMIT


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "params",
    [
        {"iterations": 4, "memory": (limits.ARGON2_MEMORY >> 10) + 1, "lanes": 1},
        {"iterations": 4, "memory": 1 << 62, "lanes": 1},
        {"iterations": 4, "memory": -1, "lanes": 1},
    ],
)
def test_an_argon2_slot_that_does_not_fit_is_refused_before_any_work(place, params):
    with pytest.raises(FormatError, match="KiB of memory") as caught:
        keys.seal(order("argon2id", **params), PASS, KEY, Settings(sandbox=place))
    assert caught.value.kind == ErrorKind.LIMIT


@pytest.mark.parametrize(
    "params",
    [
        {"iterations": 0, "memory": 64, "lanes": 1},
        {"iterations": 1 << 32, "memory": 64, "lanes": 1},
        {"iterations": 1, "memory": 64, "lanes": 0},
        {"iterations": 1, "memory": 7, "lanes": 1},
        {"iterations": 1, "memory": 1 << 16, "lanes": 65},
    ],
)
def test_an_argon2_slot_that_makes_no_sense_is_refused(params):
    with pytest.raises(FormatError, match="is not possible"):
        keys.seal(order("argon2id", **params), PASS, KEY, Settings(sandbox="inline"))


def test_without_any_library_argon2_says_what_to_install(monkeypatch):
    from instar_core.errors import NotInstalled

    monkeypatch.setattr(kdf, "_argon2_cffi", lambda name: None)
    monkeypatch.setattr(kdf, "_cryptography", lambda name: None)
    params = {"iterations": 4, "memory": 64, "lanes": 1}
    with pytest.raises(NotInstalled, match="argon2-cffi") as caught:
        keys.seal(order("argon2id", **params), PASS, KEY, Settings(sandbox="inline"))
    assert "argon2" in caught.value.hint


@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_a_split_key_has_random_stripes_and_one_that_completes_them(hash_name):
    random = hashlib.shake_256(b"seed").digest(64 * 9)
    made = antiforensic.split(KEY, 10, hash_name, random)
    assert made[:-64] == random
    assert antiforensic.merge(made, 64, 10, hash_name) == KEY
    assert antiforensic.split(KEY, 1, hash_name, b"") == KEY


class Answering:
    """A key worker that says what it likes."""

    def __init__(self, value):
        self.frame = wire.VALUE + wire.encode(value)

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


def test_a_worker_that_seals_something_else_is_not_believed(monkeypatch):
    good = keys.seal(order(), PASS, KEY, Settings(sandbox="inline"))
    for bad in (
        None,
        5,
        good._replace(cipher="aes-cbc-plain"),
        good._replace(key_size=32),
        good._replace(slots=(), material=()),
        good._replace(slots=(good.slots[0]._replace(index=3),)),
        good._replace(material=(b"short",)),
    ):
        monkeypatch.setattr("instar_sandbox.start", Answering(bad))
        with pytest.raises(ContractViolation):
            keys.seal(order(), PASS, KEY, Settings(sandbox="process"))


@pytest.mark.parametrize("value", [None, 5, [7], ["0"], [[0]]])
def test_a_worker_that_tells_of_other_slots_is_not_believed(monkeypatch, value):
    good = keys.seal(order(), PASS, KEY, Settings(sandbox="inline"))
    monkeypatch.setattr("instar_sandbox.start", Answering(value))
    with pytest.raises(ContractViolation):
        keys.opened(good, PASS, Settings(sandbox="process"))


def test_too_little_randomness_is_refused():
    made = order()
    with pytest.raises(ContractViolation):
        key_worker.seal(made, PASS, KEY, bytes(key_worker.randomness(made) - 1))
    with pytest.raises(ContractViolation):
        key_worker.seal(made, PASS, KEY[:32], bytes(key_worker.randomness(made)))
