"""The verb rebase: what is told, what is written, what is refused, judged by qemu-img."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instar_core import device as devices
from instar_core import locks, registry
from instar_core.testing.beside import beside

images = beside(__file__)("qemu_images")
img, made, content = images.img, images.made, images.content
pytestmark = [
    pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed"),
    images.needed,
]
TRY = "Try 'qemu-img rebase --help' for more information\n"
CLUSTER = 1 << 16
MIB = 1 << 20

Call = Callable[..., tuple[int, str, str]]


def own(name: str) -> list[tuple[int, int, bool, bool]]:
    """What an image holds itself: start, length, whether zeros, whether compressed."""
    return [
        (each["start"], each["length"], each["zero"], each["compressed"])
        for each in json.loads(img("map", "--output=json", name))
        if each["depth"] == 0 and each["present"]
    ]


@pytest.fixture
def chain(alone: Path) -> Iterator[None]:
    """a, b over it, c over that; n, which has nothing to do with them."""
    made("a", "write -P 1 0 256k")
    made("b", "write -P 2 256k 64k", below="a")
    made("c", "write -P 3 512k 64k", "write -z 64k 64k", below="b")
    made("n", "write -P 9 128k 256k")
    yield
    assert "No errors" in img("check", "c")


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Expecting one image file name\n" + TRY),
        ("c", "Must specify backing file (-b) or use unsafe mode (-u)\n" + TRY),
        ("-b a c c", "Expecting one image file name\n" + TRY),
        ("-t foo -b a c", "Invalid cache option: foo\n"),
        ("-T foo -b a c", "Invalid source cache option: foo\n"),
        ("-b a -F foo c", "Invalid format name: 'foo'\n"),
        ("-u -b a c", "Could not change the backing file to 'a': backing format must be specified\n"),
        ("-b x -F qcow2 c", "Could not open new backing file 'x': Could not open 'x': No such file or directory\n"),
        ("-f raw -u c", "Could not change the backing file to '(null)': Operation not supported\n"),
        ("-f raw -c -b a -F qcow2 c", "Compression not supported for this file format\n"),
        ("-b a -F qcow2 x", "Could not open 'x': Could not open 'x': No such file or directory\n"),
    ],
)
def test_a_wrong_call_is_told_in_the_words_of_qemu_img(instar: Call, words: str, said: str) -> None:
    assert instar("rebase", *words.split()) == (1, "", f"qemu-img: {said}")


@pytest.mark.usefixtures("chain")
def test_an_image_reads_as_before_over_nothing_an_ancestor_and_a_stranger(instar: Call) -> None:
    before = content("c")
    for words in (["-b", "a", "-F", "qcow2"], ["-b", "n", "-B", "qcow2"], ["-b", ""]):
        assert instar("rebase", *words, "c") == (0, "", "")
        assert content("c") == before
    assert "backing" not in img("info", "c")
    held = {at // CLUSTER: zero for start, length, zero, _ in own("c") for at in range(start, start + length, CLUSTER)}
    assert held == {0: False, 1: True, 2: False, 3: False, 4: False, 5: True, 8: False}


@pytest.mark.usefixtures("chain")
def test_of_a_common_ancestor_nothing_is_copied(instar: Call) -> None:
    assert instar("rebase", "-b", "a", "-F", "qcow2", "c")[0] == 0
    assert own("c") == [
        (CLUSTER, CLUSTER, True, False),
        (4 * CLUSTER, CLUSTER, False, False),
        (8 * CLUSTER, CLUSTER, False, False),
    ]


def test_a_format_that_is_not_said_is_missed_before_anything_is_written(instar: Call) -> None:
    """quirk("rebase-format-undeclared"): qemu-img copies everything first."""
    made("old", "write -P 1 0 256k")
    made("new")
    made("top", below="old")
    before = Path("top").read_bytes()
    told = (1, "", "qemu-img: Could not change the backing file to 'new': backing format must be specified\n")
    assert instar("rebase", "-b", "new", "top") == told
    assert Path("top").read_bytes() == before


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("unsafe", [[], ["-u"]])
@pytest.mark.parametrize(("image", "onto", "loop"), [("b", "b", "b"), ("b", "c", "b"), ("a", "c", "a")])
def test_an_image_is_never_put_over_itself(instar: Call, unsafe: list[str], image: str, onto: str, loop: str) -> None:
    """quirk("rebase-loop"): with -u qemu-img does it, and whoever reads the image after that hangs."""
    before = Path(image).read_bytes()
    said = f"qemu-img: Could not open new backing file '{onto}': Backing file '{loop}' creates an infinite loop.\n"
    assert instar("rebase", *unsafe, "-b", onto, "-F", "qcow2", image) == (1, "", said)
    assert Path(image).read_bytes() == before


def test_unsafe_mode_needs_neither_the_old_backing_file_nor_the_new_one(instar: Call) -> None:
    made("old", "write -P 1 0 256k")
    made("top", "write -P 2 512k 64k", below="old")
    os.unlink("old")
    missing = "Could not open 'top': Could not open backing file: Could not open 'old': No such file or directory"
    assert instar("rebase", "-b", "", "top") == (1, "", f"qemu-img: {missing}\n")
    assert instar("rebase", "-u", "-b", "elsewhere", "-F", "raw", "top") == (0, "", "")
    assert "backing file: elsewhere" in img("info", "top")
    assert instar("rebase", "-u", "top") == (0, "", "")
    assert content("top") == bytes(8 * CLUSTER) + b"\2" * CLUSTER + bytes(7 * CLUSTER)


def test_a_relative_name_counts_from_the_folder_of_the_image(instar: Call) -> None:
    os.mkdir("sub")
    made("sub/new", "write -P 5 0 1M")
    made("sub/old", "write -P 1 0 256k")
    made("sub/top", below="old")
    before = content("sub/top")
    assert instar("rebase", "-b", "new", "-F", "qcow2", "sub/top") == (0, "", "")
    assert content("sub/top") == before
    assert instar("rebase", "-b", "sub/new", "-F", "qcow2", "sub/top")[0] == 1


def test_what_a_short_backing_file_left_open_stays_zeros(instar: Call) -> None:
    made("old", "write -P 1 0 100k", size=100 << 10)
    made("new", "write -P 5 0 1M")
    made("top", below="old")
    before = content("top")
    assert instar("rebase", "-b", "new", "-F", "qcow2", "top") == (0, "", "")
    assert content("top") == before
    assert instar("rebase", "-b", "old", "-F", "qcow2", "top") == (0, "", "")
    assert content("top") == before


def test_an_image_without_backing_file_reads_as_before_over_its_first_one(instar: Call) -> None:
    made("new", "write -P 5 0 1M")
    made("top", "write -P 1 64k 64k", "discard 64k 64k", "write -P 2 128k 64k")
    before = content("top")
    assert instar("rebase", "-b", "new", "-F", "qcow2", "top") == (0, "", "")
    assert content("top") == before
    assert "No errors" in img("check", "top")


def test_zeros_that_were_written_below_are_not_written_over_nothing(instar: Call) -> None:
    made("old", "write -P 0 0 256k", "write -P 1 256k 64k", "write -z 512k 64k")
    made("top", below="old")
    assert instar("rebase", "-b", "", "top") == (0, "", "")
    assert own("top") == [(4 * CLUSTER, CLUSTER, False, False)]


def test_clusters_that_the_image_holds_in_part_are_compressed_whole(instar: Call) -> None:
    """quirk("rebase-compressed-parts"): qemu-img ends itself by an assertion, and nothing is changed."""
    made("old", "write -P 1 0 1M")
    made("top", "write -P 7 16k 2k", below="old", options="extended_l2=on,cluster_size=64k")
    before = content("top")
    assert instar("rebase", "-c", "-b", "", "top") == (0, "", "")
    assert content("top") == before
    assert own("top") == [(0, MIB, False, True)]
    assert "No errors" in img("check", "top")


def test_a_snapshot_reads_as_before(instar: Call) -> None:
    made("old", "write -P 1 0 1M")
    made("top", "write -P 7 0 128k", below="old")
    img("snapshot", "-c", "kept", "top")
    made("new")
    before = content("top")
    img("convert", "-l", "kept", "-O", "raw", "top", "first")
    assert instar("rebase", "-b", "", "top") == (0, "", "")
    assert content("top") == before
    img("convert", "-l", "kept", "-O", "raw", "top", "second")
    # What a snapshot leaves open was never promised: it reads over the new chain, as after qemu-img's rebase.
    assert Path("second").read_bytes()[: 2 * CLUSTER] == Path("first").read_bytes()[: 2 * CLUSTER]
    assert "No errors" in img("check", "top")


def test_an_encrypted_image_is_rebased_with_its_passphrase(instar: Call) -> None:
    secret = ("--object", "secret,id=s,data=pw")
    made("old", "write -P 1 0 256k")
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"  # which qemu-img takes seconds for
    assert (
        instar("create", "-q", *secret, "-b", "old", "-F", "qcow2", "-f", "qcow2", "-o", options, "top", "1M")[0] == 0
    )
    described = "driver=qcow2,file.filename=top,encrypt.key-secret=s"
    assert instar("rebase", *secret, "--image-opts", "-b", "", described) == (0, "", "")
    img("convert", *secret, "--image-opts", described, "-O", "raw", "read.raw")
    assert Path("read.raw").read_bytes() == b"\1" * (256 << 10) + bytes(768 << 10)


@pytest.mark.usefixtures("chain")
def test_images_that_others_use_are_left_alone(instar: Call) -> None:
    def told(*words: str) -> str:
        code, _, said = instar("rebase", *words)
        assert code == 1
        return said

    hint = "Is another process using the image [{}]?\n"
    with _used("c"):
        said = told("-u", "-b", "a", "-F", "qcow2", "c")
        assert said == "qemu-img: Could not open 'c': Failed to get \"write\" lock\n" + hint.format("c")
    with _changed("b"):
        said = told("-b", "a", "-F", "qcow2", "c")
        why = "Could not open 'c': Could not open backing file: Failed to get shared \"write\" lock\n"
        assert said == "qemu-img: " + why + hint.format("b")
    with _changed("n"):
        said = told("-b", "n", "-F", "qcow2", "c")
        why = "Could not open new backing file 'n': Failed to get shared \"write\" lock\n"
        assert said == "qemu-img: " + why + hint.format("n")
    with _used("b"):
        assert instar("rebase", "-b", "a", "-F", "qcow2", "c") == (0, "", "")


class _Locked:
    def __init__(self, name: str, claim: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        self._name, self._claim = name, claim

    def __enter__(self) -> None:
        self._device = devices.open_named(self._name)
        locks.take(self._device, self._claim)

    def __exit__(self, *_: object) -> None:
        self._device.close()


def _used(name: str) -> _Locked:
    return _Locked(name, locks.READ)


def _changed(name: str) -> _Locked:
    return _Locked(name, locks.CHANGE)


@pytest.mark.usefixtures("chain")
def test_progress_is_told_and_quiet_silences_it(instar: Call) -> None:
    code, out, said = instar("rebase", "-p", "-b", "n", "-F", "qcow2", "c")
    assert (code, said) == (0, "")
    assert out.startswith("    (0.00/100%)\r") and out.endswith("    (100.00/100%)\r\n")
    assert instar("rebase", "-p", "-q", "-b", "", "c") == (0, "", "")


def test_a_format_that_qemu_img_does_not_rebase_is_refused_under_its_name(instar: Call) -> None:
    if "vmdk" not in registry.entries():
        pytest.skip("instar-vmdk is not installed")
    img("create", "-q", "-f", "vmdk", "top", "1M")
    said = "qemu-img: Could not change the backing file to '': Operation not supported\n"
    assert instar("rebase", "-b", "", "top") == (1, "", said)


@pytest.mark.parametrize("format", ["vmdk", "vpc", "vhdx"])
def test_an_image_that_cannot_name_a_backing_file_is_refused_before_anything_is_copied(
    instar: Call, format: str
) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    for name in ("image", "base"):
        img("create", "-q", "-f", format, name, "8M")
    Path("content").write_bytes(b"x" * MIB)
    img("convert", "-n", "-f", "raw", "-O", format, "content", "base")
    before = Path("image").read_bytes()
    code, out, err = instar("rebase", "-f", format, "-b", "base", "-F", format, "image", name="instar")
    assert (code, out) == (1, "")
    assert err.startswith("instar: Could not change the backing file to 'base': ")
    assert Path("image").read_bytes() == before
