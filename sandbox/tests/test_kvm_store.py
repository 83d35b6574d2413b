"""Which kept snapshots are used: only this user's own, made of what is here now, and tested; each rule alone."""

import importlib.util
import os
import pathlib
import shutil
import signal
import stat
import sys
from types import SimpleNamespace

import pytest
from instar_sandbox.errors import NoPlatform
from instar_sandbox.kvm import identity, place, snapshot, store

ROOT = os.geteuid() == 0
USER = 4321 if ROOT else os.geteuid()
STRANGER = 4322


def load(name):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


specimens = load("kvm_specimens")
needs_root = pytest.mark.skipif(not ROOT, reason="only root can give files to others")


def describe(**changes):
    """A snapshot in memory as prepare makes it, of a recipe with a mark, with fields of its description changed."""
    memory, space = specimens.filled(1)
    seen = pathlib.Path(__file__)
    found = seen.stat()
    files = {str(seen): (found.st_size, found.st_mtime_ns, found.st_ino)}
    made = specimens.described(memory, space, identity.identity("test", ("mark", 1)), files)
    for name, value in changes.items():
        setattr(made, name, value)
    kept = specimens.kept("test", made, memory)
    memory.close()
    return kept


RECIPE = store.Recipe("test", mark=("mark", 1))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without rights, who has a home and a device that he may use."""
    device = tmp_path / "device"
    device.touch(0o666)
    monkeypatch.setattr(store, "DEVICE", str(device))
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


@pytest.fixture
def folder(home):
    path = home / ".cache" / "instar-sandbox"
    path.mkdir(parents=True)
    owned(path, 0o700)
    return path


def owned(path, mode, user=USER):
    os.chmod(path, mode)
    if ROOT:
        os.chown(path, user, user)


@pytest.fixture
def file(folder):
    """A snapshot that may be used."""
    with describe() as made:
        path = pathlib.Path(store.keep(RECIPE, made))
    owned(path, 0o600)
    return path


def refused(match=None):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(store.NotPrepared, match=match):
        store.find(RECIPE)
    assert os.listdir("/proc/self/fd") == before, "a descriptor was left open"


def test_a_snapshot_of_this_user_is_found(file):
    with store.find(RECIPE) as found:
        assert found.name == "test"
        assert found.description.tested
        assert not os.get_inheritable(found.descriptor)
        with pytest.raises(OSError, match="Bad file"):
            os.write(found.descriptor, b"x")
    assert found.descriptor == -1
    found.close()


@pytest.mark.parametrize("mode", [0o601, 0o640, 0o644, 0o660, 0o666, 0o602, 0o700, 0o400, 0o4600, 0o2600, 0o1600])
def test_a_file_that_others_may_touch_is_not_used(file, mode):
    os.chmod(file, mode)
    refused("not trusted")


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o777, 0o701, 0o702, 0o1777, 0o500])
def test_a_folder_that_others_may_touch_is_not_used(file, folder, mode):
    os.chmod(folder, mode)
    refused("not trusted")


@needs_root
@pytest.mark.parametrize("user", [0, STRANGER])
def test_a_file_of_another_user_is_not_used(file, user):
    owned(file, 0o600, user)
    refused("not trusted")


@needs_root
@pytest.mark.parametrize("user", [0, STRANGER])
def test_a_folder_of_another_user_is_not_used(file, folder, user):
    owned(folder, 0o700, user)
    refused("not trusted")


def test_a_file_behind_a_link_is_not_used(file):
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")
    refused()


def test_a_folder_behind_a_link_is_not_used(file, folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")
    refused()


def test_a_pipe_in_place_of_the_file_is_refused_without_waiting(file):
    def waited(*_):
        raise TimeoutError("it waits for a writer")

    file.unlink()
    os.mkfifo(file)
    owned(file, 0o600)
    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(10)
    try:
        refused("not a regular file")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_folder_or_a_device_in_place_of_the_file_is_refused(file):
    file.unlink()
    file.mkdir()
    owned(file, 0o600)
    refused("not a regular file")
    file.rmdir()
    if ROOT:
        os.mknod(file, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        owned(file, 0o600)
        refused("not a regular file")


def test_a_file_in_place_of_the_folder_is_refused(home):
    (home / ".cache").mkdir()
    (home / ".cache" / "instar-sandbox").touch()
    refused()


def test_where_nothing_was_prepared_that_is_said(home, folder):
    refused("no snapshot is prepared")
    folder.rmdir()
    refused("no snapshot is prepared")


def test_a_snapshot_that_did_not_pass_its_test_is_not_used(folder):
    with describe(tested=False) as made:
        owned(store.keep(RECIPE, made), 0o600)
    refused("test")


def test_a_damaged_snapshot_is_not_used(file):
    content = file.read_bytes()
    for made in (b"", content[:100], content[: len(content) // 2], b"x" + content[1:], content[:-1] + b"\xee"):
        file.write_bytes(made)
        refused("snapshot")
    file.write_bytes(content)
    store.find(RECIPE).close()


def test_another_recipe_is_another_snapshot(file):
    for name, mark in (("other", ("mark", 1)), ("test", ("mark", 2)), ("test", None)):
        with pytest.raises(store.NotPrepared):
            store.find(store.Recipe(name, mark=mark))
    store.find(store.Recipe("test", ["modules", "do", "not", "matter", "here"], ("mark", 1))).close()


def changed(**names):
    return lambda patch: [patch.setattr(sys, name, value) for name, value in names.items()]


def system(**names):
    real = os.uname()
    fields = {name: getattr(real, name) for name in ("sysname", "release", "version", "machine", "nodename")}
    return lambda patch: patch.setattr(os, "uname", lambda: SimpleNamespace(**{**fields, **names}))


COMPONENTS = {
    "the snapshot's version": lambda patch: patch.setattr(identity, "VERSION", snapshot.VERSION + 1),
    "the interpreter": changed(version=sys.version + "+"),
    "the environment": changed(prefix="/elsewhere"),
    "the installation": changed(base_prefix="/elsewhere"),
    "the kernel's name": system(sysname="Minix"),
    "the kernel's release": system(release="0.1"),
    "the kernel's version": system(version="#2"),
    "the architecture": system(machine="i686"),
    "the processor": lambda patch: patch.setattr(identity, "processor", lambda: b"another"),
    "what runs machines": lambda patch: patch.setattr(identity, "backend", lambda: "another"),
    "the place of this package": lambda patch: patch.setattr(identity, "__file__", "/elsewhere/a/b.py"),
}


@pytest.mark.parametrize("change", COMPONENTS.values(), ids=COMPONENTS)
def test_each_component_of_the_identity_counts(file, monkeypatch, change):
    before, name = identity.identity("test", ("mark", 1)), store.file_name(RECIPE)
    with monkeypatch.context() as patch:
        change(patch)
        assert identity.identity("test", ("mark", 1)) != before
        patch.setattr(store, "file_name", lambda recipe: name)
        with pytest.raises(store.NotPrepared, match="installed"):
            store.find(RECIPE)
    store.find(RECIPE).close()


def test_an_identity_is_plain_data_that_says_something():
    import marshal

    found = identity.identity("test", ("mark", 1))
    assert marshal.loads(marshal.dumps(found)) == found
    assert found == identity.identity("test", ("mark", 1))
    assert identity.identity("test", ("mark", 1)) != identity.identity("test", ("mark", 2))
    assert identity.identity("test", 1) != identity.identity("tests", 1)
    assert b"flags" in identity.processor()


def test_a_processor_that_the_kernel_does_not_tell_of_is_no_error(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(identity, "open", missing, raising=False)
    assert identity.processor() == b""


@pytest.mark.parametrize("change", ["content", "time", "inode", "missing", "folder"])
def test_each_file_that_went_into_a_snapshot_counts(tmp_path, change):
    file = tmp_path / "module.py"
    file.write_text("import this")
    found = file.stat()
    made = SimpleNamespace(files={str(file): (found.st_size, found.st_mtime_ns, found.st_ino)})
    assert identity.unchanged(made)
    if change == "content":
        file.write_text("import that!")
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    elif change == "inode":
        shutil.copy2(file, tmp_path / "copy")
        os.replace(tmp_path / "copy", file)
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    elif change == "missing":
        file.unlink()
    else:
        file.unlink()
        (tmp_path / "module.py").mkdir()
    assert not identity.unchanged(made)


def test_a_changed_module_makes_the_snapshot_useless(file):
    with describe(files={"/nothing/at/all.py": (1, 2, 3)}) as made:
        owned(store.keep(RECIPE, made), 0o600)
    refused("installed")


# Where snapshots are.


def test_root_takes_only_the_folder_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert place.folder() == "/var/cache/instar-sandbox"
    monkeypatch.setattr(place, "SYSTEM_FOLDER", str(tmp_path / "system"))
    assert place.folder() == str(tmp_path / "system")
    assert not place.exists()
    (tmp_path / "instar-sandbox").mkdir()
    assert not place.exists()


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"HOME": "/home/x"}, "/home/x/.cache/instar-sandbox"),
        ({"HOME": "/home/x", "XDG_CACHE_HOME": "/cache"}, "/cache/instar-sandbox"),
        ({"HOME": "/home/x", "XDG_CACHE_HOME": "relative"}, "/home/x/.cache/instar-sandbox"),
        ({"HOME": "/home/x", "XDG_CACHE_HOME": ""}, "/home/x/.cache/instar-sandbox"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/instar-sandbox"),
        ({"XDG_CACHE_HOME": "cache"}, None),
        ({"HOME": "relative"}, None),
        ({"HOME": ""}, None),
        ({"HOME": "relative", "XDG_CACHE_HOME": "./x"}, None),
        ({}, None),
    ],
)
def test_a_users_folder_is_named_by_absolute_paths_only(home, monkeypatch, settings, wanted):
    monkeypatch.delenv("HOME")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert place.folder() == wanted
    if wanted is None:
        assert not place.exists()
        refused("no folder for caches")
        with pytest.raises(store.NotPrepared, match="no folder for caches"):
            store.make_folder()


def test_a_device_that_cannot_be_used_is_said_to_be_the_reason(file, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "DEVICE", str(tmp_path / "no device"))
    with pytest.raises(NoPlatform, match="no device"):
        store.find(RECIPE)


# Keeping.


def test_what_is_kept_is_whole_and_private(home, monkeypatch):
    before = os.umask(0)
    try:
        with describe() as made, monkeypatch.context() as patch:
            if ROOT:  # what root makes is root's
                patch.setattr(os, "geteuid", lambda: 0)
                patch.setattr(place, "SYSTEM_FOLDER", str(home / "system"))
            path = store.keep(RECIPE, made)
            assert pathlib.Path(path).read_bytes() == os.pread(made.descriptor, 1 << 30, 0)
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
            assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
            again = os.stat(path).st_ino
            assert store.keep(RECIPE, made) == path
            assert os.stat(path).st_ino != again, "a snapshot in use is replaced, not written over"
            store.find(RECIPE).close()
    finally:
        os.umask(before)


def test_nothing_is_kept_in_a_folder_that_is_not_trusted(home, folder):
    with describe() as made:
        os.chmod(folder, 0o755)
        with pytest.raises(store.NotPrepared, match="not trusted"):
            store.keep(RECIPE, made)
        os.rmdir(folder)
        folder.symlink_to(home)
        with pytest.raises(store.NotPrepared):
            store.keep(RECIPE, made)
        folder.unlink()
        folder.touch()
        with pytest.raises(store.NotPrepared):
            store.keep(RECIPE, made)
    assert {path.name for path in home.iterdir()} == {".cache", "device"}


def test_a_link_in_place_of_the_temporary_file_is_not_followed(home, folder):
    target = home / "precious"
    target.write_text("precious")
    temporary = folder / f"{store.file_name(RECIPE)}.{os.getpid()}"
    temporary.symlink_to(target)
    with describe() as made, pytest.raises(store.NotPrepared):
        store.keep(RECIPE, made)
    assert target.read_text() == "precious"


def test_what_cannot_be_written_whole_leaves_nothing(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sendfile", full)
    with describe() as made, pytest.raises(store.NotPrepared, match="No space left"):
        store.keep(RECIPE, made)
    assert os.listdir(folder) == []


def test_names_tell_recipes_and_installations_apart(monkeypatch):
    one = store.file_name(store.Recipe("one"))
    assert one != store.file_name(store.Recipe("two"))
    assert "/" not in one
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    assert store.file_name(store.Recipe("one")) != one


def test_a_snapshot_that_cannot_be_read_is_not_used(file, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(snapshot, "verify", fail)
    refused("the snapshot cannot be read: Input/output error")
