"""Command lines drawn at random do the same as with qemu-img, in folders of the same images.

Exit code, output, messages, the files that there are then and what these hold agree, or the difference is a quirk that
docs/quirks.toml lists (surface_excuses.py). Line number N of a seed is always the same one:

    INSTAR_SURFACE_SEED=S INSTAR_SURFACE_LINES=N,M pytest -m long tests/test_surface.py
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instar_core import registry
from instar_core.testing.beside import beside
from instar_core.testing.foreign import Programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from surface_twins import Twins

load = beside(__file__)
load("excuses"), load("surface_values")  # in this order: they import one another
differential, surface_grammar, surface_images = map(load, ("differential", "surface_grammar", "surface_images"))
surface_excuses, surface_twins = load("surface_excuses"), load("surface_twins")

PROGRAMS = Programs()
SEED, LINES = 11, 240
LONG = 5000
NEEDED = {"qcow2", "vmdk", "vdi", "vpc", "vhdx", "qed", "qcow", "parallels", "luks"}
QUIRKS = Path(__file__).parents[1] / "docs" / "quirks.toml"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Two folders to try command lines in."""
    absent = NEEDED - set(registry.entries())
    if absent:
        pytest.skip(f"not installed: {', '.join(sorted(absent))}")
    version = re.match(rb"qemu-img version (\d+)\.(\d+)", PROGRAMS.img("--version").stdout)
    modern = version is not None and (int(version[1]), int(version[2])) >= (11, 1)
    images = tmp_path_factory.mktemp("images")
    surface_images.make(images, PROGRAMS)
    differential.warm()
    yield surface_twins.Twins(images, tmp_path_factory.mktemp("twins"), PROGRAMS, modern=modern)


def disagreements(twins: Twins, seed: int, numbers: list[int]) -> list[str]:
    """What the two do not agree on, with the number of the line."""
    found = []
    for number in numbers:
        line = surface_grammar.line(seed, number)
        if not line.old and not twins.modern:  # the options are others there, and so is what abbreviates them
            continue
        told = twins.differences(line)
        if told:
            found.append("\n".join([f"line {number} of seed {seed}: qemu-img {shlex.join(line.words)}", *told]))
    return found


@pytest.mark.oracle
def test_a_command_line_does_what_it_does_with_qemu_img(twins: Twins) -> None:
    found = disagreements(twins, SEED, list(range(LINES)))
    assert not found, "\n\n".join(found)


@pytest.mark.oracle
@pytest.mark.long
def test_thousands_of_command_lines_do_what_they_do_with_qemu_img(twins: Twins) -> None:
    seed = int(os.environ.get("INSTAR_SURFACE_SEED", random.randrange(1 << 30)))
    first, _, end = os.environ.get("INSTAR_SURFACE_LINES", f"0,{LONG}").partition(",")
    print(f"seed {seed}")
    found = disagreements(twins, seed, list(range(int(first), int(end or int(first) + 1))))
    assert not found, "\n\n".join([*found, f"seed {seed}, {len(found)} lines, excused: {twins.excused}"])


def test_every_excuse_is_a_quirk() -> None:
    listed = {entry["name"] for entry in tomllib.loads(QUIRKS.read_text())["quirk"]}
    assert set(surface_excuses.EXCUSES) <= listed


def test_a_line_of_a_seed_is_always_the_same_and_every_verb_has_its_turn() -> None:
    lines = [surface_grammar.line(SEED, number) for number in range(60)]
    assert lines == [surface_grammar.line(SEED, number) for number in range(60)]
    assert {line.verb for line in lines} >= set(surface_grammar.VERBS)


@pytest.mark.oracle
def test_every_long_option_of_qemu_img_is_one_of_the_grammar() -> None:
    """What the help of the real program names, the lines are drawn from."""
    version = re.match(rb"qemu-img version (\d+)\.(\d+)", PROGRAMS.img("--version").stdout)
    if version is None or (int(version[1]), int(version[2])) < (11, 1):
        pytest.skip("the options of an older qemu-img have other names")
    for verb, options in surface_grammar.VERBS.items():
        help = PROGRAMS.img(verb, "--help").stdout.decode()
        named = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", help, re.MULTILINE)) - {"help"}
        if verb == "convert":
            named.discard("compress")  # the help has it, the program does not
        if verb == "amend":
            named = {"progress" if name == "progres" else name for name in named}
        if verb == "bench":
            named.discard("native")  # a host's libaio decides what comes of it
        assert named <= {option.name for option in options} | {"disable"}, verb


# What such lines found.


@pytest.fixture
def disk(instar: Call) -> Path:
    """A disk of a MiB of zeros, raw, in the current folder."""
    Path("d.raw").write_bytes(bytes(1 << 20))
    return Path("d.raw")


@pytest.fixture
def qcow2(disk: Path, instar: Call) -> str:
    """The same as a qcow2 image, with nothing in it but a partition table."""
    if "qcow2" not in registry.entries():
        pytest.skip("not installed: qcow2")
    assert instar("create", "-q", "-f", "qcow2", "d.qcow2", "1M") == (0, "", "")
    return "d.qcow2"


def test_a_guessed_raw_disk_is_written_to_without_a_warning(disk: Path, instar: Call) -> None:
    """quirk("no-warnings"): qemu-img warns that probing guessed raw; here raw is not guessed."""
    assert instar("resize", "d.raw", "2M") == (0, "Image resized.\n", "")


def test_a_strict_comparison_goes_on_where_only_what_drivers_tell_differs(qcow2: str, instar: Call) -> None:
    """quirk("compare-strict-status"): what is allocated is told in other stretches than by qemu-img."""
    assert instar("compare", "-s", "-f", "raw", "-F", "raw", "d.raw", "d.raw") == (0, "Images are identical.\n", "")
    code, out, _ = instar("compare", "-s", "d.raw", qcow2)
    assert (code, out) in ((0, "Images are identical.\n"), (1, "Strict mode: Offset 0 block status mismatch!\n"))


def test_a_compressed_qcow_is_made_without_an_error(disk: Path, instar: Call) -> None:
    """quirk("qcow-compressed"): qemu-img exits with 1 and says nothing, though the image is whole."""
    if "qcow" not in registry.entries():
        pytest.skip("not installed: qcow")
    disk.write_bytes(b"content." * (1 << 17))
    assert instar("convert", "-f", "raw", "-c", "-O", "qcow", "d.raw", "d.qcow") == (0, "", "")
    assert instar("compare", "-f", "raw", "d.raw", "d.qcow") == (0, "Images are identical.\n", "")


def test_a_qed_is_made_out_of_order(disk: Path, instar: Call) -> None:
    """quirk("qed-out-of-order"): qemu-img mostly fails an assertion."""
    if "qed" not in registry.entries():
        pytest.skip("not installed: qed")
    disk.write_bytes(b"content." * (1 << 17))
    assert instar("convert", "-W", "-m", "8", "-f", "raw", "-O", "qed", "d.raw", "d.qed") == (0, "", "")
    assert instar("compare", "-f", "raw", "d.raw", "d.qed") == (0, "Images are identical.\n", "")


def test_a_data_file_is_made_beside_its_image(qcow2: str, instar: Call) -> None:
    """quirk("data-file-beside-its-image"): qemu-img makes it in the current folder."""
    Path("dir").mkdir()
    assert instar("create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "dir/new", "1M") == (0, "", "")
    assert (Path("dir/data.raw").exists(), Path("data.raw").exists()) == (True, False)
    assert instar("map", "dir/new")[0] == 0


def test_a_backing_file_with_a_protocol_lies_beside_its_image(qcow2: str, instar: Call) -> None:
    """quirk("backing-file-beside-its-image"): qemu-img looks in the current folder."""
    Path("dir").mkdir()
    told = (
        "qemu-img: dir/over: Could not open 'dir/d.qcow2': No such file or directory\nCould not open backing image.\n"
    )
    words = ("create", "-q", "-f", "qcow2", "-b", f"file:{qcow2}", "-F", "qcow2", "dir/over")
    assert instar(*words) == (1, "", told)
    Path(qcow2).rename("dir/d.qcow2")
    assert instar(*words) == (0, "", "")
    assert instar("map", "dir/over")[0] == 0


def test_a_source_that_is_the_target_too_is_told_as_a_source(disk: Path, instar: Call) -> None:
    told = "qemu-img: Could not open 'd.raw': Unknown driver 'foo'\n"
    assert instar("convert", "-f", "foo", "d.raw", "d.raw") == (1, "", told)


def test_a_conversion_that_copies_nothing_does_not_exit_with_0(disk: Path, qcow2: str, instar: Call) -> None:
    """quirk("target-is-zero-over-backing"): the message is the same."""
    told = "qemu-img: Cannot use --target-is-zero when the destination image has a backing file\n"
    words = ("convert", "-n", "--target-is-zero", "-b", "b", "-F", "raw", "-O", "qcow2", "d.raw", qcow2)
    assert instar(*words) == (1, "", told)


def test_what_cannot_be_made_is_not_measured(instar: Call) -> None:
    """quirk("measure-of-what-cannot-be"): qemu-img names a size."""
    if "qcow2" not in registry.entries():
        pytest.skip("not installed: qcow2")
    told = "qemu-img: data-file-raw requires data-file\n"
    assert instar("measure", "-O", "qcow2", "-o", "data_file_raw=on", "--size", "1M") == (1, "", told)


def test_a_disk_of_nothing_does_not_become_a_vmdk(instar: Call) -> None:
    """quirk("vmdk-of-nothing"): qemu-img makes what it cannot open, or ends itself by a failed assertion."""
    if "vmdk" not in registry.entries():
        pytest.skip("not installed: vmdk")
    Path("empty").write_bytes(b"")
    for kind in ("monolithicSparse", "twoGbMaxExtentFlat"):
        told = f"qemu-img: Could not open 'new': Unsupported image type '{kind}'\n"
        words = ("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", "empty", "new")
        assert instar(*words) == (1, "", told)
    assert not Path("new").exists()


def test_an_image_with_torn_refcounts_is_not_added_to(qcow2: str, instar: Call) -> None:
    """quirk("torn-refcounts"): qemu-img goes on, and may put new content over what is there."""
    Path("d.raw").write_bytes(b"content." * (1 << 13))
    assert instar("convert", "-f", "raw", "-O", "qcow2", "d.raw", qcow2) == (0, "", "")
    place = json.loads(instar("map", "--output=json", qcow2)[1])[0]["offset"]
    with open(qcow2, "r+b") as file:  # the refcount table, its first block, the entry of the cluster with the content
        file.seek(48)
        file.seek(int.from_bytes(file.read(8), "big"))
        file.seek(int.from_bytes(file.read(8), "big") + (place >> 16) * 2)
        file.write(bytes(2))
    before = Path(qcow2).read_bytes()
    code, out, err = instar("snapshot", "-c", "one", qcow2)
    assert (code, out) == (1, "")
    assert "is in use but its refcount is 0; repair the image first" in err
    assert Path(qcow2).read_bytes() == before


def test_compress_has_a_long_name_as_the_help_says(qcow2: str, instar: Call) -> None:
    """quirk("convert-compress"): the help of qemu-img names --compress, and convert does not know it."""
    assert instar("convert", "--compress", "-O", "qcow2", qcow2, "small.qcow2") == (0, "", "")


def test_requests_of_a_benchmark_begin_again_before_the_end_of_the_disk(instar: Call) -> None:
    Path("odd.raw").write_bytes(bytes(307_300))
    assert instar("bench", "-f", "raw", "-c", "5", "-s", "64k", "odd.raw")[0] == 0
    told = "qemu-img: Failed request: Input/output error\n"
    assert instar("bench", "-f", "raw", "-c", "1", "-s", "64k", "-o", "256k", "odd.raw")[2] == told


def test_many_readers_past_the_page_cache_do_not_hinder_who_parses(qcow2: str, instar: Call) -> None:
    code, out, err = instar("bench", "-t", "none", "-c", "2", qcow2)
    if "Invalid argument" in err:
        pytest.skip("this file system has no direct access")
    assert (code, err) == (0, "")
    assert out.startswith("Sending 2 read requests")


def test_json_names_are_read_as_qemu_reads_them(disk: Path, instar: Call) -> None:
    code, out, _ = instar("info", "json:{'driver':'raw','file':{'driver':'file','filename':'d.raw'}}")
    assert (code, "virtual size: 1 MiB" in out) == (0, True)


def test_an_object_is_made_before_the_options_behind_it_are_read(instar: Call) -> None:
    wrong = "secret,id=s,data=a,foo=1"
    assert instar("measure", "--object", wrong, "--size", "x")[2] == "qemu-img: Parameter 'foo' is unexpected\n"
    assert "Invalid image size" in instar("measure", "--size", "x", "--object", wrong)[2]


def test_an_image_without_what_lies_below_is_not_resized(qcow2: str, instar: Call) -> None:
    assert instar("create", "-q", "-u", "-f", "qcow2", "-b", "gone", "-F", "raw", "over", "1M") == (0, "", "")
    why = "Could not open backing file: Could not open 'gone': No such file or directory"
    for words in (("resize", "over", "2M"), ("amend", "-o", "lazy_refcounts=on", "over")):
        assert instar(*words) == (1, "", f"qemu-img: Could not open 'over': {why}\n")
    made = instar("create", "-q", "-f", "qcow2", "-b", "over", "-F", "qcow2", "top")
    assert made == (1, "", f"qemu-img: top: {why}\nCould not open backing image.\n")


def test_block_limits_are_those_of_the_format(qcow2: str, instar: Call) -> None:
    out = instar("info", "--limits", qcow2)[1]
    assert "    write zeroes alignment: 65536\n    request alignment: 1\n    min mem alignment: 1\n" in out
    assert out.count("Block limits:") == 2
    assert "        request alignment: 512\n" in instar("info", "--limits", "-t", "none", qcow2)[1]


def test_progress_begins_when_the_image_is_open(qcow2: str, instar: Call) -> None:
    assert instar("commit", "-p", "gone")[1] == ""
    assert instar("amend", "-p", "-o", "compat=v3", "gone")[1] == "\n"
    assert instar("compare", "-p", "gone", qcow2)[1] == "\n"
    assert instar("convert", "-p", "gone", "x")[1] == "    (0.00/100%)\r\n"
    assert instar("rebase", "-p", "-T", "foo", "-b", "x", "gone")[1] == "    (0.00/100%)\r\n"


def test_sources_described_by_options_are_joined(disk: Path, qcow2: str, instar: Call) -> None:
    spec = f"driver=qcow2,file.filename={qcow2}"
    assert instar("convert", "--image-opts", "driver=raw,file.filename=d.raw", spec, "new") == (0, "", "")
    assert Path("new").stat().st_size == 2 << 20


def test_a_source_that_cannot_be_opened_is_told_before_a_wrong_target(instar: Call) -> None:
    told = "qemu-img: Could not open 'gone': Could not open 'gone': No such file or directory\n"
    for words in (
        ("convert", "-O", "foo", "gone", "x"), ("convert", "-t", "foo", "gone", "x"), ("measure", "-O", "vdi", "gone"),
        ("dd", "-O", "foo", "if=gone", "of=x"), ("compare", "gone", "x:y"),
    ):  # fmt: skip
        code, _, err = instar(*words)
        assert (code, err) == (2 if words[0] == "compare" else 1, told), words


def test_a_source_is_opened_before_the_description_of_the_next_is_read(disk: Path, instar: Call) -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    wrong, right = "driver=qcow2,file.filename=d.raw", "driver=raw,file.filename=d.raw"
    for words in (
        ("convert", "--image-opts", wrong, "foo=1", "x"), ("convert", "--image-opts", wrong, right, "x"),
        ("convert", "--image-opts", right, wrong, "x"), ("compare", "--image-opts", wrong, right),
    ):  # fmt: skip
        assert instar(*words)[2] == f"qemu-img: Could not open '{wrong}': Image is not in qcow2 format\n", words


def test_a_file_alone_can_be_described(disk: Path, qcow2: str, instar: Call) -> None:
    told = ["image: d.raw", "file format: file", "virtual size: 1 MiB (1048576 bytes)"]
    for words in (("--image-opts", "driver=file,filename=d.raw"), ('json:{"driver":"file","filename":"d.raw"}',)):
        code, out, err = instar("info", *words)
        assert (code, [line for line in out.splitlines() if "disk size" not in line], err) == (0, told, "")
    shown = json.loads(instar("info", "--output=json", "--image-opts", f"driver=file,filename={qcow2}")[1])
    assert (shown["format"], shown["format-specific"], shown["children"]) == ("file", {"type": "file", "data": {}}, [])
    assert instar("convert", "-O", "raw", "--image-opts", f"driver=file,filename={qcow2}", "bytes") == (0, "", "")
    held = Path(qcow2).read_bytes()
    assert Path("bytes").read_bytes().rstrip(b"\0") == held.rstrip(b"\0")
    wrapped = f"driver=qcow2,file.driver=raw,file.file.filename={qcow2}"
    assert "file format: qcow2\n" in instar("info", "--image-opts", wrapped)[1]


def test_an_image_that_may_only_be_read_is_not_changed(qcow2: str, instar: Call) -> None:
    before = Path(qcow2).read_bytes()
    whys = {"read-only=on": "Block node is read-only", "file.read-only=on": "Block node is read-only",
            "force-share=on": "force-share=on can only be used with read-only images"}  # fmt: skip
    for option, why in whys.items():
        given = f"driver=qcow2,{option},file.filename={qcow2}"
        for words in (("resize", given, "2M"), ("check", "-r", "all", given), ("snapshot", "-c", "s", given)):
            told = f"qemu-img: Could not open '{given}': {why}\n"
            assert instar(words[0], "--image-opts", *words[1:]) == (1, "", told), words
        assert instar("map", "--image-opts", given)[0] == 0
    assert Path(qcow2).read_bytes() == before


def test_values_of_options_that_change_nothing_are_looked_at(disk: Path, qcow2: str, instar: Call) -> None:
    wrong = {
        "file.locking=maybe": "invalid parameter value: maybe", "file.aio=foo": "invalid parameter value: foo",
        "discard=foo": "Invalid discard option", "node-name=1": "Invalid node-name: '1'",
        "read-only=maybe": "Parameter 'read-only' expects 'on' or 'off'",
        "file.foo=1": "Block protocol 'file' doesn't support the option 'foo'",
        "encrypt.format=luks": "No encryption in image header, but options specified format 'luks'",
        "backing=x": "Could not open backing file: Cannot find device='x' nor node-name='x'",
    }  # fmt: skip
    for option, why in wrong.items():
        given = f"driver=qcow2,{option},file.filename={qcow2}"
        assert instar("map", "--image-opts", given)[2] == f"qemu-img: Could not open '{given}': {why}\n"
    given = "driver=qcow2,foo=1,file.filename=d.raw"  # what is wrong with the image is told first
    told = f"qemu-img: Could not open '{given}': Image is not in qcow2 format\n"
    assert instar("map", "--image-opts", given)[2] == told
    assert instar("map", "--image-opts", f"driver=qcow2,file.filename={qcow2},")[0] == 0


def test_plain_numbers_take_no_suffix(qcow2: str, instar: Call) -> None:
    assert instar("bench", "-c", "1k", qcow2)[2] == "qemu-img: Invalid request count specified: '1k'\n"
    assert instar("bench", "--pattern=1k", qcow2)[2] == "qemu-img: Invalid pattern byte specified: '1k'\n"


def test_what_the_command_line_says_of_the_backing_file_counts_more_than_the_list(qcow2: str, instar: Call) -> None:
    words = ("convert", "-O", "qcow2", "-o", "backing_fmt=raw", "-b", qcow2, "-F", "qcow2", qcow2, "over")
    assert instar(*words) == (0, "", "")
    assert "backing file format: qcow2\n" in instar("info", "over")[1]


def test_flat_images_are_not_compressed(disk: Path, instar: Call) -> None:
    if "vmdk" not in registry.entries():
        pytest.skip("not installed: vmdk")
    words = ("convert", "-c", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", "d.raw", "new")
    assert instar(*words) == (1, "", "qemu-img: invalid cluster size\n")


def test_of_several_mistakes_the_one_that_qemu_img_meets_first_is_told(disk: Path, qcow2: str, instar: Call) -> None:
    for line, why in (
        ("convert -l snapshot.id=2 --image-opts -f raw a b", "--image-opts and --format are mutually exclusive"),
        (
            "create -f qcow2 -F raw -o cluster_size=1000 x 1M",
            "x: Cluster size must be a power of two between 512 and 2048k",
        ),
        (
            "convert -c -O qcow2 -o backing_file=b,encrypt.format=luks d.raw x",
            "Use of backing file requires explicit backing format",
        ),
        ("convert -n --target-image-opts -O raw d.raw gone", "--image-opts and --format are mutually exclusive"),
        ("convert -n -t foo --target-image-opts -O raw d.raw gone", "Invalid cache option: foo"),
        (
            "convert -l snapshot.name=one d.raw gone x",
            "Could not open 'gone': Could not open 'gone': No such file or directory",
        ),
        ("commit --image-opts driver=qcow2,backing=,file.filename=d.qcow2", "Image does not have a backing file"),
        (
            "amend -o compat=0.10,lazy_refcounts=on,refcount_bits=8 d.qcow2",
            "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)",
        ),
    ):
        assert instar(*line.split())[2] == f"qemu-img: {why}\n", line


def test_a_snapshot_is_chosen_of_the_first_of_several_sources(disk: Path, qcow2: str, instar: Call) -> None:
    assert instar("convert", "-n", "-f", "raw", "-O", "qcow2", "d.raw", qcow2) == (0, "", "")
    assert instar("snapshot", "-c", "one", qcow2) == (0, "", "")
    Path("d.raw").write_bytes(b"content." * (1 << 17))
    assert instar("convert", "-n", "-f", "raw", "-O", "qcow2", "d.raw", qcow2) == (0, "", "")
    assert instar("convert", "-l", "snapshot.name=one", "-O", "raw", qcow2, qcow2, "new") == (0, "", "")
    assert Path("new").read_bytes() == bytes(1 << 20) + b"content." * (1 << 17)


def test_no_bitmaps_can_be_copied_to_where_there_may_be_some(qcow2: str, instar: Call) -> None:
    if "parallels" not in registry.entries():
        pytest.skip("not installed: parallels")
    assert instar("convert", "--bitmaps", "-O", "parallels", qcow2, "new") == (0, "", "")
    told = "qemu-img: Format driver 'raw' does not support bitmaps\n"
    assert instar("convert", "--bitmaps", "-O", "raw", qcow2, "raw") == (1, "", told)


def test_a_chain_is_left_for_its_own_base_read_as_another_format_and_nothing_is_lost(
    disk: Path, qcow2: str, instar: Call
) -> None:
    """quirk("rebase-same-file"): qemu-img takes the file for an image of the old chain, and copies nothing from it."""
    Path("d.raw").write_bytes(b"content." * (1 << 17))
    assert instar("convert", "-f", "raw", "-O", "qcow2", "d.raw", qcow2) == (0, "", "")
    assert instar("create", "-q", "-f", "qcow2", "-b", qcow2, "-F", "qcow2", "top") == (0, "", "")
    assert instar("rebase", "--image-policy", "qemu", "-b", qcow2, "-B", "raw", "top") == (0, "", "")
    same = instar("compare", "--image-policy", "qemu", "-f", "raw", "-F", "qcow2", "d.raw", "top")
    assert same == (0, "Images are identical.\n", "")


def test_a_disk_larger_than_any_can_be_is_not_asked_of_the_format(qcow2: str, instar: Call) -> None:
    assert instar("resize", qcow2, "8E")[2] == "qemu-img: New image size must be positive\n"
    told = "qemu-img: offset(9223372036854775807) exceeds maximum(9223372035781033984)\n"
    assert instar("resize", qcow2, "9223372036854775807")[2] == told


def test_a_size_of_more_than_63_bits_is_no_negative_one(disk: Path, instar: Call) -> None:
    """quirk("resize-past-63-bits"): qemu-img makes the disk a byte longer by the first, and shorter by the second."""
    for size in ("-18446744073709551615", "+18446744073709551615", "18446744073709551615"):
        told = instar("resize", "-f", "raw", "--shrink", "d.raw", size)
        assert told == (1, "", "qemu-img: New image size must be positive\n")
    assert disk.stat().st_size == 1 << 20


def test_a_folder_is_no_image_past_the_page_cache_either(instar: Call) -> None:
    """quirk("folder-past-the-cache"): qemu-img blames the file system."""
    Path("dir").mkdir()
    told = "qemu-img: Could not open 'dir': 'file' driver requires 'dir' to be a regular file\n"
    for words in (("info", "-t", "none"), ("check", "-T", "directsync"), ("convert", "-T", "none")):
        assert instar(*words, "dir", *("x",) * (words[0] == "convert")) == (1, "", told)


def test_sizes_behind_dashes_are_operands_too(qcow2: str, instar: Call) -> None:
    told = instar("resize", "--", qcow2, "1M", "-q")[2]
    assert told.startswith("qemu-img: Expecting image file name and size\n")
    assert instar("resize", qcow2, "1M", "2M")[2].startswith("qemu-img: Extra argument(s) in command line\n")


def test_options_that_qemu_img_does_not_have_are_listed(instar: Call) -> None:
    """quirk("more-create-options"): the options of LUKS2 stand among those of version 1."""
    if "luks" not in registry.entries():
        pytest.skip("not installed: luks")
    code, out, _ = instar("create", "-f", "luks", "-o", "help")
    assert (code, "  cipher-alg=<str>" in out, "  pbkdf-memory=<num>" in out) == (0, True, True)
