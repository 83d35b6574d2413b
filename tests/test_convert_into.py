"""convert -n writes content into an image that is there, and nothing else of it changes: judged by qemu-img."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from instar_core import bitmapcopy, registry
from instar_core import chain as chains
from instar_core import dirty as dirt
from instar_core.errors import DeviceError
from instar_core.settings import Settings
from instar_core.testing.beside import beside

images = beside(__file__)("qemu_images")
img, io = images.img, images.io
pytestmark = images.needed
KIB, MIB = 1 << 10, 1 << 20
GOOD = (0, "", "")
SMALL = "qemu-img: output file is smaller than input file\n"
NOTHING = "Could not open 'nothing': No such file or directory\n"
CHECKED = ("qcow2", "qed", "vdi", "vhdx", "vmdk", "parallels")
SECRET = ("--object", "secret,id=s,data=word")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def convert(instar: Call) -> Call:
    """instar's convert -n under the name qemu-img: exit code, output, errors."""
    return partial(instar, "convert", "-n")


def locked(name: str) -> str:
    """What is said where a source is the target."""
    held = f"Could not open '{name}': Failed to get \"write\" lock"
    return f"qemu-img: {held}\nIs another process using the image [{name}]?\n"


def needs(*formats: str) -> None:
    """Skips the test where a plugin is missing."""
    for format in formats:
        if format not in registry.entries():
            pytest.skip(f"instar-{format} is not installed")


def made(name: str, format: str, size: int, *commands: str, **more: str) -> None:
    """An image to which qemu-io wrote."""
    images.made(name, *commands, size=size, format=format, **more)


def content(name: str, format: str) -> bytes:
    """The disk of an image as qemu-img reads it."""
    return images.content(name, "-f", format)


def unlocked(node: str) -> bytes:
    """The disk of an encrypted image as qemu-img reads it."""
    img("convert", *SECRET, "--image-opts", "-O", "raw", node, "read")
    return Path("read").read_bytes()


def snapshot(name: str, which: str) -> bytes:
    """A snapshot of a qcow2 image as qemu-img reads it."""
    img("convert", "-l", which, "-f", "qcow2", "-O", "raw", name, "read")
    return Path("read").read_bytes()


def info(name: str, format: str) -> dict[str, object]:
    """What qemu-img says of an image, less what lies where on the disk."""
    told = json.loads(img("info", "--output=json", "-f", format, name))
    data = told.get("format-specific", {}).get("data", {})
    return {key: told.get(key) for key in ("virtual-size", "cluster-size", "backing-filename", "snapshots")} | {
        key: data.get(key)
        for key in ("compat", "lazy-refcounts", "refcount-bits", "data-file", "bitmaps", "create-type")
    }


def own(name: str) -> list[tuple[int, int, bool]]:
    """Start, length and whether zeros, of what a qcow2 image holds itself, neighbours of a kind as one."""
    found: list[tuple[int, int, bool]] = []
    for each in json.loads(img("map", "--output=json", name)):
        if each["depth"] or not each["present"]:
            continue
        last = found[-1] if found else None
        if last and sum(last[:2]) == each["start"] and last[2] == each["zero"]:
            found[-1] = (last[0], last[1] + each["length"], last[2])
        else:
            found.append((each["start"], each["length"], each["zero"]))
    return found


def dirty(name: str, bitmap: str) -> list[tuple[int, int]]:
    """What is dirty in a bitmap of a qcow2 image."""
    settings = Settings(sandbox="inline", policy="qemu")
    with chains.open_member(name, settings, "map", format="qcow2") as member:
        return [(run.start, run.length) for run in dirt.runs(member, bitmap)]


def sound(name: str, format: str) -> None:
    """qemu-img finds nothing wrong with the image."""
    if format in CHECKED:
        img("check", "-f", format, name)


TARGETS = {
    "raw": {"": ""},
    "qcow2": {
        "": "",
        "old": "compat=0.10",
        "small clusters": "cluster_size=512,refcount_bits=1",
        "large clusters": "cluster_size=2M",
        "subclusters": "extended_l2=on",
        "lazy": "lazy_refcounts=on",
        "data file": "data_file=data",
        "raw data file": "data_file=data,data_file_raw=on",
    },
    "vmdk": {
        "": "",
        "zeroed": "zeroed_grain=on",
        "flat": "subformat=monolithicFlat",
        "split": "subformat=twoGbMaxExtentSparse",
    },
    "vdi": {"": "", "static": "static=on"},
    "vhdx": {"": "", "fixed": "subformat=fixed"},
    "vpc": {"": "force_size=on", "fixed": "subformat=fixed,force_size=on"},
    "qed": {"": "", "small": "cluster_size=4k,table_size=2"},
    "qcow": {"": ""},
    "parallels": {"": "", "small": "cluster_size=64k"},
}
CASES = [(format, options) for format, kinds in TARGETS.items() for options in kinds.values()]


@pytest.mark.parametrize("words", [(), ("-S", "0"), ("-t", "none"), ("-C",)], ids=" ".join)
@pytest.mark.parametrize(("format", "options"), CASES)
def test_what_the_content_does_not_reach_stays(
    convert: Call, format: str, options: str, words: tuple[str, ...]
) -> None:
    if format != "raw":
        needs(format)
    made("target", format, 4 * MIB, "write -P 7 0 3M", options=options)
    size = len(content("target", format))
    # An end within a cluster, and within a sector of 4 KiB.
    made("source", "raw", 1333 * KIB + 512, "write -P 3 64k 64k", "write -P 4 300k 200k", "write -P 5 1200k 133k")
    before = info("target", format)
    assert convert(*words, "-f", "raw", "-O", format, "source", "target") == GOOD
    wanted = Path("source").read_bytes() + bytes([7]) * (3 * MIB - 1333 * KIB - 512) + bytes(size - 3 * MIB)
    assert content("target", format) == wanted
    assert info("target", format) == before
    sound("target", format)


def test_the_rest_of_a_cluster_stays_whatever_it_was_stored_as(convert: Call) -> None:
    needs("qcow2")
    made("base", "qcow2", 1 * MIB, "write -P 1 0 1M")
    made("source", "raw", 70 * KIB, "write -P 3 0 70k")
    made("compressed", "qcow2", 1 * MIB, "write -c -P 2 0 256k")
    made("overlay", "qcow2", 1 * MIB, below="base")
    made("short", "qcow2", 90 * KIB, "write -P 6 0 90k")
    made("over-short", "qcow2", 1 * MIB, below="short")
    kept = {
        "compressed": bytes([2]) * 186 * KIB + bytes(768 * KIB),
        "overlay": bytes([1]) * 954 * KIB,
        "over-short": bytes([6]) * 20 * KIB + bytes(934 * KIB),
    }
    for name, rest in kept.items():
        assert convert("-f", "raw", "-O", "qcow2", "source", name) == GOOD
        assert content(name, "qcow2") == bytes([3]) * 70 * KIB + rest
        sound(name, "qcow2")


def test_snapshots_and_bitmaps_and_the_backing_file_stay(convert: Call) -> None:
    needs("qcow2")
    made("base", "qcow2", 1 * MIB, "write -P 1 0 1M")
    made("target", "qcow2", 1 * MIB, "write -P 2 0 256k", below="base")
    img("snapshot", "-c", "kept", "target")
    img("bitmap", "--add", "target", "tracking")
    img("bitmap", "--add", "--disable", "target", "resting")
    with Path("source").open("wb") as file:
        file.truncate(512 * KIB)
        file.seek(128 * KIB)
        file.write(bytes([3]) * 256 * KIB)
    before, old = info("target", "qcow2"), snapshot("target", "kept")
    shutil.copy("target", "twin")
    assert convert("-f", "raw", "-O", "qcow2", "source", "target") == GOOD
    img("convert", "-n", "-f", "raw", "-O", "qcow2", "source", "twin")
    assert info("target", "qcow2") == before
    assert snapshot("target", "kept") == old
    assert content("target", "qcow2") == content("twin", "qcow2")
    assert own("target") == own("twin")
    sound("target", "qcow2")
    for bitmap in ("tracking", "resting"):
        assert dirty("target", bitmap) == dirty("twin", bitmap)
    assert dirty("target", "tracking") and not dirty("target", "resting")


def test_an_overlay_gets_only_what_the_source_itself_holds(convert: Call) -> None:
    """As oVirt does it: the overlay is there, over the same base."""
    needs("qcow2")
    made("base", "qcow2", 1 * MIB, "write -P 9 0 1M")
    made("source", "qcow2", 1 * MIB, "write -P 3 64k 64k", "write -z 128k 64k", "write -P 4 768k 64k", below="base")
    made("target", "qcow2", 1 * MIB, below="base")
    assert convert("-B", "base", "-F", "qcow2", "-f", "qcow2", "-O", "qcow2", "source", "target") == GOOD
    assert own("target") == [(64 * KIB, 64 * KIB, False), (128 * KIB, 64 * KIB, True), (768 * KIB, 64 * KIB, False)]
    assert content("target", "qcow2") == content("source", "qcow2")
    assert info("target", "qcow2")["backing-filename"] == "base"
    sound("target", "qcow2")


@pytest.mark.parametrize("words", [(), ("-c",)], ids=["plain", "compressed"])
def test_clusters_that_the_source_fills_in_part_keep_the_rest_of_the_target(
    convert: Call, words: tuple[str, ...]
) -> None:
    needs("qcow2")
    made("base", "qcow2", 1 * MIB, "write -P 9 0 1M")
    made("source", "qcow2", 1 * MIB, "write -P 3 68k 4k", "write -z 132k 8k", options="cluster_size=4k", below="base")
    made("target", "qcow2", 1 * MIB, "write -P 5 0 100k", below="base")
    command = ("-B", "base", *words, "-f", "qcow2", "-O", "qcow2", "source", "target")
    wanted = bytearray(content("target", "qcow2"))
    wanted[68 * KIB : 72 * KIB] = bytes([3]) * 4 * KIB
    wanted[132 * KIB : 140 * KIB] = bytes(8 * KIB)
    assert convert(*command) == GOOD
    assert content("target", "qcow2") == bytes(wanted)
    assert own("target") == [(0, 192 * KIB, False)]
    sound("target", "qcow2")


@pytest.mark.parametrize("commands", [(), ("write -P 5 0 1M",)], ids=["empty", "full"])
def test_where_the_base_of_the_source_has_ended_it_holds_zeros(convert: Call, commands: tuple[str, ...]) -> None:
    """quirk("convert-past-the-base")"""
    needs("qcow2")
    made("base", "qcow2", 512 * KIB, "write -P 9 0 512k")
    made("long", "qcow2", 1 * MIB, "write -P 8 0 1M")
    made("source", "qcow2", 1 * MIB, "write -P 3 64k 64k", "write -z 640k 64k", below="base")
    for base in ("base", "long"):
        made("target", "qcow2", 1 * MIB, *commands, below=base)
        wanted = bytearray(content("target", "qcow2"))
        wanted[64 * KIB : 128 * KIB] = bytes([3]) * 64 * KIB
        wanted[512 * KIB :] = bytes(512 * KIB)
        assert convert("-B", base, "-f", "qcow2", "-O", "qcow2", "source", "target") == GOOD
        assert content("target", "qcow2") == bytes(wanted)
        sound("target", "qcow2")
        if base == "base" and not commands:  # what reads as zeros anyway is not written
            assert own("target") == [(64 * KIB, 64 * KIB, False), (640 * KIB, 64 * KIB, True)]


def test_a_new_overlay_reads_as_its_source_where_that_has_no_base_or_a_shorter_one(instar: Call) -> None:
    needs("qcow2")
    made("short", "qcow2", 256 * KIB, "write -P 8 0 256k")
    made("base", "qcow2", 512 * KIB, "write -P 9 0 512k")
    made("alone", "qcow2", 1 * MIB, "write -P 3 64k 64k")
    made("over", "qcow2", 1 * MIB, "write -P 3 64k 64k", below="short")
    for source, depth in (("alone", 0), ("over", 256 * KIB)):
        assert instar("convert", "-B", "base", "-F", "qcow2", "-O", "qcow2", source, "new") == GOOD
        img("convert", "-B", "base", "-F", "qcow2", "-O", "qcow2", source, "twin")
        assert content("new", "qcow2")[depth:] == content(source, "qcow2")[depth:]
        assert content("new", "qcow2") == content("twin", "qcow2") or source == "over"
        sound("new", "qcow2")


def test_compressed_content_is_written_into_an_image(convert: Call) -> None:
    needs("qcow2")
    Path("source").write_bytes(b"compress me " * 30000 + bytes(500000))
    for options in ("", "compression_type=zstd"):
        made("target", "qcow2", 4 * MIB, "write -P 5 0 3M", options=options)
        img("snapshot", "-c", "kept", "target")
        assert convert("-c", "-f", "raw", "-O", "qcow2", "source", "target") == GOOD
        size = -(-len(Path("source").read_bytes()) // 512) * 512
        wanted = Path("source").read_bytes().ljust(size, b"\0") + bytes([5]) * (3 * MIB - size) + bytes(MIB)
        assert content("target", "qcow2") == wanted
        assert snapshot("target", "kept") == bytes([5]) * 3 * MIB + bytes(MIB)
        assert json.loads(img("map", "--output=json", "target"))[0]["compressed"]
        sound("target", "qcow2")


def test_an_encrypted_image_is_written_into_with_its_key(instar: Call, convert: Call) -> None:
    needs("qcow2", "luks")
    made("source", "raw", 1000 * KIB, "write -P 3 100k 300k")
    for format, prefix in (("luks", ""), ("qcow2", "encrypt.")):
        kind = "encrypt.format=luks," if format == "qcow2" else ""
        given = f"{kind}{prefix}key-secret=s,{prefix}iter-time=10"
        assert instar("create", "-q", *SECRET, "-f", format, "-o", given, "target", "2M") == GOOD
        node = f"driver={format},file.filename=target,{prefix}key-secret=s"
        images.run(images.QEMU_IO, *SECRET, "-c", "write -P 7 0 2M", "--image-opts", node)
        told = f"Could not open 'target': Parameter '{prefix}key-secret' is required for cipher\n"
        assert convert("-f", "raw", "-O", format, "source", "target") == (1, "", "qemu-img: " + told)
        wrong = ("--object", "secret,id=s,data=wrong")
        told = f"qemu-img: Could not open '{node}': Invalid password, cannot unlock any keyslot\n"
        assert convert(*wrong, "--target-image-opts", "-f", "raw", "source", node) == (1, "", told)
        assert unlocked(node) == bytes([7]) * 2 * MIB
        assert convert(*SECRET, "--target-image-opts", "-f", "raw", "source", node) == GOOD
        wanted = Path("source").read_bytes() + bytes([7]) * (1048 * KIB)
        assert unlocked(node) == wanted


def test_an_image_described_by_options_is_written_into(convert: Call) -> None:
    needs("qcow2")
    made("source", "raw", 64 * KIB, "write -P 3 0 64k")
    full = "driver=qcow2,file.driver=file,file.filename=target"
    for described in ("driver=qcow2,file.filename=target", "file.filename=target", full):
        made("target", "qcow2", 1 * MIB, "write -P 7 0 1M")
        assert convert("--target-image-opts", "-f", "raw", "source", described) == GOOD
        assert content("target", "qcow2") == bytes([3]) * 64 * KIB + bytes([7]) * 960 * KIB
    assert convert("--target-image-opts", "-O", "qcow2", "-f", "raw", "source", described) == (
        1,
        "",
        "qemu-img: --image-opts and --format are mutually exclusive\n",
    )
    assert convert("--target-image-opts", "-f", "raw", "source", "target") == (
        1,
        "",
        "qemu-img: Could not open 'target': Cannot find device='target' nor node-name='target'\n",
    )
    told = f"qemu-img: Could not open 'driver=qcow2,file.filename=nothing': {NOTHING}"
    assert convert("--target-image-opts", "-f", "raw", "source", "driver=qcow2,file.filename=nothing") == (1, "", told)


@pytest.mark.parametrize("format", ["vhdx", "vpc"])
def test_a_differencing_image_is_written_into(instar: Call, convert: Call, format: str) -> None:
    needs(format)
    made("parent", format, 8 * MIB, "write -P 1 0 8M", options="force_size=on" if format == "vpc" else "")
    assert instar("create", "-q", "-f", format, "-b", "parent", "-F", format, "target", name="instar") == GOOD
    made("source", "raw", 3 * MIB + 512, "write -P 3 1M 1M")
    assert convert("-f", "raw", "-O", format, "source", "target") == GOOD
    assert instar("convert", "-f", format, "-O", "raw", "target", "read", name="instar") == GOOD
    wanted = Path("source").read_bytes() + bytes([1]) * (5 * MIB - 512)
    assert Path("read").read_bytes() == wanted
    assert content("parent", format)[: 8 * MIB] == bytes([1]) * 8 * MIB


def test_zeros_are_left_out_where_the_target_is_said_to_be_zero(convert: Call) -> None:
    needs("qcow2")
    made("source", "raw", 1 * MIB, "write -P 3 64k 64k", "write -P 0 256k 256k")
    for format in ("qcow2", "raw"):
        made("target", format, 1 * MIB, "write -P 7 512k 512k")
        assert convert("--target-is-zero", "-f", "raw", "-O", format, "source", "target") == GOOD
        assert content("target", format)[512 * KIB :] == bytes([7]) * 512 * KIB
        assert content("target", format)[: 512 * KIB] == Path("source").read_bytes()[: 512 * KIB]
    made("target", "qcow2", 1 * MIB)
    assert convert("--target-is-zero", "-f", "raw", "-O", "qcow2", "source", "target") == GOOD
    assert own("target") == [(64 * KIB, 64 * KIB, False)]
    told = "qemu-img: Cannot use --target-is-zero when the destination image has a backing file\n"
    words = ("--target-is-zero", "-B", "x", "-f", "raw", "-O", "qcow2", "source", "target")
    assert convert(*words)[2] == told


def test_bitmaps_are_copied_into_an_image(convert: Call) -> None:
    """quirk("convert-bitmaps-first")"""
    needs("qcow2")
    made("source", "qcow2", 1 * MIB, "write -P 3 0 64k")
    img("bitmap", "--add", "source", "a")
    img("bitmap", "--add", "-g", "32k", "--disable", "source", "b")
    io("source", "write -P 4 256k 64k")
    made("target", "qcow2", 1 * MIB, "write -P 7 0 1M")
    img("bitmap", "--add", "target", "c")
    shutil.copy("target", "twin")
    words = ("--bitmaps", "-f", "qcow2", "-O", "qcow2", "source")
    assert convert(*words, "target") == GOOD
    img("convert", "-n", *words, "twin")
    assert sorted(map(str, info("target", "qcow2")["bitmaps"])) == sorted(map(str, info("twin", "qcow2")["bitmaps"]))
    assert [dirty("target", name) for name in "abc"] == [dirty("twin", name) for name in "abc"]
    assert content("target", "qcow2") == content("source", "qcow2")
    sound("target", "qcow2")
    # What cannot be done is refused before anything is written.
    bytes_before = Path("target").read_bytes()
    told = "qemu-img: Failed to create bitmap b: Bitmap already exists: b\n"
    assert convert(*words, "target") == (1, "", told)
    assert Path("target").read_bytes() == bytes_before
    made("larger", "qcow2", 2 * MIB)
    bytes_before = Path("larger").read_bytes()
    told = (
        "qemu-img: Failed to populate bitmap b: Bitmaps are of different sizes (destination size is 2097152, source "
        "size is 1048576) and can't be merged\n"
    )
    assert convert(*words, "larger") == (1, "", told)
    assert Path("larger").read_bytes() == bytes_before


def test_bitmaps_that_fail_leave_the_content(convert: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("qcow2")
    made("source", "qcow2", 1 * MIB, "write -P 3 0 64k")
    img("bitmap", "--add", "source", "a")
    made("target", "qcow2", 1 * MIB, "write -P 7 0 1M")

    def full(*_: object) -> None:
        raise DeviceError("No space left on device")

    monkeypatch.setattr(bitmapcopy.Changing, "apply", full)
    answer = convert("--bitmaps", "-f", "qcow2", "-O", "qcow2", "source", "target")
    assert answer == (1, "", "qemu-img: Failed to create bitmap a: No space left on device\n")
    assert content("target", "qcow2") == content("source", "qcow2")
    sound("target", "qcow2")


def test_a_source_that_cannot_be_read_to_its_end_leaves_a_sound_target(convert: Call) -> None:
    needs("qcow2")
    Path("plain").write_bytes(os.urandom(1 * MIB) + b"abcd" * (MIB // 2))
    img("convert", "-c", "-f", "raw", "-O", "qcow2", "plain", "source")
    last = json.loads(img("map", "--output=json", "source"))
    assert any(each["compressed"] for each in last)
    with Path("source").open("r+b") as file:  # what is compressed near the end
        file.seek(Path("source").stat().st_size - 3000)
        file.write(b"\xff" * 2000)
    made("target", "qcow2", 4 * MIB, "write -P 7 0 4M")
    img("snapshot", "-c", "kept", "target")
    code, _, told = convert("-f", "qcow2", "-O", "qcow2", "source", "target")
    assert code == 1 and told.count("\n") == 1
    img("check", "-f", "qcow2", "target")
    assert snapshot("target", "kept") == bytes([7]) * 4 * MIB
    now = content("target", "qcow2")
    assert now[3 * MIB :] == bytes([7]) * MIB
    assert now[:MIB] in (Path("plain").read_bytes()[:MIB], bytes([7]) * MIB)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-f raw -O qcow2 source short", SMALL),
        ("-f raw -O raw source short.raw", SMALL),
        ("-f raw -O qcow2 source short.raw", "qemu-img: Could not open 'short.raw': Image is not in qcow2 format\n"),
        (
            "-f raw -O qcow2 source nothing",
            f"qemu-img: Could not open 'nothing': {NOTHING}",
        ),
        ("-f raw -O bochs source target", "qemu-img: Could not open 'target': Image is read-only\n"),
        ("-f raw -O nonsense source target", "qemu-img: Could not open 'target': Unknown driver 'nonsense'\n"),
        ("-c -f raw -O vdi source disk.vdi", "qemu-img: Compression not supported for this file format\n"),
        (
            "-f qcow2 -O qcow2 target target",
            locked("target"),
        ),
        (
            "-f qcow2 -O qcow2 target base",
            locked("base"),
        ),
    ],
)
def test_what_cannot_be_written_into_is_refused_in_the_words_of_qemu_img(convert: Call, words: str, said: str) -> None:
    needs("qcow2", "vdi", "bochs")
    made("base", "qcow2", 1 * MIB)
    made("target", "qcow2", 1 * MIB, "write -P 7 0 1M", below="base")
    made("short", "qcow2", 512 * KIB)
    made("short.raw", "raw", 512 * KIB)
    made("disk.vdi", "vdi", 1 * MIB)
    made("source", "raw", 1 * MIB, "write -P 3 0 1M")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    command = [images.QEMU_IMG, "convert", "-n", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stderr != said:
        pytest.skip("this qemu-img has other words")
    assert convert(*words.split()) == (1, "", said)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_an_image_is_never_converted_into_itself(convert: Call) -> None:
    needs("qcow2")
    made("base", "qcow2", 1 * MIB, "write -P 1 0 64k")
    made("disk", "qcow2", 1 * MIB, "write -P 7 0 64k", below="base")
    before = Path("disk").read_bytes(), Path("base").read_bytes()
    for target in ("disk", "base"):
        told = f"qemu-img: Could not open '{target}': Failed to get \"write\" lock\n"
        told += f"'{target}' is one of the files that are converted\n"
        assert convert("-U", "-f", "qcow2", "-O", "qcow2", "disk", target) == (1, "", told)
    assert (Path("disk").read_bytes(), Path("base").read_bytes()) == before


def test_an_empty_image_that_cannot_be_written_in_place_is_made_anew(convert: Call) -> None:
    needs("vmdk")
    made("source", "raw", 1 * MIB, "write -P 3 64k 100k")
    made("target", "vmdk", 2 * MIB, options="subformat=streamOptimized")
    assert convert("-f", "raw", "-O", "vmdk", "source", "target") == GOOD
    assert content("target", "vmdk") == Path("source").read_bytes() + bytes(1 * MIB)
    assert info("target", "vmdk")["create-type"] == "streamOptimized"
    sound("target", "vmdk")
    made("small", "raw", 100 * KIB)
    before = Path("target").read_bytes()
    answer = convert("-f", "raw", "-O", "vmdk", "small", "target")
    assert answer == (1, "", "qemu-img: a compressed extent cannot be changed\n")
    assert Path("target").read_bytes() == before
