"""Encrypted images that qemu made, read by map and decrypted here by the cipher library alone."""

from __future__ import annotations

import json
import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_qcow2 import hooks, limits
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import NOWHERE, Kind, Layer, LayerKind, SnapshotEdit, Span

load = beside(__file__)
encryption = load("qcow2_encryption")
oracle = encryption.oracle
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]
FAST, AES = encryption.FAST, encryption.AES

CASES = {
    "luks": FAST,
    "luks-512": {**FAST, "cluster_size": 512},
    "luks-v2": {**FAST, "compat": "0.10"},
    "luks-subclusters": {**FAST, "extended_l2": True, "cluster_size": 16384},
    "luks-cbc-essiv": {**FAST, "encrypt.cipher-mode": "cbc", "encrypt.ivgen-alg": "essiv"},
    "luks-aes-128": {**FAST, "encrypt.cipher-alg": "aes-128", "encrypt.hash-alg": "sha1"},
    "luks-preallocated": {**FAST, "preallocation": "metadata"},
    "luks-data-file": {**FAST, "data_file": "d.raw"},
    "luks-data-file-raw": {**FAST, "data_file": "d.raw", "data_file_raw": True},
    "aes": AES,
    "aes-v2-4k": {**AES, "compat": "0.10", "cluster_size": 4096},
    "aes-data-file": {**AES, "data_file": "d.raw"},
}
SIZE = 3 << 20


def commands(seed, options):
    """Writes of all kinds that the image can take."""
    rng = random.Random(seed)
    kinds = ["write -P 7", "write -P 201", "write -z", "discard"]
    for _ in range(12):
        start = rng.randrange(SIZE // 512) * 512
        length = min(SIZE - start, rng.randrange(1, 600) * 512)
        yield f"{rng.choice(kinds)} {start} {length}"
    if "data_file" not in options and "preallocation" not in options:
        yield "discard 2M 64k"
        yield "write -c -P 9 2M 64k"


@pytest.fixture(params=CASES, scope="module")
def made(request, tmp_path_factory):
    """A folder with the image x, and the paths of its files."""
    folder = tmp_path_factory.mktemp(request.param)
    options = CASES[request.param]
    encryption.created(folder, options, SIZE)
    encryption.io(folder, *commands(request.param, options))
    return folder, [folder / "x"] + ([folder / "d.raw"] if "data_file" in options else [])


@pytest.fixture
def case(made):
    folder, paths = made
    with encryption.Files(*paths) as image:
        yield folder, image


def test_the_content_is_what_qemu_img_reads(case):
    folder, image = case
    key = encryption.unlock(image)
    assert key is not None
    assert encryption.read(image, key) == encryption.content(folder)


def test_the_map_is_that_of_qemu_img(case):
    folder, image = case
    info = hooks.instar_info(image)
    ours = []
    for extent in hooks.instar_map(image, Layer(), Span(0, SIZE)):
        whole = bool(extent.coding) and info.codings[extent.coding - 1].whole
        assert extent.coding or extent.offset == NOWHERE
        kind = extent.kind != Kind.ABSENT, extent.kind != Kind.DATA, extent.kind == Kind.DATA, whole
        if ours and ours[-1][2:] == kind and not whole:
            ours[-1] = (ours[-1][0], ours[-1][1] + extent.length, *kind)
        else:
            ours.append((extent.start, extent.length, *kind))
    keys = ("start", "length", "present", "zero", "data", "compressed")
    theirs = []
    for found in encryption.mapped(folder):
        assert "offset" not in found
        row = tuple(found[key] for key in keys)
        if row[5]:
            cluster = info.cluster_size
            theirs += [(at, cluster, *row[2:]) for at in range(row[0], row[0] + row[1], cluster)]
        else:
            theirs.append(row)
    assert ours == theirs


def test_info_says_of_the_encryption_what_qemu_img_says(case):
    folder, image = case
    theirs = json.loads(oracle.img(folder, "info", "--output=json", "x"))
    info = hooks.instar_info(image)
    assert dict(info.details) == theirs["format-specific"]["data"]
    assert (info.encrypted, theirs["encrypted"]) == (True, True)
    assert info.blocked == "Parameter 'encrypt.key-secret' is required for cipher"


def test_a_check_counts_the_luks_header_and_needs_no_key(case):
    folder, image = case
    done = oracle.run(folder, oracle.QEMU_IMG, "check", "--output=json", *encryption.secrets(), *encryption.opened())
    theirs = json.loads(done.stdout)
    *findings, tally = hooks.instar_check(image)
    assert findings == []
    assert tally.end == theirs["image-end-offset"]
    assert (tally.total, tally.allocated) == (theirs["total-clusters"], theirs.get("allocated-clusters", 0))


def test_windows_of_the_map_agree_with_the_whole(case):
    _, image = case
    whole = list(hooks.instar_map(image, Layer(), Span(0, SIZE)))
    rng = random.Random(3)
    for _ in range(10):
        start = rng.randrange(SIZE)
        length = rng.randrange(1, SIZE - start + 1)
        for extent in hooks.instar_map(image, Layer(), Span(start, length)):
            around = next(e for e in whole if e.start <= extent.start < e.start + e.length)
            assert (around.kind, around.coding, around.device) == (extent.kind, extent.coding, extent.device)
            if extent.coding == 2:
                assert extent.offset - extent.start == around.offset - around.start
                assert extent.stored == extent.length


@pytest.mark.parametrize("options", [FAST, AES], ids=["luks", "aes"])
def test_an_internal_snapshot_reads_as_qemu_img_reads_it(tmp_path, options):
    encryption.created(tmp_path, options, SIZE)
    encryption.io(tmp_path, "write -P 1 0 100k", "write -P 2 1M 64k")
    encryption.img(tmp_path, "snapshot", "-c", "one")
    encryption.io(tmp_path, "write -P 3 64k 100k", "discard 1M 64k")
    with encryption.Files(tmp_path / "x") as image:
        (snapshot,) = hooks.instar_info(image).snapshots
        key = encryption.unlock(image)
        before = encryption.read(image, key, Layer(LayerKind.SNAPSHOT, snapshot.id))
        assert before == encryption.content(tmp_path, snapshot=snapshot.id)
        assert encryption.read(image, key) == encryption.content(tmp_path) != before


def test_an_overlay_leaves_to_its_backing_image_what_it_does_not_hold(tmp_path):
    base = random.Random(8).randbytes(SIZE)
    (tmp_path / "base.raw").write_bytes(base)
    encryption.created(tmp_path, {**FAST, "backing_file": "base.raw", "backing_fmt": "raw"}, SIZE)
    encryption.io(tmp_path, "write -P 1 70k 10k", "write -z 1M 64k")
    with encryption.Files(tmp_path / "x") as image:
        assert encryption.read(image, encryption.unlock(image), below=base) == encryption.content(tmp_path)


def test_every_key_slot_opens_and_a_wrong_passphrase_does_not(tmp_path):
    encryption.created(tmp_path, FAST, SIZE)
    encryption.img(
        tmp_path,
        "amend",
        "-o",
        "encrypt.state=active,encrypt.new-secret=n,encrypt.keyslot=5,encrypt.iter-time=10",
        n="new",
    )
    with encryption.Files(tmp_path / "x") as image:
        plan = hooks.instar_unlock(image)
        assert [slot.index for slot in plan.slots] == [0, 5]
        assert encryption.unlock(image, b"new") == encryption.unlock(image) is not None
        assert encryption.unlock(image, b"New") is None


@pytest.mark.parametrize("passphrase", ["", "a", "exactly16 letter", "more than sixteen letters"])
def test_the_key_of_aes_is_the_passphrase_cut_or_padded(tmp_path, passphrase):
    secret = f"secret,id=s,data={passphrase}"
    options = encryption.option_list(AES)
    oracle.img(tmp_path, "create", "-q", "--object", secret, "-f", "qcow2", "-o", options, "x", "1M")
    with encryption.Files(tmp_path / "x") as image:
        assert encryption.unlock(image, passphrase.encode()) == passphrase.encode().ljust(16, b"\0")[:16]


def test_an_image_that_is_not_encrypted_has_no_key_slots(tmp_path):
    oracle.img(tmp_path, "create", "-q", "-f", "qcow2", "x", "1M")
    with encryption.Files(tmp_path / "x") as image, pytest.raises(FormatError, match="not encrypted"):
        hooks.instar_unlock(image)


def test_a_long_stretch_is_cut_where_a_stored_length_would_not_fit(tmp_path):
    size = 5 << 30
    encryption.created(tmp_path, {**FAST, "preallocation": "metadata", "cluster_size": 2 << 20}, size)
    with encryption.Files(tmp_path / "x") as image:
        extents = list(hooks.instar_map(image, Layer(), Span(0, size)))
        assert [extent.start for extent in extents] == [0, limits.ENCRYPTED, 2 * limits.ENCRYPTED]
        assert sum(extent.length for extent in extents) == size


@pytest.mark.parametrize("options", [FAST, AES], ids=["luks", "aes"])
def test_snapshots_are_created_and_deleted_without_the_key(tmp_path, options):
    content = random.Random(4).randbytes(1 << 20)
    encryption.written(tmp_path, options, 1 << 20, content, [(0, 1 << 20, Kind.DATA)])
    for action, name in (("create", "a"), ("create", "b"), ("delete", "a")):
        files = encryption.executor.Files(tmp_path / "x")
        for edit in write(files.image(), SnapshotEdit(action, name, 10**18), ()):
            files.apply(edit)
        files.close()
        encryption.assert_clean(tmp_path)
    encryption.io(tmp_path, "write -P 3 64k 100k")
    with encryption.Files(tmp_path / "x") as image:
        (snapshot,) = hooks.instar_info(image).snapshots
    assert snapshot.name == "b"
    assert encryption.content(tmp_path, snapshot=snapshot.id) == content
    assert encryption.content(tmp_path) == content[: 64 << 10] + b"\3" * (100 << 10) + content[164 << 10 :]
