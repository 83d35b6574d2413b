"""What a booting guest may read: regular files and directories below a few places, whatever name it uses."""

import os
import socket

import pytest
from instar_sandbox.kvm.allow import AllowList, mapped_directories


@pytest.fixture
def places(tmp_path):
    """A tree of which `open` may be seen, `open/file` among it, and beside it what may not."""
    for name in ("open/folder", "hidden", "open-not"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("open/file", "open/folder/file", "hidden/secret", "open-not/secret", "single", "single-not"):
        (tmp_path / name).write_text(name)
    for link, target in {
        "open/out": "../hidden/secret",
        "open/out-folder": "../hidden",
        "open/absolute": str(tmp_path / "hidden/secret"),
        "open/within": "folder/file",
        "open/broken": "nothing",
        "open/loop": "loop",
        "open/twice": "out",
        "hidden/in": "../open/file",
    }.items():
        os.symlink(target, tmp_path / link)
    return tmp_path


@pytest.fixture
def allowed(places):
    return AllowList([str(places / "open")], [str(places / "single")])


def contents(allowed, path):
    descriptor = allowed.open(str(path))
    if descriptor is None:
        return None
    try:
        return os.read(descriptor, 100).decode()
    finally:
        os.close(descriptor)


def test_files_below_the_places_are_read(places, allowed):
    for name in ("open/file", "open/folder/file", "single"):
        assert contents(allowed, places / name) == name
        assert allowed.resolve(str(places / name)) == str(places / name)


def test_links_are_followed_to_where_they_lead(places, allowed):
    assert contents(allowed, places / "open/within") == "open/folder/file"
    assert contents(allowed, places / "hidden/in") == "open/file"
    assert contents(allowed, f"{places}/hidden/../open/file") == "open/file"


@pytest.mark.parametrize(
    "name",
    [
        "hidden/secret",
        "hidden",
        "open-not/secret",
        "single-not",
        "open/out",
        "open/twice",
        "open/absolute",
        "open/out-folder",
        "open/out-folder/secret",
        "open/../hidden/secret",
        "open/folder/../../hidden/secret",
        "open/broken",
        "open/loop",
        "open/nothing",
        "open/file/below",
        "single/below",
        "",
        ".",
    ],
)
def test_what_lies_elsewhere_is_not_there(places, allowed, name):
    path = f"{places}/{name}"
    assert allowed.resolve(path) is None
    assert allowed.open(path) is None
    assert allowed.opened == {}


@pytest.mark.parametrize(
    "name", ["open/file", "", ".", "..", "file", "\udcff", "/", "/etc/passwd", "//", "/proc/self/mem"]
)
def test_relative_and_foreign_names_are_nothing(places, allowed, monkeypatch, name):
    monkeypatch.chdir(places)
    assert allowed.resolve(name) is None
    assert allowed.open(name) is None


def test_a_name_that_no_file_can_have_is_nothing(places, allowed):
    for name in ("x" * 300, "/".join(["x" * 200] * 30), "\udcff\udcfe"):
        assert allowed.open(f"{places}/open/{name}") is None


def test_the_whole_tree_is_never_allowed(places):
    assert contents(AllowList(["/"]), places / "hidden/secret") is None
    assert contents(AllowList([""]), places / "hidden/secret") is None
    assert AllowList(["", str(places / "nothing"), str(places / "single")]).directories == ()


def test_a_place_that_is_a_link_stands_for_where_it_leads(places):
    os.symlink("open", places / "link")
    allowed = AllowList([str(places / "link")])
    assert contents(allowed, places / "open/file") == "open/file"
    assert contents(allowed, places / "link/file") == "open/file"
    os.unlink(places / "link")
    os.symlink("hidden", places / "link")
    assert contents(allowed, places / "link/secret") is None


def test_only_regular_files_and_directories_open(places, allowed):
    before = len(os.listdir("/proc/self/fd"))
    os.mkfifo(places / "open/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(places / "open/socket"))
    for name in ("fifo", "socket"):
        assert allowed.open(str(places / "open" / name)) is None
    if os.geteuid() == 0:
        os.mknod(places / "open/device", 0o20600, os.makedev(1, 3))
        assert allowed.open(str(places / "open/device")) is None
    assert len(os.listdir("/proc/self/fd")) == before
    descriptor = allowed.open(str(places / "open/folder"))
    assert os.listdir(descriptor) == ["file"]
    os.close(descriptor)
    assert allowed.opened == {}, "directories are not what a snapshot is made of"


def test_what_is_opened_cannot_be_written(places, allowed):
    descriptor = allowed.open(str(places / "open/file"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(descriptor, b"x")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_every_file_that_was_opened_is_remembered_as_it_was(places, allowed):
    contents(allowed, places / "open/within")
    found = os.stat(places / "open/folder/file")
    assert allowed.opened == {str(places / "open/folder/file"): (found.st_size, found.st_mtime_ns, found.st_ino)}


def test_shared_libraries_of_this_process_lie_in_mapped_directories():
    import zlib

    found = mapped_directories()
    assert "/" not in found
    assert all(os.path.isabs(path) for path in found)
    library = getattr(zlib, "__file__", None) or os.path.realpath("/proc/self/exe")
    assert os.path.dirname(os.path.realpath(library)) in {os.path.realpath(path) for path in found}


def test_a_folder_with_links_that_lead_nowhere_can_be_listed(tmp_path):
    """As with one into a folder that this user may not enter."""
    from instar_sandbox.kvm import layout
    from instar_sandbox.kvm.boot import BootCalls
    from instar_sandbox.kvm.memory import GuestMemory
    from instar_sandbox.kvm.space import Space

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    memory = GuestMemory(layout.LEAST_MEMORY)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        space = Space(memory)
        place = space.take(4096)
        calls = BootCalls(memory, space, None, None)
        calls.files[16] = descriptor
        told = bytes(memory.view[place : place + calls.getdents64(16, place, 4096)])
    finally:
        os.close(descriptor)
        memory.close()
    found = {}
    while told:
        size = int.from_bytes(told[16:18], "little")
        found[told[19:size].rstrip(b"\0")] = told[18]
        told = told[size:]
    assert found == {b"file": 8, b"folder": 4, b"gone": 8, b"loop": 8}
