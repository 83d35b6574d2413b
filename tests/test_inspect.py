"""Verdicts: every reason for which an image is refused, and that good images are accepted."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

import instar_core
from instar_core import device, registry
from instar_core.bitmapplan import Action
from instar_core.errors import DeviceError, NotInstalled, SandboxError, UsageError
from instar_core.keyring import Keyring
from instar_core.operations import bitmap, examining, snapshot
from instar_core.session import FormatSession
from instar_core.settings import Settings
from instar_core.verdict.answer import Code, Reason, Verdict
from instar_core.verdict.demands import Demands, Raw, Soundness
from instar_core.verdict.ready import READY

MIB = 1 << 20
HERE = Path(__file__).with_name("hostile")
NEEDED = ("qcow2", "vmdk", "vdi", "vhdx", "vpc", "iso", "luks", "qcow", "qed")
absent = sorted(set(NEEDED) - set(registry.entries()))
pytestmark = pytest.mark.skipif(bool(absent), reason=f"no plugin is installed for {', '.join(absent)}")


def load(name: str) -> Any:
    """A module of the folder `hostile`, which is a package without being on the path."""
    if "hostile" not in sys.modules:
        spec = importlib.machinery.ModuleSpec("hostile", None, is_package=True)
        spec.submodule_search_locations = [str(HERE)]
        sys.modules["hostile"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"hostile.{name}")


case, make = load("case"), load("make")
qcow2, vmdk, vpc, iso = (load(f"forge.{name}") for name in ("qcow2", "vmdk", "vpc", "iso"))
PARTITION = pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 1, 2047)
MBR = bytes(446) + PARTITION.ljust(64, b"\0") + b"\x55\xaa"
DISK = MBR.ljust(MIB, b"\0")
LEAST = Demands("least", references="default", chain=None, extents=None, check=Soundness.NONE)
"""Demands that nothing but what cannot be read, and lies about its format, breaks."""


Maker = Callable[[Path], str]


def told(verdict: Verdict) -> set[str]:
    return {reason.code for reason in verdict.reasons}


def written(path: Path, content: Any) -> str:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.write(path)
    return str(path)


def created(path: Path, format: str, size: int = 4 * MIB, **options: str) -> str:
    instar_core.create(str(path), format=format, size=size, options=options)
    return str(path)


def converted(folder: Path, format: str, **options: str) -> str:
    """The disk as an image of this format."""
    source = written(folder / "disk", DISK)
    instar_core.convert([source], str(folder / "x"), target_format=format, options=options)
    return str(folder / "x")


def leaking(folder: Path) -> str:
    """A qcow2 with a cluster that nothing refers to."""
    path = Path(converted(folder, "qcow2"))
    data = bytearray(path.read_bytes())
    block = int.from_bytes(data[(table := int.from_bytes(data[48:56], "big")) : table + 8], "big")
    last = len(data) // 65536
    data[block + 2 * last : block + 2 * last + 2] = b"\0\1"
    path.write_bytes(data + bytes(65536))
    return str(path)


def bomb(folder: Path, clusters: int = 8192) -> str:
    """A qcow2 all of whose clusters are one stored piece."""
    content = qcow2.deflated(bytes(65536))
    entries = [qcow2.packed(16, 5 << 16, len(content))] * clusters
    blob = qcow2.image(l1=[4 << 16 | qcow2.COPIED], size=clusters << 16, l2=entries, content=content, clusters=6)
    return written(folder / "x", blob)


def backed(folder: Path, below: str = "base", format: str = "raw") -> str:
    written(folder / "base", DISK)
    return written(folder / "x", over_base(below, format))


def over_base(below: str, format: str, **fields: Any) -> Any:
    """A qcow2 on top of another image."""
    extension = qcow2.extension(0xE2792ACA, format.encode())
    return qcow2.image(backing=below.encode(), extensions=extension, **fields)


def data_file(folder: Path) -> str:
    return created(folder / "x", "qcow2", data_file=str(folder / "data"))


def flat(folder: Path) -> str:
    (folder / "x-flat").write_bytes(bytes(MIB))
    return written(folder / "x", vmdk.text('RW 2048 FLAT "x-flat" 0'))


def bits(folder: Path, place: int, value: int) -> str:
    """A qcow2 with one byte of its header otherwise."""
    path = Path(created(folder / "x", "qcow2"))
    data = bytearray(path.read_bytes())
    data[place] |= value
    path.write_bytes(data)
    return str(path)


def encrypted(folder: Path) -> str:
    path = str(folder / "x")
    options = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"}
    keys = Settings(keyring=Keyring({"s": b"passphrase"}))
    instar_core.create(path, format="qcow2", size=MIB, options=options, settings=keys)
    return path


def over(folder: Path) -> str:
    """A qcow2 that is a disk with partitions to who takes it for raw."""
    path = Path(created(folder / "x", "qcow2"))
    data = bytearray(path.read_bytes())
    data[446:512] = MBR[446:]
    path.write_bytes(data)
    return str(path)


def snapshotted(folder: Path) -> str:
    path = created(folder / "x", "qcow2")
    snapshot.create(path, "one")
    return path


def marked(folder: Path) -> str:
    path = created(folder / "x", "qcow2")
    bitmap.bitmap(path, "b", [Action("add")])
    return path


def text(folder: Path) -> str:
    return written(folder / "x", b"text\n" * 1000)


def unread(folder: Path) -> str:
    """An archive of a format that nothing reads."""
    return written(folder / "x", b"VMA\0".ljust(MIB, b"\0"))


def fresh(format: str, size: int = 4 * MIB, **options: str) -> Maker:
    return lambda folder: created(folder / "x", format, size, **options)


def described(line: str) -> Maker:
    """A sparse VMDK, in which a text says that it is a flat one of another file."""
    return this(vmdk.sparse(descriptor=vmdk.text(line)))


def this(content: Any) -> Maker:
    return lambda folder: written(folder / "x", content)


ONLY_REFUSED = (text, unread)
REFUSED: list[tuple[str, Maker, Demands, str | None]] = [
    (Code.UNKNOWN, text, LEAST, None),
    (Code.UNKNOWN, text, LEAST, "raw"),
    (Code.UNKNOWN, text, LEAST._replace(raw=Raw.ANY), None),
    (Code.AMBIGUOUS, this(qcow2.image(more=((32768, iso.primary()),))), LEAST, "qcow2"),
    (Code.POLYGLOT, over, LEAST, "qcow2"),
    (Code.UNDECLARED, fresh("qcow2"), LEAST._replace(declared=True), None),
    (Code.MISMATCH, fresh("qcow2"), LEAST, "raw"),
    (Code.MISMATCH, this(DISK), LEAST, "qcow2"),
    (Code.MISMATCH, lambda folder: converted(folder, "vpc"), LEAST, "vmdk"),
    (Code.FORMAT, fresh("qed"), LEAST._replace(formats=("raw",)), None),
    (Code.FORMAT, unread, LEAST._replace(formats=("raw",)), None),
    (Code.MALFORMED, this(qcow2.image(l1_offset=7)), LEAST, None),
    (Code.UNSUPPORTED, lambda folder: bits(folder, 77, 0x10), LEAST, None),
    (Code.FEATURE, fresh("qcow2", extended_l2="on"), LEAST._replace(features=("extended-l2",)), None),
    (Code.BACKING, backed, LEAST._replace(references="untrusted"), None),
    (Code.DATA, data_file, LEAST._replace(references="openstack"), None),
    (Code.EXTENT, flat, LEAST._replace(references="openstack"), None),
    (Code.REFERENCE, lambda folder: backed(folder, "nowhere"), LEAST, None),
    (Code.REFERENCE, lambda folder: backed(folder, "base", "qcow2"), LEAST, None),
    (Code.REFERENCE, lambda folder: backed(folder, "nbd://there"), LEAST, None),
    (Code.REFERENCE, lambda folder: backed(folder, "/dev/null"), LEAST, None),
    (Code.CHAIN, backed, LEAST._replace(chain=1), None),
    (Code.FORMAT, backed, LEAST._replace(formats=("qcow2",)), None),
    (Code.SUBFORMAT, flat, LEAST._replace(vmdk_types=("streamOptimized",)), None),
    (Code.SUBFORMAT, fresh("vmdk"), LEAST._replace(vmdk_types=()), None),
    (Code.SUBFORMAT, described('RW 256 SPARSE "x"'), LEAST._replace(vmdk_types=("monolithicSparse",)), None),
    (Code.EXTENTS, this(vmdk.sparse(descriptor=b"")), LEAST._replace(extents=1), None),
    (Code.EXTENT, described('RW 256 SPARSE "/etc/passwd"'), LEAST._replace(references="openstack"), None),
    (Code.EXTENTS, this(vmdk.text("RW 8 ZERO", "RW 8 ZERO")), LEAST._replace(extents=1), None),
    (Code.VIRTUAL, fresh("qcow2"), LEAST._replace(virtual_size=4 * MIB - 1), None),
    (Code.STORED, this(DISK), LEAST._replace(stored_size=MIB - 1), None),
    (Code.ROOM, fresh("qcow2", 1 << 50), LEAST._replace(room="/tmp"), None),
    (Code.ALIGNMENT, this(DISK + b"\0"), LEAST._replace(alignment=512), None),
    (Code.RATIO, fresh("qcow2", 1 << 40), LEAST._replace(ratio=1000), None),
    (Code.EXPANSION, bomb, LEAST._replace(expansion=1000), None),
    (Code.ENCRYPTED, encrypted, LEAST._replace(encrypted=False), None),
    (Code.SNAPSHOTS, snapshotted, LEAST._replace(snapshots=0), None),
    (Code.BITMAPS, marked, LEAST._replace(bitmaps=0), None),
    (Code.PARTITIONS, this(bytes(510) + b"\x55\xaa" + DISK[512:]), LEAST, None),
    (Code.PARTITIONS, this(bytes(MIB)), LEAST._replace(raw=Raw.PARTITIONS), None),
    (Code.UNREADABLE, this(vmdk.text('NOACCESS 2048 FLAT "x" 0')), LEAST, None),
    (Code.DIRTY, lambda folder: bits(folder, 79, 1), LEAST._replace(check=Soundness.LEAKS), None),
    (Code.CORRUPT, lambda folder: bits(folder, 79, 2), LEAST._replace(check=Soundness.CORRUPTIONS), None),
    (Code.CORRUPT, bomb, LEAST._replace(check=Soundness.CORRUPTIONS), None),
    (Code.LEAKS, leaking, LEAST._replace(check=Soundness.LEAKS), None),
]  # fmt: skip
"""(code, how the image is made, what is demanded, what it is declared to be)"""


@pytest.mark.parametrize(("code", "maker", "demands", "declared"), REFUSED)
def test_an_image_is_refused_for_this_and_nothing_else(
    code: str, maker: Maker, demands: Demands, declared: str | None, tmp_path: Path
) -> None:
    path = maker(tmp_path)
    found = instar_core.inspect(path, policy=demands, format=declared)
    assert told(found) == {code}, found
    assert not found.accepted
    assert all(reason.text for reason in found.reasons)
    if demands != LEAST and maker not in ONLY_REFUSED:
        assert instar_core.inspect(path, policy=LEAST, format=declared).accepted


def test_every_code_has_its_image() -> None:
    codes = {value for name, value in vars(Code).items() if name.isupper()}
    assert codes - {row[0] for row in REFUSED} == {Code.LIMITS, Code.PARSER}


def test_a_file_without_any_sign_is_raw_where_it_is_declared_to_be_and_that_is_enough(
    tmp_path: Path,
) -> None:
    found = instar_core.inspect(text(tmp_path), policy=LEAST._replace(raw=Raw.ANY), format="raw")
    assert (found.accepted, found.format, found.evidence) == (True, "raw", "")


def test_a_parser_that_is_stopped_or_fails_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = created(tmp_path / "x", "qcow2")
    for error, code in ((SandboxError("out of time"), Code.LIMITS), (instar_core.ContractViolation("?"), Code.PARSER)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        for where, name in ((FormatSession, "info"), (examining, "examine")):
            with monkeypatch.context() as patch:
                patch.setattr(where, name, fail)
                found = instar_core.inspect(path, policy="openstack")
            assert (found.accepted, found.reasons) == (False, (Reason(code, str(error)),))


def test_what_cannot_be_looked_at_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(DeviceError):
        instar_core.inspect(str(tmp_path / "nothing"))
    with pytest.raises(NotInstalled):
        instar_core.inspect(unread(tmp_path), policy=LEAST)
    with pytest.raises(UsageError, match="policy 'lenient' does not exist; there are openstack"):
        instar_core.inspect(text(tmp_path), policy="lenient")
    with pytest.raises(UsageError, match="room '/nowhere': No such file"):
        instar_core.inspect(created(tmp_path / "y", "qcow2"), policy=LEAST._replace(room="/nowhere"))
    with pytest.raises(instar_core.InstarError, match="Unknown driver 'ami'"):
        instar_core.inspect(text(tmp_path), format="ami")


@pytest.mark.parametrize("maker", [backed, data_file, flat])
@pytest.mark.parametrize("policy", READY)
def test_what_a_refused_image_names_is_not_even_opened_as_a_place(
    policy: str, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = maker(tmp_path)

    def fail(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(device, "Place", fail)
    assert told(instar_core.inspect(path, policy=policy)) & {Code.BACKING, Code.DATA, Code.EXTENT}


GOOD = {
    "openstack": ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"),
    "proxmox": ("raw", "qcow2", "vmdk"),
    "ovirt": ("raw", "qcow2"),
    "strict": ("raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"),
}


@pytest.mark.parametrize("policy", READY)
def test_good_images_of_a_platform_are_accepted(policy: str, tmp_path: Path) -> None:
    for format in GOOD[policy]:
        folder = tmp_path / format
        folder.mkdir()
        path = converted(folder, format)
        for declared in (None, format):
            found = instar_core.inspect(path, policy=policy, format=declared)
            assert found.accepted, found
            assert (found.format, found.chain) == (format, 1)
        assert not instar_core.inspect(path, policy=policy, format="qed").accepted
    if "vmdk" in GOOD[policy]:
        folder = tmp_path / "stream"
        folder.mkdir()
        assert instar_core.inspect(converted(folder, "vmdk", subformat="streamOptimized"), policy=policy).accepted


@pytest.mark.parametrize("policy", READY)
def test_empty_disks_are_no_bombs(policy: str, tmp_path: Path) -> None:
    path = created(tmp_path / "x", "qcow2", 1 << 44)
    found = instar_core.inspect(path, policy=policy, format="qcow2")
    assert (found.accepted, found.content) == (True, 0)


def test_the_names_that_platforms_have_for_formats_are_known(tmp_path: Path) -> None:
    assert instar_core.inspect(converted(tmp_path, "vpc"), policy="openstack", format="vhd").accepted
    assert instar_core.inspect(str(tmp_path / "disk"), policy="openstack", format="gpt").declared == "raw"


def test_an_iso_with_partitions_is_an_iso(tmp_path: Path) -> None:
    """As Glance and Nova have it: a CD that also boots as a disk is no polyglot."""
    path = written(tmp_path / "x", iso.image().put(0, MBR))
    assert instar_core.inspect(path, policy="openstack", format="iso").accepted
    assert told(instar_core.inspect(path, policy="openstack", format="raw")) == {Code.MISMATCH}


def test_a_chain_that_is_allowed_is_looked_at_to_its_end(tmp_path: Path) -> None:
    path = backed(tmp_path)
    found = instar_core.inspect(path, policy=READY["openstack"]._replace(references="openstack", chain=2))
    assert (found.accepted, found.chain, found.checked) == (True, 2, True), found
    assert found.stored == sum(os.path.getsize(tmp_path / name) for name in ("x", "base"))
    below = leaking(tmp_path)
    os.rename(below, tmp_path / "base")
    path = written(tmp_path / "x", over_base("base", "qcow2", clusters=5))
    (reason,) = instar_core.inspect(path, policy=LEAST._replace(check=Soundness.LEAKS)).reasons
    assert (reason.code, reason.filename) == (Code.LEAKS, str(tmp_path / "base"))


def test_the_words_of_a_verdict_are_those_of_the_library() -> None:
    assert (instar_core.Verdict, instar_core.Reason, instar_core.Code) == (Verdict, Reason, Code)
    assert instar_core.Demands is Demands


def test_numbers_come_with_a_reason(tmp_path: Path) -> None:
    found = instar_core.inspect(created(tmp_path / "x", "qcow2"), policy=LEAST._replace(virtual_size=MIB))
    assert found.reasons == (
        Reason(Code.VIRTUAL, "its virtual disk is of 4194304 bytes, more than 1048576", value=4 * MIB, limit=MIB),
    )
    (reason,) = instar_core.inspect(bits(tmp_path, 77, 0x10), policy=LEAST).reasons
    assert reason.offset == 72


def test_many_findings_of_a_check_are_summed_up(tmp_path: Path) -> None:
    path = Path(converted(tmp_path, "qcow2"))
    data = bytearray(path.read_bytes())
    last = len(data) // 65536
    place = int.from_bytes(data[(table := int.from_bytes(data[48:56], "big")) : table + 8], "big")
    data[place + 2 * last : place + 2 * (last + 100)] = b"\0\1" * 100
    path.write_bytes(data + bytes(65536 * 100))
    reasons = instar_core.inspect(str(path), policy="strict").reasons
    assert len(reasons) == examining.SHOWN + 1
    assert reasons[-1][:2] == (Code.LEAKS, "100 leaked clusters in all")
    assert reasons[-1].value == 100
    assert instar_core.inspect(str(path), policy="openstack").accepted


SLOW = ("bomb: 65,536 snapshots", "bomb: snapshots with names of 64 KiB")
"""Bombs that take seconds to be refused."""


@pytest.mark.parametrize("group", ["polyglots", "loops", "bombs", "text", "cves"])
def test_hostile_images_get_a_verdict_and_those_that_name_other_files_are_refused(group: str, tmp_path: Path) -> None:
    cases = [each for each in make.GROUPS[group]() if each.name not in SLOW]
    accepted = {}
    for index, each in enumerate(cases[:: max(1, len(cases) // 10)]):
        folder = tmp_path / str(index)
        place = case.Place(str(folder / "vm"), str(folder / "outside"))
        case.write(each.files(place), Path(place.vm))
        try:
            found = instar_core.inspect(f"{place.vm}/x", policy="openstack")
        except instar_core.InstarError as error:
            assert isinstance(error, NotInstalled | DeviceError), each.name
            continue
        if found.accepted:
            accepted[each.name] = found
            assert found.virtual_size is not None
            assert found.content is None or found.content <= 1000 * (found.stored or 1)
    assert len(accepted) < len(cases)
    if group == "polyglots":
        assert set(accepted) <= {"iso over a partition table"}
