"""--image-opts describes a plain file and the options its format opens it with; the rest is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar_core.cli import imageopts
from instar_core.cli.fault import Fault, Later
from instar_core.cli.main import main


def test_a_file_and_its_driver_are_found() -> None:
    assert imageopts.described("driver=qcow2,file.filename=a,,b")[:3] == ("a,b", "qcow2", None)
    assert imageopts.described("driver=raw,file.driver=file,file.filename=f")[:3] == ("f", "raw", None)
    assert imageopts.described("file.filename=f")[:3] == ("f", None, None)


def test_the_options_of_a_driver_are_values_and_shown_as_qemu_shows_them() -> None:
    found = imageopts.described("driver=raw,offset=64k,size=262144,file.filename=img")
    assert found.options == {"offset": 65536, "size": 262144}
    assert found.shown == (
        'json:{"offset": "64k", "driver": "raw", "size": "262144", "file": {"driver": "file", "filename": "img"}}'
    )


@pytest.mark.parametrize(
    "text,error,words",
    [
        ("img", Fault, "Cannot find device='img' nor node-name='img'"),
        ("driver=raw", Fault, 'A block device must be specified for "file"'),
        ("driver=raw,file.driver=nbd,file.filename=x", Later, "file.driver"),
        ("driver=raw,file.filename=x,encrypt.key-secret=s", Later, "encrypt.key-secret"),
        ("offset=5,file.filename=x", Later, "no driver"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        imageopts.described(text)
    assert words in str(caught.value)


def test_a_part_of_a_raw_file_is_a_disk_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "img"
    image.write_bytes(b"a" * 65536 + b"b" * 65536 + b"c" * 65536)
    described = f"driver=raw,offset=65536,size=65536,file.filename={image}"
    assert main(["qemu-img", "info", "--output=json", "--image-opts", described]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["virtual-size"], told["format"]) == (65536, "raw")
    assert main(["qemu-img", "map", "--output=json", "--image-opts", described]) == 0
    assert [(part["start"], part["offset"]) for part in json.loads(capsys.readouterr().out)] == [(0, 65536)]
    assert main(["qemu-img", "convert", "--image-opts", described, "-O", "raw", str(tmp_path / "part")]) == 0
    assert (tmp_path / "part").read_bytes() == b"b" * 65536
    assert main(["qemu-img", "info", "-f", "raw", "--image-opts", described]) == 1
    assert "mutually exclusive" in capsys.readouterr().err


def test_an_offset_past_the_end_is_refused_in_qemus_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "img"
    image.write_bytes(bytes(1024))
    assert main(["qemu-img", "info", "--image-opts", f"driver=raw,offset=2048,file.filename={image}"]) == 1
    assert "Offset (2048) cannot be greater than size of the containing file (1024)" in capsys.readouterr().err
