"""dd and bench: by the grammar, in the words and with the results of qemu-img; dd also from and to pipes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import instar_core
from instar_core import InstarError, UsageError
from instar_core.cli.main import main
from instar_core.operations.bench import bench
from instar_core.operations.dd import dd
from instar_core.testing.foreign import Programs

MIB = 1 << 20
PROGRAMS = Programs()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw disk of a MiB of which no two sectors are alike, and the current folder where it is."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s"
    path.write_bytes(b"".join(number.to_bytes(4, "big") * 128 for number in range(1, 2049)))
    return path


def ours(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["qemu-img", *words])
    told = capfd.readouterr()
    return code, told.out, told.err


def theirs(*words: str) -> tuple[int, str, str]:
    done = PROGRAMS.img(*words, check=False)
    return done.returncode, done.stdout.decode(), modern(done.stderr.decode())


def modern(text: str) -> str:
    """The message in the words of 11.1, which knows its own name without the folder."""
    text = text.replace(PROGRAMS.qemu(), "qemu-img").replace(" for more info\n", " for more information\n")
    return re.sub(r"(specified: '[^']*')\.$", r"\1", text, flags=re.MULTILINE)


def timeless(told: tuple[int, str, str]) -> tuple[int, str, str]:
    return told[0], re.sub(r"in \d+\.\d+ seconds", "in N seconds", told[1]), told[2]


DD = [
    "-f raw if=s bs=64k count=2 skip=1",
    "-f raw if=s bs=64k skip=100",
    "-f raw if=s bs=1M",
    "-f raw if=s bs=3k count=5",
    "-f raw if=s bs=3 count=50 skip=7",
    "-f raw if=s bs=0",
    "-f raw if=s count=-1",
    "-f raw if=s foo=1",
    "-f raw if=s foo",
    "-f raw if=s bs=abc",
    "-f raw if=nof",
    "-f raw -O xx if=s",
    "-f raw if=s bs=5G",
    "-f raw if=s count=0",
    "-f raw if=s skip=2048",
    "-f raw if=s skip=2047",
    "-f raw if=s skip=9223372036854775807 bs=2147483647",
    "-f raw if=s count=9223372036854775807 bs=2147483647",
    "--image-opts if=driver=raw,file.filename=s bs=1M",
    "-f xx if=s",
]


@pytest.mark.oracle
@pytest.mark.parametrize("line", DD)
def test_dd_does_what_qemu_img_does(disk: Path, capfd: pytest.CaptureFixture[str], line: str) -> None:
    target = disk.with_name("o")
    wanted = theirs("dd", *line.split(), "of=o")
    expected = target.read_bytes() if target.exists() else None
    target.unlink(missing_ok=True)
    assert ours(capfd, "dd", *line.split(), "of=o") == wanted
    assert (target.read_bytes() if target.exists() else None) == expected


@pytest.mark.oracle
def test_dd_without_its_operands_is_told_as_qemu_img_tells_it(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["if=s"], ["of=s"], []):
        assert ours(capfd, "dd", *words) == theirs("dd", *words)


def test_dd_counts_in_blocks_of_any_size_from_any_place(disk: Path) -> None:
    content = disk.read_bytes()
    target = str(disk.with_name("o"))
    for block, count, skip in ((1, 700, 3), (511, 9, 2), (4096, 300, 255), (1 << 20, None, 0)):
        dd("s", target, block=block, count=count, skip=skip, source_format="raw")
        end = min(len(content), block * count) if count else len(content)
        wanted = content[block * skip : end]
        assert Path(target).read_bytes() == wanted.ljust(-(-len(wanted) // 512) * 512, b"\0")


def test_dd_never_writes_over_what_it_reads(disk: Path) -> None:
    """quirk("own-source"): with -U qemu-img, which takes no locks then, empties the file before it reads it."""
    content = disk.read_bytes()
    with pytest.raises(UsageError, match='Failed to get "write" lock') as raised:
        dd("s", "s", source_format="raw")
    assert raised.value.hint == "'s' is one of the files that are copied"
    assert disk.read_bytes() == content


def piped(words: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from instar_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *words], input=data, capture_output=True, check=False)


def test_a_raw_disk_comes_from_standard_input_and_goes_to_standard_output(disk: Path) -> None:
    content = disk.read_bytes()
    for name in ("instar", "qemu-img"):
        done = piped([name, "dd", "osize=1M", "bs=64k"], content)
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", content)
    done = piped(["instar", "dd", "-f", "raw", "if=s", "skip=3", "bs=1001"])
    assert done.stdout == content[3003:]


def test_more_than_fits_in_memory_at_once_passes_through_a_pipe(disk: Path) -> None:
    content = disk.read_bytes() * 150
    done = piped(["instar", "dd", f"osize={len(content)}", "of=o"], content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert disk.with_name("o").read_bytes() == content


def test_input_that_ends_too_early_is_an_error_and_leaves_nothing(disk: Path) -> None:
    done = piped(["qemu-img", "dd", "osize=1M", "of=o"], b"x" * 1000)
    assert (done.returncode, done.stderr) == (1, b"qemu-img: Input ended unexpectedly\n")
    assert not disk.with_name("o").exists()


def test_a_small_input_may_be_a_part_of_a_larger_output(disk: Path) -> None:
    done = piped(["qemu-img", "dd", "osize=1M", "isize=1000", "of=o"], b"x" * 1000)
    assert (done.returncode, done.stderr) == (0, b"")
    assert disk.with_name("o").read_bytes() == b"x" * 1000 + bytes(MIB - 1000)


def test_a_pipe_of_unknown_length_is_refused(disk: Path) -> None:
    done = piped(["instar", "dd", "of=o"], b"x")
    assert done.returncode == 1
    assert b"Output size must be known" in done.stderr
    assert not disk.with_name("o").exists()


def test_without_creating_it_a_target_keeps_what_the_content_does_not_reach(disk: Path) -> None:
    there = disk.with_name("there")
    there.write_bytes(b"k" * (2 * MIB))
    dd("s", str(there), create=False, source_format="raw")
    assert there.read_bytes() == disk.read_bytes() + b"k" * MIB
    with pytest.raises(InstarError, match="output file is smaller than input file"):
        dd(str(there), "s", create=False, source_format="raw")


BENCH = [
    "-c 10 -f raw s",
    "-c 10 -w -f raw s",
    "-c 10 -w --flush-interval 5 s",
    "-c 10 --flush-interval 5 s",
    "-c 10 -d 0 s",
    "-c abc s",
    "-c 10 -s 0 s",
    "-c 10 -s 5G s",
    "-c 10 -S 0 -f raw s",
    "-c 10 -o 960k -s 32k -f raw s",
    "-c 100 -o 1M -f raw s",
    "-c 10 -i native -f raw s",
    "-c 10 -n -f raw s",
    "-c 10 -i foo s",
    "-c 10 -q -f raw s",
    "-c 10 -t foo s",
    "-c 10 -w --pattern 300 s",
    "-c 10 -d 2 -w --flush-interval 4 -f raw s",
    "-c 10 -d 2 -w --flush-interval 4 --no-drain -f raw s",
    "-c 0 s",
    "s s",
    "-c 3000000000 s",
    "-c 10 -s 513 -f raw s",
    "-c 10 -f raw nof",
]


@pytest.mark.oracle
@pytest.mark.parametrize("line", BENCH)
def test_bench_does_what_qemu_img_does(disk: Path, capfd: pytest.CaptureFixture[str], line: str) -> None:
    content = disk.read_bytes()
    wanted = timeless(theirs("bench", *line.split()))
    after = disk.read_bytes()
    disk.write_bytes(content)
    assert timeless(ours(capfd, "bench", *line.split())) == wanted
    assert disk.read_bytes() == after


def test_bench_writes_its_pattern_where_it_says(disk: Path) -> None:
    content = bytearray(disk.read_bytes())
    found = bench("s", count=50, depth=7, size=600, offset=1024, step=4096, write=True, pattern=65, format="raw")
    for number in range(50):
        content[1024 + number * 4096 : 1624 + number * 4096] = b"A" * 600
    assert disk.read_bytes() == bytes(content)
    assert (found.requests, found.parallel, found.engine) == (50, 7, "threads")
    assert found.seconds > 0


def test_bench_begins_again_at_the_end_of_the_disk(disk: Path) -> None:
    assert bench("s", count=5000, depth=4, size=4096, format="raw").requests == 5000


def test_every_flush_waits_for_the_requests_before_it(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (flushed.append(file), sync(file))[1])
    bench("s", count=64, depth=8, size=512, write=True, flush_interval=16, format="raw")
    assert len(flushed) >= 4


@pytest.mark.oracle
def test_resize_is_told_as_qemu_img_tells_it(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [
        "-f raw s 512k", "--shrink -f raw s 512k", "-f raw s +1M", "--shrink -f raw s -512k", "-f raw s -512k --shrink",
        "s", "-f raw s 1 2", "--preallocation=foo -f raw s 1M", "-f raw s +", "-f raw s 0", "-f raw s -1E",
        "--preallocation full -f raw s 2M", "--preallocation metadata -f raw s 3M", "-f raw nof 1M",
        "--preallocation=full -f raw s 2M", "-f raw s 1000001 --shrink", "-f raw s +1", "-q -f raw s 3M",
        "-f raw s abc",
        "--preallocation=falloc --shrink -f raw s 1M",
    ]  # fmt: skip
    for line in lines:
        content = disk.read_bytes()
        wanted = theirs("resize", *line.split()), disk.read_bytes()
        disk.write_bytes(content)
        assert (ours(capfd, "resize", *line.split()), disk.read_bytes()) == wanted, line


def test_a_disk_that_shrinks_is_asked_about(disk: Path) -> None:
    with pytest.raises(UsageError, match="--shrink"):
        instar_core.resize("s", 512, format="raw")
    assert disk.stat().st_size == MIB
    assert instar_core.resize("s", 512, relative=-1, shrink=True, format="raw") == MIB - 512
    assert disk.stat().st_size == MIB - 512
