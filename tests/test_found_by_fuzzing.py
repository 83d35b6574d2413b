"""What random histories have found: each a case of its own, against qemu-img."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
QEMU_IO = os.environ.get("INSTAR_QEMU_IO") or shutil.which("qemu-io")
COMMAND = "import sys; from instar_core.cli.main import main; sys.exit(main(['qemu-img', *sys.argv[1:]]))"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not (QEMU_IMG and QEMU_IO), reason="qemu-img or qemu-io is not installed"),
]


def run(folder, *words):
    environment = {**os.environ, "INSTAR_UNSAFE_QUIRKS": "1", "INSTAR_IMAGE_POLICY": "qemu"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def ours(folder, *words):
    return run(folder, sys.executable, "-c", COMMAND, *words)


def image(folder, name, *commands, options="cluster_size=64k", size="1M"):
    code, _ = run(folder, QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, name, size)
    assert code == 0
    for command in commands:
        run(folder, QEMU_IO, "-f", "qcow2", "-c", command, name)


def test_a_strict_comparison_tells_what_comes_first_content_or_status(tmp_path):
    # All end alike: that one range reaches to the end where the other's does not is another status to qemu-img.
    last = "write -P 9 960k 64k"
    image(tmp_path, "one", last, "write -P 1 0 64k", "write -P 3 512k 64k")
    image(tmp_path, "other-content", last, "write -P 2 0 64k")
    image(tmp_path, "other-status", last, "write -P 1 0 64k")
    image(tmp_path, "compressed", last, "write -c -P 1 0 64k", "write -P 3 512k 64k")
    image(tmp_path, "zeros", last, "write -P 1 0 64k", "write -z 64k 64k", "write -P 3 512k 64k")
    for name, offset in (("other-content", 0), ("other-status", 512 << 10), ("compressed", 0), ("zeros", 64 << 10)):
        code, out = ours(tmp_path, "compare", "-s", "one", name)
        assert (code, out) == run(tmp_path, QEMU_IMG, "compare", "-s", "one", name)
        assert code == 1
        assert f"ffset {offset}" in out


def test_a_strict_comparison_does_not_ask_at_which_depth_content_lies(tmp_path):
    image(tmp_path, "base", "write -P 1 0 64k")
    run(tmp_path, QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    assert ours(tmp_path, "compare", "-s", "base", "top") == (0, "Images are identical.\n")
    assert run(tmp_path, QEMU_IMG, "compare", "-s", "base", "top")[0] == 0


def test_bitmaps_in_use_are_measured_too(tmp_path):
    image(tmp_path, "x")
    run(tmp_path, QEMU_IMG, "bitmap", "--add", "x", "one")
    run(tmp_path, QEMU_IO, "-f", "qcow2", "-c", "write 0 1k", "-c", "sigraise 9", "x")
    assert '"in-use"' in run(tmp_path, QEMU_IMG, "info", "--output=json", "x")[1]
    told = ours(tmp_path, "measure", "--output=json", "-O", "qcow2", "x")
    assert told == run(tmp_path, QEMU_IMG, "measure", "--output=json", "-O", "qcow2", "x")
    assert '"bitmaps": 196608' in told[1]


def test_a_copy_over_a_backing_file_keeps_what_its_short_last_cluster_shows(tmp_path):
    image(tmp_path, "base", "write -P 1 0 1100000", size="1100000")
    run(tmp_path, QEMU_IMG, "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top")
    run(tmp_path, QEMU_IO, "-f", "qcow2", "-c", "write -P 2 0 64k", "top")
    for sparse in ("0", "4k"):
        words = ("convert", "-S", sparse, "-O", "qcow2", "-o", "cluster_size=128k", "-B", "base", "-F", "qcow2")
        assert ours(tmp_path, *words, "top", f"copy{sparse}")[0] == 0
        assert run(tmp_path, QEMU_IMG, "compare", "top", f"copy{sparse}") == (0, "Images are identical.\n")


def test_numbers_of_a_snapshot_are_printed_as_qemu_prints_them_negative(tmp_path):
    image(tmp_path, "x")
    run(tmp_path, QEMU_IMG, "snapshot", "-c", "one", "x")
    path = tmp_path / "x"
    sound = path.read_bytes()
    table = int.from_bytes(sound[64:72], "big")
    for place in (40, 56):  # the size of the state, and the count of instructions
        path.write_bytes(sound[: table + place] + b"\x80" + bytes(7) + sound[table + place + 8 :])
        for words in (("info", "--output=json", "x"), ("snapshot", "-l", "x")):
            assert ours(tmp_path, *words) == run(tmp_path, QEMU_IMG, *words)
    assert "-9223372036854775808" in ours(tmp_path, "info", "--output=json", "x")[1]


def test_a_map_that_needs_a_key_prints_nothing(tmp_path):
    secret = ("--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
    assert run(tmp_path, QEMU_IMG, "create", "-q", "-f", "qcow2", *secret, "x", "1M")[0] == 0
    words = ("map", "--output=json", "x")
    assert ours(tmp_path, *words) == run(tmp_path, QEMU_IMG, *words) == (1, "")


def test_compare_tells_content_that_cannot_be_read_from_a_map_that_cannot(tmp_path):
    image(tmp_path, "good", "write -P 1 64k 64k")
    for name, place in (("data", None), ("map", 40)):
        image(tmp_path, name, "write -c -P 1 64k 64k")
        path = tmp_path / name
        told = bytearray(path.read_bytes())
        l1 = int.from_bytes(told[40:48], "big")
        l2 = int.from_bytes(told[l1 : l1 + 8], "big") & 0x00FFFFFFFFFFFE00
        if place:
            told[l1 + 6 : l1 + 8] = b"\x02\x00"  # the L2 table is not aligned any more
        else:
            stored = int.from_bytes(told[l2 + 8 : l2 + 16], "big") & (1 << 54) - 1
            told[stored : stored + 512] = b"\xff" * len(told[stored : stored + 512])
        path.write_bytes(told)
    for name, code in (("data", 4), ("map", 3)):
        assert run(tmp_path, QEMU_IMG, "compare", "-U", "good", name)[0] == code
        assert ours(tmp_path, "compare", "good", name) == (code, "")
