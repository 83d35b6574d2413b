"""Other users than the one who installed it: those that services run qemu-img as, without a home or a name.

The tests change their user, which only root may.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from instar_core import registry
from instar_core.testing.foreign import Programs

if os.geteuid() != 0:
    pytest.skip("only root may become other users", allow_module_level=True)
if shutil.which("setpriv") is None:
    pytest.skip("setpriv is not installed", allow_module_level=True)
if "qcow2" not in registry.entries():
    pytest.skip("instar-qcow2 is not installed", allow_module_level=True)

PROGRAMS = Programs()
MIB = 1 << 20
COMMAND = "from instar_core.cli.main import command\n\ncommand()\n"
Done = subprocess.CompletedProcess[str]


class User(NamedTuple):
    """Whom a command is run as. Nobody in the user database has to have these numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    capabilities: str = ""

    @property
    def words(self) -> list[str]:
        kept = ["--groups", ",".join(map(str, self.groups))] if self.groups else ["--clear-groups"]
        if self.capabilities:
            kept += ["--inh-caps", self.capabilities, "--ambient-caps", self.capabilities]
        return ["setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), *kept]


def nameless(wanted: int) -> int:
    """This number or a higher one, which no user here has."""
    while any(entry.pw_uid == wanted for entry in pwd.getpwall()):
        wanted += 1000
    return wanted


VDSM = User(nameless(36), 36, (36, 107))
WWW_DATA = User(33, 33)
USERS = {"vdsm": VDSM, "www-data": WWW_DATA, "root": User(0, 0)}
CAPABLE = User(VDSM.uid, 36, (), "+dac_override,+sys_admin,+setuid,+setgid,+kill")
"""A service that was given capabilities instead of root's place."""


class Place:
    """A folder that everybody reaches, with the command qemu-img in `bin` and `own`, which is a user's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / "own"
        self.own.mkdir()
        (folder / "bin").mkdir()
        program = folder / "bin" / "qemu-img"
        program.write_text(f"#!{sys.executable}\n{COMMAND}")
        program.chmod(0o755)
        self.path = f"{folder / 'bin'}:{os.environ.get('PATH', os.defpath)}"

    def give(self, user: User) -> None:
        os.chown(self.own, user.uid, user.gid)

    def run(self, user: User, *words: str, **variables: str) -> Done:
        """The command as that user, with nothing in its environment but what is said here."""
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {
            "PATH": self.path,
            "LC_ALL": "C",
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        }
        line = [*user.words, *words]
        return subprocess.run(line, cwd=self.own, env=environment, capture_output=True, text=True, check=False)

    def img(self, user: User, *words: str, **variables: str) -> str:
        """What qemu-img prints, which succeeds and complains of nothing."""
        done = self.run(user, "qemu-img", *words, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        made = Place(Path(folder))
        if made.run(WWW_DATA, "ls", folder).returncode:
            pytest.skip("other users cannot reach the folder for temporary files")
        seen = made.run(WWW_DATA, sys.executable, "-c", "import instar_core, instar_sandbox, instar_qcow2")
        if seen.returncode:
            pytest.skip(f"other users cannot reach the interpreter and its packages: {seen.stderr.strip()[-200:]}")
        yield made


@pytest.mark.oracle
@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_verbs_that_services_call_work_as_any_user(place: Place, user: User, umask: int) -> None:
    place.give(user)
    (place.own / "disk.raw").write_bytes(b"content." * 16384 + bytes(MIB))
    os.chmod(place.own / "disk.raw", 0o644)
    old = os.umask(umask)
    try:
        place.img(user, "create", "-q", "-f", "qcow2", "a.qcow2", "8M", INSTAR_SANDBOX="process")
        place.img(user, "convert", "-c", "-f", "raw", "-O", "qcow2", "disk.raw", "b.qcow2")
        place.img(user, "convert", "-f", "qcow2", "-O", "raw", "b.qcow2", "c.raw")
        place.img(user, "create", "-q", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", "d.qcow2")
        assert place.img(user, "resize", "-f", "qcow2", "a.qcow2", "+1M") == "Image resized.\n"
    finally:
        os.umask(old)
    assert "No errors were found" in place.img(user, "check", "d.qcow2")
    told: dict[str, Any] = json.loads(place.img(user, "info", "--output=json", "a.qcow2"))
    assert told["virtual-size"] == 9 * MIB
    assert (place.own / "c.raw").read_bytes() == (place.own / "disk.raw").read_bytes()
    real = PROGRAMS.qemu()
    PROGRAMS.run(real, "compare", str(place.own / "d.qcow2"), str(place.own / "disk.raw"))
    for name in ("a.qcow2", "b.qcow2", "c.raw", "d.qcow2"):
        facts = os.stat(place.own / name)
        assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (user.uid, user.gid, 0o644 & ~umask)


def test_a_file_that_is_there_keeps_its_owner_and_mode(place: Place) -> None:
    """As where a volume was made by a service and is written by root, or by another member of its group."""
    place.give(VDSM)
    target = place.own / "volume"
    target.touch()
    os.chown(target, 107, 36)
    target.chmod(0o660)
    place.img(VDSM, "create", "-q", "-f", "qcow2", "volume", "4M")
    place.img(USERS["root"], "resize", "-f", "qcow2", "volume", "8M")
    place.img(VDSM, "convert", "-O", "qcow2", "volume", "copy")
    place.img(USERS["root"], "convert", "-O", "qcow2", "copy", "volume")
    facts = os.stat(target)
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (107, 36, 0o660)


def test_a_folder_hands_its_group_on(place: Place) -> None:
    os.chown(place.own, VDSM.uid, 107)
    place.own.chmod(0o2770)
    place.img(VDSM, "create", "-q", "-f", "qcow2", "new", "4M")
    facts = os.stat(place.own / "new")
    assert (facts.st_uid, facts.st_gid) == (VDSM.uid, 107)


FORBIDDEN = """
info secret
info closed/image
info -f qcow2 --output=json secret
info --backing-chain child
check secret
map secret
resize -f qcow2 readable 8M
convert -O raw secret new
convert -O raw child new
convert -O qcow2 readable secret
convert -O qcow2 readable closed/new
create -f qcow2 ../new 1M
create -q -f qcow2 secret 1M
create -q -f qcow2 -b secret -F qcow2 new
rebase -u -F qcow2 -b secret readable
commit child
"""


@pytest.mark.oracle
@pytest.mark.parametrize("user", [VDSM, WWW_DATA], ids=["vdsm", "www-data"])
def test_what_a_user_may_not_do_is_told_as_by_qemu_img(place: Place, user: User) -> None:
    real = Path(PROGRAMS.qemu())
    if real.name != "qemu-img":
        pytest.skip("the real qemu-img has another name")
    place.img(USERS["root"], "create", "-q", "-f", "qcow2", "secret", "4M")
    place.img(USERS["root"], "create", "-q", "-f", "qcow2", "readable", "4M")
    place.img(USERS["root"], "create", "-q", "-f", "qcow2", "-b", "secret", "-F", "qcow2", "child")
    (place.own / "closed").mkdir(mode=0o700)
    shutil.copy(place.own / "readable", place.own / "closed" / "image")
    (place.own / "secret").chmod(0o600)
    (place.own / "child").chmod(0o666)
    before = {name: (place.own / name).read_bytes() for name in ("secret", "readable", "child")}
    for line in FORBIDDEN.strip().splitlines():
        wanted = place.run(user, str(real), *line.split())
        done = place.run(user, "qemu-img", *line.split())
        assert done.returncode == wanted.returncode == 1, line
        assert "Permission denied" in done.stderr
        assert (done.stdout, done.stderr) == (wanted.stdout, wanted.stderr.replace(str(real), "qemu-img")), line
        assert {name: (place.own / name).read_bytes() for name in before} == before, line
        assert not (place.own / "new").exists()


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.parametrize("home", ["none", "foreign", "unreadable"])
def test_no_home_and_one_that_cannot_be_read_are_no_hindrance(place: Place, user: User, home: str) -> None:
    place.give(user)
    foreign = place.folder / "home"
    (foreign / ".config").mkdir(parents=True)
    (foreign / ".config" / "instar.toml").write_text("extra-detail = true\n")
    if home == "unreadable":
        foreign.chmod(0o700)
    variables = {} if home == "none" else {"HOME": str(foreign)}
    place.img(user, "create", "-q", "-f", "qcow2", "a", "4M", **variables)
    assert "virtual size: 4 MiB" in place.img(user, "info", "a", **variables)


def test_settings_of_another_user_never_loosen_roots(place: Place) -> None:
    """sudo may leave HOME as it was: what stands there was written by somebody else."""
    home = place.folder / "home"
    (home / ".config").mkdir(parents=True)
    for path in (home, home / ".config"):
        os.chown(path, *VDSM[:2])
    settings = home / ".config" / "instar.toml"
    place.img(USERS["root"], "create", "-q", "-f", "qcow2", "a", "4M")
    for variables in ({"HOME": str(home)}, {"XDG_CONFIG_HOME": str(home / ".config")}):
        for text in ('sandbox = "inline"', 'image-policy = "qemu"', "unsafe-quirks = true", 'roots = ["/"]',
                     'memory-limit = "8G"', "cpu-limit = 1000"):  # fmt: skip
            settings.write_text(text)
            done = place.run(USERS["root"], "qemu-img", "info", "a", **variables)
            assert done.returncode == 1 and "for root only" in done.stderr and done.stdout == "", text
        settings.write_text('sandbox = "process"\nimage-policy = "strict"\ntimeout = 60\nmemory-limit = "512M"\n')
        assert "file format: qcow2" in place.img(USERS["root"], "info", "a", **variables)
    done = place.run(USERS["root"], "qemu-img", "info", "a", INSTAR_SANDBOX="inline")
    assert done.returncode == 1 and "for root only the command line may do that" in done.stderr


WATCH = """
import json, os
from instar_core import chain
from instar_core.settings import Settings

def descendants(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in open(f"/proc/{pid}/task/{task}/children").read().split():
            found += [child, *descendants(child)]
    return found

KEYS = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp".split()
told = []
with chain.open_member("a.qcow2", Settings(sandbox="process"), "map") as image:
    for pid in descendants(os.getpid()):
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
        told.append({key: status[key].split() for key in KEYS})
print(json.dumps(told))
"""


@pytest.mark.parametrize("user", [*USERS.values(), CAPABLE], ids=[*USERS, "capable"])
def test_a_worker_has_no_privilege_whoever_starts_it(place: Place, user: User) -> None:
    place.give(user)
    place.img(USERS["root"], "create", "-q", "-f", "qcow2", "a.qcow2", "4M")
    (place.folder / "watch.py").write_text(WATCH)
    done = place.run(user, sys.executable, str(place.folder / "watch.py"))
    assert done.returncode == 0, done.stderr
    workers = json.loads(done.stdout)
    assert workers
    for worker in workers:
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(worker[kind][0], 16) == 0, (kind, worker)
        assert worker["NoNewPrivs"] == ["1"] and worker["Seccomp"] == ["2"], worker
        assert "0" not in worker["Uid"] and "0" not in worker["Gid"] and "0" not in worker["Groups"], worker
        assert len(set(worker["Uid"])) == 1


"""0 would be root; a user who is not root stays who he is."""


NAMESPACE = """
set -e
mount --make-rprivate /
mount --bind "$NODE" /dev/kvm
"$@"
"""


@pytest.mark.kvm
def test_a_member_of_the_group_kvm_has_guests_and_others_have_processes(place: Place) -> None:
    """The device belongs to the group kvm, as where udev has been, in a mount namespace of the test's own."""
    if not os.path.exists("/dev/kvm") or shutil.which("unshare") is None:
        pytest.skip("there is no /dev/kvm here, or no unshare")
    own = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    for interpreter in (sys.executable, own):  # with no privilege at the time of its own start either
        if not place.run(VDSM, "env", interpreter, "-c", "import instar_core, instar_sandbox, cffi").returncode:
            break
    else:
        pytest.skip("other users cannot reach the interpreter, whose snapshot they would have to make")
    for name in ("instar", "qemu-img"):
        (place.folder / "bin" / name).write_text(f"#!{interpreter}\n{COMMAND}")
        (place.folder / "bin" / name).chmod(0o755)
    node = place.folder / "node"
    try:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.stat("/dev/kvm").st_rdev)
    except PermissionError:
        pytest.skip("no device can be made here")
    os.chown(node, 0, 36)
    node.chmod(0o660)
    place.give(VDSM)
    variables = {"NODE": str(node), "XDG_CACHE_HOME": str(place.own), "INSTAR_SANDBOX": "kvm"}

    def inside(user: User, line: str) -> Done:
        words = ["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", *user.words, *line.split()]
        return place.run(USERS["root"], *words, **variables)

    tried = inside(USERS["root"], "true")
    if tried.returncode:
        pytest.skip(f"no mount namespace here: {tried.stderr.strip()}")
    prepared = inside(VDSM, "instar sandbox prepare")
    if "no snapshot can be prepared" in prepared.stderr:
        pytest.skip(prepared.stderr.strip())
    assert (prepared.returncode, prepared.stderr) == (0, ""), prepared.stderr
    for line in ("create -q -f qcow2 a 4M", "convert -O raw a b", "resize -q -f qcow2 a 8M", "check a", "info a"):
        done = inside(VDSM, f"qemu-img {line}")
        assert (done.returncode, done.stderr) == (0, ""), line
    assert {os.stat(place.own / name).st_uid for name in "ab"} == {VDSM.uid}
    done = inside(WWW_DATA, "qemu-img info a")
    assert done.returncode == 1 and "/dev/kvm cannot be used by this user" in done.stderr
    variables["INSTAR_SANDBOX"] = "auto"
    assert "virtual size: 8 MiB" in inside(WWW_DATA, "qemu-img info a").stdout
