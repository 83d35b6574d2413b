"""Loops: chains that come back, and tables that lead to themselves, to one another, or to what they stand beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import pack

from .case import MIB, Ask, Blob, Case, File, Hard, Link, always, ask, closed, only, walk
from .forge import bochs, cloop, dmg, luks, parallels, qcow, qcow2, qed, vdi, vhdx, vmdk, vpc

CLUSTER = 65536
COPIED = qcow2.COPIED
HANGS = "map and convert run for ever"


def cases() -> Iterator[Case]:
    """Chains, then tables by format."""
    yield from chains()
    for name, trick, blob, asks, *qemu in (*qemu_tables(), *microsoft_tables(), *vmware_tables(), *other_tables()):
        yield Case(f"loop: {name}", trick, "loops", only(blob), asks, qemu=qemu[0] if qemu else "")


def chains() -> Iterator[Case]:
    """Backing files that come back to an image that is open already, by whatever name."""

    def over(name: bytes, kind: bytes = b"qcow2") -> Blob:
        return qcow2.image(backing=name, extensions=qcow2.extension(qcow2.BACKING_FORMAT, kind))

    def vhd(name: str) -> Blob:
        return vpc.dynamic(
            names=[(b"W2ru", name.encode("utf-16-le"))], type=vpc.DIFFERENCING, parent_identity=bytes(range(16))
        )

    def delta(name: bytes) -> Blob:
        text = vmdk.text('RW 2048 SPARSE "x"', kind="monolithicSparse", parent=name, parent_cid="fffffffe")
        return vmdk.sparse(descriptor=text)

    rounds: tuple[tuple[str, Mapping[str, File], str], ...] = (
        ("two qcow2", {"x": over(b"y"), "y": over(b"x")}, "x"),
        ("two qcow2 by a symlink", {"x": over(b"y"), "y": over(b"z"), "z": Link("x")}, "z"),
        ("two qcow2 by a hard link", {"x": over(b"y"), "y": over(b"z"), "z": Hard("x")}, "z"),
        ("three qcow2", {"x": over(b"y"), "y": over(b"z"), "z": over(b"y")}, "y"),
        ("a folder's own link", {"x": over(b"here/x"), "here": Link(".")}, "here/x"),
        ("a VMDK", {"x": delta(b"x")}, "x"),
        ("two VMDKs", {"x": delta(b"y"), "y": delta(b"x")}, "x"),
        ("two VHDXs", {"x": vhdx.image(parent=vhdx.parent("y")), "y": vhdx.image(parent=vhdx.parent("x"))}, "x"),
        ("two VHDs", {"x": vhd("y"), "y": vhd("x")}, "x"),
        ("a qcow2 and a VMDK", {"x": over(b"y", b"vmdk"), "y": delta(b"x")}, "x"),
    )
    for name, files, back in rounds:
        line = f"Could not open 'x': Could not open backing file: Backing file '{back}' creates an infinite loop."
        yield Case(
            f"loop: {name}",
            "a chain that comes back",
            "no CVE: QEMU's backing loops",
            always(files),
            (ask("info", "x", 0), ask("map", "x", 1, line), ask("convert", "x", 1, line)),
            qemu=HANGS,
        )
    long = {f"{n}": over(b"%d" % (n + 1)) for n in range(1, 230)}
    long["x"] = over(b"1")
    line = "Could not open 'x': the backing chain is longer than 200 images"
    yield Case(
        "loop: a chain of 230",
        "a chain that does not end",
        "no CVE: unbounded chains",
        lambda _: long,
        (Ask(("map", "x"), 1, line, (), ("instar",)),),
        seconds=60,
    )


Row = tuple[str, str, Blob, tuple[Ask, ...]] | tuple[str, str, Blob, tuple[Ask, ...], str]


def qemu_tables() -> Iterator[Row]:
    """qcow2, qcow, QED."""
    table = 3 * CLUSTER | COPIED
    yield "qcow2 L1 to itself", "an L1 entry leads to the L1 table", qcow2.image(l1=[table]), walk(check=2)
    yield "qcow2 L2 to L1", "a data cluster is the L1 table", qcow2.image(l2=[table]), walk(check=2)
    yield "qcow2 L2 to itself", "a data cluster is its own table", qcow2.image(l2=[4 * CLUSTER | COPIED]), walk(check=2)
    yield "qcow2 one L2 for all", "64 L1 entries lead to one table", shared(), walk(check=2)
    yield "qcow2 refcounts to themselves", "the refcount block is the table", refcounts(CLUSTER), walk(check=2)
    yield "qcow2 refcounts in the header", "the refcount block is not aligned", refcounts(512), walk(check=1)
    same = qcow2.image(l1_offset=CLUSTER)
    yield "qcow2 L1 is the refcount table", "two tables in one place", same, walk(check=2)
    yield "qcow2 refcount table is the header", "a table over the header", qcow2.image(reftable_offset=0), walk(check=2)
    first = "Image is corrupt: L1 entry 0x514649fb00000003 has reserved bits set (L1 index: 0)"
    yield "qcow2 L1 is the header", "a table over the header", qcow2.image(l1_offset=0), walk(first, 2)
    snapshot = qcow2.snapshot(b"s", l1_offset=3 * CLUSTER, l1_size=1)
    active = qcow2.image(snapshots=1, snapshots_offset=5 * CLUSTER, more=((5 * CLUSTER, snapshot),))
    yield "qcow2 snapshot shares the L1", "a snapshot has the active table", active, walk(check=2)
    over = qcow2.image(snapshots=1, snapshots_offset=3 * CLUSTER)
    yield "qcow2 snapshots over the L1", "the snapshot table is the L1 table", over, walk(check=2)
    yield "qcow L1 to itself", "an L1 entry leads to the L1 table", qcow.image(l1=[4096]), walk(check=2)
    yield "qcow L2 to itself", "all clusters are their own table", qcow.image(l2=[8192] * 256), walk(check=2)
    yield "qcow L2 to the header", "a data cluster is the header", qcow.image(l2=[512]), walk(check=2)
    yield "qed L1 to itself", "an L1 entry leads to the L1 table", qed.image(l1=[4096]), walk(check=2)
    yield "qed L2 to L1", "a data cluster is the L1 table", qed.image(l2=[4096]), walk(check=2)
    yield "qed L2 to itself", "a data cluster is its own table", qed.image(l2=[3 * 4096]), walk(check=2)
    yield (
        "qed L1 is the header",
        "a table over the header",
        qed.image(l1_offset=0),
        closed("QED table offset is invalid"),
    )


def shared() -> Blob:
    """A file of 1 MiB whose disk has 8 GiB, all of them one cluster."""
    return qcow2.image(l1=[4 * CLUSTER | COPIED] * 2, size=2 * 8192 * CLUSTER, l2=[5 * CLUSTER | COPIED] * 8192)


def refcounts(block: int) -> Blob:
    """The refcount block lies there."""
    return qcow2.image(more=((CLUSTER, pack(">Q", block)),))


def microsoft_tables() -> Iterator[Row]:
    """VHDX, VHD, VDI."""
    named = "VHDX BAT entry 0 lies in the headers"
    yield "vhdx block in the headers", "a block of the disk is the headers", vhdx.image(table={0: 6}), walk(named, 2)
    twice = vhdx.image(table={0: 4 * MIB | 6, 1: 4 * MIB | 6}, file=5 * MIB)
    yield "vhdx one block for two", "two blocks of the disk in one place", twice, walk(check=2)
    for name, start in (("log", MIB), ("metadata", 2 * MIB), ("table", 3 * MIB)):
        clash = f"VHDX region {start}-{start + MIB} overlaps with region {start}-{start + MIB}"
        yield f"vhdx block in the {name}", "a block is metadata", vhdx.image(table={0: start | 6}), walk(clash, 2)
    both = [(vhdx.METADATA, 2 * MIB, MIB, 1), (vhdx.BAT, 2 * MIB, MIB, 1)]
    clash = "VHDX region 2097152-3145728 overlaps with region 2097152-3145728"
    yield "vhdx regions in one place", "the table is the metadata", vhdx.image(region=both), closed(clash)
    log = [(vhdx.METADATA, MIB, MIB, 1), (vhdx.BAT, 3 * MIB, MIB, 1)]
    clash = "VHDX region 1048576-2097152 overlaps with region 1048576-2097152"
    yield "vhdx region in the log", "the metadata are the log", vhdx.image(region=log), closed(clash)
    head = [(vhdx.METADATA, 0, MIB, 1), (vhdx.BAT, 3 * MIB, MIB, 1)]
    place = "the region 8b7ca206-4790-4b9a-b8fe-575f050f886e, 1048576 bytes at 0, has no possible place"
    yield "vhdx region over the headers", "the metadata are the headers", vhdx.image(region=head), closed(place)
    again = vhdx.image(more_items=[(vhdx.DISK_SIZE, bytes(8), 6)])
    yield (
        "vhdx size twice",
        "two sizes",
        again,
        closed("the metadata item 2fa54224-cd1b-4876-b211-5dbed83bf4b8 is there twice"),
    )
    cut = "block-vpc: free_data_block_offset points after the end of file. The image has been truncated."
    yield "vpc table is the header", "a table over the header", vpc.dynamic(table_offset=512, size=8 * MIB), closed(cut)
    yield (
        "vpc header is the footer",
        "a header over the footer",
        vpc.dynamic(header_offset=0),
        closed("Invalid header magic"),
    )
    yield "vpc block in the table", "both blocks are the table", vpc.dynamic(table=[3, 3], size=8 * MIB), walk(check=2)
    yield "vdi one block for two", "two blocks in one place", vdi.image(bmap=[0, 0], file=1024 + MIB), walk(check=2)
    yield "vdi map is the header", "a table over the header", vdi.image(bmap_offset=0, file=4 * MIB), walk(check=2)
    yield (
        "vdi blocks over the header",
        "data over the header",
        vdi.image(bmap=[0, 1], data=0, file=4 * MIB),
        walk(check=3),
    )


def vmware_tables() -> Iterator[Row]:
    """Hosted sparse extents and those of ESX."""
    yield "vmdk directory to itself", "a grain table is the directory", vmdk.sparse(gd=[27]), walk()
    yield "vmdk table to the directory", "all grains are the directory", vmdk.sparse(gt=[27] * 16), walk()
    yield "vmdk table to the descriptor", "all grains are the descriptor", vmdk.sparse(gt=[1] * 16), walk()
    yield "vmdk directory to the descriptor", "a grain table is text", vmdk.sparse(gd=[1]), walk(check=1)
    yield "cowd directory to itself", "a grain table is the directory", vmdk.cowd(gd=[4], gt=[4] * 20), walk()


def other_tables() -> Iterator[Row]:
    """Parallels, Bochs, cloop, dmg, LUKS."""
    yield (
        "parallels one cluster for two",
        "two BAT entries",
        parallels.image(bat=[1, 1, *[0] * 14], file=131072),
        walk(check=2),
    )
    old = parallels.image(bat=[1] * 16, magic=parallels.OLD, data=0, file=MIB)
    yield "parallels BAT to the BAT", "all clusters are the BAT", old, walk(check=2)
    full = (576, b"\xff" * 512 + b"a" * 4096)
    yield (
        "bochs one extent for two",
        "two entries",
        bochs.image(catalog=[0, 0] + [bochs.FREE] * 14, more=(full,)),
        walk(check=2),
    )
    outside = "the extent for byte 0 is not inside the file"
    yield "bochs catalogue is the header", "a table over the header", bochs.image(header=0), walk(outside, 2)
    table = "error while reading at byte 0: a compressed block is corrupt: …"
    yield "cloop block in the table", "a block is the table", cloop.image(offsets={0: 136}), walk("", 2, table)
    back = "offsets not monotonically increasing at index 1, image file is corrupt"
    yield "cloop offsets go back", "a block ends before it begins", cloop.image(offsets={1: 100}), closed(back)
    two = "two chunks hold the sector 5"
    yield "dmg chunks over one another", "two chunks", dmg.image([(0, 0, 2048, 0, 0), (1, 5, 1, 0, 512)]), walk(two, 2)
    koly = dmg.image([(dmg.RAW, 0, 1, 900, 512), (dmg.ZERO, 1, 2047, 0, 0)])
    yield "dmg chunk in the trailer", "a chunk is the property list and the trailer", koly, walk(check=2)
    for name, slots, message in (
        ("header", {0: {"material": 0}}, "Keyslot 0 is overlapping with the LUKS header"),
        ("payload", {0: {"material": 4090}}, "Keyslot 0 is overlapping with the encrypted payload"),
        ("next slot", {1: {"material": 8}}, "Keyslots 0 and 1 are overlapping in the header"),
    ):
        yield f"luks slot over the {name}", "key material over something else", luks.image(slots=slots), closed(message)
    found = (ask("info", "x", 0), Ask(("check", "x"), 2, "⋮", (), ("instar",)))
    for name, offset in (("header", 0), ("other copy", 16384), ("payload", 17 << 20)):
        area = luks.image2(keyslots={"0": luks.slot("area", offset=str(offset))})
        yield f"luks2 slot over the {name}", "key material over something else", area, found
