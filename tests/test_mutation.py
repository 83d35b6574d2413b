"""Hostile values in every field of qcow2 and vmdk images give an answer or a FormatError, inline and in the jail.

INSTAR_FUZZ_SEED and INSTAR_FUZZ_CASES choose the changes and their number.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess

import pytest

from instar_core.testing import Subject, fuzz, hostile, specimen
from instar_core.testing.beside import beside
from instar_core.testing.subject import load_spec

pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
pytest.importorskip("instar_vmdk", reason="instar-vmdk is not installed")

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
SEED = 20261121


load = beside(__file__)
mutation = load("mutation")
qcow2_layout, vmdk_layout = load("mutation_qcow2"), load("mutation_vmdk")
places = load("mutation_places")

QCOW2 = {
    "default": "",
    "version 2 small": "compat=0.10,cluster_size=512",
    "subclusters": "extended_l2=on,cluster_size=16k",
    "one-bit refcounts": "refcount_bits=1,cluster_size=4k",
    "wide refcounts lazy zstd": "refcount_bits=64,lazy_refcounts=on,compression_type=zstd,cluster_size=8k",
    "preallocated": "preallocation=metadata,cluster_size=32k",
    "data file": "data_file=data.raw,cluster_size=8k",
    "over a backing image": "backing",
    "luks": "luks",
}
WRITES = ("write -P 1 0 100k", "write -c -P 5 512k 64k", "write -z 1M 64k", "discard 64k 64k", "write -P 2 1500k 3k")
SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")


def run(folder, *command, must=True):
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert not must or done.returncode == 0, (command, done.stderr)


def qcow2(folder, name, options):
    """A small image with everything that its kind can have: snapshots, bitmaps, compressed and zero clusters."""
    extra = ["-o", options] if options else []
    if options == "backing":
        run(folder, QEMU_IMG, "create", "-q", "-f", "raw", "base.raw", "1M")
        extra = ["-b", "base.raw", "-F", "raw"]
    opened = ["-f", "qcow2", name]
    if options == "luks":
        secret = ["--object", "secret,id=s,data=x"]
        extra = [*secret, "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"]
        opened = [*secret, "--image-opts", f"driver=qcow2,encrypt.key-secret=s,file.filename={name}"]
    run(folder, QEMU_IMG, "create", "-q", "-f", "qcow2", *extra, name, "2M")
    writes = [word for write in WRITES for word in ("-c", write)]
    run(folder, QEMU_IO, "-d", "unmap", *writes, *opened, must=False)
    if options != "luks":
        run(folder, QEMU_IMG, "snapshot", "-c", "one", name, must=False)
        run(folder, QEMU_IO, "-c", "write -P 3 32k 80k", *opened, must=False)
        run(folder, QEMU_IMG, "snapshot", "-c", "two", name, must=False)
        run(folder, QEMU_IMG, "bitmap", "--add", name, "map", must=False)
        run(folder, QEMU_IO, "-c", "write -P 4 1M 10k", *opened, must=False)
    return name


def esx(folder):
    """The kinds that qemu-img cannot make: COWD and seSparse, by hand."""
    zeros = bytes(1 << 20)
    sectors, grains = 4096 + 100, (0, 1, 2, 7, 4100)
    head = struct.pack("<4s7I", b"COWD", 1, 3, sectors, 1, 4, 2, 0).ljust(2048, b"\0")
    entries = [0] * 8192
    for place, grain in enumerate(grains):
        entries[grain] = 5 + 64 + place
    body = struct.pack("<2I", 5, 37).ljust(512, b"\0") + struct.pack("<8192I", *entries)
    (folder / "cowd-delta.vmdk").write_bytes(head + body + zeros[: 512 * len(grains)])
    fields = [
        0xCAFEBABE,
        0x200000001,
        8 * 4096,
        8,
        64,
        0,
        0,
        0,
        0,
        0,
        1,
        1,
        2,
        1,
        3,
        1,
        8,
        8,
        64,
        64,
        0,
        0,
        0,
        0,
        128,
        0,
    ]
    table = [0] * 4096
    for grain, kind in ((0, 3), (1, 3), (2, 2), (3, 1), (9, 3)):
        table[grain] = kind << 60 | (grain << 48 if kind == 3 else 0)
    data = struct.pack("<26Q", *fields).ljust(512, b"\0") + struct.pack("<4Q", 0xCAFECAFE, 0, 0, 0)
    data = data.ljust(4096, b"\0") + struct.pack("<Q", 1 << 60)
    data = data.ljust(64 * 512, b"\0") + struct.pack("<4096Q", *table)
    (folder / "se-sesparse.vmdk").write_bytes(data + zeros[: 10 * 4096])
    text = '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="%s"\n# Extents\n%s\n'
    (folder / "cowd.vmdk").write_text(text % ("vmfsSparse", f'RW {sectors} VMFSSPARSE "cowd-delta.vmdk"'))
    (folder / "se.vmdk").write_text(text % ("seSparse", f'RW {8 * 4096} SESPARSE "se-sesparse.vmdk"\nRW 8 ZERO'))
    return ["cowd.vmdk", "se.vmdk"]


def with_footer(folder):
    """A stream whose header sends the reader to a footer, as other writers make them."""
    data = (folder / "streamOptimized.vmdk").read_bytes()
    data += bytes(-len(data) % 512)
    marker = struct.pack("<QII496x", 1, 0, 3)
    (folder / "footer.vmdk").write_bytes(data[:56] + b"\xff" * 8 + data[64:] + marker + data[:512] + bytes(512))
    return ["footer.vmdk"]


class Base:
    """A format, its hooks, its images and their fields."""

    def __init__(self, folder, format, paths):
        self.subject = Subject(load_spec(format))
        self.format = format
        self.paths = paths
        self.images = [specimen.opened(self.subject, name, folder / name) for name in paths]
        find = (lambda media: qcow2_layout.fields(media[0])) if format == "qcow2" else vmdk_layout.fields
        self.fields = [list(find(image.media)) for image in self.images]

    def cases(self, count, seed):
        """So many changes, each image having as many as any other."""
        for number, (image, fields) in enumerate(zip(self.images, self.fields, strict=True)):
            share = count // len(self.images) + (number < count % len(self.images))
            for made in mutation.mutations(image.media, fields, random.Random(f"{seed}/{image.name}"), share):
                yield image, made


@pytest.fixture(scope="session")
def bases(tmp_path_factory):
    """Images of every kind, made once."""
    if not QEMU_IMG or not QEMU_IO:
        pytest.skip("qemu-img or qemu-io is not installed")
    folder = tmp_path_factory.mktemp("bases")
    made = [qcow2(folder, f"{name.replace(' ', '-')}.qcow2", options) for name, options in QCOW2.items()]
    raw = ("-f", "raw", "source.raw")
    run(folder, QEMU_IMG, "create", "-q", *raw, "2M")
    run(folder, QEMU_IO, "-c", "write -P 1 0 100k", "-c", "write -P 2 1500k 3k", *raw)
    disks = []
    for name in SUBFORMATS:
        options = f"subformat={name},zeroed_grain={'on' if 'Sparse' in name else 'off'}"
        run(folder, QEMU_IMG, "convert", "-f", "raw", "-O", "vmdk", "-o", options, "source.raw", f"{name}.vmdk")
        disks.append(f"{name}.vmdk")
    sparse = ("-f", "vmdk", "monolithicSparse.vmdk")
    run(folder, QEMU_IO, "-c", "write -z 1M 64k", *sparse)
    overlay = ("create", "-q", "-f", "vmdk", "-b", "monolithicSparse.vmdk", "-F", "vmdk", "overlay.vmdk")
    run(folder, QEMU_IMG, *overlay)
    run(folder, QEMU_IO, "-c", "write -P 9 64k 70k", "-f", "vmdk", "overlay.vmdk")
    return Base(folder, "qcow2", made), Base(
        folder, "vmdk", [*disks, "overlay.vmdk", *with_footer(folder), *esx(folder)]
    )


def number(variable, default):
    return int(os.environ.get(variable, default))


def test_the_fields_are_all_that_the_layouts_name(bases):
    for base in bases:
        found = {field.stratum for fields in base.fields for field in fields}
        print(
            f"\n{base.format}: {sum(map(len, base.fields))} fields in {len(found)} strata: {', '.join(sorted(found))}"
        )
        wanted = {
            "qcow2": {
                *(f"header.{name}" for name in (*qcow2_layout.V2, *qcow2_layout.V3, "compression_type")),
                *(f"snapshot.{name}" for name in (*qcow2_layout.SNAPSHOT, "id", "name")),
                *(f"snapshot extra.{name}" for name in qcow2_layout.EXTRA),
                *(f"extension bitmaps.{name}" for name in qcow2_layout.BITMAPS),
                *(f"bitmap.{name}" for name in (*qcow2_layout.BITMAP, "name")),
                *("extension.type", "extension.length", "extension crypto.offset", "luks header", "backing file name"),
                *("L1 entry", "L2 entry", "L2 subcluster bitmap", "snapshot L1 entry", "snapshot L2 entry"),
                *("refcount table entry", "refcount", "bitmap table entry", "extension feature name.bit"),
            },
            "vmdk": {
                *(f"{place}.{name}" for place in ("header", "footer") for name in vmdk_layout.HOSTED),
                *(f"cowd.{name}" for name in vmdk_layout.COWD),
                *(f"sesparse.{name}" for name in vmdk_layout.SESPARSE),
                *("grain directory entry", "grain table entry", "redundant grain directory entry"),
                *("redundant grain table entry", "grain marker.sector", "grain marker.size", "metadata marker.type"),
                *("cowd grain directory entry", "sesparse grain table entry", "descriptor extent", "descriptor CID"),
            },
        }[base.format]
        assert wanted <= found, wanted - found


def inline(bases, count):
    seed = number("INSTAR_FUZZ_SEED", SEED)
    print(f"\nINSTAR_FUZZ_SEED={seed} INSTAR_FUZZ_CASES={count}")
    for base in bases:
        done = fuzz.show(base.cases(count // len(bases), seed), base.subject, seed)
        print(f"{base.format}: {done}", flush=True)
        assert not done.failures, str(done)
        assert done.runs == count // len(bases)


def test_hooks_answer_or_refuse_whatever_a_field_says(bases):
    inline(bases, number("INSTAR_FUZZ_CASES", 3000))


@pytest.mark.long
def test_hooks_answer_or_refuse_whatever_a_field_says_at_length(bases):
    inline(bases, number("INSTAR_FUZZ_CASES", 50_000))


def jailed(bases, folder, count):
    seed = number("INSTAR_FUZZ_SEED", SEED)
    print(f"\nINSTAR_FUZZ_SEED={seed} INSTAR_FUZZ_CASES={count}")
    for base in bases:
        told = places.show(base.cases(count // len(bases), seed), base.format, folder, "process")
        print(f"{base.format} in the jail: {told}", flush=True)
        assert not told.failures
        assert told.done == count // len(bases)
        assert told.slowest[0] < places.SECONDS


def test_jailed_sessions_answer_or_refuse_whatever_a_field_says(bases, tmp_path):
    jailed(bases, tmp_path, number("INSTAR_FUZZ_CASES", 100))


@pytest.mark.long
def test_jailed_sessions_answer_or_refuse_whatever_a_field_says_at_length(bases, tmp_path):
    jailed(bases, tmp_path, number("INSTAR_FUZZ_CASES", 2000))


def test_a_hook_that_fails_is_noticed(bases, monkeypatch):
    base = bases[0]

    def info(image):
        if image.main.read(4, 4, pad=True) != b"\0\0\0\3":
            raise KeyError("a hook that does not check its input")
        return base.subject.info(image)

    class Careless(Subject):
        __slots__ = ()

        def info(self, image):
            return info(image)

    done = fuzz.show(base.cases(2000, SEED), Careless(base.subject.spec), SEED, most_failures=3)
    assert done.failures
    assert all("KeyError" in failure.error for failure in done.failures)


def test_mutations_change_the_image_they_are_of(bases):
    for base in bases:
        for image, made in base.cases(200, SEED):
            changed = hostile.apply(image.media, made)[made.device]
            plain = image.media[made.device]
            same = changed.size == plain.size and changed.pread(plain.size, 0) == plain.pread(plain.size, 0)
            assert not same or all(plain.pread(len(data), offset) == data for offset, data in made.patches)
