"""Policy files, and inspect on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import instar_core
from instar_core import registry
from instar_core.cli.main import main
from instar_core.errors import UsageError
from instar_core.policy import PRESETS
from instar_core.verdict import file
from instar_core.verdict.answer import Code
from instar_core.verdict.demands import Demands
from instar_core.verdict.ready import READY

MIB = 1 << 20
ROOT = Path(__file__).parents[1]


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A raw disk with an empty file system on it, as far as anybody can tell: nothing but zeros."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    return str(path)


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text"
    path.write_bytes(b"no disk\n" * 1000)
    return str(path)


def policy(folder: Path, text: str) -> str:
    path = folder / "policy.toml"
    path.write_text(text)
    return str(path)


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]], str]:
    code = main(["instar", "inspect", *words])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def test_ready_policies_are_named_as_the_image_policies_are_and_refer_to_them() -> None:
    assert READY.keys() <= PRESETS.keys()
    for name, demands in READY.items():
        assert demands.name == name
        rules = PRESETS[demands.references]
        assert not (rules.backing or rules.data or rules.extents)


def test_every_demand_has_a_key_and_every_key_reads_back(tmp_path: Path) -> None:
    assert {field for field, _ in file.READERS.values()} == set(Demands._fields) - {"name"}
    given = """
        base = "openstack"
        formats = ["raw"]
        declared = true
        raw = "partitions"
        partitions = false
        references = "default"
        chain = 3
        extents = "none"
        vmdk-types = "any"
        features = []
        encrypted = false
        snapshots = 0
        bitmaps = 2
        virtual-size = "20G"
        stored-size = 1048576
        ratio = 7
        expansion = "none"
        alignment = 4096
        room = "/tmp"
        check = "none"
        cpu = 2
        memory = "512M"
        timeout = 1.5
    """
    path = policy(tmp_path, given)
    assert file.read(path) == Demands(
        path, ("raw",), True, "partitions", False, "default", 3, None, None, (), False, 0, 2, 20 << 30, MIB, 7, None,
        4096, "/tmp", "none", 2, 512 * MIB, 1.5,
    )  # fmt: skip


def test_what_a_file_does_not_say_is_as_in_its_base(tmp_path: Path) -> None:
    for base in READY:
        path = policy(tmp_path, f'base = "{base}"')
        assert file.read(path) == READY[base]._replace(name=path)
    path = policy(tmp_path, "")
    assert file.chosen(path) == READY["strict"]._replace(name=path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("formats = ", "Invalid value"),
        ("\udcff", "codec can't decode"),
        ('base = "lenient"', "base expects one of openstack, proxmox, ovirt, strict, not 'lenient'"),
        ("colour = 1", "unknown key 'colour'; there are base, formats, declared"),
        ('formats = "raw"', "formats expects a list of names, or \"any\", not 'raw'"),
        ("features = [1]", "features expects a list of names, not [1]"),
        ("declared = 1", "declared expects true or false, not 1"),
        ('raw = "no"', "raw expects one of any, evidence, partitions, not 'no'"),
        ('references = "me"', "references expects one of default, untrusted, strict"),
        ('virtual-size = "big"', 'virtual-size expects a size (a number of bytes, or a text like "20G")'),
        ("stored-size = -1", "stored-size expects a size"),
        ("virtual-size = true", "virtual-size expects a size"),
        ("chain = 0", 'chain expects a whole number from 1 on, or "none", not 0'),
        ("snapshots = false", "snapshots expects a whole number from 0 on"),
        ("alignment = 0", "alignment expects a number of bytes from 1 on, not 0"),
        ("timeout = 0", "timeout expects a number of seconds"),
        ('room = "here"', "room expects the absolute path of a folder, not 'here'"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_file_key_and_reason(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        file.read(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Could not open policy '.*nothing\.toml': No such file or directory"):
        file.chosen(str(tmp_path / "nothing.toml"))


def test_each_image_has_its_line_and_the_exit_code_is_the_worst(
    disk: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (verdict,), err = asked(capsys, "--policy", "openstack", disk)
    assert (code, err) == (0, "")
    assert verdict == {
        "filename": disk, "verdict": "accept", "policy": "openstack", "format": "raw", "virtual-size": MIB,
        "stored-size": MIB, "actual-size": os.stat(disk).st_blocks * 512, "content-size": MIB, "evidence": "zeros",
        "chain": 1, "checked": False, "reasons": [],
    }  # fmt: skip
    code, lines, err = asked(capsys, disk, text)
    assert (code, err, [line["verdict"] for line in lines]) == (2, "", ["accept", "refuse"])
    assert [reason["code"] for reason in lines[1]["reasons"]] == [Code.UNKNOWN]
    missing = str(tmp_path / "missing")
    code, lines, err = asked(capsys, text, missing, disk)
    assert (code, err, [line["verdict"] for line in lines]) == (1, "", ["refuse", "error", "accept"])
    assert lines[1]["error"] == f"Could not open '{missing}': No such file or directory"
    assert lines[1]["kind"] == "io"


def test_what_an_image_was_declared_to_be_is_compared(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, (verdict,), _ = asked(capsys, "-f", "raw", disk)
    assert (code, verdict["declared-format"], verdict["format"]) == (0, "raw", "raw")
    if "qcow2" not in registry.entries():
        pytest.skip("instar-qcow2 is not installed")
    code, (verdict,), _ = asked(capsys, "--format=qcow2", disk)
    assert (code, verdict["declared-format"], verdict["format"]) == (2, "qcow2", "raw")
    assert [reason["code"] for reason in verdict["reasons"]] == [Code.MISMATCH]


def test_the_largest_virtual_disk_can_be_said_and_only_be_made_smaller(
    disk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, "--virtual-size", "1M", disk)[0] == 0
    code, (verdict,), _ = asked(capsys, "--virtual-size", "1023K", disk)
    assert code == 2
    assert verdict["reasons"] == [
        {
            "code": "virtual-size", "reason": f"its virtual disk is of {MIB} bytes, more than {1023 << 10}",
            "value": MIB, "limit": 1023 << 10,
        }
    ]  # fmt: skip
    path = policy(tmp_path, "virtual-size = 1000")
    assert asked(capsys, "--policy", path, "--virtual-size", "1G", disk)[0] == 2


def test_text_for_people_is_printed_where_it_is_asked_for(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = tmp_path / "a\nb"
    os.rename(text, wild)
    assert main(["instar", "inspect", "--output", "human", str(wild), str(tmp_path / "none")]) == 1
    shown = str(wild).replace("\n", "\\x0a")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"{shown}: refuse by strict"
    assert lines[1].startswith("    unknown-format: no format claims the file")
    assert lines[2:] == [
        f"{tmp_path}/none: error by strict",
        f"    Could not open '{tmp_path}/none': No such file or directory",
    ]
    assert err == ""


def test_a_name_that_is_no_utf8_still_gives_a_line_of_json(
    disk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.rename(disk, wild)
    code, (verdict,), err = asked(capsys, os.fsdecode(wild))
    assert (code, err, verdict["verdict"]) == (0, "", "accept")


def test_wrong_calls_are_told(disk: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, problem in (
        ([], "Expecting image file names"),
        (["--policy", "lenient", disk], "policy 'lenient' does not exist; there are openstack, proxmox, ovirt, strict"),
        (["--virtual-size", "big", disk], "Invalid virtual size specified: 'big'"),
    ):
        assert main(["instar", "inspect", *words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert problem in err


def test_the_verb_is_not_one_of_qemu_img(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qemu-img", "inspect", disk]) == 1
    assert "Command not found: inspect" in capsys.readouterr().err
    assert main(["instar", "inspect", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage:\n  instar inspect [--policy NAME|FILE] [-f FMT]")


def test_every_code_key_and_policy_is_described() -> None:
    described = (ROOT / "docs" / "inspect.md").read_text()
    words = [value for name, value in vars(Code).items() if name.isupper()] + list(file.READERS) + list(READY)
    assert [word for word in words if f"`{word}`" not in described] == []


def test_the_library_has_the_same_answer(disk: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = instar_core.inspect(disk, policy="ovirt", format="raw")
    (verdict,) = asked(capsys, "--policy", "ovirt", "-f", "raw", disk)[1]
    assert (found.accepted, found.format, found.virtual_size) == (True, verdict["format"], verdict["virtual-size"])
    assert found.policy == verdict["policy"]
