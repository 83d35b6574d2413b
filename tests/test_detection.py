"""What a file is, is refused or proved, never guessed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import instar_core
from instar_core import registry, signatures
from instar_core.errors import AmbiguousFormat, FormatError, NotInstalled, UnknownFormat, Unusable
from instar_core.settings import Settings

UNSAFE = Settings(unsafe_quirks=True)
FOOTER = b"conectix" + bytes(504)


DEFAULT = Settings()


def format_of(path: Path, settings: Settings = DEFAULT, format: str | None = None) -> str:
    return instar_core.info(str(path), format=format, settings=settings)[0].image.format


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def boot(size: int = 4096) -> bytearray:
    """A disk with an empty master boot record."""
    made = bytearray(size)
    made[510:512] = b"\x55\xaa"
    return made


def evident() -> dict[str, bytes]:
    """Raw disks, each with another sign of being one."""
    zeros = bytes(200_000)
    partitioned = boot()
    partitioned[446:462] = bytes((0x80, 0, 2, 0, 0x83, 0, 0, 0)) + (2048).to_bytes(4, "little") * 2
    gpt = bytearray(1 << 20)
    gpt[512:604] = b"EFI PART\0\0\1\0\x5c\0\0\0" + bytes(8) + (1).to_bytes(8, "little") + bytes(60)
    swap = bytearray(8192)
    swap[4086:4096] = b"SWAPSPACE2"
    lvm = bytearray(8192)
    lvm[512:520], lvm[536:544] = b"LABELONE", b"LVM2 001"
    return {
        "zeros": zeros,
        "mbr": bytes(boot()),
        "partitions": bytes(partitioned),
        "gpt": bytes(gpt),
        "xfs": b"XFSB" + zeros,
        "swap": bytes(swap),
        "lvm": bytes(lvm),
        "ntfs": b"\xeb\x52\x90NTFS    " + bytes(499) + b"\x55\xaa" + bytes(4096),
    }


BLIND = {
    "text": b"root:x:0:0:root:/root:/bin/sh\n" * 50,
    "script": b"#!/bin/sh\necho hello\n",
    "random": bytes(range(1, 256)) * 40,
    "archive": b"PK\3\4" + b"\xaa" * 3000,
    "almost-mbr": bytes(boot())[:446] + b"\xff" * 64 + b"\x55\xaa",
    "tail": bytes(200_000) + b"secret",
    "empty-but-short": b"\1",
}


@pytest.mark.parametrize("sign", evident())
def test_a_disk_that_shows_itself_is_raw(file: Path, sign: str) -> None:
    file.write_bytes(evident()[sign])
    assert format_of(file) == "raw"


@pytest.mark.parametrize("kind", BLIND)
def test_what_shows_nothing_is_raw_only_where_someone_says_so(file: Path, kind: str) -> None:
    file.write_bytes(BLIND[kind])
    with pytest.raises(UnknownFormat, match="use -f raw"):
        format_of(file)
    for verb in (instar_core.check, instar_core.open, lambda path: list(instar_core.map(path))):
        with pytest.raises(UnknownFormat):
            verb(str(file))
    assert format_of(file, format="raw") == "raw"
    assert format_of(file, UNSAFE) == "raw"


@pytest.mark.parametrize("known", [known for known in signatures.KNOWN if known.format not in registry.entries()],
                         ids=lambda known: known.format)  # fmt: skip
def test_an_absent_plugin_is_named_and_never_makes_a_file_raw(file: Path, known: signatures.Known) -> None:
    signature = known.signatures[0]
    content = bytearray(1 << 17)
    start = signature.offset if signature.offset >= 0 else len(content) + signature.offset
    content[start : start + len(signature.magic)] = signature.magic
    file.write_bytes(content)
    why = f"{known.distribution} is not installed" if known.distribution else "no plugin reads it"
    with pytest.raises(NotInstalled, match=f"this is {known.format}; {why}"):
        format_of(file)
    if known.format != "iso":
        with pytest.raises(NotInstalled):
            format_of(file, UNSAFE)
    assert format_of(file, format="raw") == "raw"


def test_two_formats_in_one_file_are_refused_with_both_names(file: Path, builder: ModuleType) -> None:
    file.write_bytes(builder.qcow2(content=b"x") + FOOTER)
    with pytest.raises(AmbiguousFormat, match="is qcow2 and vpc at once; say which with -f"):
        format_of(file)
    assert format_of(file, format="qcow2") == "qcow2"
    assert format_of(file, format="raw") == "raw"
    assert format_of(file, UNSAFE) == "qcow2"


def test_a_hybrid_of_disk_and_compact_disc_is_no_disk_by_itself(file: Path, builder: ModuleType) -> None:
    hybrid = boot(1 << 17)
    hybrid[32769:32774] = b"CD001"
    file.write_bytes(hybrid)
    if "iso" in registry.entries():
        assert format_of(file) == "iso"
    else:
        with pytest.raises(NotInstalled, match="this is iso; instar-iso is not installed"):
            format_of(file)
    assert format_of(file, UNSAFE) == "raw"
    both = bytearray(builder.qcow2(content=bytes(100)))
    both[32769:32774] = b"CD001"
    file.write_bytes(both)
    with pytest.raises(AmbiguousFormat, match="iso and qcow2"):
        format_of(file)
    assert format_of(file, UNSAFE) == "qcow2"


def test_a_format_that_is_named_is_honoured_and_checked(file: Path, builder: ModuleType) -> None:
    file.write_bytes(builder.qcow2(content=b"x"))
    with instar_core.open(str(file), format="raw") as opened:
        assert opened.read(4) == b"QFI\xfb"
    file.write_bytes(bytes(1 << 20))
    with pytest.raises(FormatError, match="Image is not in qcow2 format"):
        format_of(file, format="qcow2")
    with pytest.raises(FormatError, match="Image is not in qcow2 format"):
        format_of(file, UNSAFE, format="qcow2")


def test_a_name_says_nothing_about_a_file(tmp_path: Path, builder: ModuleType) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(builder.qcow2())
    assert format_of(path) == "qcow2"
    path = tmp_path / "disk.qcow2"
    path.write_bytes(bytes(boot()))
    assert format_of(path) == "raw"


@pytest.mark.parametrize("magic", [b"QFI\xfb", b"QFI\xfb\0\0", b"QFI\xfb\0\0\0\x09", b"KDMV", b"LUKS\xba\xbe\0\x07"])
def test_a_torn_header_is_an_error_and_not_raw(file: Path, magic: bytes) -> None:
    for length in (len(magic), 512, 100_000):
        file.write_bytes(magic.ljust(length, b"\0"))
        with pytest.raises(instar_core.InstarError):
            format_of(file)


def test_an_empty_file_is_an_empty_raw_disk(file: Path) -> None:
    file.write_bytes(b"")
    assert format_of(file, format="raw") == "raw"
    assert instar_core.info(str(file))[0].image.virtual_size == 0


def broken(site: Path, front: str, hooks: str) -> None:
    """A distribution that claims qcow2, with these sources."""
    (site / "instar_qcow2").mkdir(parents=True)
    (site / "instar_qcow2" / "__init__.py").write_text(front)
    (site / "instar_qcow2" / "hooks.py").write_text(hooks)
    info = site / "instar_qcow2-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instar-qcow2\nVersion: 9\n")
    (info / "entry_points.txt").write_text("[instar.formats.v1]\nqcow2 = instar_qcow2:SPEC\n")


FRONT = "from instar_core.spec import FormatSpec\nSPEC = FormatSpec(name='qcow2', hooks='instar_qcow2.hooks')\n"


@pytest.mark.parametrize(
    ("front", "hooks", "reason"),
    [
        (FRONT, "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (FRONT, "1 / 0", "ZeroDivisionError"),
        (FRONT, "def (", "SyntaxError"),
        ("import no_such_module", "", "ModuleNotFoundError"),
        ("", "", "AttributeError"),
    ],
)
def test_a_broken_plugin_harms_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: ModuleType, front: str, hooks: str, reason: str
) -> None:
    broken(tmp_path / "site", front, hooks)
    held = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "instar_qcow2"}
    for name in held:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.forget()
    settings = Settings(sandbox="process")
    try:
        image, disk = tmp_path / "image", tmp_path / "disk"
        image.write_bytes(builder.qcow2())
        disk.write_bytes(boot())
        with pytest.raises(Unusable, match=reason):
            format_of(image, settings)
        with pytest.raises(Unusable, match=reason):
            format_of(image, settings, format="qcow2")
        with pytest.raises(Unusable):
            format_of(image, settings._replace(unsafe_quirks=True))
        assert format_of(disk, settings) == "raw"
        assert format_of(image, settings, format="raw") == "raw"
    finally:
        registry.forget()
        for name in [name for name in sys.modules if name.split(".")[0] == "instar_qcow2"]:
            del sys.modules[name]
