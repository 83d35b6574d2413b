"""The verb commit: what is told, what is written where, what is refused, judged by qemu-img."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from instar_core import device as devices
from instar_core import locks, registry
from instar_core.dataplane import edits
from instar_core.testing.beside import beside

images = beside(__file__)("qemu_images")
img, io, made, content, sound = images.img, images.io, images.made, images.content, images.sound
pytestmark = [
    pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed"),
    images.needed,
]
TRY = "Try 'qemu-img commit --help' for more information\n"
CLUSTER = 1 << 16
MIB = 1 << 20
DONE = (0, "Image committed.\n", "")

Call = Callable[..., tuple[int, str, str]]


def own(name: str) -> dict[int, bool]:
    """The clusters that an image holds itself, and whether they are zeros."""
    return {
        at // CLUSTER: each["zero"]
        for each in json.loads(img("map", "--output=json", name))
        if each["depth"] == 0 and each["present"]
        for at in range(each["start"], each["start"] + each["length"], CLUSTER)
    }


@pytest.fixture
def chain(alone: Path) -> None:
    """a, b over it, c over that."""
    made("a", "write -P 1 0 256k")
    made("b", "write -P 2 256k 64k", below="a")
    made("c", "write -P 3 512k 64k", "write -z 64k 64k", below="b")


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Expecting one image file name\n" + TRY),
        ("c c", "Expecting one image file name\n" + TRY),
        ("-t foo c", "Invalid cache option: foo\n"),
        ("-r foo c", "Invalid rate limit specified: 'foo'\n"),
        ("-r -1 c", "Invalid rate limit specified. Must be between 0 and 9223372036854775807.\n"),
        ("a", "Image does not have a backing file\n"),
        ("-f raw c", "Image does not have a backing file\n"),
        ("-b x a", "Did not find 'x' in the backing chain of 'a'\n"),
        ("-b c c", "Did not find 'c' in the backing chain of 'c'\n"),
        ("x", "Could not open 'x': Could not open 'x': No such file or directory\n"),
    ],
)
def test_a_wrong_call_is_told_in_the_words_of_qemu_img(instar: Call, words: str, said: str) -> None:
    assert instar("commit", *words.split()) == (1, "", f"qemu-img: {said}")


@pytest.mark.usefixtures("chain")
def test_what_an_image_holds_goes_to_its_backing_image_and_it_is_empty(instar: Call) -> None:
    before = content("c")
    assert instar("commit", "c") == DONE
    assert content("c") == content("b") == before
    assert own("b") == {1: True, 4: False, 8: False}
    assert own("c") == {}
    assert own("a").keys() == {0, 1, 2, 3}
    sound("b", "c")


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("words", [["-d"], ["-b", "b"], ["-d", "-b", "b", "-r", "100M", "-t", "none"]])
def test_an_image_keeps_what_it_holds_where_that_is_wanted(instar: Call, words: list[str]) -> None:
    before, held = content("c"), Path("c").read_bytes()
    assert instar("commit", *words, "c") == DONE
    assert content("b") == before
    assert Path("c").read_bytes() == held


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("name", ["a", "./a", "../vm/a", "{}/a"])
def test_a_base_further_down_gets_what_all_above_it_hold(instar: Call, name: str) -> None:
    before, middle = content("c"), Path("b").read_bytes()
    assert instar("commit", "-b", name.format(os.getcwd()), "c") == DONE
    assert content("c") == content("a") == before
    assert Path("b").read_bytes() == middle
    assert own("a") == {0: False, 1: True, 2: False, 3: False, 4: False, 8: False}
    sound("a", "b", "c")


def test_what_lies_past_the_end_of_an_image_between_is_zeros_in_the_base(instar: Call) -> None:
    made("a", "write -P 1 0 1M")
    made("b", "write -P 2 0 64k", below="a", size=300 << 10)
    made("c", "write -P 3 64k 64k", below="b")
    before = content("c")
    assert before[300 << 10 :] == bytes(len(before) - (300 << 10))
    assert instar("commit", "-b", "a", "c") == DONE
    assert content("a") == content("c") == before
    sound("a", "b", "c")


@pytest.mark.parametrize("format", ["raw", "qcow2", "qed"])
def test_a_base_that_is_smaller_grows(instar: Call, format: str) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    base = f"base.{format}"
    made(base, "write -P 1 4k 8k", size=MIB - 512, format=format)
    if format == "raw":
        _partitioned(base)
    made("top", "write -P 2 3M 4k", below=base, size=4 * MIB)
    before = content("top")
    assert instar("commit", "top") == DONE
    assert content(base, "-f", format) == content("top") == before


def test_a_base_that_is_larger_keeps_its_end(instar: Call) -> None:
    made("base", "write -P 1 0 1M", options="cluster_size=256k")
    made("top", "write -P 2 0 100k", below="base", size=100 << 10)
    assert instar("commit", "top") == DONE
    assert content("base") == b"\2" * (100 << 10) + b"\1" * (MIB - (100 << 10))
    assert content("top") == b"\2" * (100 << 10)
    sound("base", "top")


def test_larger_clusters_of_the_base_are_completed(instar: Call) -> None:
    made("base", "write -P 1 0 1M", options="cluster_size=512k")
    made("top", "write -P 2 64k 4k", "write -z 600k 4k", below="base", options="cluster_size=4k")
    before = content("top")
    assert instar("commit", "top") == DONE
    assert content("base") == content("top") == before
    sound("base", "top")


def test_snapshots_of_the_base_stay_as_they_are(instar: Call) -> None:
    made("base", "write -P 1 0 512k")
    img("snapshot", "-c", "kept", "base")
    made("top", "write -P 2 0 256k", "write -z 256k 128k", below="base")
    kept, before = content("base", "-l", "kept"), content("top")
    assert instar("commit", "top") == DONE
    assert content("base", "-l", "kept") == kept
    assert content("base") == before
    img("snapshot", "-a", "kept", "base")
    assert content("base") == kept
    sound("base", "top")


def test_compressed_clusters_that_share_a_host_cluster_stay_when_their_neighbour_goes(instar: Call) -> None:
    made("base", options="cluster_size=64k")
    for number in range(4):
        io("base", f"write -c -P {number + 1} {number * CLUSTER} {CLUSTER}")
    made("top", f"write -P 9 {CLUSTER} {CLUSTER}", below="base")
    before = content("top")
    assert instar("commit", "top") == DONE
    assert content("base") == before
    sound("base", "top")


@pytest.mark.usefixtures("chain")
def test_the_overlay_is_emptied_only_when_the_base_is_on_stable_storage(
    instar: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written to the overlay comes after a flush that follows the last write to the base."""
    story: list[str] = []
    names = {os.stat(name).st_ino: name for name in "abc"}

    def watched(patch: pytest.MonkeyPatch, name: str, told: str) -> None:
        real = getattr(os, name)

        def call(descriptor: int, *rest: object) -> object:
            story.append(f"{told} {names.get(os.fstat(descriptor).st_ino)}")
            return real(descriptor, *rest)

        patch.setattr(os, name, call)

    before = content("c")
    with monkeypatch.context() as patch:
        writing = [(name, "write") for name in ("pwrite", "pwritev", "ftruncate")]
        for name, told in (*writing, ("fdatasync", "flush")):
            watched(patch, name, told)
        assert instar("commit", "c") == DONE
    last = max(number for number, act in enumerate(story) if act == "write b")
    first = story.index("write c")
    assert "flush b" in story[last:first]
    assert content("c", "-f", "qcow2") == before


@pytest.mark.usefixtures("chain")
def test_a_commit_that_fails_loses_nothing(instar: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    before, held = content("c"), Path("c").read_bytes()
    real = edits.flush

    def full(targets: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(edits, "flush", full)
    code, out, said = instar("commit", "c")
    assert (code, out) == (1, "") and "No space left on device" in said
    monkeypatch.setattr(edits, "flush", real)
    assert content("c") == before
    assert Path("c").read_bytes() == held


@pytest.mark.usefixtures("chain")
def test_images_that_others_use_are_left_alone(instar: Call) -> None:
    before = {name: Path(name).read_bytes() for name in "abc"}
    hint = "Is another process using the image [{}]?\n"
    shared = "Could not open 'c': Could not open backing file: Failed to get shared \"write\" lock\n"
    cases = (
        ("c", locks.READ, ["c"], "Could not open 'c': Failed to get \"write\" lock\n"),
        ("b", locks.READ, ["c"], 'Failed to get "write" lock\n'),
        ("a", locks.READ, ["-b", "a", "c"], 'Failed to get "write" lock\n'),
        ("b", locks.CHANGE, ["c"], shared),
    )  # fmt: skip
    for name, claim, words, said in cases:
        device = devices.open_named(name)
        try:
            locks.take(device, claim)
            assert instar("commit", *words) == (1, "", f"qemu-img: {said}{hint.format(name)}")
        finally:
            device.close()
    assert before == {name: Path(name).read_bytes() for name in "abc"}


@pytest.mark.usefixtures("chain")
def test_progress_is_told_and_quiet_silences_it(instar: Call) -> None:
    code, out, said = instar("commit", "-p", "-d", "c")
    assert (code, said) == (0, "")
    assert out.startswith("    (0.00/100%)\r") and out.endswith("    (100.00/100%)\r\nImage committed.\n")
    assert instar("commit", "-p", "-q", "c") == (0, "", "")


def test_content_goes_into_an_encrypted_base(instar: Call) -> None:
    secret = ("--object", "secret,id=s,data=pw")
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    assert instar("create", "-q", *secret, "-f", "qcow2", "-o", options, "base", "1M")[0] == 0
    img("create", "-q", "-u", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top", "2M")
    top = "driver=qcow2,file.filename=top,backing.encrypt.key-secret=s"
    written = ("-c", "write -P 2 60k 8k", "-c", "write -P 3 1536k 4k")
    images.run(images.QEMU_IO, *secret, "--image-opts", *written, top)
    assert instar("commit", *secret, "--image-opts", top) == DONE
    for described in ("driver=qcow2,file.filename=base,encrypt.key-secret=s", top):
        img("convert", *secret, "--image-opts", described, "-O", "raw", "read.raw")
        expected = bytes(60 << 10) + b"\2" * (8 << 10) + bytes((1536 - 68) << 10) + b"\3" * 4096
        assert Path("read.raw").read_bytes() == expected.ljust(2 * MIB, b"\0")


@pytest.mark.skipif("luks" not in registry.entries(), reason="instar-luks is not installed")
def test_a_luks_volume_that_grows_reads_as_the_longer_image_did_and_that_never_reads_otherwise(
    instar: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ("--object", "secret,id=s,data=pw")
    assert instar("create", "-q", *secret, "-f", "luks", "-o", "key-secret=s,iter-time=10", "base", "1M")[0] == 0
    img("create", "-q", "-u", "-f", "qcow2", "-b", "base", "-F", "luks", "top", "2M")
    top = "driver=qcow2,file.filename=top,backing.key-secret=s"
    images.run(images.QEMU_IO, *secret, "--image-opts", "-c", "write -P 3 1536k 4k", top)

    def read(described: str) -> bytes:
        img("convert", "-U", *secret, "--image-opts", described, "-O", "raw", "read.raw")
        return Path("read.raw").read_bytes()

    expected, seen = read(top), []
    assert not any(expected[MIB : MIB + 1000])
    real = edits.flush

    def flush(descriptors: object) -> None:
        real(descriptors)
        seen.append(read(top) == expected)

    monkeypatch.setattr(edits, "flush", flush)
    assert instar("commit", *secret, "--image-opts", top) == DONE
    assert len(seen) > 1 and all(seen)
    assert read(top) == expected
    assert read("driver=luks,file.filename=base,key-secret=s") == expected


def _partitioned(name: str) -> None:
    """The disk shows by a partition table that it is one."""
    with open(name, "r+b") as file:
        file.seek(510)
        file.write(b"\x55\xaa")
