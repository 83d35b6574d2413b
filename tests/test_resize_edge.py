"""A disk grows from within a cluster: what that cluster shows stays, whatever it is made of, and gets its room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import registry

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
pytestmark = [
    pytest.mark.skipif(not (QEMU_IMG and QEMU_IO), reason="qemu-img or qemu-io is not installed"),
    pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed"),
    pytest.mark.oracle,
]
KIB = 1 << 10
START = 448 * KIB
SIZE = START + 16 * KIB + 512
GROWN = 768 * KIB + 512
MODES = ("metadata", "falloc", "full")
REFUSAL = "qemu-img: Failed to zero out new clusters: Operation not supported\n"

Call = Callable[..., tuple[int, str, str]]


def qemu(*words: str) -> tuple[int, str, str]:
    assert QEMU_IMG
    done = subprocess.run([QEMU_IMG, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def image(*writes: str, options: str = "cluster_size=64k", below: int = 0) -> None:
    """x, whose disk ends within a cluster, over an image b of so many bytes."""
    words = under(below)
    assert qemu("create", "-q", "-f", "qcow2", "-o", options, *words, "x", str(SIZE))[0] == 0
    assert QEMU_IO
    for write in writes:
        subprocess.run([QEMU_IO, "-f", "qcow2", "-c", write, "x"], check=True, capture_output=True)
    shutil.copy("x", "q")


def under(size: int) -> list[str]:
    """What makes an image stand on b, which holds so many bytes; nothing where that is 0."""
    if not size:
        return []
    Path("s").write_bytes(b"\x07" * size)
    assert qemu("convert", "-f", "raw", "-O", "qcow2", "s", "b")[0] == 0
    return ["-b", "b", "-F", "qcow2"]


def content(name: str = "x", format: str = "qcow2") -> bytes:
    assert qemu("convert", "-f", format, "-O", "raw", name, "content.raw")[0] == 0
    return Path("content.raw").read_bytes()


def mapped(name: str) -> list[tuple[tuple[object, ...], int]]:
    """The map without places, and without whether the file system has holes under what is data."""
    found: list[tuple[tuple[object, ...], int]] = []
    for one in json.loads(qemu("map", "--output=json", name)[1]):
        told = one["depth"], one["present"], one["data"], one["data"] or one["zero"], "offset" in one
        if found and found[-1][0] == told:
            told, before = found.pop()
            found.append((told, before + one["length"]))
        else:
            found.append((told, one["length"]))
    return found


def resized(instar: Call, *words: str, size: int = GROWN) -> None:
    """x has grown as before and by zeros, and is sound; q is its twin by qemu-img."""
    before = content()
    assert instar("resize", "-f", "qcow2", *words, "x", str(size)) == (0, "Image resized.\n", "")
    assert content() == before.ljust(size, b"\0")
    code, _, told = qemu("check", "x")
    assert (code, told) == (0, "")
    qemu("resize", "-q", "-f", "qcow2", *words, "q", str(size))


@pytest.mark.parametrize("below", [SIZE, SIZE + 512, START + 512, 2 * GROWN])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_belows_in_the_last_cluster_stays_when_what_follows_is_preallocated(
    instar: Call, mode: str, below: int
) -> None:
    image(below=below)
    resized(instar, f"--preallocation={mode}")
    assert mapped("x") == mapped("q")


@pytest.mark.parametrize("writes", [[], ["zero"], ["data", "zero"]], ids=["nothing", "zeros", "zeros with a place"])
@pytest.mark.parametrize("mode", MODES)
def test_a_last_cluster_of_zeros_gets_its_place_as_well(instar: Call, mode: str, writes: list[str]) -> None:
    commands = {"zero": f"write -z {START} {SIZE - START}", "data": f"write -P 1 {START} {SIZE - START}"}
    image(*(commands[each] for each in writes))
    resized(instar, f"--preallocation={mode}")
    assert mapped("x") == mapped("q")
    found = [json.loads(qemu("check", "--output=json", name)[1]) for name in "xq"]
    assert found[0]["allocated-clusters"] == found[1]["allocated-clusters"]


@pytest.mark.parametrize("mode", ["falloc", "full"])
def test_zeros_of_subclusters_over_a_longer_backing_file_are_allocated(instar: Call, mode: str) -> None:
    image(f"write -P 3 {START} 2k", options="cluster_size=64k,extended_l2=on", below=2 * GROWN)
    resized(instar, f"--preallocation={mode}")
    assert mapped("x")[-1] == ((0, True, True, True, True), GROWN - START - 64 * KIB)


@pytest.mark.parametrize(("size", "words"), [(SIZE + 512, []), (GROWN, ["--preallocation=falloc"])])
def test_version_2_grows_over_a_longer_backing_file_where_nothing_has_to_be_hidden(
    instar: Call, size: int, words: list[str]
) -> None:
    image(options="cluster_size=64k,compat=0.10", below=2 * GROWN)
    resized(instar, *words, size=size)
    assert mapped("x") == mapped("q")


def test_an_image_that_cannot_grow_is_left_alone(instar: Call) -> None:
    """quirk("refused-changes-nothing")"""
    image(options="cluster_size=64k,compat=0.10", below=2 * GROWN)
    before = Path("x").read_bytes()
    assert instar("resize", "-f", "qcow2", "--preallocation=metadata", "x", str(GROWN)) == (1, "", REFUSAL)
    assert Path("x").read_bytes() == before
    qemu("resize", "-f", "qcow2", "--preallocation=metadata", "q", str(GROWN))
    assert Path("q").read_bytes() != before


def test_a_snapshot_for_which_refcounts_are_too_narrow_leaves_the_image_alone(instar: Call) -> None:
    image(f"write -P 1 {START} 4k", options="cluster_size=4k,refcount_bits=1")
    before = Path("x").read_bytes()
    want = qemu("snapshot", "-f", "qcow2", "-c", "s", "q")
    assert want[0] == 1
    assert instar("snapshot", "-f", "qcow2", "-c", "s", "x") == (*want[:2], want[2].replace("'q'", "'x'"))
    assert Path("x").read_bytes() == before


def test_a_commit_for_which_the_base_cannot_grow_leaves_both_alone(instar: Call) -> None:
    image(options="cluster_size=64k,compat=0.10", below=2 * GROWN)
    assert qemu("create", "-q", "-f", "qcow2", "-b", "x", "-F", "qcow2", "t", str(GROWN))[0] == 0
    before = [Path(name).read_bytes() for name in "xt"]
    told = instar("commit", "-f", "qcow2", "t")
    assert told == (1, "", "qemu-img: Block job failed: Operation not supported\n")
    assert [Path(name).read_bytes() for name in "xt"] == before
    assert qemu("commit", "-f", "qcow2", "t") == told


@pytest.mark.skipif("parallels" not in registry.entries(), reason="instar-parallels is not installed")
def test_a_parallels_image_is_left_alone_by_what_is_refused(instar: Call) -> None:
    assert qemu("create", "-q", "-f", "parallels", "x", "4M")[0] == 0
    before = Path("x").read_bytes()
    for words in (["commit", "-f", "parallels", "x"], ["snapshot", "-c", "s", "x"]):
        assert instar(*words)[0] == 1
    told = instar("rebase", "-f", "parallels", "-b", "", "x")
    assert told == (1, "", "qemu-img: could not get block driver info\n")
    assert Path("x").read_bytes() == before


@pytest.mark.parametrize("words", [[], ["--preallocation=metadata"], ["--preallocation=falloc"]])
@pytest.mark.parametrize("below", [0, 2 * GROWN])
def test_a_compressed_last_cluster_of_an_image_with_subclusters_stays(
    instar: Call, below: int, words: list[str]
) -> None:
    """quirk("resize-of-a-compressed-end")"""
    image(f"write -c -P 1 {START} {SIZE - START}", options="cluster_size=64k,extended_l2=on", below=below)
    before = content()
    resized(instar, *words)
    if words == ["--preallocation=metadata"] or bool(below) != bool(words):
        assert content("q") != before.ljust(GROWN, b"\0")


@pytest.mark.parametrize("mode", ["falloc", "full"])
def test_an_image_in_a_longer_file_gets_its_room(instar: Call, mode: str) -> None:
    """quirk("resize-in-a-longer-file")"""
    image(f"write -P 1 {START} 1k")
    for name in "xq":
        os.truncate(name, os.path.getsize(name) + (1 << 20))
    resized(instar, f"--preallocation={mode}", size=SIZE + 512)
    told = qemu("resize", "-f", "qcow2", f"--preallocation={mode}", "q", str(SIZE + 512))
    assert told[::2] == (
        1,
        "qemu-img: Failed to resize underlying file: Cannot use preallocation for shrinking files\n",
    )


@pytest.mark.skipif("qed" not in registry.entries(), reason="instar-qed is not installed")
@pytest.mark.parametrize("below", [0, 2 * GROWN])
def test_what_qed_cannot_preallocate_is_refused_in_qemu_imgs_words(instar: Call, below: int) -> None:
    words = ["-b", "b", "-F", "raw"] if below else []
    Path("b").write_bytes(bytes(below))
    assert qemu("create", "-q", "-f", "qed", *words, "x", str(SIZE))[0] == 0
    before = Path("x").read_bytes()
    want = qemu("resize", "-f", "qed", "--preallocation=full", "x", str(GROWN))
    assert instar("resize", "-f", "qed", "--preallocation=full", "x", str(GROWN)) == want
    assert Path("x").read_bytes() == before
