"""Encrypted images that instar's writer made, judged by qemu."""

from __future__ import annotations

import itertools
import json
import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_qcow2 import hooks
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.testing.beside import beside
from instar_core.types import Barrier, Copy, Geometry, Kind, Put, Run, Truncate, Zero

load = beside(__file__)
encryption = load("qcow2_encryption")
executor, oracle = encryption.executor, encryption.oracle
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]
FAST, AES = encryption.FAST, encryption.AES
METADATA = {"preallocation": "metadata"}
BACKING = {"backing_file": "base.raw", "backing_fmt": "raw"}

CASES = {
    "luks": FAST,
    "luks-512": {**FAST, "cluster_size": 512},
    "luks-2M": {**FAST, "cluster_size": 2 << 20},
    "luks-v2": {**FAST, "compat": "0.10"},
    "luks-refcount-1": {**FAST, "refcount_bits": 1, "cluster_size": 4096},
    "luks-subclusters": {**FAST, "extended_l2": True},
    "luks-metadata": {**FAST, **METADATA},
    "luks-metadata-v2": {**FAST, **METADATA, "compat": "0.10"},
    "luks-metadata-subclusters": {**FAST, **METADATA, "extended_l2": True},
    "luks-full": {**FAST, "preallocation": "full"},
    "luks-backing": {**FAST, **BACKING},
    "luks-backing-v2": {**FAST, **BACKING, "compat": "0.10"},
    "luks-data-file": {**FAST, "data_file": "d.raw"},
    "luks-data-file-raw": {**FAST, "data_file": "d.raw", "data_file_raw": True},
    "luks-cbc-essiv": {**FAST, "encrypt.cipher-mode": "cbc", "encrypt.ivgen-alg": "essiv"},
    "luks-aes-128-sha1": {**FAST, "encrypt.cipher-alg": "aes-128", "encrypt.hash-alg": "sha1"},
    "aes": AES,
    "aes-4k-v2": {**AES, "cluster_size": 4096, "compat": "0.10"},
    "aes-metadata": {**AES, **METADATA},
    "aes-data-file-raw": {**AES, "data_file": "d.raw", "data_file_raw": True},
    "encryption": {"encryption": True, "encrypt.key-secret": "s"},
}
SIZE = (3 << 20) + 70 * 512


def ranges_of(geometry, size, rng):
    """Runs as a host would offer them, and the content that they stand for; gaps are zeros, or not offered."""
    content, found, at = bytearray(size), [], 0
    while at < size:
        length = min(size - at, rng.randrange(1, 8) * max(geometry.unit, 16384))
        kind = rng.choice((Kind.DATA, Kind.ZERO, None))
        if kind is None and geometry.zeros:
            kind = Kind.ZERO
        if kind == Kind.DATA:
            content[at : at + length] = rng.randbytes(length)
        if kind is not None:
            found.append((at, length, kind) if kind == Kind.DATA or geometry.zeros else None)
        at += length
    return bytes(content), [piece for piece in found if piece]


def joined(ranges):
    made = []
    for start, length, kind in ranges:
        if made and made[-1][2] == kind and made[-1][0] + made[-1][1] == start:
            made[-1] = made[-1][0], made[-1][1] + length, kind
        else:
            made.append((start, length, kind))
    return made


@pytest.mark.parametrize("name", CASES)
def test_qemu_img_opens_what_was_written_and_reads_the_same(tmp_path, name):
    options = CASES[name]
    extra = [tmp_path / "d.raw"] if "data_file" in options else []
    (tmp_path / "base.raw").write_bytes(random.Random(2).randbytes(SIZE))
    planned = {key: value for key, value in options.items() if key != "encrypt.cipher-alg"}
    geometry = next(write(None, executor.request(SIZE, **planned), ()))
    # The host completes the last unit with zeros, up to the geometry's size.
    content, ranges = ranges_of(geometry, geometry.size, random.Random(name))
    key, geometry = encryption.written(tmp_path, options, SIZE, content, joined(ranges), extra)
    encryption.assert_clean(tmp_path)
    assert encryption.content(tmp_path) == content[:SIZE]
    with encryption.Files(tmp_path / "x", *extra) as image:
        assert encryption.unlock(image) == key
        assert list(hooks.instar_check(image))[:-1] == []
        told = json.loads(oracle.img(tmp_path, "info", "--output=json", "x"))
        assert dict(hooks.instar_info(image).details) == told["format-specific"]["data"]


@pytest.mark.parametrize("name", CASES)
def test_an_empty_image_opens_and_reads_as_zeros(tmp_path, name):
    """Also one that is preallocated: quirk("encrypted-preallocation")."""
    options = CASES[name]
    (tmp_path / "base.raw").write_bytes(bytes(SIZE))
    extra = [tmp_path / "d.raw"] if "data_file" in options else []
    encryption.written(tmp_path, options, SIZE, extra=extra)
    encryption.assert_clean(tmp_path)
    if "compat" in options and "preallocation" in options:
        return  # without zero clusters what is allocated and not written decrypts to anything, as in qemu's images
    assert not any(encryption.content(tmp_path))


LENGTHS = [(FAST, (5 << 30) + 512), ({**FAST, "cluster_size": 512}, 1 << 20), ({**FAST, "cluster_size": 2 << 20}, 0)]


@pytest.mark.parametrize(("options", "size"), [*LENGTHS, (AES, 1 << 20)], ids=str)
def test_an_empty_image_is_as_long_as_qemus(tmp_path, options, size):
    encryption.created(tmp_path, options, size, "q")
    encryption.written(tmp_path, options, size)
    assert (tmp_path / "x").stat().st_size == (tmp_path / "q").stat().st_size


def test_what_follows_the_end_of_the_disk_reads_as_zeros_when_it_grows(tmp_path):
    size = (1 << 20) + 512
    geometry = next(write(None, executor.request(size, **FAST), ()))
    assert geometry.size == (1 << 20) + 65536
    content = random.Random(1).randbytes(size).ljust(geometry.size, b"\0")
    encryption.written(tmp_path, FAST, size, content, [(0, geometry.size, Kind.DATA)])
    encryption.img(tmp_path, "resize", "2M")
    assert encryption.content(tmp_path) == content.ljust(2 << 20, b"\0")


def test_the_header_is_the_last_thing_and_the_luks_header_comes_before_it():
    asked, _ = encryption.sealed(executor.request(1 << 20, **FAST))
    geometry, *edits = write(None, asked, iter([Run(0, 1 << 20, Kind.DATA)]))
    assert isinstance(geometry, Geometry)
    assert isinstance(edits[-1], Put)
    assert edits[-1].offset == 0
    assert isinstance(edits[-2], Barrier)
    luks = next(at for at, edit in enumerate(edits) if isinstance(edit, Put) and edit.data.startswith(b"LUKS"))
    assert luks < len(edits) - 2
    assert any(isinstance(edit, Barrier) for edit in edits[:luks])
    places = [(edit.offset, edit.offset + edit.length) for edit in edits[1:] if isinstance(edit, (Copy, Zero))]
    places += [(edit.offset, edit.offset + len(edit.data)) for edit in edits if isinstance(edit, Put)]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(sorted(places)))
    assert any(isinstance(edit, Truncate) for edit in edits)


def test_an_image_cut_before_its_last_barrier_is_no_image(tmp_path):
    asked, _ = encryption.sealed(executor.request(1 << 20, **FAST))
    _, *edits = write(None, asked, ())
    files = executor.Files(tmp_path / "x")
    for edit in edits[:-1]:
        files.apply(edit)
        assert (tmp_path / "x").read_bytes()[:4] != b"QFI\xfb"
    files.close()


MEASURED = [
    (FAST, 0),
    ({**FAST, "cluster_size": 2 << 20}, (1 << 30) + 512),
    ({**FAST, "encrypt.cipher-alg": "aes-128"}, 1 << 40),
    (AES, (1 << 30) + 512),
]


@pytest.mark.parametrize(("options", "size"), MEASURED, ids=str)
def test_the_overhead_is_what_qemu_img_measures_for_an_encrypted_image(tmp_path, size, options):
    geometry = next(write(None, executor.request(size, **options), ()))
    answer = json.loads(
        oracle.img(
            tmp_path, "measure", "--output=json", *encryption.secrets(), "-O", "qcow2",
            "-o", encryption.option_list(options), "--size", str(size),
        )
    )  # fmt: skip
    cluster = options.get("cluster_size", 65536)
    assert geometry.overhead == answer["required"]
    assert geometry.overhead + -(-geometry.size // cluster) * cluster == answer["fully-allocated"]


def test_a_measured_image_has_room_for_the_refcounts_of_its_luks_header(tmp_path):
    """quirk("measure-luks-refcounts")"""
    options, size = {**FAST, "cluster_size": 512}, 3 << 20
    content = random.Random(1).randbytes(size)
    _, geometry = encryption.written(tmp_path, options, size, content, [(0, size, Kind.DATA)])
    assert (tmp_path / "x").stat().st_size == geometry.overhead + size
    (tmp_path / "s").write_bytes(content)
    words = [*encryption.secrets(), "-O", "qcow2", "-o", encryption.option_list(options)]
    oracle.img(tmp_path, "convert", "-f", "raw", *words, "s", "q")
    answer = json.loads(oracle.img(tmp_path, "measure", "--output=json", *words, "-f", "raw", "s"))
    assert answer["fully-allocated"] < (tmp_path / "q").stat().st_size == (tmp_path / "x").stat().st_size


SECRET = {"encrypt.key-secret": "s"}
LUKS = {**FAST, "encrypt.iter-time": 10}
REFUSED = {
    "no format": SECRET,
    "an alias off is no format": {"encryption": False, **SECRET},
    "both names": {"encryption": True, **LUKS},
    "both names and a version": {"encryption": True, **LUKS, "compat": "foo"},
    "a version and a format": {"encrypt.format": "foo", "compat": "foo"},
    "a format and a preallocation": {"encrypt.format": "foo", "preallocation": "foo"},
    "unknown format": {"encrypt.format": "foo", **SECRET},
    "luks without secret": {"encrypt.format": "luks"},
    "aes without secret": {"encrypt.format": "aes"},
    "encryption without secret": {"encryption": True},
    "aes with a cipher": {**AES, "encrypt.cipher-alg": "aes-128"},
    "aes with a time": {**AES, "encrypt.iter-time": 10},
    "cipher": {**LUKS, "encrypt.cipher-alg": "foo"},
    "mode": {**LUKS, "encrypt.cipher-mode": "foo"},
    "vectors": {**LUKS, "encrypt.ivgen-alg": "foo"},
    "hash": {**LUKS, "encrypt.hash-alg": "foo"},
    "hash of vectors": {**LUKS, "encrypt.ivgen-hash-alg": "foo"},
    "narrow blocks": {**LUKS, "encrypt.cipher-alg": "cast5-128"},
    "cluster size first": {"encrypt.format": "luks", "cluster_size": 3},
    "size first": {"encrypt.format": "luks", "cluster_size": 512, "size": 1 << 60},
    "no name of a data file": {**LUKS, "data_file": ""},
    "keep": {**LUKS, "keep_data_file": True},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_qemu_img_refuses_of_encryption_is_refused_with_its_words(tmp_path, name):
    options = dict(REFUSED[name])
    if "keep_data_file" in options and not oracle.knows("keep_data_file"):
        pytest.skip("this qemu-img does not know keep_data_file")
    size = options.pop("size", 1 << 20)
    words = [
        "create",
        "-q",
        *encryption.secrets(),
        "-f",
        "qcow2",
        "-o",
        encryption.option_list(options),
        "q",
        str(size),
    ]
    done = oracle.run(tmp_path, oracle.QEMU_IMG, *words)
    for ask in (lambda asked: next(write(None, asked, ())), lambda asked: hooks.instar_seal(None, asked)):
        with pytest.raises(FormatError) as caught:
            ask(executor.request(size, **options))
        assert done.stderr.strip() == f"qemu-img: q: {caught.value}"


def test_compression_and_encryption_do_not_go_together():
    for options in (FAST, AES, {"encryption": True, **SECRET}):
        with pytest.raises(FormatError, match=r"^Compression and encryption not supported at the same time$"):
            next(write(None, executor.request(1 << 20, compress=True, **options), ()))


def test_nothing_is_written_without_key_slots():
    for options in (FAST, AES):
        edits = write(None, executor.request(1 << 20, **options), ())
        assert isinstance(next(edits), Geometry)
        with pytest.raises(FormatError, match="no key slots were made"):
            next(edits)


def test_an_image_that_is_not_to_be_encrypted_needs_no_key_slots():
    with pytest.raises(FormatError, match="needs no key slots"):
        hooks.instar_seal(None, executor.request(1 << 20))
