"""What a check finds, and what a repair mends of it."""

from __future__ import annotations

import random
import struct

import pytest
from instar_vpc import hooks

from instar_core.errors import FormatError
from instar_core.source import Image, bytes_source
from instar_core.types import Barrier, Finding, Layer, Put, Repair, Severity, Span, Tally, Truncate

STRIDE = (2 << 20) + 512


def quirk(name):
    """Marks the test that proves an entry of docs/quirks.toml."""
    return name


def opened(data, **options):
    return Image([bytes_source(bytes(data))], options)


def check(data):
    *found, tally = hooks.instar_check(opened(data, check=True))
    assert isinstance(tally, Tally)
    assert all(isinstance(one, Finding) for one in found)
    return [(one.severity, one.text, one.repairable) for one in found], tally


def mended(data, mode="all", stop=None):
    """The file after (the first `stop` of) the edits of a repair."""
    data = bytearray(data)
    for count, edit in enumerate(hooks.instar_write(opened(data, check=True), Repair(mode), iter(()))):
        if stop is not None and count >= stop:
            break
        if isinstance(edit, Put):
            data.extend(bytes(max(0, edit.offset + len(edit.data) - len(data))))
            data[edit.offset : edit.offset + len(edit.data)] = edit.data
        elif isinstance(edit, Truncate):
            del data[edit.size :]
        else:
            assert isinstance(edit, Barrier)
    return bytes(data)


def content(data):
    """Where the content lies."""
    said = hooks.instar_info(opened(data))
    return list(hooks.instar_map(opened(data), Layer(), Span(0, said.virtual_size)))


def sound(builder, **fields):
    return builder.dynamic(9 << 20, {3: (b"three", None), 0: (b"zero", None), 4: (b"four", None)}, **fields)


def test_sound_images_have_no_findings_and_are_counted(builder):
    data = sound(builder)
    assert check(data) == ([], Tally(5, 3, 2, 0, len(data)))
    assert check(builder.fixed(bytes(4096))) == ([], Tally(end=4608))
    assert check(builder.fixed(bytes(4096), old=True)) == ([], Tally(end=4608))
    child = builder.dynamic(4 << 20, {1: (b"x", (3,))}, kind=4, names=((b"W2ru", b"x\0"),))
    assert check(child)[0] == []


@pytest.mark.oracle
def test_images_of_qemu_have_no_findings(programs, tmp_path):
    for options in ("force_size=off", "force_size=on", "subformat=fixed"):
        path = tmp_path / "disk.vhd"
        path.unlink(missing_ok=True)
        programs.img("create", "-q", "-f", "vpc", "-o", options, path, "20M")
        programs.io(path, "write 15M 3M", "write 1M 100k")
        assert check(path.read_bytes())[0] == []


@pytest.mark.oracle
def test_a_format_that_qemu_img_cannot_check_is_checked_here(programs, builder, tmp_path):
    assert quirk("vpc-check")
    path = tmp_path / "disk.vhd"
    path.write_bytes(sound(builder))
    assert programs.img("check", "-f", "vpc", path, check=False).returncode == 63
    assert check(path.read_bytes())[0] == []


def test_a_footer_that_is_damaged_or_missing_is_found_and_mended(builder):
    data = sound(builder)
    bad = data[:-512]
    cases = {
        "The copy of the footer in front is damaged or missing": (bytes(512) + data[512:], b"conectix\1" + data[9:]),
        "The footer at the end is missing": (bad, bad + bytes(512), bad + bytes(100)),
        "The footer at the end is damaged": (bad + data[:20] + b"\xff" + data[21:512],),
        "The footer at the end differs from its copy in front": (bad + builder.footer(9 << 20, 3, saved=1),),
    }
    for text, images in cases.items():
        severity = Severity.LEAK if "at the end" in text else Severity.CORRUPTION
        for image in images:
            assert check(image)[0] == [(severity, text, True)]
            assert content(image) == content(data)
            made = mended(image)
            assert check(made)[0] == []
            assert content(made) == content(data)
            assert mended(image, "leaks") == (made if severity == Severity.LEAK else image)
            assert len(made) <= len(data) + 512


def test_a_repair_that_stops_anywhere_leaves_an_image_that_is_no_worse(builder):
    data = sound(builder)
    leaky = data[:-512] + bytes(2 * STRIDE) + data[:512]
    for image in (bytes(512) + data[512:], data[:-512], leaky, bytes(8) + leaky[8:]):
        for stop in range(8):
            assert content(mended(image, stop=stop)) == content(data)
        assert mended(image) in (data, mended(mended(image)))
        assert check(mended(image))[0] == []


def test_blocks_at_the_end_that_nothing_refers_to_are_leaks_and_can_go(builder):
    data = sound(builder)
    leaky = data[:-512] + bytes(2 * STRIDE + 512) + data[:512]
    found, tally = check(leaky)
    assert found == [(Severity.LEAK, "2 blocks at the end of the file are not in use", True)]
    assert tally.end == len(data)
    assert mended(leaky, "leaks") == data
    untrusted = bytearray(leaky)
    untrusted[550] ^= 1
    assert (Severity.LEAK, "2 blocks at the end of the file are not in use", False) in check(untrusted)[0]
    assert mended(untrusted) == untrusted


def test_wrong_checksums_of_all_there_is_are_found_and_left_alone(builder):
    data = bytearray(sound(builder))
    data[30] ^= 1
    data[-512 + 30] ^= 1
    text = "The checksum of the footer is wrong, and there is no sound copy"
    assert check(data)[0] == [(Severity.CORRUPTION, text, False)]
    assert mended(data) == data
    data = bytearray(sound(builder))
    data[512 + 700] = 1
    assert check(data)[0] == [(Severity.CORRUPTION, "The checksum of the dynamic disk header is wrong", False)]


def table(data, **entries):
    """The image with other entries in its table, e1=5."""
    made = bytearray(data)
    for name, value in entries.items():
        struct.pack_into(">I", made, 1536 + 4 * int(name[1:]), value)
    return bytes(made)


def test_blocks_past_the_end_of_the_file_are_found_and_nothing_is_mended(builder):
    data = sound(builder)
    far = table(data, e1=1_000_000)
    (found,), _ = check(far)
    assert found == (Severity.CORRUPTION, "Block 1 lies past the end of the file", False)
    step = STRIDE // 512
    three = table(data, e0=1 << 20, e1=(1 << 20) + step, e2=(1 << 20) + 2 * step)
    found = [one for one in hooks.instar_check(opened(three)) if isinstance(one, Finding)]
    assert [(one.text, one.count) for one in found] == [
        ("Block 0 lies past the end of the file, as do the 2 after it", 3)
    ]
    assert mended(far[:-512]) == far[:-512]
    assert check(table(data, e1=0xFFFFFFFE))[0][0][1] == "Block 1 lies past the end of the file"


def test_blocks_that_overlap_one_another_or_the_metadata_are_found(builder):
    data = sound(builder)
    (first,) = struct.unpack_from(">I", data, 1536)
    for changes, count in (({"e1": first}, 1), ({"e1": first, "e2": first}, 2), ({"e1": first - 1}, 2), ({"e1": 1}, 2)):
        found, _ = check(table(data, **changes))
        assert len(found) == count, found
        assert all(severity == Severity.CORRUPTION and "overlaps" in text for severity, text, _ in found)
    over = table(data[:-512] + bytes(STRIDE - 512) + data[:512], e1=(len(data) - 512) // 512)
    assert check(over)[0] == [(Severity.CORRUPTION, "The footer lies in the middle of other data", False)]


def test_a_parent_locator_outside_the_file_is_found(builder):
    data = bytearray(builder.dynamic(1 << 20, {}, kind=4, names=((b"W2ru", b"x\0"), (b"none", b"x"))))
    struct.pack_into(">Q", data, 512 + 576 + 24 + 16, 1 << 60)
    data[512:1536] = builder.seal(bytes(data[512:1536]), 36)
    assert check(data)[0] == [(Severity.CORRUPTION, "A parent locator lies outside the file", False)]


def test_blocks_past_the_end_of_the_disk_are_noted_and_kept(builder):
    data = builder.dynamic(3 << 20, {0: (b"x", None), 4: (b"y", None)}, entries=6)
    assert check(data)[0] == [(Severity.NOTE, "Blocks past the end of the disk are in the file", False)]
    assert mended(data) == data


def test_what_is_odd_but_harmless_is_noted(builder):
    notes = {
        "The image is part of a saved state": builder.fixed(bytes(4096), saved=1),
        "The geometry has 34816 bytes, the size of the disk is 4096": builder.fixed(
            bytes(34816), creator=b"vpc ", geometry=(1, 4, 17), current=4096
        ),
        "The dynamic disk header is of an unknown version": sound(builder, header_fields={"version": 0x20000}),
    }
    for text, data in notes.items():
        assert check(data)[0] == [(Severity.NOTE, text, False)]


def test_a_fixed_disk_that_is_longer_than_its_file_is_corrupt(builder):
    data = builder.fixed(bytes(4096), current=8192)
    assert check(data)[0] == [(Severity.CORRUPTION, "The disk has 8192 bytes, but its footer is at 4096", False)]


def test_types_that_do_not_exist_and_footers_that_contradict_are_found(builder):
    found = check(sound(builder, kind=99))[0]
    assert found == [(Severity.CORRUPTION, "The disk type 99 does not exist", False)]
    data = sound(builder)
    both = data + builder.footer(len(data), 2)
    assert (Severity.CORRUPTION, "The footer says that the disk is fixed, its first sector that it is not", False) in (
        check(both)[0]
    )
    assert mended(both) == both


def test_random_tables_never_break_a_check(builder):
    chance = random.Random(5)
    data = builder.dynamic(400 * 4096, dict.fromkeys(range(0, 400, 2), (b"", None)), block=4096)
    for _ in range(40):
        changes = {f"e{chance.randrange(400)}": chance.choice((0, 1, 9, 500, 0xFFFFFFFF, 1 << 31)) for _ in range(20)}
        check(table(data, **changes))


def test_a_repair_of_whatever_opens_keeps_its_content_and_leaves_no_more_to_mend(builder):
    chance = random.Random(10)
    data = builder.dynamic(400 * 4096, dict.fromkeys(range(0, 400, 3), (b"", None)), block=4096)
    fields = ((0, 512), (512, 1024), (1536, 1600), (len(data) - 512, 512))
    repaired = 0
    for _ in range(1500):
        image = bytearray(data if chance.random() < 0.7 else data[:-512] + bytes(9 * 4608) + data[:512])
        for _ in range(chance.randrange(1, 4)):
            at, length = chance.choice(fields)
            image[at + chance.randrange(length)] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            del image[len(image) - chance.choice((1, 511, 512, 513, 5000)) :]
        try:
            before = content(image)
        except FormatError:
            before = None
        try:
            wanted = any(repairable for _, _, repairable in check(image)[0])
            made = mended(image)
        except FormatError:
            continue
        repaired += made != image
        assert wanted == (made != bytes(image))
        assert not any(repairable for _, _, repairable in check(made)[0])
        if before is not None:
            assert content(made) == before
    assert repaired > 300
