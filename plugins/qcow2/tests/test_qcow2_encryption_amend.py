"""Key slots of encrypted qcow2 images added and erased in place, judged by qemu."""

from __future__ import annotations

import itertools
import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_qcow2 import SPEC, hooks
from instar_qcow2.header import read_header
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import Amend, Barrier, Put
from instar_core.worker import key as key_worker

load = beside(__file__)
encryption = load("qcow2_encryption")
executor, oracle = encryption.executor, encryption.oracle
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]
FAST, AES = encryption.FAST, encryption.AES
OTHERS = {"s": encryption.PASSPHRASE, "n": b"new", "o": b"other"}
SIZE = 1 << 20


def asked(path, options, *, force=False, by="s"):
    """The request as the host makes it: secrets taken out, key slots made, old ones tried."""
    values = dict(options)
    new, old = values.pop("encrypt.new-secret", None), values.pop("encrypt.old-secret", None)
    request = Amend(values, force=force)
    with encryption.Files(path) as image:
        if old is not None:
            request = request._replace(opened=key_worker.opened(hooks.instar_unlock(image), OTHERS[old]))
        if new is not None:
            order = hooks.instar_seal(image, request)
            key = encryption.unlock(image, OTHERS[by])
            rng = random.Random(4)
            random_bytes = rng.randbytes(key_worker.randomness(order))
            request = request._replace(keys=key_worker.seal(order, OTHERS[new], key, random_bytes))
    return request


def amended(path, options, *, force=False, by="s", cut=None):
    """The options are changed by instar's edits, of which those from the `cut`th on are not done. All edits."""
    request = asked(path, options, force=force, by=by)
    files = executor.Files(path)
    try:
        edits = list(write(files.image(), request, ()))
        for edit in edits[:cut]:
            files.apply(edit)
    finally:
        files.close()
    return edits


def opens(folder, name):
    done = oracle.run(
        folder, oracle.QEMU_IMG, "map", *encryption.secrets(n="new", o="other"), *encryption.opened("x", name)
    )
    assert done.returncode == 0 or "Invalid password" in done.stderr or "encrypted or compressed" in done.stderr
    return "Invalid password" not in done.stderr


@pytest.fixture
def image(tmp_path):
    content = random.Random(6).randbytes(SIZE)
    encryption.written(tmp_path, FAST, SIZE, content, [(0, SIZE, 0)])
    return tmp_path, content


ADD = {"encrypt.state": "active", "encrypt.new-secret": "n", "encrypt.iter-time": 10}


def test_a_secret_that_was_added_opens_the_image_and_the_first_one_still_does(image):
    folder, content = image
    amended(folder / "x", ADD)
    amended(folder / "x", {**ADD, "encrypt.new-secret": "o", "encrypt.keyslot": 7})
    assert [opens(folder, name) for name in "sno"] == [True, True, True]
    assert encryption.content(folder, secret="n", n="new") == content
    encryption.assert_clean(folder)
    with encryption.Files(folder / "x") as found:
        active = [slot["active"] for slot in hooks.instar_info(found).details["encrypt"]["slots"]]
    assert active == [True, True, False, False, False, False, False, True]


def test_a_secret_that_was_erased_opens_nothing_and_its_key_material_is_gone(image):
    folder, content = image
    amended(folder / "x", ADD)
    with encryption.Files(folder / "x") as found:
        material = hooks.instar_unlock(found).material
    amended(folder / "x", {"encrypt.state": "inactive", "encrypt.old-secret": "s"})
    assert [opens(folder, name) for name in "sn"] == [False, True]
    left = (folder / "x").read_bytes()
    assert material[0] not in left
    assert material[1] in left
    amended(folder / "x", {**ADD, "encrypt.new-secret": "o"}, by="n")
    amended(folder / "x", {"encrypt.state": "inactive", "encrypt.keyslot": 1})
    assert [opens(folder, name) for name in "sno"] == [False, False, True]
    assert encryption.content(folder, secret="o", o="other") == content


def test_a_stop_at_any_edit_leaves_the_old_secrets_or_the_new_ones(image):
    folder, _ = image
    amended(folder / "x", {**ADD, "encrypt.new-secret": "o"})
    whole = (folder / "x").read_bytes()
    for options, before, after in (
        (ADD, [True, False, True], [True, True, True]),
        ({"encrypt.state": "inactive", "encrypt.old-secret": "o"}, [True, False, True], [True, False, False]),
    ):
        count = len(amended(folder / "x", options, cut=0))
        seen = []
        for cut in range(count + 1):
            (folder / "x").write_bytes(whole)
            amended(folder / "x", options, cut=cut)
            seen.append([opens(folder, name) for name in "sno"])
            encryption.assert_clean(folder)
        assert [state for state, _ in itertools.groupby(seen)] == [before, after]
        (folder / "x").write_bytes(whole)


def test_every_phase_ends_with_a_barrier_and_only_the_luks_header_is_touched(image):
    folder, _ = image
    edits = amended(folder / "x", ADD)
    assert isinstance(edits[-1], Barrier)
    with encryption.Files(folder / "x") as found:
        base, length = read_header(found.main).extensions.crypto
    for edit in edits:
        assert isinstance(edit, (Barrier, Put))
        if isinstance(edit, Put):
            assert base <= edit.offset
            assert edit.offset + len(edit.data) <= base + length


def test_the_last_secret_can_only_be_erased_by_force(image):
    folder, _ = image
    erase = {"encrypt.state": "inactive", "encrypt.keyslot": 0}
    with pytest.raises(FormatError, match="refusing operation"):
        amended(folder / "x", erase)
    amended(folder / "x", erase, force=True)
    assert not opens(folder, "s")


REFUSED = [
    {**ADD, "encrypt.keyslot": 0},
    {**ADD, "encrypt.keyslot": 8},
    {**ADD, "encrypt.keyslot": -1},
    {"encrypt.state": "inactive"},
    {"encrypt.state": "active"},
    {"encrypt.state": "foo"},
    {"encrypt.keyslot": 1},
    {"encrypt.state": "inactive", "encrypt.keyslot": 5},
    {"encrypt.state": "inactive", "encrypt.keyslot": 9},
    {"encrypt.state": "inactive", "encrypt.keyslot": 0},
    {"encrypt.state": "inactive", "encrypt.old-secret": "s"},
    {"encrypt.state": "inactive", "encrypt.old-secret": "n"},
    {"encrypt.state": "inactive", "encrypt.keyslot": 0, "encrypt.new-secret": "n"},
    {**ADD, "encrypt.old-secret": "s"},
]


def test_what_qemu_img_refuses_to_amend_is_refused_with_its_words(image):
    folder, _ = image
    before = (folder / "x").read_bytes()
    for options in REFUSED:
        words = [*encryption.opened(), "-o", encryption.option_list(options)]
        done = oracle.run(folder, oracle.QEMU_IMG, "amend", *encryption.secrets(n="new", o="other"), *words)
        with pytest.raises(FormatError) as caught:
            amended(folder / "x", options)
        assert done.stderr.removesuffix("\n") == f"qemu-img: {caught.value}", options
        assert (folder / "x").read_bytes() == before


def test_key_slots_are_only_in_images_that_have_a_luks_header(tmp_path):
    encryption.written(tmp_path, AES, SIZE, name="aes")
    encryption.written(tmp_path, FAST, SIZE, name="luks")
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "plain", "1M")
    for name, message in (
        ("aes", "Only LUKS encryption options can be amended"),
        ("plain", "Can't amend encryption options - encryption not present"),
    ):
        with encryption.Files(tmp_path / name) as found:
            for ask in (hooks.instar_seal, lambda image, request: list(write(image, request, ()))):
                with pytest.raises(FormatError) as caught:
                    ask(found, Amend({"encrypt.state": "active"}))
                assert str(caught.value) == message
    with encryption.Files(tmp_path / "luks") as found:
        assert list(write(found, Amend({"compat": "0.10"}), ()))


@pytest.mark.parametrize(("bit", "message"), [(1, "Image is corrupt"), (0, "not closed cleanly")])
def test_a_dirty_or_corrupt_image_is_left_alone(image, bit, message):
    folder, _ = image
    with (folder / "x").open("r+b") as file:
        file.seek(72)
        file.write((1 << bit).to_bytes(8, "big"))
    with pytest.raises(FormatError, match=message):
        amended(folder / "x", ADD)


def test_key_material_outside_of_the_luks_header_is_neither_read_nor_written(image):
    folder, _ = image
    whole = bytearray((folder / "x").read_bytes())
    at = whole.index(b"\x05\x37\xbe\x77", 112)
    whole[at + 16 : at + 24] = (4096 + 100).to_bytes(8, "big")
    (folder / "x").write_bytes(whole)
    with encryption.Files(folder / "x") as found:
        for ask in (hooks.instar_unlock, lambda image: hooks.instar_seal(image, Amend({"encrypt.state": "active"}))):
            with pytest.raises(FormatError, match=r"^Request for data outside of extension header$"):
                ask(found)


def test_the_options_of_amend_are_those_that_the_plugin_changes():
    assert {option.name for option in SPEC.amend_options} == {
        "encrypt.state", "encrypt.keyslot", "encrypt.old-secret", "encrypt.new-secret", "encrypt.iter-time",
        "size", "compat", "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits",
        "backing_file", "backing_fmt",
    }  # fmt: skip
