"""What an image refers to is opened only where the image policy allows it, and is what was judged."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from types import ModuleType

import pytest

import instar_core
from instar_core import device, limits, registry, validate, wire
from instar_core.errors import DeviceError, ErrorKind, FormatError, InstarError, PolicyError
from instar_core.policy import PRESETS, Policy, judge
from instar_core.settings import Settings
from instar_core.types import ImageInfo, Reference, Role

CLUSTER = 1 << 16
SECRET = b"secret:$6$salt:19000:0:99999:7:::\n" * 40
GOOD = b"\xeb\x3c\x90" + b"good" * 100
DESCRIPTOR = '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails where the body blocks."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def disk(content: bytes, size: int = CLUSTER) -> bytes:
    """A raw disk that begins with `content` and has an empty partition table, which shows that it is one."""
    head = bytearray(size)
    head[: min(len(content), 440)] = content[:440]
    head[510:512] = b"\x55\xaa"
    return bytes(head)


def first(path: Path, settings: Settings, length: int = 440) -> bytes:
    """The first bytes of the disk."""
    with within(20), instar_core.open(str(path), settings=settings) as opened:
        return opened.pread(length, 0)


def settings(policy: str = "default", *roots: Path) -> Settings:
    return Settings(policy=policy, roots=tuple(map(str, roots)))


class Images:
    """Images that refer to a name by a role."""

    def __init__(self, builder: ModuleType, folder: Path) -> None:
        self.builder = builder
        self.folder = folder

    def naming(self, role: str, name: bytes | str, format: str | None = "raw") -> Path:
        """An image in the folder that refers to the name, and begins with what that file begins with."""
        given = os.fsencode(name)
        path = self.folder / f"{role}.image"
        if role == "extent":
            if "vmdk" not in registry.entries():
                pytest.skip("instar-vmdk is not installed")
            path.write_bytes(DESCRIPTOR.encode() + b'RW 128 FLAT "' + given + b'" 0\n')
        elif role == "data":
            path.write_bytes(self.builder.qcow2(CLUSTER, data_file=given, mapped=1))
        else:
            path.write_bytes(self.builder.qcow2(CLUSTER, backing=given, backing_format=format))
        return path


ROLES = ("backing", "data", "extent")


@pytest.fixture
def images(builder: ModuleType, tmp_path: Path) -> Images:
    folder = tmp_path / "vm"
    folder.mkdir()
    return Images(builder, folder)


def test_every_preset_is_listed_here() -> None:
    assert set(FOLLOWED) == set(PRESETS)


FOLLOWED = {
    "default": {"backing", "data", "extent"},
    "qemu": {"backing", "data", "extent"},
    "openstack": {"backing"},
    "proxmox": {"backing"},
    "ovirt": {"backing"},
    "untrusted": set(),
    "strict": set(),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("policy", FOLLOWED)
def test_a_preset_follows_what_it_says(images: Images, policy: str, role: str) -> None:
    (images.folder / "other").write_bytes(disk(GOOD))
    image = images.naming(role, "other")
    if role in FOLLOWED[policy]:
        assert first(image, settings(policy), 100) == GOOD[:100]
        return
    with pytest.raises(PolicyError, match=f"the image policy '{policy}' allows no ") as caught:
        first(image, settings(policy))
    assert caught.value.kind == ErrorKind.REFUSED


def test_an_unknown_policy_is_refused(images: Images) -> None:
    (images.folder / "other").write_bytes(disk(GOOD))
    with pytest.raises(InstarError, match="image policy 'lax' does not exist"):
        first(images.naming("backing", "other"), settings("lax"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("way", ["absolute", "dots", "symlink", "neighbour"])
def test_only_backing_files_may_lie_elsewhere(images: Images, tmp_path: Path, role: str, way: str) -> None:
    elsewhere = tmp_path / ("vm-2" if way == "neighbour" else "else")
    elsewhere.mkdir()
    (elsewhere / "other").write_bytes(disk(GOOD))
    name = {"absolute": str(elsewhere / "other"), "dots": "../else/other", "symlink": "link", "neighbour": ""}[way]
    if way == "symlink":
        (images.folder / "link").symlink_to(elsewhere / "other")
    image = images.naming(role, name or f"../{elsewhere.name}/other")
    if role == "backing":
        assert first(image, settings(), 100) == GOOD[:100]
    else:
        with pytest.raises(PolicyError, match="lies outside the image's own folder"):
            first(image, settings())
    assert first(image, settings("qemu"), 100) == GOOD[:100]
    assert first(image, settings("default", elsewhere), 100) == GOOD[:100]
    with pytest.raises(PolicyError, match="lies outside the allowed folders"):
        first(image, settings("default", images.folder))


def test_the_folder_that_counts_is_where_the_image_really_lies(images: Images, tmp_path: Path) -> None:
    (images.folder / "other").write_bytes(disk(GOOD))
    image = images.naming("data", str(images.folder / "other"))
    link = tmp_path / "link"
    link.symlink_to(image)
    assert first(link, settings(), 100) == GOOD[:100]
    (tmp_path / "beside").write_bytes(disk(GOOD))
    images.naming("data", str(tmp_path / "beside"))
    with pytest.raises(PolicyError, match="outside"):
        first(link, settings())


@pytest.mark.parametrize("role", ROLES)
def test_the_password_file_is_never_read(images: Images, role: str) -> None:
    image = images.naming(role, "/etc/shadow")
    with pytest.raises((PolicyError, DeviceError)) as caught:
        first(image, settings())
    assert "root:" not in str(caught.value)


@pytest.mark.parametrize("role", ROLES)
def test_a_text_that_is_no_disk_is_never_read(images: Images, tmp_path: Path, role: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    image = images.naming(role, str(secret))
    with pytest.raises(PolicyError) as caught:
        first(image, settings())
    assert "19000" not in str(caught.value)
    assert first(image, settings("qemu"), 20) == SECRET[:20]


@pytest.mark.parametrize("policy", ["default", "qemu"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fifo", "is a FIFO"),
        ("folder", "is a folder"),
        ("socket", "is a socket"),
        ("/dev/zero", "is a character device"),
        ("/dev/tty", "is a character device"),
    ],
)
def test_what_is_no_disk_at_all_is_refused_without_waiting(
    images: Images, role: str, kind: str, words: str, policy: str
) -> None:
    place = images.folder / "thing"
    name = kind if kind.startswith("/") else "thing"
    listener = None
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        before = Path.cwd()
        os.chdir(images.folder)  # a socket's path has at most 107 bytes
        listener.bind("thing")
        os.chdir(before)
    try:
        with pytest.raises(PolicyError, match=words):
            first(images.naming(role, name), settings(policy))
    finally:
        if listener:
            listener.close()


@pytest.mark.parametrize("kind", ["fifo", "folder", "/dev/null"])
def test_a_name_on_the_command_line_must_be_a_file_too(tmp_path: Path, kind: str) -> None:
    place = Path(kind) if kind.startswith("/") else tmp_path / "thing"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    with pytest.raises(DeviceError, match="to be a regular file"), within(20):
        instar_core.info(str(place))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("policy", ["default", "qemu"])
def test_magic_links_lead_nowhere(images: Images, role: str, policy: str) -> None:
    (images.folder / "other").write_bytes(disk(GOOD))
    held = os.open(images.folder / "other", os.O_RDONLY)
    try:
        for name in (f"/proc/self/fd/{held}", f"/dev/fd/{held}", f"/proc/self/root{images.folder}/other"):
            with pytest.raises(PolicyError, match="magic link"):
                first(images.naming(role, name), settings(policy))
    finally:
        os.close(held)


@pytest.mark.parametrize("policy", ["default", "qemu"])
def test_a_chain_that_bites_its_tail_is_refused(images: Images, policy: str) -> None:
    one, two = images.folder / "one", images.folder / "two"
    build = images.builder.qcow2
    one.write_bytes(build(backing=b"one", backing_format="qcow2"))
    with pytest.raises(FormatError, match="infinite loop"):
        first(one, settings(policy))
    one.write_bytes(build(backing=b"two", backing_format="qcow2"))
    two.write_bytes(build(backing=b"link", backing_format="qcow2"))
    (images.folder / "link").symlink_to("one")
    with pytest.raises(FormatError, match="infinite loop"):
        first(one, settings(policy))
    with pytest.raises(FormatError, match="infinite loop"):
        instar_core.info(str(one), chain=True, settings=settings(policy))
    assert instar_core.info(str(one), settings=settings(policy))[0].backing_filename == "two"


def test_a_chain_has_a_bounded_depth(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHAIN_DEPTH", 3)
    build = images.builder.qcow2
    (images.folder / "0").write_bytes(build(content=GOOD))
    for number in range(1, 4):
        (images.folder / str(number)).write_bytes(build(backing=b"%d" % (number - 1), backing_format="qcow2"))
    assert first(images.folder / "2", settings(), 100) == GOOD[:100]
    with pytest.raises(FormatError, match="longer than 3 images") as caught:
        first(images.folder / "3", settings())
    assert caught.value.kind == ErrorKind.LIMIT


def test_a_backing_file_must_be_of_its_declared_format(images: Images) -> None:
    (images.folder / "disk").write_bytes(disk(GOOD))
    (images.folder / "text").write_bytes(SECRET)
    (images.folder / "qcow2").write_bytes(images.builder.qcow2(content=GOOD))
    for name, declared, words in (
        ("disk", None, "is not declared"),
        ("qcow2", None, "is not declared"),
        ("disk", "qcow2", "is raw, not qcow2"),
        ("qcow2", "raw", "is qcow2, not raw"),
        ("text", "raw", "no sign of being a raw disk"),
        ("text", "qcow2", "no sign of being a qcow2 disk"),
    ):
        image = images.naming("backing", name, declared)
        with pytest.raises(PolicyError, match=words):
            first(image, settings())
        assert instar_core.info(str(image))[0].backing_filename == name


def test_the_policy_qemu_takes_backing_files_as_they_are_declared(images: Images) -> None:
    (images.folder / "disk").write_bytes(disk(GOOD))
    (images.folder / "text").write_bytes(SECRET)
    inner = images.builder.qcow2(content=GOOD)
    (images.folder / "qcow2").write_bytes(inner)
    for name, declared, content in (
        ("disk", None, GOOD),
        ("qcow2", None, GOOD),
        ("qcow2", "raw", inner),
        ("text", "raw", SECRET),
        ("text", None, SECRET),
    ):
        assert first(images.naming("backing", name, declared), settings("qemu"), 90) == content[:90], (name, declared)


def test_unsafe_quirks_do_not_loosen_the_policy(images: Images) -> None:
    (images.folder / "text").write_bytes(SECRET)
    image = images.naming("backing", "text")
    with pytest.raises(PolicyError, match="no sign"):
        first(image, Settings(unsafe_quirks=True))


@pytest.mark.parametrize("policy", ["default", "qemu"])
@pytest.mark.parametrize("name", ["nbd://127.0.0.1:1/x", "nbd:unix:/x", "http://127.0.0.1:1/x", "fat:/etc", "a:b"])
def test_protocols_are_not_spoken_to_backing_files(images: Images, name: str, policy: str) -> None:
    with pytest.raises(PolicyError, match="names a protocol"):
        first(images.naming("backing", name), settings(policy))


@pytest.mark.parametrize("role", ["data", "extent"])
@pytest.mark.parametrize("name", ["json:{}", "nbd:unix:x", "http:x"])
def test_protocols_are_plain_names_in_other_places(images: Images, role: str, name: str) -> None:
    image = images.naming(role, name)
    with pytest.raises(DeviceError, match="No such file"):
        first(image, settings())
    (images.folder / name).write_bytes(disk(GOOD))
    assert first(image, settings(), 100) == GOOD[:100]


@pytest.mark.parametrize("role", ["backing", "data"])
@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[31mred\x07", b"\xff\xfe", "\u202egpj.ksid".encode(), b" "])
def test_any_name_can_be_a_files_name(images: Images, role: str, name: bytes) -> None:
    image = images.naming(role, name)
    with pytest.raises(DeviceError, match="No such file"):
        first(image, settings())
    place = os.fsencode(images.folder) + b"/" + name
    Path(os.fsdecode(place)).write_bytes(disk(GOOD))
    assert first(image, settings(), 100) == GOOD[:100]


def test_a_zero_byte_ends_a_name_where_the_plugin_says_so_and_never_passes_the_door(images: Images) -> None:
    (images.folder / "other").write_bytes(disk(GOOD))
    image = images.naming("backing", b"other\0x")
    assert instar_core.info(str(image))[0].backing_filename == "other"
    assert first(image, settings(), 100) == GOOD[:100]
    said = ImageInfo("x", 512, references=(Reference(Role.BACKING, b"other\0x"),))
    with pytest.raises(FormatError, match="zero byte"):
        validate.image_info(wire.decode(wire.encode(said)), "x")


@pytest.mark.parametrize("role", ["backing", "data"])
@pytest.mark.parametrize("length", [256, 1000, 1024, 4095, 5000, 30000])
def test_an_overlong_name_is_refused(images: Images, role: str, length: int) -> None:
    with pytest.raises(InstarError) as caught:
        first(images.naming(role, b"n" * length), settings())
    assert type(caught.value) in (FormatError, DeviceError)


def test_a_symlink_that_is_exchanged_all_the_time_never_leads_out(images: Images, tmp_path: Path) -> None:
    (images.folder / "good").write_bytes(disk(GOOD))
    secret = tmp_path / "secret"
    secret.write_bytes(disk(SECRET))
    image = images.naming("data", "link")
    swap = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "print(flush=True)\n"
        "while True:\n"
        "    for to in ('good', sys.argv[2]):\n"
        "        os.symlink(to, 'new'); os.rename('new', 'link')\n"
    )
    (images.folder / "link").symlink_to("good")
    swapper = subprocess.Popen([sys.executable, "-c", swap, str(images.folder), str(secret)], stdout=subprocess.PIPE)
    assert swapper.stdout is not None
    read, refused, end = 0, 0, monotonic() + 30
    try:
        swapper.stdout.readline()
        while read < 5 or refused < 5:
            assert monotonic() < end, (read, refused)
            try:
                assert first(image, settings(), 100) == GOOD[:100]
                read += 1
            except PolicyError:
                refused += 1
    finally:
        swapper.kill()
        swapper.communicate()


def test_a_block_device_is_told_by_what_it_is_and_not_by_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("/dev/shm/instar-test-disk")
    try:
        place.write_bytes(disk(GOOD))
    except OSError:
        pytest.skip("there is no /dev/shm to write to")
    monkeypatch.setitem(PRESETS, "default", Policy(devices=False))
    opened = device.Place(str(place))
    try:
        judge(Role.BACKING, opened, "/", settings())
    finally:
        opened.close()
        place.unlink()


@pytest.mark.parametrize(
    "name",
    [
        "json:{",
        "json:[]",
        "json:" + "[" * 900,
        'json:{"driver":"raw"}',
        'json:{"driver":"nbd","host":"127.0.0.1"}',
        'json:{"driver":"raw","file":{"driver":"nbd","filename":"x"}}',
        'json:{"driver":"raw","file":{"filename":"disk","filename":{"a":{"b":1}}}}',
        'json:{"driver":"raw","offset":true,"file":{"filename":"disk"}}',
        'json:{"driver":"raw","surprise":"5","file":{"filename":"disk"}}',
        'json:{"driver":"raw","file":{"filename":"/dev/zero"}}',
        'json:{"driver":"raw","file":{"filename":"absent"}}',
    ],
)
def test_a_json_name_that_describes_no_plain_file_is_refused_under_every_policy(images: Images, name: str) -> None:
    for policy in ("default", "strict", "qemu"):
        with pytest.raises(InstarError):
            first(images.naming("backing", name), settings(policy))
