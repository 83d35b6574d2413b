"""instar sandbox: what it says is so, what it prepares is used, and a request prepares nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import instar_sandbox
import pytest
from instar_sandbox import platforms, report
from instar_sandbox.containment import suite
from instar_sandbox.errors import WallError
from instar_sandbox.kvm import abi, machine, snapshot, store
from instar_sandbox.kvm import start as kvm_start

from instar_core import guests
from instar_core.cli import output
from instar_core.cli.main import main
from instar_core.cli.render import sandbox as render
from instar_core.operations import sandbox as operation

CODE = """
import sys
from instar_core.cli import main, settings_load
from instar_sandbox.kvm import monitor, place, start
place.SYSTEM_FOLDER, settings_load.load.__kwdefaults__["system"] = sys.argv[1:3]
whole, counted = start.start, []
def counting(*words, **named):
    counted.append(words)
    return whole(*words, **named)
start.start = counting
code = main.main(["instar", *sys.argv[3:]])
print(len(counted), file=sys.stderr)
sys.exit(code)
"""
"""Runs instar with other places for snapshots and for the system's settings; last it tells the number of guests."""
FOLDER = "instar-sandbox"
REMEDY = "(prepare it with: instar sandbox prepare)\n"
IMAGE = bytes(64 << 10)


class Done(NamedTuple):
    """A call of the command: its exit code, what it printed, and how many guests it started."""

    code: int
    out: str
    err: str
    guests: int


class Home(NamedTuple):
    """A user's places: where caches lie, the user's settings and the system's."""

    cache: Path
    user: Path
    system: Path

    @property
    def folder(self) -> Path:
        """Where snapshots are kept."""
        return self.cache / FOLDER

    def run(self, *words: str, code: str = CODE, **variables: str) -> Done:
        """Runs the command as a user whose places these are, for root too."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTAR_")}
        environment.update(
            variables,
            XDG_CACHE_HOME=str(self.cache),
            XDG_CONFIG_HOME=str(self.user.parent),
            PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(self.folder), str(self.system), *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        err, _, count = done.stderr.rstrip("\n").rpartition("\n")
        return Done(done.returncode, done.stdout, err + "\n" if err else "", int(count))

    def kept(self) -> dict[str, os.stat_result]:
        """The snapshots by the names of their recipes."""
        return {path.name.partition("-")[0]: path.stat() for path in self.folder.iterdir()}

    def path(self, name: str) -> Path:
        """The snapshot of a recipe."""
        (found,) = self.folder.glob(f"{name}-*.snapshot")
        return found


def home_in(folder: Path) -> Home:
    for name in ("cache", "config"):
        (folder / name).mkdir()
    return Home(folder / "cache", folder / "config" / "instar.toml", folder / "system.toml")


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings; snapshots that were found before are put aside, and those that a test finds are closed."""
    monkeypatch.setattr(guests, "_found", {})
    for name in list(os.environ):
        if name.startswith("INSTAR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    yield
    guests.forget()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Places in which nothing is prepared."""
    return home_in(tmp_path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Done]:
    """Places in which `instar sandbox prepare` was called, and how that went. Nobody changes them."""
    try:
        os.close(machine.open_device())
    except instar_sandbox.NoPlatform as error:
        pytest.skip(f"no guests here: {error}")
    made = home_in(tmp_path_factory.mktemp("prepared"))
    return made, made.run("sandbox", "prepare")


@pytest.fixture
def prepared(first: tuple[Home, Done], home: Home) -> Home:
    """Places with snapshots that a test may spoil: the small one is a copy, the large one is shared."""
    home.folder.mkdir(mode=0o700)
    shutil.copy2(first[0].path("lean"), home.folder)
    os.link(first[0].path("bulk"), home.folder / first[0].path("bulk").name)
    return home


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image"
    path.write_bytes(IMAGE)
    return str(path)


@pytest.fixture
def without_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the device."""
    for module in (abi, store, kvm_start):
        monkeypatch.setattr(module, "DEVICE", "/nonexistent/kvm")


def facts(done: Done) -> Any:
    assert done.err == ""
    return json.loads(done.out)


def platforms_of(found: Any) -> list[str]:
    return [each["platform"] for each in found["work"]]


def test_prepare_keeps_both_snapshots_and_says_where(first: tuple[Home, Done]) -> None:
    home, done = first
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["lean", "bulk"]
    for name, line in zip(("lean", "bulk"), lines, strict=True):
        assert f" {home.path(name)}, " in line
        assert " made and tried in " in line
        assert "large pages" in line or "shared" in line
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(found.st_mode) for found in home.kept().values()} == {0o600}
    assert home.kept().keys() == {"lean", "bulk"}


@pytest.mark.parametrize(
    ("flag", "variable", "user", "count"),
    [
        ("", "", "", 1),
        ("auto", "", "", 1),
        ("kvm", "", "", 1),
        ("process", "", "", 0),
        ("", "process", "", 0),
        ("", "kvm", "", 1),
        ("", "", "process", 0),
        ("", "kvm", "process", 1),
        ("", "process", "kvm", 0),
        ("kvm", "process", "process", 1),
        ("process", "kvm", "kvm", 0),
    ],
)
def test_option_variable_and_file_choose_in_this_order(
    prepared: Home, image: str, flag: str, variable: str, user: str, count: int
) -> None:
    if user:
        prepared.user.write_text(f'sandbox = "{user}"\n')
    done = prepared.run("info", "-f", "raw", *(["--sandbox", flag] if flag else []), image, INSTAR_SANDBOX=variable)
    assert (done.code, done.err, done.guests) == (0, "", count)
    assert "virtual size: 64 KiB" in done.out


def test_the_systems_file_is_a_floor_for_root(prepared: Home, image: str) -> None:
    prepared.system.write_text('sandbox = "kvm"\n')
    assert prepared.run("info", "-f", "raw", image).guests == 1
    weaker = prepared.run("info", "-f", "raw", image, INSTAR_SANDBOX="process")
    if os.geteuid() == 0:
        assert (weaker.code, weaker.out, weaker.guests) == (1, "", 0)
        assert "only the command line may do that" in weaker.err
    else:
        assert (weaker.code, weaker.guests) == (0, 0)
    by_flag = prepared.run("info", "-f", "raw", "--sandbox", "process", image)
    assert (by_flag.code, by_flag.guests) == (0, 0)
    found = facts(prepared.run("sandbox", "--output", "json"))
    assert (found["setting"], found["origin"]) == ("kvm", str(prepared.system))


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_a_request_prepares_nothing(home: Home, image: str, there: bool) -> None:
    if there:
        home.folder.mkdir(mode=0o700)
    auto = home.run("info", "-f", "raw", image)
    assert (auto.code, auto.err, auto.guests) == (0, "", 0)
    kvm = home.run("info", "-f", "raw", "--sandbox", "kvm", image)
    assert (kvm.code, kvm.out, kvm.guests) == (1, "", 0)
    assert kvm.err.count("\n") == 1
    assert f"instar: Could not open '{image}': no platform: " in kvm.err
    if os.access(abi.DEVICE, os.R_OK | os.W_OK) or not there:
        assert kvm.err.endswith(REMEDY)
    shown = home.run("sandbox", "show", "--output", "json")
    assert shown.code == 0
    assert platforms_of(facts(shown)) == ["process", "process"]
    asked = home.run("sandbox", "--sandbox", "kvm")
    assert (asked.code, asked.err) == (1, "")
    assert home.folder.exists() == there
    assert list(home.cache.rglob("*")) == ([home.folder] if there else [])


def flipped(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-70_000, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"something else")


def opened_to_all(path: Path) -> None:
    path.chmod(0o644)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".aside"))
    path.symlink_to(path.with_suffix(".aside"))


def of_another_kernel(path: Path) -> None:
    with path.open("r+b") as file:
        description = snapshot.read(file.fileno())
        description.identity = (*description.identity[:3], "another", *description.identity[4:])
        snapshot.rewrite(file.fileno(), description)


def of_other_files(path: Path) -> None:
    with path.open("r+b") as file:
        description = snapshot.read(file.fileno())
        name = next(iter(description.files))
        size, changed, inode = description.files[name]
        description.files[name] = (size, changed - 1, inode)
        snapshot.rewrite(file.fileno(), description)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (flipped, "the snapshot is damaged"),
        (cut, "the snapshot is cut short"),
        (emptied, "the snapshot is cut short"),
        (overwritten, "the snapshot is of another version"),
        (opened_to_all, "is not trusted: it must belong to this user and have the mode 0600"),
        (linked, "Too many levels of symbolic links"),
        (of_another_kernel, "the snapshot is not of what is installed, or not for this machine"),
        (of_other_files, "the snapshot is not of what is installed, or not for this machine"),
    ],
)
def test_a_snapshot_that_cannot_be_used_is_passed_over_named_and_made_anew(
    prepared: Home, image: str, spoil: Callable[[Path], None], why: str
) -> None:
    before = prepared.kept()
    spoil(prepared.path("lean"))
    auto = prepared.run("info", "-f", "raw", image)
    assert (auto.code, auto.err, auto.guests) == (0, "", 0)
    kvm = prepared.run("info", "-f", "raw", "--sandbox", "kvm", image)
    assert (kvm.code, kvm.out, kvm.guests) == (1, "", 0)
    assert (kvm.err.count("\n"), kvm.err[-len(REMEDY) :]) == (1, REMEDY)
    assert why in kvm.err
    found = facts(prepared.run("sandbox", "--output", "json"))
    assert platforms_of(found) == ["process", "kvm"]
    assert why in found["work"][0]["why"]
    done = prepared.run("sandbox", "prepare")
    assert (done.code, done.err) == (0, "")
    made, left, *_ = done.out.splitlines()
    assert made.startswith("lean: ")
    assert "made and tried" in made
    assert left.startswith("bulk: ")
    assert "up to date" in left
    assert stat.S_ISREG(prepared.path("lean").lstat().st_mode)
    assert prepared.path("bulk").stat().st_ino == before["bulk"].st_ino
    assert prepared.run("info", "-f", "raw", "--sandbox", "kvm", image).guests == 1


def test_what_is_up_to_date_stays_unless_forced(prepared: Home) -> None:
    stranger = prepared.folder / "lean-cpython-399-00000000.snapshot"
    stranger.write_bytes(b"of another interpreter")
    before = prepared.kept()
    again = prepared.run("sandbox", "prepare")
    assert again.code == 0
    assert again.out.count("up to date\n") == 2
    assert {name: found.st_ino for name, found in prepared.kept().items()} == {
        name: found.st_ino for name, found in before.items()
    }
    forced = prepared.run("sandbox", "prepare", "--force")
    assert forced.code == 0
    assert forced.out.count("made and tried in ") == 2
    assert prepared.path("bulk").stat().st_ino != before["bulk"].st_ino
    for done in (again, forced):
        assert done.out.splitlines()[-1] == f"also there, of other installations or left over: {stranger.name}"
    assert stranger.read_bytes() == b"of another interpreter"


def test_a_folder_that_others_may_read_is_refused_in_one_line(prepared: Home) -> None:
    prepared.folder.chmod(0o755)
    done = prepared.run("sandbox", "prepare")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"instar: no snapshot can be prepared: {prepared.folder} is not trusted: "
        "it must belong to this user and have the mode 0700\n"
    )


def test_show_says_what_is_so(prepared: Home) -> None:
    done = prepared.run("sandbox", "show", "--output", "json")
    assert done.code == 0
    found = facts(done)
    assert (found["setting"], found["origin"], found["works"]) == ("auto", "default", True)
    assert platforms_of(found) == ["kvm", "kvm"]
    assert found["folder"] == str(prepared.folder)
    assert [wall["name"] for wall in found["process"]["walls"]] == [name for name, *_ in report.TRIALS]
    kvm = found["kvm"]
    assert (kvm["device"], kvm["opens"], kvm["runs"], kvm["version"], kvm["why"]) == ("/dev/kvm", True, True, 12, "")
    assert kvm["ring"] in (0, 3)
    for each in kvm["snapshots"]:
        file = prepared.path(each["name"]).stat()
        assert (each["path"], each["size"]) == (str(prepared.path(each["name"])), file.st_size)
        assert each["made"] == int(file.st_mtime)
        assert each["memory"] in ("large", "shared")
        assert 0 < each["next-answer-us"] < each["first-answer-us"] < 10_000_000
    assert 0 < found["process"]["next-answer-us"] < found["process"]["first-answer-us"] < 10_000_000
    assert done.guests == 2 * 5
    text = prepared.run("sandbox")
    assert (text.code, text.err) == (0, "")
    assert text.out.startswith("sandbox: auto (default)\n")
    for word in ("seccomp", "Landlock", kvm["backend"], str(prepared.path("lean")), str(prepared.path("bulk"))):
        assert word in text.out


def test_under_a_gigabyte_of_address_space_guests_still_work(prepared: Home) -> None:
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n{CODE}"
    found = facts(prepared.run("sandbox", "--output", "json", code=limited))
    assert platforms_of(found) == ["kvm", "kvm"]
    assert found["kvm"]["address-space"] == 1 << 30
    assert 500 << 20 < found["kvm"]["room"] < 1 << 30


def test_who_may_not_use_the_device_works_in_processes(image: str) -> None:
    """Run as nobody, after root has imported all that nobody may not be able to read."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    code = CODE.replace("code = main", "main.main(['instar', 'sandbox', '--output', 'json'])\n{nobody}\ncode = main")
    nobody = (
        "import os, shutil\nfrom instar_core import guests\nguests.forget(); counted.clear(); sys.stdout.flush()\n"
        "from instar_core.cli import preparing\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "if os.access('/dev/kvm', os.R_OK | os.W_OK): sys.exit(77)\n"
        "if not os.access(guests.__file__, os.R_OK) or not os.access(place.__file__, os.R_OK): sys.exit(78)"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(image, folder / "image")
        (folder / "cache").mkdir()
        os.chown(folder / "cache", 65534, 65534)

        def run(*words: str) -> tuple[int, str, str]:
            places = [str(folder / "none"), str(folder / "none.toml")]
            done = subprocess.run(
                [sys.executable, "-c", code.format(nobody=nobody), *places, *words],
                env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": name},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 77:
                pytest.skip("nobody may use the device here")
            if done.returncode == 78:
                pytest.skip("nobody may not read what is installed here")
            _, _, out = done.stdout.partition("\n}\n")
            return done.returncode, out, done.stderr

        code_prepare, _, err = run("sandbox", "prepare")
        assert (code_prepare, err.count("\n")) == (1, 2)
        assert err.startswith("instar: no snapshot can be prepared: /dev/kvm cannot be opened: ")
        assert list((folder / "cache").iterdir()) == []
        done = run("info", "-f", "raw", str(folder / "image"))
        assert (done[0], done[2]) == (0, "0\n")
        assert "virtual size: 64 KiB" in done[1]
        (folder / "cache" / FOLDER).mkdir(mode=0o700)
        os.chown(folder / "cache" / FOLDER, 65534, 65534)
        refused = run("info", "-f", "raw", "--sandbox", "kvm", str(folder / "image"))
        assert refused[0] == 1
        assert refused[2].endswith("no platform: /dev/kvm cannot be used by this user\n0\n")
        assert list((folder / "cache" / FOLDER).iterdir()) == []


@pytest.mark.usefixtures("without_kvm")
class TestWithoutTheDevice:
    """What is said where there is no KVM."""

    def test_prepare_says_so_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["instar", "sandbox", "prepare", "--force"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == (
            "instar: no snapshot can be prepared: /nonexistent/kvm cannot be opened: No such file or directory\n"
        )

    def test_show_says_so_and_works_by_processes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["instar", "--sandbox", "auto", "sandbox", "--output=json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert platforms_of(found) == ["process", "process"]
        assert (found["kvm"]["opens"], found["kvm"]["runs"], found["kvm"]["ring"]) == (False, False, None)
        assert "No such file" in found["kvm"]["why"]
        assert main(["instar", "sandbox", "--sandbox", "kvm"]) == 1

    def test_only_processes_are_tried(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["instar", "sandbox", "test", "--deed", "open"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:3] for line in lines[1:2]] == [["process", "open", "contained"]]
        assert lines[2:] == [
            "no kvm: /nonexistent/kvm cannot be opened: No such file or directory",
            "process: 1 deeds, all contained",
        ]
        assert main(["instar", "sandbox", "test", "--deed", "open", "--platform", "kvm"]) == 1
        assert capsys.readouterr().out.splitlines()[1:] == [
            "no kvm: /nonexistent/kvm cannot be opened: No such file or directory"
        ]


def test_a_missing_wall_that_must_stand_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> str:
        raise WallError("gone")

    trials = tuple((name, must, gone if name == "seccomp" else trial) for name, must, trial in report.TRIALS)
    monkeypatch.setattr(report, "TRIALS", trials)
    assert main(["instar", "sandbox", "--sandbox", "process", "--output=json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["process"]["why"] == "missing: seccomp"
    assert {each["works"] for each in found["work"]} == {False}
    (wall,) = [wall for wall in found["process"]["walls"] if wall["name"] == "seccomp"]
    assert (wall["works"], wall["why"], wall["mandatory"]) == (False, "gone", True)


def test_a_worker_that_does_not_come_up_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(*_: object, **__: object) -> None:
        raise instar_sandbox.JailError("the worker fell over", "crash")

    monkeypatch.setattr("instar_sandbox.timing.start", start)
    assert main(["instar", "sandbox", "--sandbox", "process"]) == 1
    assert "the worker fell over" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["open", "fork"])
@pytest.mark.parametrize("platform", ["kvm", "process"])
def test_a_deed_is_told_with_its_end(platform: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if platform == "kvm":
        try:
            os.close(machine.open_device())
        except instar_sandbox.NoPlatform as error:
            pytest.skip(f"no guests here: {error}")
    words = ["instar", "sandbox", "test", "--platform", platform, "--deed", name]
    assert main(words) == 0
    heading, row, summary = capsys.readouterr().out.splitlines()
    assert heading.split() == ["Sandbox", "Deed", "Outcome", "ms", "End"]
    assert row.split()[:3] == [platform, name, "contained"]
    assert row.endswith("  forbidden call")
    assert summary == f"{platform}: 1 deeds, all contained"
    assert main([*words, "--output=json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["deeds"]
    assert (told["sandbox"], told["deed"], told["contained"], told["cause"]) == (platform, name, True, "forbidden call")


def test_a_deed_that_is_not_contained_is_shouted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = platforms.start

    def start(*words: Any, **named: Any) -> Any:
        return whole(*words, unsafe_walls_off=("seccomp", "landlock", "namespaces", "privileges", "limits"), **named)

    monkeypatch.setattr(instar_sandbox, "start", start)
    assert main(["instar", "sandbox", "test", "--platform", "process", "--deed", "open"]) == 1
    _, row, summary = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == ["process", "open", "NOT", "CONTAINED"]
    assert "survived" in row
    assert summary == "process: 1 deeds, 1 NOT CONTAINED"


def test_a_sandbox_that_goes_away_in_between_is_an_error_and_not_an_absence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> Iterator[Any]:
        yield from suite.run(lambda *words: platforms.start("process", *words), ["open"])
        raise instar_sandbox.NoPlatform("no platform: it went away")

    monkeypatch.setattr("instar_core.operations.containment.suite", SimpleNamespace(run=run))
    assert main(["instar", "sandbox", "test", "--platform", "process", "--deed", "open"]) == 1
    assert capsys.readouterr().err == "instar: process was here, and is no more: no platform: it went away\n"


def test_on_a_terminal_tables_are_drawn_and_nothing_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "72")
    assert main(["instar", "sandbox", "test", "--platform", "process", "--deed", "open"]) == 0
    shown = capsys.readouterr().out
    assert "│ process │ open │ contained │" in shown
    assert shown.endswith("process: 1 deeds, all contained\n")
    main(["instar", "sandbox", "--sandbox", "process"])
    shown = capsys.readouterr().out
    assert "│ seccomp " in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 72


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("look", "instar: Unexpected argument: look\n"),
        ("show twice", "instar: Unexpected argument: twice\n"),
        ("--force", "instar: --force does not go with show\n"),
        ("prepare --output json", "instar: --output does not go with prepare\n"),
        ("prepare --deed open", "instar: --deed does not go with prepare\n"),
        ("test --force", "instar: --force does not go with test\n"),
        ("test --deed nothing", "instar: --deed: there is no deed 'nothing'\n"),
        ("test --platform inline", "instar: --platform expects kvm, process or all, not 'inline'\n"),
    ],
)
def test_wrong_calls_are_told_so(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instar", "sandbox", *words.split()]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == message + "Try 'instar sandbox --help' for more information\n"


def test_there_is_no_such_verb_under_the_name_qemu_img(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qemu-img", "sandbox"]) == 1
    assert capsys.readouterr().err.startswith("qemu-img: Command not found: sandbox\n")
    assert main(["qemu-img", "--help"]) == 0
    assert "sandbox" not in capsys.readouterr().out


def test_each_recipe_has_a_name_for_people() -> None:
    assert render.WORK.keys() == set(guests.RECIPES)


def test_the_operation_says_the_same_to_programs() -> None:
    found = operation.state()
    assert found.setting == "auto"
    assert found.works == all(choice.works for choice in found.choices)
    assert found.process is not None
    assert found.process.first > found.process.next > 0
