"""Headers that are at fault, each with the words in which qemu refuses it. No foreign program is needed."""

from __future__ import annotations

import struct

import pytest
from instar_qcow2 import SPEC, hooks, layout

from instar_core.errors import ErrorKind, FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Flag, Kind, Layer, ProbeView, Role, Severity, Span

CLUSTER = 65536


def image_bytes(*, extensions=b"", backing=b"", **fields):
    """A small image of 1 MiB: header, refcount table, refcount block, L1 table, with `fields` of the header changed."""
    header = dict(
        magic=layout.MAGIC,
        version=3,
        backing_offset=0,
        backing_size=len(backing),
        cluster_bits=16,
        size=1 << 20,
        crypt_method=0,
        l1_size=1,
        l1_offset=3 * CLUSTER,
        table_offset=CLUSTER,
        table_clusters=1,
        nb_snapshots=0,
        snapshots_offset=0,
        incompatible=0,
        compatible=0,
        autoclear=0,
        refcount_order=4,
        header_length=112,
        compression_type=0,
    )
    if backing:
        header["backing_offset"] = 112 + len(extensions) + 8
    header.update(fields)
    values = list(header.values())
    start = layout.HEADER_V2.pack(*values[:13]) + layout.HEADER_V3.pack(*values[13:18]) + bytes([values[18]]) + bytes(7)
    made = bytearray(4 * CLUSTER)
    first = start + extensions + bytes(8) + backing
    made[: len(first)] = first
    made[CLUSTER : CLUSTER + 8] = (2 * CLUSTER).to_bytes(8, "big")
    for cluster in range(4):
        made[2 * CLUSTER + 2 * cluster : 2 * CLUSTER + 2 * cluster + 2] = b"\0\1"
    return bytes(made)


def extension(kind, data):
    return layout.EXTENSION.pack(kind, len(data)) + data + bytes(-len(data) % 8)


def image(**fields):
    return Image([bytes_source(image_bytes(**fields))])


BITMAPS = layout.AUTOCLEAR_BITMAPS
REFUSED = [
    (dict(magic=b"QFI\xfa"), "Image is not in qcow2 format"),
    (dict(version=1), "Unsupported qcow2 version 1"),
    (dict(version=4), "Unsupported qcow2 version 4"),
    (dict(cluster_bits=8), "Unsupported cluster size: 2^8"),
    (dict(cluster_bits=22), "Unsupported cluster size: 2^22"),
    (dict(cluster_bits=0xFFFFFFFF), "Unsupported cluster size: 2^4294967295"),
    (dict(backing_offset=512, backing_size=1024), "Backing file name too long"),
    (dict(backing_offset=CLUSTER + 1, backing_size=4), "Invalid backing file offset"),
    (dict(size=(1 << 64) - 1), "Could not refresh total sector count: File too large"),
    (dict(size=(1 << 63) - 512), "Image is too big"),
    (dict(crypt_method=2), "Missing CRYPTO header for crypt method 2"),
    (dict(crypt_method=3), "Unsupported encryption method 3"),
    (dict(l1_size=0), "L1 table is too small"),
    (dict(l1_size=4194305), "Active L1 table too large"),
    (dict(l1_offset=1), "Active L1 table offset invalid"),
    (dict(l1_offset=1 << 63), "Active L1 table offset invalid"),
    (dict(table_offset=1), "Reference count table offset invalid"),
    (dict(table_clusters=0), "Image does not contain a reference count table"),
    (dict(table_clusters=129), "Reference count table too large"),
    (dict(nb_snapshots=65537), "Snapshot table too large"),
    (dict(snapshots_offset=1, nb_snapshots=1), "Snapshot table offset invalid"),
    (dict(incompatible=1 << 5), "Unsupported qcow2 feature(s): Unknown incompatible feature: 20"),
    (dict(incompatible=1 << 63), "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000"),
    (dict(incompatible=8), "qcow2: Compression type incompatible feature bit must not be set"),
    (dict(compression_type=1), "qcow2: Compression type incompatible feature bit must be set"),
    (dict(compression_type=2, incompatible=8), "qcow2: unknown compression type: 2"),
    (dict(incompatible=16, cluster_bits=12, l1_offset=CLUSTER), "Unsupported subcluster size: 128"),
    (dict(refcount_order=7), "Reference count entry width too large; may not exceed 64 bits"),
    (dict(header_length=100), "qcow2 header too short"),
    (dict(header_length=2 * CLUSTER), "qcow2 header exceeds cluster size"),
    (dict(extensions=struct.pack(">II", 1, 0xFFFFFFFF)), "Header extension too large"),
    (
        dict(extensions=extension(layout.EXT_BACKING_FORMAT, bytes(16))),
        "ERROR: ext_backing_format: len=16 too large (>=16)",
    ),
    (
        dict(extensions=extension(layout.EXT_CRYPTO, bytes(16))),
        "CRYPTO header extension only expected with LUKS encryption method",
    ),
    (
        dict(extensions=extension(layout.EXT_CRYPTO, bytes(8)), crypt_method=2),
        "CRYPTO header extension size 8, but expected size 16",
    ),
    (dict(extensions=extension(layout.EXT_BITMAPS, bytes(8))), "bitmaps_ext: Invalid extension length"),
    (
        dict(extensions=extension(layout.EXT_BITMAPS, layout.BITMAPS.pack(1, 1, 64, 0)), autoclear=BITMAPS),
        "bitmaps_ext: Reserved field is not zero",
    ),
    (
        dict(extensions=extension(layout.EXT_BITMAPS, layout.BITMAPS.pack(70000, 0, 64, 0)), autoclear=BITMAPS),
        "bitmaps_ext: Image has 70000 bitmaps, exceeding the QEMU supported maximum of 65535",
    ),
    (
        dict(extensions=extension(layout.EXT_BITMAPS, layout.BITMAPS.pack(0, 0, 64, 0)), autoclear=BITMAPS),
        "found bitmaps extension with zero bitmaps",
    ),
    (
        dict(extensions=extension(layout.EXT_BITMAPS, layout.BITMAPS.pack(1, 0, 64, 512)), autoclear=BITMAPS),
        "bitmaps_ext: invalid bitmap directory offset",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_header_at_fault_is_refused_in_qemus_words(fields, message):
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(image(**fields))
    assert caught.value.message == message


def test_an_unknown_feature_is_named_by_the_images_own_table():
    table = layout.FEATURE_NAME.pack(0, 9, b"time travel") + layout.FEATURE_NAME.pack(1, 9, b"other")
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(image(extensions=extension(layout.EXT_FEATURE_NAMES, table), incompatible=1 << 9 | 1 << 10))
    assert caught.value.message == "Unsupported qcow2 feature(s): time travel, Unknown incompatible feature: 400"
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_every_truncation_of_an_image_gives_info_or_a_format_error():
    whole = image_bytes(nb_snapshots=2, snapshots_offset=3 * CLUSTER, extensions=extension(layout.EXT_DATA_FILE, b"x"))
    for size in (0, 4, 8, 72, 100, 104, 112, 120, 512, CLUSTER, 2 * CLUSTER, 3 * CLUSTER + 41):
        try:
            hooks.instar_info(Image([bytes_source(whole[:size])]))
        except FormatError as error:
            assert error.message


def test_unknown_extensions_are_skipped_and_the_backing_file_is_named():
    made = image(
        extensions=extension(0x12345678, b"whatever") + extension(layout.EXT_BACKING_FORMAT, b"qcow2"),
        backing=b"/images/base",
    )
    (reference,) = hooks.instar_info(made).references
    assert (reference.role, reference.name, reference.format) == (Role.BACKING, b"/images/base", "qcow2")


def test_dirty_and_corrupt_images_are_said_to_be_so():
    info = hooks.instar_info(image(incompatible=layout.INCOMPAT_DIRTY | layout.INCOMPAT_CORRUPT, compatible=1))
    assert info.dirty is True
    assert info.details["corrupt"] is True
    assert info.details["lazy-refcounts"] is True


def test_a_missing_data_file_name_blocks_the_content_but_not_info():
    assert hooks.instar_info(image(incompatible=4)).blocked == "'data-file' is required for this image"
    assert hooks.instar_info(image(autoclear=2)).blocked == "data-file-raw requires a data file"


def test_a_probe_wants_magic_and_version():
    def match(head):
        return hooks.instar_probe(ProbeView(head, b"", len(head)))

    assert match(b"QFI\xfb\0\0\0\3").format == "qcow2"
    assert match(b"QFI\xfb\0\0\0\2").format == "qcow2"
    assert match(b"QFI\xfb\0\0\0\1") is None
    assert match(b"QFI\xfb") is None
    assert match(b"") is None


def entries_image(entries, **fields):
    """The small image with an L2 table at its end that holds `entries`."""
    made = bytearray(image_bytes(**fields)) + bytes(CLUSTER)
    made[3 * CLUSTER : 3 * CLUSTER + 8] = (layout.COPIED | 4 * CLUSTER).to_bytes(8, "big")
    for index, entry in enumerate(entries):
        at = 4 * CLUSTER + 8 * index
        made[at : at + 8] = entry.to_bytes(8, "big")
    return Image([bytes_source(bytes(made))])


def extents(made, start=0, length=1 << 20):
    return [
        (extent.start, extent.length, extent.kind, extent.offset, extent.stored, extent.skip)
        for extent in hooks.instar_map(made, Layer(), Span(start, length))
    ]


def test_each_kind_of_entry_maps_as_the_specification_says():
    copied = layout.COPIED
    compressed = layout.COMPRESSED | 2 << layout.compressed_field_bits(16) | 0x50123
    made = entries_image(
        [copied | 5 * CLUSTER, copied | 6 * CLUSTER, 0, 1, copied | 8 * CLUSTER | 1, compressed, 9 * CLUSTER]
    )
    stored = 3 * 512 - 0x123
    assert extents(made) == [
        (0, 2 * CLUSTER, Kind.DATA, 5 * CLUSTER, 0, 0),
        (2 * CLUSTER, CLUSTER, Kind.ABSENT, -1, 0, 0),
        (3 * CLUSTER, CLUSTER, Kind.ZERO, -1, 0, 0),
        (4 * CLUSTER, CLUSTER, Kind.ZERO, 8 * CLUSTER, 0, 0),
        (5 * CLUSTER, CLUSTER, Kind.DATA, 0x50123, 1 * stored - 0, 0),
        (6 * CLUSTER, CLUSTER, Kind.DATA, 9 * CLUSTER, 0, 0),
        (7 * CLUSTER, 9 * CLUSTER, Kind.ABSENT, -1, 0, 0),
    ]


def test_a_window_is_the_slice_of_the_whole():
    compressed = layout.COMPRESSED | 0x50123
    made = entries_image([layout.COPIED | 5 * CLUSTER, compressed])
    assert extents(made, CLUSTER - 10, 30) == [
        (CLUSTER - 10, 10, Kind.DATA, 6 * CLUSTER - 10, 0, 0),
        (CLUSTER, 20, Kind.DATA, 0x50123, 512 - 0x123, 0),
    ]
    assert extents(made, CLUSTER + 7, 5) == [(CLUSTER + 7, 5, Kind.DATA, 0x50123, 512 - 0x123, 7)]
    assert extents(made, 0, 0) == []


@pytest.mark.parametrize(
    ("entry", "fields", "message"),
    [
        (5 * CLUSTER + 512, {}, "Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0x1)"),
        (5 * CLUSTER | 2, {}, "L2 entry 0x50002 has reserved bits set (L2 offset: 0x40000, L2 index: 0x1)"),
        (1, dict(version=2), "Zero cluster entry found in pre-v3 image (L2 offset: 0x40000, L2 index: 0x1)"),
    ],
)
def test_a_bad_entry_is_refused_where_it_is_mapped_and_only_there(entry, fields, message):
    made = entries_image([0, entry], **fields)
    assert extents(made, 0, CLUSTER) == [(0, CLUSTER, Kind.ABSENT, -1, 0, 0)]
    with pytest.raises(FormatError) as caught:
        extents(made)
    assert caught.value.message == f"Image is corrupt: {message}"
    assert caught.value.kind == ErrorKind.CORRUPT
    assert caught.value.offset == 4 * CLUSTER + 8


def test_data_is_refined_only_where_more_is_referenced_than_the_file_system_keeps():
    made = entries_image([layout.COPIED | 5 * CLUSTER])
    source = made.main

    def flags(allocated):
        source.allocated = allocated
        return [extent.flags for extent in hooks.instar_map(made, Layer(), Span(0, CLUSTER))]

    assert flags(6 * CLUSTER) == [0]
    assert flags(CLUSTER) == [Flag.REFINE]


def test_a_leak_and_a_missing_reference_are_found():
    made = bytearray(image_bytes())
    made[2 * CLUSTER + 7] = 3
    findings = list(hooks.instar_check(Image([bytes_source(bytes(made))])))
    assert [(found.severity, found.text) for found in findings[:-1]] == [
        (Severity.LEAK, "Leaked cluster 3 refcount=3 reference=1")
    ]
    made[2 * CLUSTER + 7] = 0
    findings = list(hooks.instar_check(Image([bytes_source(bytes(made))])))
    assert [(found.severity, found.text) for found in findings[:-1]] == [
        (Severity.CORRUPTION, "ERROR cluster 3 refcount=0 reference=1")
    ]


def test_a_snapshot_table_that_is_too_large_ends_a_check_with_a_hint():
    findings = []
    with pytest.raises(FormatError) as caught:
        for found in hooks.instar_check(image(nb_snapshots=65537)):
            findings.append(found.text)
    assert findings == [
        "ERROR snapshot table too large",
        "You can force-remove all 1 overhanging snapshots with qemu-img check -r all",
    ]
    assert caught.value.message == "File too large"


def test_the_specification_of_the_plugin_names_modules_that_exist():
    import importlib

    for modules in SPEC.preload.values():
        for name in modules:
            importlib.import_module(name)
    assert {option.name for option in SPEC.options} >= {"cluster_size", "compat", "data_file", "keep_data_file"}
