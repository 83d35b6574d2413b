"""Every deliberate difference from qemu-img, shown: what instar does, what restores qemu-img's way, what qemu-img does.

The last is looked at where qemu-img is installed; docs/quirks.toml is the list, and a guard holds the two together.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from instar_core import registry
from instar_core import tally as tallies
from instar_core.errors import FormatError

ROOT = Path(__file__).parents[1]
QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
LISTED = {entry["name"]: entry for entry in tomllib.loads((ROOT / "docs" / "quirks.toml").read_text())["quirk"]}
CLUSTER = 1 << 16
SECRET = b"root:x:0:0:root:/root:/bin/sh\n".ljust(4096, b"\n")
HUNG = "hung"
PLAIN = dict(os.environ, LC_ALL="C")
DESCRIPTOR = (
    '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    '{}\nddb.adapterType = "ide"\n'
)

needs_vmdk = pytest.mark.skipif("vmdk" not in registry.entries(), reason="instar-vmdk is not installed")
needs_qcow2 = pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def qemu() -> Callable[..., Any]:
    """The real qemu-img: its exit code (HUNG after some seconds), or None where there is none."""

    def call(*words: str, seconds: float = 3) -> Any:
        if not QEMU_IMG:
            return None
        try:
            done = subprocess.run([QEMU_IMG, *words], capture_output=True, check=False, timeout=seconds, env=PLAIN)
        except subprocess.TimeoutExpired:
            return HUNG
        call.out = done.stdout.decode("utf-8", "replace")  # type: ignore[attr-defined]
        return done.returncode

    call.out = ""  # type: ignore[attr-defined]
    return call


def quirk(name: str) -> list[str]:
    """The words that restore qemu-img's way, as the list says."""
    words = str(LISTED[name]["switch"]).split()
    return [] if words[:1] == ["called"] else words


def disk(content: bytes = b"", size: int = CLUSTER) -> bytes:
    """A raw disk that shows it by an empty partition table."""
    head = bytearray(content.ljust(size, b"\0"))
    head[510:512] = b"\x55\xaa"
    return bytes(head)


def test_a_file_is_raw_only_on_evidence(instar, qemu):
    Path("text").write_bytes(b"some text\n" * 100)
    code, _, errors = instar("info", "text")
    assert (code, "nothing shows that it is a raw disk" in errors) == (1, True)
    assert instar("info", *quirk("raw-needs-evidence"), "text")[0] == 0
    assert qemu("info", "text") in (0, None)


@needs_qcow2
def test_a_file_of_two_formats_is_refused(instar, qemu, builder):
    Path("both").write_bytes(builder.qcow2(content=b"x") + b"conectix".ljust(512, b"\0"))
    code, _, errors = instar("info", "both")
    assert (code, "qcow2 and vpc at once" in errors) == (1, True)
    code, out, _ = instar("info", *quirk("two-formats"), "both")
    assert (code, "file format: qcow2" in out) == (0, True)
    assert qemu("info", "both") in (0, None)


@needs_qcow2
def test_the_format_of_a_backing_file_must_be_declared(instar, qemu, builder):
    Path("base").write_bytes(disk(b"base"))
    Path("top").write_bytes(builder.qcow2(backing=b"base"))
    code, _, errors = instar("map", "top")
    assert (code, "is not declared" in errors) == (1, True)
    assert instar("map", *quirk("backing-format-undeclared"), "top")[0] == 0
    assert qemu("map", "top") in (0, None)


@needs_qcow2
def test_a_backing_file_must_be_what_it_is_declared_to_be(instar, qemu, builder):
    Path("secret").write_bytes(SECRET)
    Path("top").write_bytes(builder.qcow2(backing=b"secret", backing_format="raw"))
    code, _, errors = instar("convert", "-O", "raw", "top", "copy")
    assert (code, "no sign of being a raw disk" in errors, Path("copy").exists()) == (1, True, False)
    assert instar("convert", *quirk("backing-format-untrue"), "-O", "raw", "top", "copy")[0] == 0
    assert Path("copy").read_bytes().startswith(SECRET)
    assert qemu("convert", "-O", "raw", "top", "theirs") in (0, None)


@needs_vmdk
def test_an_extent_lies_in_the_folder_of_its_image(instar, qemu):
    Path("../secret").write_bytes(SECRET)
    Path("top").write_text(DESCRIPTOR.format('RW 8 FLAT "../secret" 0'))
    code, _, errors = instar("info", "top")
    assert (code, "lies outside the image's own folder" in errors) == (1, True)
    assert instar("info", *quirk("extent-elsewhere"), "top")[0] == 0
    assert qemu("convert", "-f", "vmdk", "-O", "raw", "top", "theirs") in (0, None)


@needs_qcow2
def test_a_data_file_lies_in_the_folder_of_its_image(instar, qemu, builder):
    Path("../secret").write_bytes(SECRET.ljust(CLUSTER, b"\n"))
    Path("top").write_bytes(builder.qcow2(CLUSTER, data_file=b"../secret", mapped=1))
    code, _, errors = instar("convert", "-O", "raw", "top", "copy")
    assert (code, "lies outside the image's own folder" in errors, Path("copy").exists()) == (1, True, False)
    assert instar("convert", *quirk("data-file-elsewhere"), "-O", "raw", "top", "copy")[0] == 0
    assert qemu("convert", "-O", "raw", "top", "theirs") in (0, None)


@needs_qcow2
def test_a_fifo_as_backing_file_is_refused_at_once(instar, qemu, builder):
    os.mkfifo("fifo")
    Path("top").write_bytes(builder.qcow2(backing=b"fifo", backing_format="raw"))
    assert quirk("fifo-as-backing-file") == []
    code, _, errors = instar("map", "--image-policy", "qemu", "top")
    assert (code, "is a FIFO" in errors) == (1, True)
    assert qemu("map", "top") in (HUNG, None)


@needs_qcow2
def test_a_device_of_characters_is_no_disk(instar, qemu, builder):
    Path("top").write_bytes(builder.qcow2(backing=b"/dev/zero", backing_format="raw"))
    assert quirk("character-device") == []
    code, _, errors = instar("map", "--image-policy", "qemu", "top")
    assert (code, "is a character device" in errors) == (1, True)
    assert qemu("map", "top") in (0, None)


@needs_qcow2
def test_names_of_protocols_are_not_followed(instar, qemu, builder):
    Path("base").write_bytes(disk(b"base"))
    name = b'json:{"driver":"raw","file":{"driver":"file","filename":"base"}}'
    Path("top").write_bytes(builder.qcow2(backing=name, backing_format="raw"))
    code, _, errors = instar("map", "top")
    assert (code, "names a protocol" in errors) == (1, True)
    assert instar("map", *quirk("protocols-in-images"), "top")[0] == 0
    assert qemu("map", "top") in (0, None)


@needs_qcow2
def test_a_chain_that_bites_its_tail_is_refused(instar, qemu, builder):
    Path("loop").write_bytes(builder.qcow2(backing=b"loop", backing_format="qcow2"))
    assert quirk("backing-loop") == []
    code, _, errors = instar("map", "loop")
    assert (code, "infinite loop" in errors) == (1, True)
    assert qemu("map", "loop") in (HUNG, None)


@needs_vmdk
def test_control_characters_are_shown_and_not_obeyed(instar, qemu):
    Path("\x1b[31mred").write_bytes(bytes(4096))
    Path("top").write_text(DESCRIPTOR.format('RW 8 FLAT "\x1b[31mred" 0'))
    code, out, _ = instar("info", "top")
    assert (code, "\x1b" in out, r"\x1b[31mred" in out) == (0, False, True)
    code, out, _ = instar("info", *quirk("control-characters"), "top")
    assert (code, json.loads(out)["format-specific"]["data"]["extents"][0]["filename"]) == (0, "\x1b[31mred")
    assert qemu("info", "top") in (0, None)
    assert "\x1b[31mred" in qemu.out or not QEMU_IMG


@needs_vmdk
def test_a_parent_that_changed_is_refused_when_it_is_opened(instar, qemu):
    assert quirk("parent-cid") == []
    assert instar("create", "-f", "vmdk", "base.vmdk", "1M")[0] == 0
    assert instar("create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")[0] == 0
    assert instar("map", "--output=json", "top.vmdk")[0] == 0
    data = Path("base.vmdk").read_bytes()
    at = data.index(b"\nCID=") + 5
    end = data.index(b"\n", at)
    Path("base.vmdk").write_bytes(data[:at] + b"1".rjust(end - at, b"0") + data[end:])
    code, _, errors = instar("map", "--output=json", "top.vmdk")
    assert (code, "was made for a backing file with CID" in errors) == (1, True)
    assert qemu("map", "--output=json", "top.vmdk") in (0, None)


@needs_vmdk
def test_nothing_half_written_stays(instar, qemu):
    assert quirk("half-written-target") == []
    data = bytearray((ROOT / "docs" / "sample" / "hello.vmdk").read_bytes())
    data[65536 + 14 : 65536 + 52] = bytes(38)  # inside the first compressed grain
    Path("spoiled.vmdk").write_bytes(data)
    assert instar("convert", "-f", "vmdk", "-O", "raw", "spoiled.vmdk", "copy")[0] == 1
    assert not Path("copy").exists()
    assert qemu("convert", "-f", "vmdk", "-O", "raw", "spoiled.vmdk", "theirs") in (1, None)
    assert Path("theirs").exists() or not QEMU_IMG


@needs_vmdk
def test_a_descriptor_without_extents_is_an_error(instar, qemu):
    assert quirk("vmdk-without-extents") == []
    Path("none").write_text(DESCRIPTOR.format(""))
    code, _, errors = instar("info", "none")
    assert (code, errors.startswith("qemu-img: Could not open 'none': ")) == (1, True)
    assert qemu("info", "-f", "vmdk", "none") in (-6, None)


@needs_vmdk
def test_an_extent_of_an_unknown_kind_is_an_error(instar, qemu):
    assert quirk("vmdk-unknown-extent") == []
    Path("flat").write_bytes(bytes(4096))
    Path("top").write_text(DESCRIPTOR.format('RW 8 WOOD "tree"\nRW 8 FLAT "flat" 0'))
    code, _, errors = instar("info", "top")
    assert (code, "Invalid extent line" in errors) == (1, True)
    assert qemu("info", "--output=json", "top") in (0, None)
    assert not QEMU_IMG or json.loads(qemu.out)["virtual-size"] == 4096


@needs_vmdk
def test_zero_extents_and_read_only_ones_keep_their_place(instar, qemu):
    assert quirk("vmdk-left-out-extents") == []
    Path("flat").write_bytes(b"A" * 4096)
    Path("top").write_text(DESCRIPTOR.format('RW 8 ZERO\nRDONLY 8 FLAT "flat" 0\nRW 8 FLAT "flat" 0'))
    assert instar("convert", "-O", "raw", "top", "copy")[0] == 0
    assert Path("copy").read_bytes() == bytes(4096) + b"A" * 8192
    assert qemu("info", "--output=json", "top") in (0, None)
    assert not QEMU_IMG or json.loads(qemu.out)["virtual-size"] == 4096


@needs_vmdk
def test_a_vmdk_too_large_for_its_tables_is_not_made(instar, qemu):
    assert quirk("vmdk-too-large") == []
    code, _, errors = instar("create", "-f", "vmdk", "big.vmdk", "2P")
    assert (code, "the image size is too large" in errors, Path("big.vmdk").exists()) == (1, True, False)
    if qemu("create", "-f", "vmdk", "theirs.vmdk", "2P") is not None:
        assert Path("theirs.vmdk").exists()
        assert qemu("info", "--output=json", "theirs.vmdk") != 0 or json.loads(qemu.out)["virtual-size"] != 2 << 50


@needs_vmdk
def test_stream_optimized_images_are_as_vmware_describes_them(instar, qemu):
    assert quirk("vmdk-stream-layout") == []
    source = str(ROOT / "docs" / "sample" / "hello.vmdk")
    made = instar("convert", "-O", "vmdk", "-o", "subformat=streamOptimized", source, "made.vmdk")
    assert made[0] == 0
    data = Path("made.vmdk").read_bytes()
    footer = data[-1024:-512]
    assert (data[:4], struct.unpack_from("<I", data, 4)[0], footer[:4]) == (b"KDMV", 3, b"KDMV")
    assert qemu("compare", source, "made.vmdk") in (0, None)
    theirs = Path(source).read_bytes()
    assert theirs[-1024:-1020] != b"KDMV"


@needs_qcow2
def test_reserved_bits_of_an_entry_are_an_error(instar, qemu, builder):
    assert quirk("qcow2-reserved-bits") == []
    data = bytearray(builder.qcow2(content=b"x"))
    data[4 * CLUSTER + 7] |= 2
    Path("odd").write_bytes(data)
    code, _, errors = instar("map", "odd")
    assert (code, "has reserved bits set" in errors) == (1, True)
    assert instar("check", "odd")[0] == 2
    assert qemu("map", "odd") in (0, None)


@needs_qcow2
def test_what_needs_no_key_is_answered_without_one(instar, qemu):
    assert quirk("encrypted-metadata") == []
    words = ("create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o")
    if qemu(*words, "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "x", "1M", seconds=30) != 0:
        pytest.skip("no qemu-img is here that makes encrypted images")
    for words in (("check", "x"), ("snapshot", "-l", "x")):
        assert instar(*words, name="instar")[0] == 0
        assert instar(*words)[0] == 1
    assert instar("convert", "-O", "raw", "x", "copy")[0] == 1
    assert qemu("check", "x") == 1
    assert qemu("snapshot", "-l", "x") == 1


def test_a_check_has_a_bound_on_its_memory(monkeypatch):
    assert quirk("check-memory") == []
    monkeypatch.setattr(tallies, "DENSE", 2)
    monkeypatch.setattr(tallies, "COMPACT", 1)
    monkeypatch.setattr(tallies, "PACKED", 100)
    count = tallies.ReferenceTally(1 << 16)
    with pytest.raises(FormatError) as caught:
        for page in range(8):
            for unit in range(0, page + 2):
                count.add(page * tallies.PAGE + unit * 7)
    assert caught.value.kind == "limit"


@needs_qcow2
def test_the_json_of_check_has_all_its_counts(instar, builder):
    Path("x").write_bytes(builder.qcow2(content=b"x"))
    counts = {"corruptions", "leaks", "fragmented-clusters", "compressed-clusters"}
    assert quirk("check-json-counts") == []
    steady = json.loads(instar("check", "--output=json", "x", name="instar")[1])
    assert {name: steady[name] for name in counts} == dict.fromkeys(counts, 0)
    for more, name in (((), "qemu-img"), (("--unsafe-quirks",), "instar")):
        assert not counts & json.loads(instar("check", "--output=json", *more, "x", name=name)[1]).keys()


@needs_qcow2
def test_a_snapshot_is_as_large_as_its_disk_was(instar, qemu):
    assert quirk("size-of-a-snapshot") == []
    if qemu("create", "-q", "-f", "qcow2", "disk", "4M") is None:
        pytest.skip("qemu-img is not installed, and only it shrinks disks yet")
    assert qemu("snapshot", "-c", "before", "disk") == 0
    assert qemu("resize", "-q", "-f", "qcow2", "--shrink", "disk", "2M") == 0
    assert instar("convert", "-l", "before", "-O", "raw", "disk", "ours")[0] == 0
    assert qemu("convert", "-l", "before", "-O", "raw", "disk", "theirs") == 0
    assert (Path("ours").stat().st_size, Path("theirs").stat().st_size) == (4 << 20, 2 << 20)
