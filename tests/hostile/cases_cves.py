"""Tricks with a number of their own, and those that still work on QEMU, where no other group has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import pack

from . import outside
from .case import MIB, Ask, Blob, Case, File, Place, ask, closed, only, walk
from .forge import bochs, cloop, dmg, iso, luks, parallels, qcow, qcow2, qed, vdi, vhdx, vmdk, vpc

CLUSTER = 65536
CUT = "block-vpc: free_data_block_offset points after the end of file. The image has been truncated."


def cases() -> Iterator[Case]:
    """Single images, then those of several files."""
    for source, name, blob, asks, *qemu in (*older(), *newer(), *live(), *empty()):
        data = Blob(blob) if isinstance(blob, bytes) else blob
        yield Case(f"{source}: {name}", name, source, only(data), asks, qemu=qemu[0] if qemu else "")
    yield from beside()
    yield from policies()


Row = tuple[str, str, Blob | bytes, tuple[Ask, ...]] | tuple[str, str, Blob | bytes, tuple[Ask, ...], str]


def older() -> Iterator[Row]:
    """The series of 2014: fields whose product, sum or sign went wrong."""
    near = CLUSTER * 8
    snapshot = qcow2.snapshot(b"s", l1_offset=3 * CLUSTER, l1_size=(1 << 32) - 1)
    table = qcow2.image(snapshots=1, snapshots_offset=near, more=((near, snapshot),))
    layer = ("convert", "-l", "snapshot.id=1", "-O", "raw", "x", "out")
    large = (Ask(layer, 1, "…too large"), Ask(("check", "x"), 2, "⋮", (), ("instar",)))
    yield "CVE-2014-0143", "a snapshot's L1 table of 32 GiB", table, large
    unaligned = qcow2.snapshot(b"s", l1_offset=near + 7, l1_size=1)
    odd = qcow2.image(snapshots=1, snapshots_offset=near, more=((near, unaligned),))
    yield "CVE-2014-0145", "a snapshot's L1 table that is not aligned", odd, (Ask(layer, 1, "…"),)
    far = qcow2.snapshot(b"s", l1_offset=1 << 62, l1_size=1)
    off = qcow2.image(snapshots=1, snapshots_offset=near, more=((near, far),))
    yield "CVE-2014-0145", "a snapshot's L1 table at 2^62", off, (Ask(layer, 0),)
    broken = qcow2.image(snapshots=1, snapshots_offset=near, l1_size=0, more=((near, snapshot),))
    yield "CVE-2014-0146", "an image with snapshots that fails to open", broken, closed("L1 table is too small")
    outside_file = "the extent for byte 0 is not inside the file"
    signed = bochs.image(catalog=[0xFFFFFFFE] * 16)
    yield "CVE-2014-0147", "catalogue entries that are negative", signed, walk(outside_file, 2), "reads zeros"
    yield (
        "CVE-2014-0144",
        "cloop blocks of 513 bytes",
        cloop.image(block=513),
        closed("block_size 513 must be a multiple of 512"),
    )
    big = cloop.image(block=128 * MIB)
    yield "CVE-2014-0144", "cloop blocks of 128 MiB", big, closed("block_size 134217728 must be 64 MB or less")
    wide = "invalid compressed block size at index 4, image file is corrupt"
    yield "CVE-2014-0144", "a cloop block that ends at 2^62", cloop.image(offsets={4: 1 << 62}), closed(wide)
    yield "CVE-2014-0144", "a VHD's table past the end", vpc.dynamic(table=[0xFFFFFFFE, 0]), closed(CUT)
    name = "Backing file name too long"
    yield "CVE-2014-0144", "a name of 1024 bytes", qcow2.image(backing=b"n" * 1024), closed(name)
    yield "CVE-2014-0144", "a qcow name of 1024 bytes", qcow.image(backing=b"n" * 1024), closed(name)
    over = qed.image(backing=b"n", backing_offset=0xFFFFFFFF, backing_size=0xFFFFFFFF)
    yield "CVE-2014-0144", "a QED name whose end overflows", over, closed("QED backing filename offset is invalid")
    entry = qcow2.image(l2=[1 << 62 | (1 << 62) - 1])
    yield (
        "CVE-2014-0147",
        "a compressed cluster at the end of 2^54",
        entry,
        walk("", 2, "error while reading at byte 0: …"),
    )
    high = qcow2.image(l1=[0x00FFFFFFFFFF0000 | qcow2.COPIED])
    yield "CVE-2014-0143", "an L2 table at 2^56", high, walk(check=2)


def newer() -> Iterator[Row]:
    """Callers' CVEs: what a platform must not do with what somebody uploads. Names are in the group of names."""
    upload = qcow2.image(backing=b"/etc/passwd", extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"raw"))
    told = (ask("info", "x", 0, "", ("file format: raw",), ("-f", "raw")),)
    yield "CVE-2024-40767", "a qcow2 that is said to be raw", upload, told
    data = qcow2.image(incompatible=4, extensions=qcow2.extension(qcow2.DATA_FILE, b"/etc/passwd"))
    yield "CVE-2024-40767", "a qcow2 with a data file that is said to be raw", data, told
    lie = (Ask(("info", "-f", "vmdk", "x"), 1, "Could not open 'x': invalid VMDK image descriptor"),)
    yield "CVE-2024-40767", "a qcow2 that is said to be a VMDK", upload, lie
    resize = (Ask(("info", "x"), 0, "", ("file format: qcow2",)), *told)
    yield "CVE-2026-24708", "a raw disk with a guest's qcow2 header", upload, resize
    text = vmdk.text('RW 4 FLAT "/etc/passwd" 0')
    flat = "Could not open 'x': the extent '/etc/passwd' lies outside the image's own folder /{vm}"
    yield "CVE-2022-47951", "a VMDK that is said to be raw", text, told
    yield (
        "CVE-2022-47951",
        "a VMDK that is a file of the host",
        text,
        (Ask(("info", "x"), 1, flat), Ask(("convert", "-O", "qcow2", "x", "out"), 1, flat)),
        "converts /etc/passwd",
    )
    nameless = qcow2.image(incompatible=4)
    need = "Could not open 'x': 'data-file' is required for this image"
    yield (
        "CVE-2024-32498",
        "a data file without a name",
        nameless,
        (ask("info", "x", 0), ask("map", "x", 1, need), ask("convert", "x", 1, need)),
    )
    bare = qcow2.image(autoclear=2)
    none = "Could not open 'x': data-file-raw requires a data file"
    yield "CVE-2024-32498", "a raw data file without a data file", bare, (ask("info", "x", 0), ask("map", "x", 1, none))


def live() -> Iterator[Row]:
    """What QEMU still does."""
    none = closed("the descriptor names no extent")
    yield "no CVE", "a VMDK without extents", vmdk.text(), none, "aborts"
    negative = vmdk.text('RW -8 FLAT "x" 0')
    yield "no CVE", "a VMDK extent of -8 sectors", negative, closed('Invalid extent line: RW -8 FLAT "x" 0'), "aborts"
    zero = vmdk.text('RW 0 FLAT "x" 0')
    yield "no CVE", "a VMDK extent of no sectors", zero, closed('Invalid extent line: RW 0 FLAT "x" 0'), "aborts"
    yield "no CVE", "a VMDK of one ZERO extent", vmdk.text("RW 2048 ZERO"), walk(), "aborts"
    past = vmdk.text('RW 8 FLAT "x" 9999999999999')
    yield "no CVE", "a VMDK extent that begins past its file", past, walk(check=0), "the same"
    over = vmdk.text('RW 8 FLAT "x" 36028797018963968')
    yield (
        "no CVE",
        "a VMDK extent that begins at 2^64",
        over,
        closed('Invalid extent line: RW 8 FLAT "x" 36028797018963968'),
    )
    sizes = vmdk.text(*["RW 18014398509481983 ZERO"] * 3)
    yield "no CVE", "VMDK extents of 2^63 bytes together", sizes, closed("Image size is too large")
    device = vmdk.text('RW 8 FLAT "/dev/sda" 0', kind="fullDevice")
    yield "no CVE", "a VMDK of a device", device, closed("Unsupported image type 'fullDevice'")
    larger = vpc.dynamic(current=1 << 40)
    yield "no CVE", "a VHD larger than its table", larger, closed("Page table too small")
    unknown = qcow2.image(incompatible=1 << 63)
    yield (
        "no CVE",
        "a feature nobody knows",
        unknown,
        closed("Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000"),
    )
    link = vdi.image(type=4)
    why = "unsupported VDI image (a diff image, which says nothing by which its parent could be found)"
    yield "no CVE", "a VDI over another", link, closed(why), "shows zeros"
    split = dmg.image(segments=2)
    yield "no CVE", "a dmg in parts", split, closed("an image that is divided over 2 files cannot be read")
    locked = Blob(b"encrcdsa" + bytes(4096))
    yield (
        "no CVE",
        "an encrypted dmg",
        locked,
        closed("encrypted Apple disk images are not supported"),
        "takes it for raw",
    )
    entries = vhdx.image(parent=vhdx.parent("y"), locator_count=0xFFFF)
    yield "no CVE", "a VHDX locator of 65535 entries", entries, closed("a parent locator of 65535 entries is too long")
    required = vhdx.image(
        region=[(vhdx.METADATA, 2 * MIB, MIB, 1), (vhdx.BAT, 3 * MIB, MIB, 1), (vhdx.LOG, 5 * MIB, MIB, 1)]
    )
    yield (
        "no CVE",
        "a VHDX region nobody knows",
        required,
        closed("the required region 01234567-89ab-4def-8123-456789abcdef is not known"),
    )
    short = vhdx.image(size=64 << 40, region=[(vhdx.METADATA, 2 * MIB, MIB, 1), (vhdx.BAT, 3 * MIB, MIB, 1)])
    yield (
        "no CVE",
        "a VHDX of 64 TiB in a table of 1 MiB",
        short,
        closed("the block allocation table, 1048576 bytes, is too short for a disk of 70368744177664"),
    )
    area = luks.image2(keyslots={"0": luks.slot("area", size=str(1 << 62))})
    yield "no CVE", "a LUKS2 area of 4 EiB", area, closed("the area of keyslot 0 has more than 134217728 bytes")
    stripes = luks.image2(keyslots={"0": luks.slot("af", stripes=(1 << 32) - 1)})
    yield "no CVE", "4294967295 stripes", stripes, closed("LUKS2 metadata: keyslot 0 has 4294967295 stripes")
    sector = {"0": {**luks.metadata()["segments"]["0"], "sector_size": 0}}
    yield (
        "no CVE",
        "LUKS2 sectors of no bytes",
        luks.image2(segments=sector),
        closed("LUKS2 metadata: segment 0 has sectors of 0 bytes"),
    )
    torn = luks.image2().put(0, luks.MAGIC + pack(">H", 2) + bytes(8)).put(16384, bytes(512))
    yield "no CVE", "a LUKS2 header that is torn twice", torn, closed("LUKS2 header size 0 is not possible")
    flags = parallels.image(
        ext=128, file=131072, more=((65536, parallels.extension(parallels.feature(5, b"", flags=1))),)
    )
    yield "no CVE", "a Parallels feature nobody knows", flags, closed("Flags for extension feature are unsupported")
    deep = iso.image(tuple(iso.primary() for _ in range(200)), file=1 << 20)
    yield (
        "no CVE",
        "a CD of 200 volumes",
        deep,
        (ask("info", "x", 0, "", ("file format: iso",)), Ask(("check", "x"), 2, "⋮", (), ("instar",))),
    )


def empty() -> Iterator[Row]:
    """Almost nothing: the signature alone, or less."""
    unknown = closed("no format claims it and nothing shows that it is a raw disk; use -f raw if it is one")
    for name, data, asks in (
        ("QFI", b"QFI\xfb", unknown),
        ("QFI and a version", b"QFI\xfb\0\0\0\3", closed("Unsupported cluster size: 2^0")),
        ("KDMV", b"KDMV", closed("invalid VMDK image descriptor")),
        ("COWD", b"COWD", closed("…")),
        ("QED", b"QED\0", closed("QED cluster size is invalid")),
        ("vhdxfile", b"vhdxfile", closed("No valid VHDX header found")),
        ("conectix", b"conectix", closed("Incorrect header checksum")),
        ("LUKS", b"LUKS\xba\xbe", closed("LUKS version 0 is not supported")),
        ("text", b"# Disk DescriptorFile", closed("invalid VMDK image descriptor")),
        ("words", b"no disk at all\n" * 50, unknown),
    ):
        yield "no CVE", f"a file that is only {name}", data, asks


def beside() -> Iterator[Case]:
    """Where two files of somebody's play together."""

    def parts(_: Place) -> Mapping[str, File]:
        inner = vmdk.sparse(capacity=0, descriptor=vmdk.text('RW 8 FLAT "../outside/passwd" 0'))
        return {"x": vmdk.text('RW 2048 SPARSE "y"', kind="twoGbMaxExtentSparse"), "y": inner}

    yield Case(
        "no CVE: an extent with a descriptor of its own",
        "an extent that names extents",
        "CVE-2022-47951",
        parts,
        walk(),
    )

    def chain(_: Place) -> Mapping[str, File]:
        below = qcow2.image(incompatible=4, extensions=qcow2.extension(qcow2.DATA_FILE, b"../outside/passwd"))
        top = qcow2.image(backing=b"y", extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"qcow2"))
        return {"x": top, "y": below}

    line = (
        "Could not open 'x': Could not open backing file: the data file '../outside/passwd' lies outside the image's "
        "own folder /{vm}"
    )
    yield Case(
        "CVE-2024-32498: below a backing file",
        "a data file one image further down",
        "CVE-2024-32498",
        chain,
        (ask("info", "x", 0), ask("map", "x", 1, line), ask("convert", "x", 1, line)),
    )
    yield Case(
        "CVE-2024-4467: a target of somebody's",
        "convert -n to an image whose data file is elsewhere",
        "CVE-2024-4467",
        target,
        (Ask(("convert", "-n", "-O", "qcow2", "disk", "x"), 1, "…data file…"),),
    )
    yield Case(
        "CVE-2015-5163: create over somebody's image",
        "create -b follows the names of what it is given",
        "CVE-2015-5163",
        over,
        (Ask(("create", "-f", "qcow2", "-b", "x", "-F", "qcow2", "out"), 0, "", ("Formatting",), ("qemu-img",)),),
        ("passwd",),
    )

    line = (
        "Could not open 'x': Could not open backing file: the backing file '../outside/passwd' shows no sign "
        "of being a raw disk"
    )
    yield Case(
        "CVE-2015-5163: compared and measured",
        "compare tells of a difference, measure of the size, of what is read",
        "CVE-2015-5163",
        over,
        (Ask(("compare", "x", "x"), 2, line), Ask(("measure", "-O", "qcow2", "x"), 1, line)),
        ("passwd",),
    )


def target(_: Place) -> Mapping[str, File]:
    """A disk, and an image to write it to, whose content would go to another file."""
    image = qcow2.image(incompatible=4, extensions=qcow2.extension(qcow2.DATA_FILE, b"../outside/disk"))
    return {"disk": outside.disk(b"harmless"), "x": image}


def over(_: Place) -> Mapping[str, File]:
    """An image with a backing file that is none."""
    return {"x": qcow2.image(backing=b"../outside/passwd", extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"raw"))}


def policies() -> Iterator[Case]:
    """Under stricter rules even a disk that looks like one is not opened."""

    def named(_: Place) -> Mapping[str, File]:
        return {"x": qcow2.image(backing=b"../outside/disk", extensions=qcow2.extension(qcow2.BACKING_FORMAT, b"raw"))}

    for policy in ("untrusted", "strict"):
        refusal = f"the image policy '{policy}' allows no backing file: '../outside/disk'"
        line = f"Could not open 'x': Could not open backing file: {refusal}"
        asks = (Ask(("convert", "--image-policy", policy, "-O", "raw", "x", "out"), 1, line),)
        yield Case(
            f"no CVE: policy {policy}", "a backing file that is a disk of somebody else", "CVE-2015-5163", named, asks
        )
