"""Content by sectors: decrypted on its way in and encrypted on its way out, as a library does it sector by sector."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess

import instar_sandbox
import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import instar_core
from instar_core import registry, wire
from instar_core.dataplane import edits as edits_module
from instar_core.dataplane.coding import DECODE, ENCODE, CodecPool
from instar_core.dataplane.compare import compare
from instar_core.dataplane.content import Content
from instar_core.dataplane.fill import fill
from instar_core.dataplane.sectors import sectors
from instar_core.errors import Cancelled, ContractViolation, DeviceError, ErrorKind, FormatError, NotInstalled
from instar_core.keyring import Keyring
from instar_core.piece import Piece
from instar_core.settings import Settings
from instar_core.types import Barrier, Coding, Copy, Geometry, Kind, Put, Truncate, Zero

KIB, MIB = 1 << 10, 1 << 20
KEY = random.Random(0).randbytes(64)
COUNTS = [
    pytest.param({}, 512, id="by-start"),
    pytest.param({"by": "offset"}, 512, id="by-offset"),
    pytest.param({"by": "start", "iv_step": 8, "iv_base": 24}, 4096, id="large-sectors"),
    pytest.param({"by": "offset", "iv_base": (1 << 64) - 3}, 1024, id="by-offset-with-base"),
]


def cipher(params=(), unit=512):
    return Coding("cipher", unit, False, {"cipher": "aes-xts-plain64", "key_size": 64, "key": KEY, **dict(params)})


def one_by_one(coding, data, start, offset, decrypt):
    """The sectors of `data`, which stand at `start` on the disk and at `offset` in the file, each by the library."""
    params, unit, made = coding.params, coding.unit, []
    place = offset if params.get("by") == "offset" else start
    assert place % unit == len(data) % unit == 0
    for at in range(0, len(data), unit):
        number = (place + at) // unit * params.get("iv_step", 1) + params.get("iv_base", 0)
        context = Cipher(algorithms.AES(KEY), modes.XTS((number % (1 << 64)).to_bytes(16, "little")))
        made.append((context.decryptor() if decrypt else context.encryptor()).update(data[at : at + unit]))
    return b"".join(made)


def encrypted_disk(files, coding, seed, size=3 * MIB):
    """Pieces of a disk whose extents lie anywhere in a file, some zeros, and what the disk reads as."""
    rng, unit = random.Random(seed), coding.unit
    stored, pieces, disk = bytearray(), [], bytearray()
    descriptor = files()
    while len(disk) < size:
        length = min(unit * rng.choice([1, 2, 9, 128, 700]), size - len(disk))
        start = len(disk)
        if rng.random() < 0.2:
            pieces.append(Piece(start, length, True))
            disk += bytes(length)
            continue
        stored += bytes(unit * rng.randrange(4))
        content = rng.randbytes(length)
        pieces.append(Piece(start, length, False, descriptor, len(stored), length, coding))
        stored += one_by_one(coding, content, start, len(stored), False)
        disk += content
    os.pwrite(descriptor, stored, 0)
    return pieces, bytes(disk)


def window(pieces):
    def found(start, length):
        for piece in pieces:
            first, last = max(start, piece.start), min(start + length, piece.start + piece.length)
            if first < last:
                by = first - piece.start
                yield piece._replace(start=first, length=last - first, offset=piece.offset + by, stored=last - first)

    return found


@pytest.mark.parametrize(("params", "unit"), COUNTS)
def test_any_place_of_an_encrypted_disk_is_decrypted_by_the_numbers_of_its_sectors(files, params, unit):
    coding = cipher(params, unit)
    pieces, disk = encrypted_disk(files, coding, 1)
    content = Content(window(pieces), sandbox="process")
    rng = random.Random(2)
    try:
        for _ in range(60):
            start = rng.randrange(len(disk))
            length = min(rng.choice([1, 512, 5000, 700 * KIB]), len(disk) - start)
            assert content.read(start, length) == disk[start : start + length]
    finally:
        content.close()
    plain, size = files(disk), len(disk)
    assert compare(iter(pieces), iter([Piece(0, size, False, plain)]), (size, size)) is None


def test_a_disk_that_follows_another_is_counted_from_its_own_start_or_by_its_place_in_the_file(files):
    for params in ({}, {"by": "offset"}):
        coding = cipher(params)
        pieces, disk = encrypted_disk(files, coding, 3, MIB)
        shift = 7 * MIB
        moved = [piece._replace(start=piece.start + shift, origin=shift) for piece in pieces]
        target = files()
        place(moved, Geometry(4096, shift + len(disk)), target)
        assert os.pread(target, MIB, shift).ljust(MIB, b"\0") == disk


def place(pieces, geometry, target, **options):
    """Every run goes to its own place."""
    fill(
        iter(pieces),
        geometry,
        lambda runs: [Copy(run.start, run.start, run.length) for run in runs],
        lambda: [Barrier()],
        [target],
        durable=False,
        **options,
    )


@pytest.mark.parametrize("params", [{"by": "sideways"}, {"iv_step": 0}, {"iv_step": "8"}, {"iv_step": 513}])
def test_sectors_that_cannot_be_counted_are_the_plugins_fault(files, params):
    piece = Piece(0, 512, False, files(bytes(512)), 0, 512, cipher(params))
    content = Content(window([piece]))
    try:
        with pytest.raises(ContractViolation, match="cannot be counted"):
            content.read(0, 512)
    finally:
        content.close()


def test_a_sector_that_begins_before_the_file_does_is_refused(files):
    content = Content(lambda *_: iter([Piece(4096 + 512, 512, False, files(bytes(4096)), 0, 512, cipher({}, 4096))]))
    try:
        with pytest.raises(FormatError, match="does not lie in the file"):
            content.read(4096 + 512, 512)
    finally:
        content.close()


def test_numbers_wrap_like_the_vectors_that_they_become():
    count = sectors(cipher({"iv_step": 512}))
    assert count.number((1 << 63) - 512) == (1 << 63) - 512
    assert count.number((1 << 64) + 512) == 512


class Scatterer:
    """Places every run somewhere else, in pieces of whole sectors, some of them late; knows where each sector went."""

    def __init__(self, geometry, seed):
        self.random = random.Random(seed)
        self.geometry = geometry
        self.end = 0
        self.waiting = []
        self.places = []
        self.runs = []

    def converse(self, runs):
        self.runs += runs
        self.waiting += [run for run in runs if run.kind == Kind.DATA]
        now, self.waiting = self.waiting, [run for run in self.waiting if self.random.random() < 0.2]
        for run in now:
            if run not in self.waiting:
                yield from self.place(run)

    def place(self, run):
        unit = self.geometry.cipher.unit
        at = 0
        cuts = sorted(self.random.randrange(0, run.length, unit) for _ in range(self.random.randrange(3)))
        for cut in [*cuts, run.length]:
            if cut > at:
                self.end += unit * self.random.randrange(3)
                self.places.append((run.start + at, self.end, cut - at))
                yield Copy(run.start + at, self.end, cut - at)
                self.end += -(-(cut - at) // unit) * unit
                at = cut

    def finish(self):
        for run in self.waiting:
            yield from self.place(run)
        yield Truncate(self.end)
        yield Barrier()

    def content(self, target):
        disk, coding = bytearray(self.geometry.size), self.geometry.cipher
        for start, offset, length in self.places:
            stored = os.pread(target, -(-length // coding.unit) * coding.unit, offset)
            disk[start : start + length] = one_by_one(coding, stored, start, offset, True)[:length]
            assert not any(one_by_one(coding, stored, start, offset, True)[length:]), "a short sector ends in zeros"
        return bytes(disk)


def sparse_disk(files, seed, size):
    """A raw disk with holes and zeros of every length."""
    rng, disk = random.Random(seed), bytearray(size)
    for _ in range(25):
        start, length = rng.randrange(size), rng.choice([1, 512, 4096, 70 * KIB, 300 * KIB])
        disk[start : start + length] = rng.randbytes(min(length, size - start))
    disk[-1] = 1
    return [Piece(0, size, False, files(bytes(disk)))], bytes(disk)


@pytest.mark.parametrize("sandbox", ["process", "inline"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("params", "unit"), COUNTS)
def test_all_that_is_copied_is_encrypted_by_the_numbers_of_its_sectors(files, params, unit, full, sandbox):
    coding = cipher(params, unit)
    size = 4 * MIB + 777
    geometry = Geometry(unit * (1 if full else 16), size, full=full, cipher=coding)
    pieces, disk = sparse_disk(files, 5, size)
    target, writer = files(), Scatterer(geometry, 6)
    fill(iter(pieces), geometry, writer.converse, writer.finish, [target], durable=False, sandbox=sandbox)
    assert writer.content(target) == disk
    offered = sum(run.length for run in writer.runs)
    assert offered == size if full else offered < size, "units of zeros are left out unless all is wanted"


def test_nothing_that_is_encrypted_is_left_as_a_hole_or_moved_by_the_kernel(files):
    """Zeros of the disk, and what a kernel copy would have moved, are ciphertext in the target."""
    size = 3 * MIB
    source = files(b"\1" * 512)
    os.ftruncate(source, size)
    target = files()
    for geometry in (Geometry(512, size, full=True, cipher=cipher()), Geometry(MIB, size, True, cipher=cipher())):
        os.ftruncate(target, 0)
        place([Piece(0, 2 * MIB, False, source), Piece(2 * MIB, MIB, True)], geometry, target, copy_range=True)
        stored = os.pread(target, size, 0)
        assert one_by_one(cipher(), stored, 0, 0, True) == b"\1" * 512 + bytes(size - 512)
        assert os.fstat(target).st_blocks * 512 >= size


def test_the_content_of_coded_images_is_encrypted_too(files):
    """From one key to another: decrypting and encrypting workers go on at the same time."""
    other = cipher({"by": "offset"}, 512)
    pieces, disk = encrypted_disk(files, other, 8, 9 * MIB)
    geometry = Geometry(64 * KIB, len(disk), full=True, cipher=cipher())
    target = files()
    place(pieces, geometry, target)
    assert one_by_one(cipher(), os.pread(target, len(disk), 0), 0, 0, True) == disk


def test_an_edit_after_a_copy_is_not_overtaken_by_it(files):
    size = 2 * MIB
    source, target = files(os.urandom(size)), files()

    def converse(runs):
        for run in runs:
            yield Copy(run.start, run.start, run.length)
        yield Put(0, b"put here")
        yield Zero(4096, 8192)

    geometry = Geometry(MIB, size, full=True, cipher=cipher())
    fill(iter([Piece(0, size, False, source)]), geometry, converse, lambda: [Truncate(size - 512)], [target])
    assert os.pread(target, 8, 0) == b"put here"
    assert os.pread(target, 8192, 4096) == bytes(8192)
    assert os.fstat(target).st_size == size - 512


def test_what_was_copied_before_a_barrier_is_in_the_target_when_it_is_flushed(files, monkeypatch):
    size = 3 * MIB
    disk = os.urandom(size)
    source, target = files(disk), files()
    seen = []
    monkeypatch.setattr(edits_module.os, "fdatasync", lambda file: seen.append(os.pread(file, size, 0)))

    def converse(runs):
        for run in runs:
            yield Copy(run.start, run.start, run.length)
        yield Barrier()

    geometry = Geometry(MIB, size, full=True, cipher=cipher())
    fill(iter([Piece(0, size, False, source)]), geometry, converse, lambda: (), [target])
    assert seen
    for stored in seen:
        assert one_by_one(cipher(), stored, 0, 0, True) == disk[: len(stored)]
    assert len(seen[-1]) == size


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        (Geometry(512, MIB, cipher=cipher(unit=4096)), "cannot be encrypted"),
        (Geometry(512, MIB, cipher=cipher()._replace(whole=True)), "cannot be encrypted"),
        (Geometry(64 * KIB, MIB, coding=Coding("zlib", 64 * KIB), cipher=cipher()), "cannot be encrypted"),
        (Geometry(512, MIB, cipher=cipher({"by": 7})), "cannot be counted"),
    ],
)
def test_a_geometry_whose_content_cannot_be_encrypted_is_refused(files, geometry, why):
    with pytest.raises(ContractViolation, match=why):
        place([Piece(0, MIB, False, files(b"x" * MIB))], geometry, files())


@pytest.mark.parametrize(
    ("params", "edit"),
    [
        ({}, Copy(256, 0, 512)),
        ({}, Copy(0, 0, 700)),
        ({"by": "offset"}, Copy(0, 100, 512)),
        ({}, Copy(64 * KIB - 512, 0, 512 + 100)),
    ],
)
def test_a_copy_that_is_not_whole_sectors_is_refused(files, params, edit):
    source = files(os.urandom(64 * KIB + 100))
    geometry = Geometry(64 * KIB, 64 * KIB + 4096, full=True, cipher=cipher(params))
    with pytest.raises(ContractViolation, match="whole sectors"):
        fill(iter([Piece(0, 64 * KIB, False, source)]), geometry, lambda _: [edit], lambda: (), [files()])


def test_a_cipher_without_its_key_and_an_unknown_one_are_refused_in_one_line(files):
    for coding, why in (
        (Coding("cipher", 512, False, {}), "no key was given"),
        (cipher({"cipher": "aes-y-plain"}), "not supported"),
    ):
        with pytest.raises(FormatError, match=why) as caught:
            place([Piece(0, MIB, False, files(b"x" * MIB))], Geometry(512, MIB, full=True, cipher=coding), files())
        assert "\n" not in str(caught.value)
        assert caught.value.kind in (ErrorKind.REFUSED, ErrorKind.UNSUPPORTED)


def test_a_full_disk_is_reported_for_encrypted_content_too(files):
    target, size = files(), 20 * MIB
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * MIB, limits[1]))
    try:
        with pytest.raises(DeviceError, match=f"writing at byte {16 * MIB}: File too large"):
            place([Piece(0, size, True)], Geometry(512, size, full=True, cipher=cipher()), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_written_past_the_page_cache_is_the_same(files):
    disk = os.urandom(5 * MIB + 3 * 512)
    pieces = [Piece(0, len(disk), False, files(disk))]
    geometry = Geometry(512, len(disk), full=True, cipher=cipher())
    for offset in (0, 2068480, 100 * 512):
        target = files()
        copies = lambda runs, by=offset: [Copy(run.start, by + run.start, run.length) for run in runs]  # noqa: E731
        fill(iter(pieces), geometry, copies, lambda: [Barrier()], [target], direct=True)
        assert one_by_one(cipher(), os.pread(target, len(disk), offset), 0, offset, True) == disk


def test_a_wish_to_stop_is_heard_in_a_long_stretch_of_zeros(files):
    """A terabyte of zeros is one copy: without looking in between it would go on for half an hour."""
    target, asked = files(), []

    def cancelled():
        asked.append(os.fstat(target).st_size)
        return len(asked) > 4

    with pytest.raises(Cancelled):
        place([], Geometry(512, 1 << 40, full=True, cipher=cipher()), target, cancelled=cancelled)
    assert 0 < asked[-1] < 200 * MIB


def test_memory_stays_bounded_while_much_is_encrypted(files):
    """Beside the arenas there is nothing that grows: what is held is let go of as soon as it is copied."""
    size = 192 * MIB
    source, target = files(os.urandom(MIB)), files()
    pieces = [Piece(at, MIB, False, source) for at in range(0, size, MIB)]
    place(pieces[:64], Geometry(512, 64 * MIB, full=True, cipher=cipher()), target)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    place(pieces, Geometry(512, size, full=True, cipher=cipher()), target)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * KIB


class Recorder:
    """Stands in for instar_sandbox.start: remembers what each worker was told, and how it was to be forked."""

    def __init__(self, monkeypatch):
        self.orders = []
        self.servers = []
        monkeypatch.setattr(instar_sandbox, "start", self)

    def __call__(self, platform, program, descriptors, bounds, *, server=None, snapshot=None):
        self.orders.append(wire.decode(program.argument))
        self.servers.append(server)
        return self

    def close(self):
        pass


def test_a_key_reaches_only_the_workers_of_its_own_coding_and_only_through_the_fork_server(monkeypatch):
    told = Recorder(monkeypatch)
    with CodecPool("process") as pool:
        for direction, coding in ((DECODE, Coding("zlib", 4096)), (DECODE, cipher()), (ENCODE, cipher())):
            pool.job(direction, coding).release()
    assert told.servers == [None, True, True]
    assert "key" not in told.orders[0]["params"]
    assert KEY not in wire.encode(told.orders[0])
    told = Recorder(monkeypatch)
    with CodecPool("process", guarded=True) as pool:
        pool.job(DECODE, Coding("zlib", 4096)).release()
        pool.job(ENCODE, Coding("deflate-12", 4096)).release()
    assert told.servers == [True, True]


def test_with_a_cipher_no_worker_of_the_copy_is_forked_from_the_process_that_holds_the_key(files, monkeypatch):
    seen = []
    start = instar_sandbox.start

    def noting(*arguments, server=None, **rest):
        seen.append(server)
        return start(*arguments, server=server, **rest)

    monkeypatch.setattr(instar_sandbox, "start", noting)
    import zlib

    data = zlib.compress(b"abc" * 30000)
    pieces = [Piece(0, 64 * KIB, False, files(data), 0, len(data), Coding("zlib", 64 * KIB))]
    place(pieces, Geometry(512, 64 * KIB, full=True, cipher=cipher()), files(), sandbox="process")
    assert seen == [True, True]


def test_a_missing_library_is_said_in_one_line_as_often_as_it_is_asked_for(files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.ciphers", None)
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives", None)
    content = Content(window([Piece(0, 4096, False, files(bytes(4096)), 0, 4096, cipher())]), sandbox="inline")
    started = []
    start = instar_sandbox.start
    monkeypatch.setattr(instar_sandbox, "start", lambda *a, **k: started.append(1) or start(*a, **k))
    try:
        for _ in range(5):
            with pytest.raises(NotInstalled, match="need the package cryptography") as caught:
                content.read(0, 4096)
            assert "crypto" in caught.value.hint
            assert "\n" not in str(caught.value)
    finally:
        content.close()
    assert len(started) == 1, "a worker that can do nothing is not started again and again"


@pytest.fixture
def qemu_img():
    found = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if not found:
        pytest.skip("there is no qemu-img here")
    return found


def asked(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "prefix", "options"),
    [
        ("luks", "", "iter-time=10"),
        ("luks", "", "iter-time=10,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256"),
        ("qcow2", "encrypt.", "encrypt.format=luks,encrypt.iter-time=10"),
        ("qcow2", "encrypt.", "encrypt.format=aes"),
    ],
)
def test_encrypted_images_of_qemu_read_as_it_says(tmp_path, qemu_img, name, prefix, options):
    if name not in registry.entries():
        pytest.skip(f"instar-{name} is not installed")
    raw, image = tmp_path / "raw", tmp_path / "image"
    disk = bytearray(5 * MIB)
    rng = random.Random(9)
    for start in (0, MIB + 512, 3 * MIB - 1024, 5 * MIB - 512):
        length = min(400 * KIB, len(disk) - start)
        disk[start : start + length] = rng.randbytes(length)
    raw.write_bytes(disk)
    told = f"{prefix}key-secret=s,{options}"
    secret = ["--object", "secret,id=s,data=open sesame"]
    asked(qemu_img, "convert", *secret, "-f", "raw", "-O", name, "-o", told, raw, image)
    settings = Settings(keyring=Keyring({"s": b"open sesame"}))
    with instar_core.open(str(image), open_options={f"{prefix}key-secret": "s"}, settings=settings) as found:
        assert found.pread(len(disk), 0) == disk
        for _ in range(30):
            start = rng.randrange(len(disk))
            assert found.pread(3000, start) == disk[start : start + 3000]
