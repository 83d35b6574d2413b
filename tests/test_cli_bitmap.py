"""The verb bitmap, and the bitmaps that convert copies and measure counts: what is told, also by qemu-img."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import registry

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(not QEMU_IMG, reason="qemu-img is not installed")
pytestmark = pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")
TRY = "Try 'qemu-img bitmap --help' for more information\n"
NEED = "qemu-img: Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge\n"
BROKEN = " is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk\n"
IN_USE = 12
"""Offset of the flags in an entry of the bitmap directory."""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def image(instar: Call) -> str:
    """An image of 10 MiB without bitmaps."""
    assert instar("create", "-q", "-f", "qcow2", "a.qcow2", "10M")[0] == 0
    return "a.qcow2"


def bitmaps(instar: Call, name: str = "a.qcow2") -> list[tuple[str, int, list[str]]]:
    told = json.loads(instar("info", "--output=json", name)[1])
    found = told["format-specific"]["data"].get("bitmaps", [])
    return [(each["name"], each["granularity"], each["flags"]) for each in found]


def in_use(path: str, name: str) -> None:
    """The bitmap as a program leaves it that dies while it uses the image."""
    data = bytearray(Path(path).read_bytes())
    at = data.index(name.encode() + bytes(-len(name) % 8), 65536) - 24
    data[at + IN_USE + 3] |= 1
    Path(path).write_bytes(data)


CALLS = [
    ("", NEED),
    ("a.qcow2", NEED),
    ("a.qcow2 b", NEED),
    ("--add", "qemu-img: Expecting filename and bitmap name\n"),
    ("--add a.qcow2", "qemu-img: Expecting filename and bitmap name\n"),
    ("--add a.qcow2 b c", "qemu-img: Expecting filename and bitmap name\n"),
    ("--remove-all a.qcow2 b", "qemu-img: Expecting filename\n"),
    ("--remove-all --remove-all", "qemu-img: Expecting filename\n"),
    ("--remove-all --add a.qcow2", "qemu-img: Expecting filename and bitmap name\n"),
    ("--clear -F x -g 512 a.qcow2 b", "qemu-img: granularity only supported with --add\n"),
    ("--clear -F x -b y a.qcow2 b", "qemu-img: Merge bitmap source file only supported with --merge\n"),
    ("--clear -F x", "qemu-img: -F only supported with -b\n"),
    ("--merge b -F qcow2 a.qcow2 b", "qemu-img: -F only supported with -b\n"),
    ("-g x", "qemu-img: Invalid granularity specified: 'x'\n"),
    ("-g -1", "qemu-img: Invalid granularity specified. Must be between 0 and 9223372036854775807.\n"),
    ("-g 8E", "qemu-img: Invalid granularity specified. Must be between 0 and 9223372036854775807.\n"),
    (
        "--re a.qcow2",
        "qemu-img bitmap: option '--re' is ambiguous; possibilities: '--remove' '--remove-all'\n" + TRY,
    ),
    ("--merge", "qemu-img bitmap: option '--merge' requires an argument\n" + TRY),
    ("--add a.qcow2 b -q", "qemu-img bitmap: invalid option -- 'q'\n" + TRY),
    ("--clear --image-opts -f x a b", "qemu-img: --image-opts and --format are mutually exclusive\n"),
    (
        "--add missing b",
        "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory\n",
    ),
    (
        "--add -g 511 a.qcow2 b",
        "qemu-img: Operation add on bitmap b failed: Granularity must be power of 2 and at least 512\n",
    ),
    (
        "--add -g 4G a.qcow2 b",
        "qemu-img: Operation add on bitmap b failed: Granularity must be power of 2 and at least 512\n",
    ),
    ("--remove a.qcow2 b", "qemu-img: Operation remove on bitmap b failed: Dirty bitmap 'b' not found\n"),
    ("--merge b a.qcow2 b", "qemu-img: Operation merge on bitmap b failed: Dirty bitmap 'b' not found\n"),
    ("--merge x --add a.qcow2 b", "qemu-img: Operation merge on bitmap b failed: Dirty bitmap 'b' not found\n"),
    (
        "--merge x -b missing a.qcow2 b",
        "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory\n",
    ),
    (
        "--merge x -b a.qcow2 a.qcow2 b",
        "qemu-img: Could not open 'a.qcow2': Failed to get shared \"write\" lock\n"
        "Is another process using the image [a.qcow2]?\n",
    ),
]


@pytest.mark.parametrize(("line", "told"), CALLS, ids=[line for line, _ in CALLS])
def test_a_call_that_cannot_be_is_answered_as_by_qemu_img(instar: Call, image: str, line: str, told: str) -> None:
    before = Path(image).read_bytes()
    assert instar("bitmap", *line.split()) == (1, "", told)
    assert Path(image).read_bytes() == before


@needs_qemu_img
@pytest.mark.oracle
@pytest.mark.parametrize(("line", "told"), CALLS, ids=[line for line, _ in CALLS])
def test_qemu_img_answers_such_a_call_like_this(instar: Call, image: str, line: str, told: str) -> None:
    words = [str(QEMU_IMG), "bitmap", *line.split()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if (
        "remove-all"
        not in subprocess.run([words[0], "bitmap", "-h"], capture_output=True, text=True, check=False).stdout
    ):
        pytest.skip("this qemu-img has no --remove-all")
    assert (done.returncode, done.stdout, done.stderr.replace(words[0], "qemu-img")) == (1, "", told)


def test_an_empty_name_names_no_bitmap(instar: Call, image: str) -> None:
    assert instar("bitmap", "--add", image, "")[2] == (
        "qemu-img: Operation add on bitmap  failed: Bitmap name cannot be empty\n"
    )


def test_actions_are_done_in_the_order_of_the_command_line(instar: Call, image: str) -> None:
    assert instar("bitmap", "--add", "--disable", image, "a") == (0, "", "")
    assert bitmaps(instar) == [("a", 65536, [])]
    assert instar("bitmap", "--disable", "--enable", image, "a") == (0, "", "")
    assert bitmaps(instar) == [("a", 65536, ["auto"])]
    assert instar("bitmap", "--remove", "--add", "-g", "512", image, "a") == (0, "", "")
    assert bitmaps(instar) == [("a", 512, ["auto"])]
    assert instar("bitmap", "--add", "--remove-all", image, "b") == (0, "", "")
    assert bitmaps(instar) == []
    assert instar("bitmap", "--remove-all", "--add", image, "b") == (0, "", "")
    assert bitmaps(instar) == [("b", 65536, ["auto"])]


def test_actions_before_one_that_cannot_be_done_stay_done(instar: Call, image: str) -> None:
    told = "qemu-img: Operation merge on bitmap b failed: Dirty bitmap 'nope' not found\n"
    assert instar("bitmap", "--add", "--merge", "nope", "--disable", image, "b") == (1, "", told)
    assert bitmaps(instar) == [("b", 65536, ["auto"])]


def test_the_way_of_ovirt_adds_merges_and_disables_at_once(instar: Call, image: str) -> None:
    instar("create", "-q", "-f", "qcow2", "-u", "-b", "base", "-F", "raw", "top.qcow2", "10M")
    instar("bitmap", "--add", image, "old")
    words = ["--merge", "old", "-b", image, "-F", "qcow2", "-f", "qcow2", "top.qcow2", "old"]
    assert instar("bitmap", "--add", *words) == (0, "", "")
    assert instar("bitmap", "--disable", "top.qcow2", "old") == (0, "", "")
    assert bitmaps(instar, "top.qcow2") == [("old", 65536, [])]


def test_an_image_is_also_described_by_options(instar: Call, image: str) -> None:
    assert instar("bitmap", "--image-opts", "--add", f"driver=qcow2,file.filename={image}", "b") == (0, "", "")
    assert bitmaps(instar) == [("b", 65536, ["auto"])]


def test_bitmaps_of_disks_of_different_sizes_are_not_merged(instar: Call, image: str) -> None:
    instar("create", "-q", "-f", "qcow2", "c.qcow2", "20M")
    for name in (image, "c.qcow2"):
        instar("bitmap", "--add", name, "b")
    assert instar("bitmap", "--merge", "b", "-b", "c.qcow2", image, "b")[2] == (
        "qemu-img: Operation merge on bitmap b failed: Bitmaps are of different sizes (destination size is 10485760, "
        "source size is 20971520) and can't be merged\n"
    )


def test_a_bitmap_in_use_is_removed_and_nothing_else(instar: Call, image: str) -> None:
    instar("bitmap", "--add", image, "lost")
    instar("bitmap", "--add", image, "good")
    in_use(image, "lost")
    for action in ("--clear", "--enable", "--disable", "--merge=good"):
        code, _, told = instar("bitmap", action, image, "lost")
        assert (code, told) == (
            1,
            f"qemu-img: Operation {action.lstrip('-').partition('=')[0]} on bitmap lost failed: Bitmap 'lost'" + BROKEN,
        )
    assert instar("bitmap", "--add", image, "lost")[2].endswith("Bitmap already exists: lost\n")
    assert instar("bitmap", "--merge", "lost", image, "good")[2].endswith("Bitmap 'lost'" + BROKEN)
    assert instar("bitmap", "--remove", image, "lost") == (0, "", "")
    assert bitmaps(instar) == [("good", 65536, ["auto"])]


@pytest.mark.parametrize("format", ["raw", "qed", "vmdk"])
def test_a_format_without_bitmaps_has_none_to_change(instar: Call, format: str) -> None:
    """quirk("bitmap-node-names")"""
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    instar("create", "-q", "-f", format, "x", "1M")
    assert instar("bitmap", "-f", format, "--add", "x", "b")[2] == (
        "qemu-img: Operation add on bitmap b failed: Can't store persistent bitmaps to x: Operation not supported\n"
    )
    assert instar("bitmap", "-f", format, "--remove", "x", "b")[2].endswith("Dirty bitmap 'b' not found\n")
    assert instar("bitmap", "-f", format, "--remove-all", "x") == (0, "", "")


def parallels() -> str:
    """A Parallels image whose bitmap, of which the name is given back, says that two stretches are dirty."""
    if "parallels" not in registry.entries():
        pytest.skip("instar-parallels is not installed")
    place = Path(__file__).parents[1] / "plugins" / "parallels" / "tests" / "parallels_builder.py"
    spec = importlib.util.spec_from_file_location("parallels_builder", place)
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    base = builder.build([0, None, 1, None])
    data = bytearray(builder.extended(base, builder.bitmap(512, 8, [len(base) // 512]), builder.END, before=1))
    data[len(base) : len(base) + 64] = bytes([6, 0x80, 1]).ljust(64, b"\0")
    Path("p.hdd").write_bytes(data)
    return "12345678-9abc-def0-1234-56789abcdef0"


def test_bitmaps_of_a_parallels_image_are_copied_and_counted(instar: Call) -> None:
    """quirk("parallels-bitmaps")"""
    name = parallels()
    assert instar("convert", "--bitmaps", "-O", "qcow2", "p.hdd", "out.qcow2") == (0, "", "")
    assert bitmaps(instar, "out.qcow2") == [(name, 4096, [])]
    assert json.loads(instar("measure", "-O", "qcow2", "--output=json", "p.hdd")[1])["bitmaps"] > 0
    instar("create", "-q", "-f", "qcow2", "a.qcow2", "256k")
    words = ["--add", "-g", "512", "--merge", name, "-b", "p.hdd", "a.qcow2", "b"]
    assert instar("bitmap", *words) == (0, "", "")
    from instar_core import chain, dirty
    from instar_core.settings import DEFAULTS

    for path, each in (("out.qcow2", name), ("a.qcow2", "b")):
        with chain.open_member(path, DEFAULTS, "map") as member:
            assert [run[:2] for run in dirty.runs(member, each)] == [(4096, 8192), (61440, 8192)]


def test_bitmaps_of_a_parallels_image_are_not_changed(instar: Call) -> None:
    """quirk("parallels-bitmaps-stay")"""
    name = parallels()
    before = Path("p.hdd").read_bytes()
    for action in ("--clear", "--remove", "--disable", "--merge=x"):
        code, _, told = instar("bitmap", action, "p.hdd", name)
        assert (code, told.endswith("Bitmaps of the format 'parallels' are readonly and cannot be modified\n")) == (
            1,
            True,
        )
    assert instar("bitmap", "--remove-all", "p.hdd")[0] == 1
    assert instar("bitmap", "--add", "p.hdd", "b")[0] == 1
    assert Path("p.hdd").read_bytes() == before


def test_a_locked_image_is_not_changed(instar: Call, image: str) -> None:
    from instar_core import device, locks

    held = device.open_named(image, write=True)
    try:
        locks.take(held, locks.CHANGE)
        code, _, told = instar("bitmap", "--add", image, "b")
        assert code == 1
        assert "lock" in told
    finally:
        held.close()
    assert bitmaps(instar) == []


def test_convert_copies_bitmaps_with_their_state(instar: Call, image: str) -> None:
    instar("bitmap", "--add", image, "one")
    instar("bitmap", "--add", "--disable", "-g", "4k", image, "two")
    assert instar("convert", "--bitmaps", "-O", "qcow2", image, "out.qcow2") == (0, "", "")
    assert bitmaps(instar, "out.qcow2") == [("one", 65536, ["auto"]), ("two", 4096, [])]
    assert instar("convert", "-O", "qcow2", image, "plain.qcow2") == (0, "", "")
    assert bitmaps(instar, "plain.qcow2") == []


def test_convert_skips_broken_bitmaps_only_if_told_to(instar: Call, image: str) -> None:
    instar("bitmap", "--add", image, "good")
    instar("bitmap", "--add", image, "lost")
    in_use(image, "lost")
    assert instar("convert", "--bitmaps", "-O", "qcow2", image, "out.qcow2") == (
        1,
        "",
        "qemu-img: Cannot copy inconsistent bitmap 'lost'\n"
        "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n",
    )
    assert not Path("out.qcow2").exists()
    words = ("convert", "-q", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", image, "out.qcow2")
    assert instar(*words) == (0, "", "qemu-img: warning: Skipping inconsistent bitmap 'lost'\n")
    assert bitmaps(instar, "out.qcow2") == [("good", 65536, ["auto"])]


def test_what_cannot_have_bitmaps_is_not_converted_with_them(instar: Call, image: str) -> None:
    """quirk("target-without-bitmaps")"""
    instar("bitmap", "--add", image, "b")
    Path("there").write_bytes(b"precious")
    assert instar("convert", "--bitmaps", "-O", "raw", image, "there") == (
        1,
        "",
        "qemu-img: Format driver 'raw' does not support bitmaps\n",
    )
    assert Path("there").read_bytes() == b"precious"
    told = instar("convert", "--bitmaps", "-O", "qcow2", "-o", "compat=0.10", image, "new")[2]
    assert told == "qemu-img: Format driver 'qcow2' does not support bitmaps\n"
    assert not Path("new").exists()
    instar("create", "-q", "-f", "raw", "r.raw", "1M")
    instar("create", "-q", "-f", "qcow2", "-o", "compat=0.10", "old.qcow2", "1M")
    for format, name in (("raw", "r.raw"), ("qcow2", "old.qcow2")):
        told = instar("convert", "--bitmaps", "-f", format, "-O", "qcow2", name, "new")[2]
        assert told == "qemu-img: Source lacks bitmap support\n"
    told = instar("convert", "--bitmaps", "-O", "qcow2", image, image, "new")[2]
    assert told == "qemu-img: Copying bitmaps only possible with single source\n"
    assert instar("convert", "--skip-broken-bitmaps", image, "new")[2] == (
        "qemu-img: Use of --skip-broken-bitmaps requires --bitmaps\n"
    )
    assert not Path("new").exists()


def test_a_conversion_whose_bitmaps_fail_leaves_nothing_behind(
    instar: Call, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from instar_core import bitmapcopy
    from instar_core.errors import DeviceError

    instar("bitmap", "--add", image, "b")

    def full(*_: object) -> None:
        raise DeviceError("No space left on device")

    monkeypatch.setattr(bitmapcopy.Changing, "apply", full)
    code, _, told = instar("convert", "--bitmaps", "-O", "qcow2", image, "new")
    assert (code, told) == (1, "qemu-img: Failed to create bitmap b: No space left on device\n")
    assert not Path("new").exists()


@needs_qemu_img
@pytest.mark.oracle
def test_measure_counts_the_bitmaps_that_convert_copies_as_qemu_img_does(instar: Call, image: str) -> None:
    for granularity in ("512", "4k", "1M"):
        instar("bitmap", "--add", "-g", granularity, image, f"b{granularity}")
    words = ["measure", "--output=json", "-O", "qcow2", image]
    done = subprocess.run([str(QEMU_IMG), *words], capture_output=True, text=True, check=True)
    assert json.loads(instar(*words)[1]) == json.loads(done.stdout)
    assert json.loads(done.stdout)["bitmaps"] > 0
