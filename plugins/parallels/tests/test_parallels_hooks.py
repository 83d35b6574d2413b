"""What the plugin says of a file, and what reading and checking answer to the bounds of the format."""

from __future__ import annotations

import time

import pytest
from instar_parallels import SPEC, hooks
from instar_parallels.check import copies
from instar_parallels.opening import open_disk

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.testing.beside import beside
from instar_core.types import Amend, Create, Extent, Kind, Layer, LayerKind, ProbeView, Severity, Span

K64 = 65536


B = beside(__file__)("parallels_builder")
MAGICS = pytest.mark.parametrize("magic", (B.OLD, B.EXT))


def image(data):
    return Image([bytes_source(data)])


def mapped(data, start=0, length=None):
    info = hooks.instar_info(image(data))
    return list(hooks.instar_map(image(data), Layer(), Span(start, info.virtual_size if length is None else length)))


def checked(data):
    *found, tally = hooks.instar_check(image(data))
    return found, tally


def lines(data):
    return [one.text for one in checked(data)[0]]


def refused(data):
    with pytest.raises(FormatError) as caught:
        hooks.instar_info(image(data))
    return str(caught.value)


@MAGICS
def test_both_magics_are_claimed_with_their_version(magic):
    good = B.build([0], magic=magic)
    assert hooks.instar_probe(ProbeView(good, b"", len(good)))
    assert not hooks.instar_probe(ProbeView(B.changed(good, "version", 3), b"", len(good)))
    assert not hooks.instar_probe(ProbeView(good[:19], b"", 19))
    assert magic in [signature.magic for signature in SPEC.signatures]


def test_facts_that_qemu_does_not_print_are_extra():
    info = hooks.instar_info(image(B.build([None, 0], in_use=B.IN_USE)))
    assert (info.virtual_size, info.cluster_size, info.dirty, info.details) == (2 * K64, 0, None, {})
    assert info.extra["cluster-size"] == K64 and info.extra["state"] == "in use"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("magic", b"WithoutFreeSpacE", "Image not in Parallels format"),
        ("version", 3, "Image not in Parallels format"),
        ("tracks", 0, "Invalid image: Zero sectors per track"),
        ("tracks", 4186128, "Invalid image: Too big cluster"),
        ("tracks", 1 << 31, "Invalid image: Too big cluster"),
        ("entries", 0xFFFFFFFF, "Catalog too large"),
        ("entries", 0x20000000, "Catalog too large"),
        ("entries", 0, "Invalid image: Catalog size too small for advertised disk size"),
        ("sectors", 4 * 128 + 1, "Invalid image: Catalog size too small for advertised disk size"),
        ("sectors", 1 << 63, "Invalid image: Catalog size too small for advertised disk size"),
        ("ext", 1 << 63, "Invalid image: Too big offset"),
        ("ext", 1 << 54, "Invalid image: Too big offset"),
        ("ext", 3, "Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87"),
        ("ext", 1 << 40, "Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87"),
    ],
)
def test_a_header_out_of_bounds_is_refused_in_qemus_words(field, value, message):
    assert refused(B.changed(B.build([0, None, None, None]), field, value)) == message


@pytest.mark.parametrize(
    "features, options, message",
    [
        ([B.END], {"magic": 1}, "Wrong parallels Format Extension magic: 0x1, expected: 0xab234cef23dcea87"),
        (
            [B.END],
            {"digest": bytes(16)},
            "Wrong checksum in Format Extension header. Format extension is corrupted.",
        ),
        (
            [B.bitmap(511, 8, [0]), B.END],
            {},
            "Bitmap size (in sectors) 511 differs from disk size in sectors 512",
        ),
        (
            [B.bitmap(512, 8, [0, 0]), B.END],
            {},
            "Bitmap table size 2 does not correspond to bitmap size and cluster size. Expected 1",
        ),
        (
            [B.feature(B.BITMAP, b"abc"), B.END],
            {},
            "Too small Bitmap Feature area in Parallels Format Extension: 3 bytes, expected at least 32 bytes",
        ),
        ([B.feature(77, b"abc", flags=1), B.END], {}, "Flags for extension feature are unsupported"),
        ([B.feature(77, b"abc", flags=2), B.END], {}, "Flags for extension feature are unsupported"),
        ([B.feature(0, b"", flags=1)], {}, "Flags for extension feature are unsupported"),
        ([B.feature(77, b"abc"), B.END], {}, "Unknown feature: 0x4d"),
        ([B.feature(B.BITMAP, b"", size=0xFFFFFFFF)], {}, "Feature data_size exceedes Format Extension cluster"),
        (
            [B.bitmap(512, 8, [0]), B.bitmap(512, 16, [0]), B.END],
            {},
            "Bitmap already exists: 12345678-9abc-def0-1234-56789abcdef0",
        ),
    ],
)
def test_a_format_extension_that_is_not_understood_is_refused_in_qemus_words(features, options, message):
    assert refused(B.extended(B.build([0, None, None, None]), *features, **options)) == message


@pytest.mark.parametrize("granularity", (0, 3, 1 << 23, 1 << 31))
def test_a_granularity_that_is_none_is_refused(granularity):
    """quirk("parallels-granularity")"""
    data = B.extended(B.build([0, None, None, None]), B.bitmap(512, granularity, [0]), B.END)
    assert refused(data) == f"Bitmap granularity of {granularity} sectors is not a power of 2 up to 4194304"


def test_features_without_an_end_and_tables_longer_than_their_feature_are_refused():
    small = B.build([0, None, None, None], tracks=1)
    assert "no end" in refused(B.extended(small, *[B.feature(B.BITMAP, bytes(0))] * 0, b"\0" * 0 + _full(488)))
    cut = B.feature(B.BITMAP, B.bitmap(4, 1, [0])[24 : 24 + 32])
    assert "longer than its feature" in refused(B.extended(small, cut, B.END))


def _full(room):
    """A bitmap feature that leaves no room for an end behind it: the disk of 4 sectors has a table of one entry."""
    one = B.bitmap(4, 1, [0])
    return B.feature(B.BITMAP, one[24:].ljust(room - 24, b"\0"))


def test_an_extension_in_a_huge_cluster_is_refused():
    data = B.changed(B.changed(B.build([], sectors=0), "tracks", 131073), "ext", 2048)
    assert refused(data) == "Format Extension cluster of 67109376 bytes is too large"


def test_bitmaps_are_listed():
    names = [b"abcdefghijklmnop", bytes(range(16))]
    features = [B.bitmap(512, 8, [0], name=names[0]), B.bitmap(512, 128, [1], name=names[1]), B.END]
    info = hooks.instar_info(image(B.extended(B.build([0, None, None, None]), *features)))
    assert [tuple(one) for one in info.bitmaps] == [
        ("61626364-6566-6768-696a-6b6c6d6e6f70", 4096, ()),
        ("00010203-0405-0607-0809-0a0b0c0d0e0f", 65536, ()),
    ]


def test_old_images_have_a_size_of_32_bits():
    assert hooks.instar_info(image(B.build([0], magic=B.OLD, sectors=(1 << 32) + 100))).virtual_size == 51200


@MAGICS
@pytest.mark.parametrize("tracks", (1, 63, 504, 2048))
def test_clusters_are_found_where_their_entries_lead(magic, tracks):
    size = tracks * 512
    data = B.build([1, 2, None, 0], magic=magic, tracks=tracks)
    start = len(data) - 3 * size
    assert mapped(data) == [
        Extent(0, 2 * size, Kind.DATA, 0, start + size),
        Extent(2 * size, size, Kind.ABSENT),
        Extent(3 * size, size, Kind.DATA, 0, start),
    ]
    assert mapped(data, size - 3, 5) == [Extent(size - 3, 5, Kind.DATA, 0, start + 2 * size - 3)]


def test_an_old_image_without_data_off_has_its_data_behind_the_bat():
    data = B.build([0, 1], magic=B.OLD, data=0)
    assert mapped(data) == [Extent(0, 2 * K64, Kind.DATA, 0, 512)]
    assert lines(data) == []


@pytest.mark.parametrize("cut", (0, 6, 10, 13, 15))
def test_what_the_file_lacks_of_the_bat_is_not_allocated(cut):
    data = B.build([0, 1, 2, 3])[: 64 + cut]
    assert mapped(data) == [Extent(0, 4 * K64, Kind.ABSENT)]


@MAGICS
def test_what_leads_outside_reads_as_not_allocated(magic):
    data = B.build([0, 1, 2, 3, 4], magic=magic)[: -2 * K64 - 512]
    assert mapped(data) == [
        Extent(0, 2 * K64, Kind.DATA, 0, K64),
        Extent(2 * K64, 3 * K64, Kind.ABSENT),
    ]
    assert lines(data) == [
        *(f"ERROR cluster {number} is outside image" for number in (2, 3, 4)),
        "ERROR space leaked at the end of the image 65024",
    ]


@pytest.mark.parametrize(
    "image_, wanted, counts",
    [
        (B.build([0, None, 1]), [], (3, 2, 0, 3 * K64)),
        (B.build([0, None, 2, 1]), [], (4, 3, 1, 4 * K64)),
        (B.build([None] * 3), [], (3, 0, 0, K64)),
        (B.build([]), [], (0, 0, 0, K64)),
        (B.build([0], in_use=B.IN_USE), ["ERROR image was not closed correctly"], (1, 1, 0, 2 * K64)),
        (B.build([0], in_use=B.CLOSED), [], (1, 1, 0, 2 * K64)),
        (B.changed(B.build([0]), "data", 0), ["ERROR data_off field has incorrect value"], (1, 1, 0, 2 * K64)),
        (B.changed(B.build([0]), "data", 1 << 31), ["ERROR data_off field has incorrect value"], (1, 1, 0, 2 * K64)),
        (B.build([0], tail=1), ["ERROR space leaked at the end of the image 512"], (1, 1, 0, 2 * K64)),
    ],
)
def test_what_is_wrong_is_found_and_counted(image_, wanted, counts):
    found, tally = checked(image_)
    assert [one.text for one in found] == wanted
    assert (tally.total, tally.allocated, tally.fragmented, tally.end) == counts


@MAGICS
def test_clusters_that_are_shared_are_corruptions_not_a_failure(magic):
    """quirk("parallels-duplicates")"""
    found, tally = checked(B.build([0, 1, 0, 1, 1], magic=magic))
    assert [one.text for one in found] == [f"ERROR duplicate offset in BAT entry {n}" for n in (2, 3, 4)]
    assert {one.severity for one in found} == {Severity.CORRUPTION}
    assert tally.allocated == 5


def test_an_entry_outside_is_not_a_shared_one_as_well():
    """quirk("parallels-outside")"""
    data = B.build([0, None, 1], magic=B.OLD, raw=[(1, 1)])
    assert lines(data) == ["ERROR cluster 1 is outside image"]


def test_entries_between_clusters_share_what_they_begin_in_and_are_noted():
    data = B.build([0, None, 1, None], magic=B.OLD, raw=[(1, 129)])
    assert lines(data) == [
        "ERROR duplicate offset in BAT entry 1",
        "1 clusters do not lie on a multiple of their size",
    ]


def test_the_format_extension_is_in_use():
    """quirk("parallels-extension-in-use")"""
    base = B.build([0, None, None, None])
    at = len(base) // 512
    good = B.extended(base, B.bitmap(512, 8, [at]), B.END, before=1)
    found, tally = checked(good)
    assert found == [] and tally.end == len(good)
    shared = B.extended(B.build([0, 1, 2, None]), B.bitmap(512, 8, [256]), B.END)
    assert lines(shared) == ["ERROR duplicate offset in BAT entry 1"]
    beyond = B.extended(base, B.bitmap(512, 8, [1 << 40]), B.END)
    assert lines(beyond) == [f"A cluster of a bitmap at {1 << 49} is outside image"]


def test_a_repair_copies_a_bounded_number_of_clusters():
    disk = open_disk(bytes_source(B.build([0])))
    assert copies(disk, disk.end) == (disk.end + (32 << 20)) // K64
    assert copies(disk, ((1 << 32) - 2) * K64) == 0


def test_the_largest_bat_is_read_at_once_as_far_as_it_is_there():
    entries = 0x1FFFFFFF
    data = B.changed(B.changed(B.build([0]), "entries", entries), "sectors", entries * 128)
    began = time.monotonic()
    assert mapped(data) == [Extent(0, entries * K64, Kind.ABSENT)]
    assert checked(data)[1].total == entries
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "size, cluster, message",
    [
        (1 << 20, 0, "Cluster size must be a multiple of 512 bytes"),
        (1 << 20, 1, "Cluster size must be a multiple of 512 bytes"),
        (1 << 20, 1000, "Cluster size must be a multiple of 512 bytes"),
        (1 << 20, (1 << 20) + 1, "Cluster size must be a multiple of 512 bytes"),
        (1 << 20, 4186128 * 512, "Cluster size is too large"),
        (1 << 20, 1 << 32, "Cluster size is too large"),
        (1 << 52, 1 << 20, "Image size is too large for this cluster size"),
        (1 << 49, 1 << 20, "The image size is too large for file format 'parallels' (try using a larger cluster size)"),
    ],
)
def test_sizes_that_do_not_go_are_refused(size, cluster, message):
    """quirk("parallels-cluster-size")"""
    with pytest.raises(FormatError) as caught:
        next(iter(hooks.instar_write(None, Create(size, {"cluster_size": cluster}), iter(()))))
    assert str(caught.value) == message


def test_a_bitmap_maps_what_is_dirty_as_data_and_the_rest_as_zeros():
    base = B.build([0, None, None, None])
    bits = bytes([0b00000110, 0x80, 0x01]).ljust(len(base) // 1, b"\0")
    stored = B.extended(base, B.bitmap(512, 8, [len(base) // 512]), B.END, before=1)
    data = stored[: len(base)] + bits[: len(stored) - len(base)][:512] + stored[len(base) + 512 :]
    data = data[: len(base) + 3] + bytes(61) + data[len(base) + 64 :]
    (name,) = [one.name for one in hooks.instar_info(image(data)).bitmaps]

    def mapped(start, length):
        found = list(hooks.instar_map(image(data), Layer(LayerKind.BITMAP, name), Span(start, length)))
        return [(each.start, each.length, each.kind, each.offset) for each in found]

    dirty, clean, granule = Kind.DATA, Kind.ZERO, 4096
    assert mapped(0, 512 * 512) == [
        (0, granule, clean, -1),
        (granule, 2 * granule, dirty, -1),
        (3 * granule, 12 * granule, clean, -1),
        (15 * granule, 2 * granule, dirty, -1),
        (17 * granule, 47 * granule, clean, -1),
    ]
    assert mapped(512, granule) == [(512, granule - 512, clean, -1), (granule, 512, dirty, -1)]
    whole = B.extended(base, B.bitmap(512, 8, [1]), B.END)
    (name,) = [one.name for one in hooks.instar_info(image(whole)).bitmaps]
    (one,) = hooks.instar_map(image(whole), Layer(LayerKind.BITMAP, name), Span(0, 512 * 512))
    assert (one.length, one.kind) == (512 * 512, dirty)


@pytest.mark.parametrize("state", [0, 0x746F6E59])
def test_a_bitmap_that_was_not_kept_up_to_date_is_not_read(state):
    """quirk("parallels-stale-bitmaps")"""
    data = B.changed(B.extended(B.build([0, None, None, None]), B.bitmap(512, 8, [1]), B.END), "in_use", state)
    ((name, _, flags),) = hooks.instar_info(image(data)).bitmaps
    assert flags == ("in-use",)
    with pytest.raises(FormatError, match="inconsistent"):
        list(hooks.instar_map(image(data), Layer(LayerKind.BITMAP, name), Span(0, 512)))


def test_other_layers_and_other_changes_are_refused():
    data = B.build([0])
    with pytest.raises(FormatError, match="no content but the active one"):
        list(hooks.instar_map(image(data), Layer(LayerKind.SNAPSHOT, "1"), Span(0, 1)))
    with pytest.raises(FormatError, match="Dirty bitmap '1' not found"):
        list(hooks.instar_map(image(data), Layer(LayerKind.BITMAP, "1"), Span(0, 1)))
    with pytest.raises(FormatError, match="have no such change"):
        list(hooks.instar_write(image(data), Amend({}), iter(())))


def test_a_cluster_of_a_bitmap_where_no_file_reaches_is_noted_at_the_extension():
    """Found by mutation: its offset in bytes has more than 64 bits."""
    data = B.extended(B.build([0, None, None, None]), B.bitmap(512, 8, [1 << 63 | 1]), B.END)
    found, _ = checked(data)
    outside = [one for one in found if "is outside image" in one.text]
    assert outside
    assert all(one.offset < 1 << 63 for one in found)
