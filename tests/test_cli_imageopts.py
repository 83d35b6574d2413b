"""Option strings and json: names describe plain files and how they are opened; the rest is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar_core import registry
from instar_core.cli import imageopts, names
from instar_core.cli.main import main
from instar_core.errors import UsageError


def described(text: str) -> tuple[str, str | None, dict[str, object]]:
    found = imageopts.described(text)
    return found.path, found.format, dict(found.options or {})


def named(name: str) -> tuple[str, str | None, dict[str, object]]:
    found = imageopts.named(name, None)
    return found.path, found.format, dict(found.options or {})


def test_a_file_and_its_driver_are_found() -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    assert described("driver=qcow2,file.filename=a,,b") == ("a,b", "qcow2", {})
    assert described("driver=raw,file.driver=file,file.filename=f") == ("f", "raw", {})
    assert described("file.filename=f") == ("f", None, {})


def test_a_json_name_describes_the_same_as_an_option_string() -> None:
    pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    text = "driver=qcow2,file.filename=f,backing.file.filename=b,backing.encrypt.key-secret=s"
    below = '{"file":{"filename":"b"},"encrypt":{"key-secret":"s"}}'
    nested = 'json:{"driver":"qcow2","file":{"filename":"f"},"backing":' + below + "}"
    below = '"backing.file.filename":"b","backing":{"encrypt.key-secret":"s"}'
    dotted = 'json:{"driver":"qcow2","file.filename":"f",' + below + "}"
    assert described(text) == named(nested) == named(dotted)
    assert named('json:{"file.filename":"f","backing":null}')[2] == {"backing": None}
    assert named('json:{"file.filename":"f","size":512,"discard":"unmap"}')[2] == {"size": "512"}


def test_options_that_matter_are_shown_as_qemu_shows_them() -> None:
    found = imageopts.described("driver=raw,offset=64k,size=262144,file.filename=img")
    assert imageopts.shown(found, "raw") == (
        'json:{"offset": "64k", "driver": "raw", "size": "262144", "file": {"driver": "file", "filename": "img"}}'
    )
    plain = imageopts.described("driver=raw,discard=unmap,cache.direct=on,file.filename=img")
    assert imageopts.shown(plain, "raw") is None


@pytest.mark.parametrize(
    "text,words",
    [
        ("img", "Cannot find device='img' nor node-name='img'"),
        ("driver=raw", 'A block device must be specified for "file"'),
        ("filename=x", "Must specify either driver or file"),
        ("driver=raw,file.driver=rbd,file.image=x", "rbd is not spoken here"),
        ("driver=nbd", "NBD server address missing"),
        ("driver=nbd,server.path=x", "Parameter 'type' is missing"),
        ("driver=nbd,server.type=inet,server.host=x", "Parameter 'port' is missing"),
        ("driver=nbd,server.type=unix,server.path=x,server.foo=1", "Parameter 'foo' is unexpected"),
        ("driver=file,file.filename=x", "The 'file' block driver requires a file name"),
        (f"driver=file,filename={__file__},foo=1", "Block protocol 'file' doesn't support the option 'foo'"),
        ("driver=host_device,filename=/", "requires '/' to be either a character or block device"),
        ("driver=qcow2,file.driver=raw,file.offset=512,file.file.filename=x", "a part of a file is not supported"),
        ("driver=raw,file.driver=blkdebug,file.x=y", "the driver 'blkdebug' is not supported in this place"),
        (f"driver=raw,file.filename={__file__},file.foo=1", "Block protocol 'file' doesn't support the option 'foo'"),
        ("driver=raw,file.driver=host_device,file.filename=/", "requires '/' to be either a character or block device"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(text: str, words: str) -> None:
    if "qcow2" in text:
        pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    with pytest.raises(UsageError) as caught:
        described(text)
    assert words in caught.value.message and caught.value.path == text


@pytest.mark.parametrize(
    "name,words",
    [
        ("json:{", "Could not parse the JSON options"),
        ("json:[]", "Invalid JSON object given"),
        ("json:" + "[" * 100000, "more than 65536 characters"),
        ("json:" + "[" * 60000, "Could not parse the JSON options"),
        ("json:" + '{"a":' * 100 + "1" + "}" * 100, "objects within objects"),
        ('json:{"driver":"qcow2","file":"x"}', "Cannot find device='x' nor node-name='x'"),
        ('json:{"file.filename":"f","size":1.5}', "Invalid parameter 'size'"),
    ],
)
def test_a_json_name_that_is_none_is_refused(name: str, words: str) -> None:
    if "qcow2" in name:
        pytest.importorskip("instar_qcow2", reason="instar-qcow2 is not installed")
    with pytest.raises(UsageError) as caught:
        named(name)
    assert words in caught.value.message and caught.value.path == name


def test_a_name_behind_file_is_taken_by_its_letters() -> None:
    assert names.local("file:a") == "a"
    assert names.local("file:///a") == "///a"
    assert names.local('file:json:{"file.filename":"/etc/passwd"}') == './json:{"file.filename":"/etc/passwd"}'
    assert names.local("file:nbd:x") == "./nbd:x"
    assert names.local("zeroinit:a", proxmox=True) == "a"
    with pytest.raises(UsageError, match="Unknown protocol 'zeroinit'"):
        names.local("zeroinit:a")


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


needs_qcow2 = pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")


@needs_qcow2
def test_the_caller_chooses_another_backing_file_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").write_bytes(b"1" * 65536)
    Path("two").write_bytes(b"2" * 65536)
    assert main(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "one", "-F", "raw", "top"]) == 0
    described = "driver=qcow2,file.filename=top,backing.driver=raw,backing.file.filename=two"
    assert main(["qemu-img", "convert", "--image-opts", described, "-O", "raw", "read"]) == 0
    assert Path("read").read_bytes() == b"2" * 65536
    bare = '{"driver": "qcow2", "file": {"driver": "file", "filename": "top"}, "backing": null}'
    assert main(["qemu-img", "convert", f"json:{bare}", "-O", "raw", "read"]) == 0
    assert Path("read").read_bytes() == bytes(65536)
    loop = "driver=qcow2,file.filename=top,backing.driver=qcow2,backing.file.filename=top"
    assert main(["qemu-img", "convert", "--image-opts", loop, "-O", "raw", "read"]) == 1
    assert "infinite loop" in capsys.readouterr().err
    odd = "driver=raw,file.filename=one,backing.file.filename=two"
    assert main(["qemu-img", "convert", "--image-opts", odd, "-O", "raw", "read"]) == 1
    assert capsys.readouterr().err == f"qemu-img: Could not open '{odd}': Driver doesn't support backing files\n"


@needs_qcow2
def test_options_are_read_when_the_format_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("disk").write_bytes(bytes(1 << 20))
    assert main(["qemu-img", "create", "-q", "-f", "qcow2", "image", "1M"]) == 0
    assert main(["qemu-img", "info", "--output=json", "--image-opts", "file.filename=disk,size=64k"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["virtual-size"], told["format"]) == (65536, "raw")
    for text in ("file.filename=image,size=64k", "driver=qcow2,file.filename=image,size=64k"):
        assert main(["qemu-img", "info", "--image-opts", text]) == 1
        words = "Block format 'qcow2' does not support the option 'size'"
        assert capsys.readouterr().err == f"qemu-img: Could not open '{text}': {words}\n"


@needs_qcow2
def test_a_json_name_in_an_image_is_still_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").write_bytes(b"1" * 65536)
    backing = 'json:{"driver":"raw","file":{"driver":"file","filename":"one"}}'
    assert main(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", "raw", "top"]) == 0
    assert main(["qemu-img", "convert", "-O", "raw", "top", "read"]) == 1
    assert "names a protocol; backing files must be plain files" in capsys.readouterr().err
    monkeypatch.setenv("INSTAR_IMAGE_POLICY", "qemu")
    assert main(["qemu-img", "convert", "-O", "raw", "top", "read"]) == 0
    assert Path("read").read_bytes() == b"1" * 65536
