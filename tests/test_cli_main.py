"""Wrong calls are told what is wrong, and the exit codes are qemu-img's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from instar_core.cli import main as entry
from instar_core.cli import outcome, version
from instar_core.cli.call import Call, shown_name
from instar_core.cli.fault import Fault
from instar_core.cli.main import main
from instar_core.errors import DeviceError, ErrorKind, FormatError, InstarError
from instar_core.settings import DEFAULTS

TRY = "Try 'qemu-img{} --help' for more information\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a disk of zeros, and nobody's settings."""
    monkeypatch.chdir(tmp_path)
    Path("zeros").write_bytes(bytes(512))
    for name in list(os.environ):
        if name.startswith("INSTAR_") and name not in ("INSTAR_QEMU_IMG", "INSTAR_QEMU_IO"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


USAGE = [
    ("", "qemu-img: Not enough arguments\n" + TRY.format("")),
    ("foo", "qemu-img: Command not found: foo\n" + TRY.format("")),
    ("formats", "qemu-img: Command not found: formats\n" + TRY.format("")),
    ("--foo", "qemu-img: unrecognized option '--foo'\n" + TRY.format("")),
    ("-x info", "qemu-img: invalid option -- 'x'\n" + TRY.format("")),
    ("-T", "qemu-img: option requires an argument -- 'T'\n" + TRY.format("")),
    ("info", "qemu-img: Expecting one image file name\n" + TRY.format(" info")),
    ("info a b", "qemu-img: Expecting one image file name\n" + TRY.format(" info")),
    ("info --foo x", "qemu-img info: unrecognized option '--foo'\n" + TRY.format(" info")),
    ("info -Z x", "qemu-img info: invalid option -- 'Z'\n" + TRY.format(" info")),
    ("info -b x", "qemu-img info: invalid option -- 'b'\n" + TRY.format(" info")),
    ("info -f", "qemu-img info: option requires an argument -- 'f'\n" + TRY.format(" info")),
    (
        "info --f a",
        "qemu-img info: option '--f' is ambiguous; possibilities: '--format' '--force-share'\n" + TRY.format(" info"),
    ),
    ("info --output=xml x", "qemu-img: --output expects 'human' or 'json', not 'xml'\n" + TRY.format(" info")),
    ("info -t foo x", "qemu-img: Invalid cache option: foo\n"),
    ("info --image-opts -f raw x", "qemu-img: --image-opts and --format are mutually exclusive\n"),
    ("map -s abc --output=xml", "qemu-img: Invalid start offset specified: 'abc'\n"),
    ("map --max-length=-1 x", "qemu-img: Invalid max length specified. Must be between 0 and 9223372036854775807.\n"),
    ("check", "qemu-img: Expecting one image file name\n" + TRY.format(" check")),
    ("check -r foo x", "qemu-img: --repair (-r) expects 'leaks' or 'all', not 'foo'\n" + TRY.format(" check")),
    ("check -T foo x", "qemu-img: Invalid source cache option: foo\n"),
    ("create", "qemu-img: Expecting image file name\n" + TRY.format(" create")),
    ("create x 1M 2M", "qemu-img: Unexpected argument: 2M\n" + TRY.format(" create")),
    ("create x abc", "qemu-img: Invalid image size specified: 'abc'\n"),
    ("create x -- -1", "qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.\n"),
    ("create x -1M", "qemu-img create: invalid option -- '1'\n" + TRY.format(" create")),
    ("create x 8E", "qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.\n"),
    ("create -o , x 1M", "qemu-img: Invalid option list: ,\n"),
    ("create -o foo=bar x 1M", "qemu-img: x: Invalid parameter 'foo'\n"),
    ("create -f foo x 1M", "qemu-img: x: Unknown file format 'foo'\n"),
    ("create -f foo -o help", "qemu-img: Unknown file format 'foo'\n"),
    ("create x", "qemu-img: x: Image creation needs a size parameter\n"),
    ("create a:b 1M", "qemu-img: a:b: Unknown protocol 'a'\n"),
    ("create -o size=2M x 1M", "qemu-img: x: The image size must be specified only once\n"),
    ("create -b y -F raw x", "qemu-img: x: Backing file not supported for file format 'raw'\n"),
    ("create -F raw x 1M", "qemu-img: x: Backing file format not supported for file format 'raw'\n"),
    ("convert", "qemu-img: Must specify image file name\n"),
    ("convert a", "qemu-img: Must specify image file name\n"),
    ("convert -O foo zeros x", "qemu-img: Unknown file format 'foo'\n"),
    ("convert -c zeros x", "qemu-img: Compression not supported for this file format\n"),
    ("convert -c -C a x", "qemu-img: Cannot enable copy offloading when -c is used\n"),
    ("convert -S 4k -C a x", "qemu-img: Cannot enable copy offloading when -S is used\n"),
    ("convert --salvage -C a x", "qemu-img: Cannot use copy offloading in salvaging mode\n"),
    ("convert -S abc a x", "qemu-img: Invalid buffer size for sparse output specified: 'abc'\n"),
    ("convert -m 17 a x", "qemu-img: Invalid number of coroutines specified. Must be between 1 and 16.\n"),
    ("convert -m 4k a x", "qemu-img: Invalid number of coroutines specified: '4k'\n"),
    ("convert -m 1.5 a x", "qemu-img: Invalid number of coroutines specified: '1.5'\n"),
    ("convert -r abc a x", "qemu-img: Invalid rate limit specified: 'abc'\n"),
    ("convert -n -o size=1M a x", "qemu-img: -o has no effect when skipping image creation\n"),
    ("convert --target-is-zero a x", "qemu-img: --target-is-zero requires use of -n flag\n"),
    ("convert --target-image-opts a x", "qemu-img: --target-image-opts requires use of -n flag\n"),
    ("convert --skip-broken-bitmaps a x", "qemu-img: Use of --skip-broken-bitmaps requires --bitmaps\n"),
    ("convert -t foo zeros x", "qemu-img: Invalid cache option: foo\n"),
    ("convert -T foo a x", "qemu-img: Invalid source cache option: foo\n"),
    (
        "convert -l snapshot.foo=1 a x",
        "qemu-img: Invalid parameter 'snapshot.foo'\nqemu-img: Failed in parsing snapshot param 'snapshot.foo=1'\n",
    ),
    ("convert -l 1 zeros zeros x", "qemu-img: No support for concatenating multiple snapshot\n"),
    ("measure", "qemu-img: Either --size N or one filename must be specified.\n"),
    ("measure a b", "qemu-img: At most one filename argument is allowed.\n"),
    ("measure --size 1M a", "qemu-img: --size N cannot be used together with a filename.\n"),
    ("measure -f raw", "qemu-img: --image-opts, -f, and -l require a filename argument.\n"),
    (
        "measure -o foo=1 --size 1G",
        "qemu-img: Invalid parameter 'foo'\nqemu-img: Invalid options for file format 'raw'\n",
    ),
    ("compare a", "qemu-img: Expecting two image file names\n" + TRY.format(" compare")),
    ("snapshot", "qemu-img: Expecting one image file name\n" + TRY.format(" snapshot")),
    ("snapshot -l -c x y", "qemu-img: Cannot mix '-l', '-a', '-c', '-d'\n" + TRY.format(" snapshot")),
    ("snapshot -U -c x y", "qemu-img: Could not open 'y': force-share=on can only be used with read-only images\n"),
    ("info a:b", "qemu-img: Could not open 'a:b': Unknown protocol 'a'\n"),
]


@pytest.mark.parametrize(("words", "text"), USAGE, ids=[words or "nothing" for words, _ in USAGE])
def test_a_wrong_call_is_told_what_qemu_img_11_1_tells(
    words: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["qemu-img", *words.split()]) == 1
    assert capsys.readouterr() == ("", text)


@pytest.mark.oracle
def test_the_installed_qemu_img_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    program = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
    if not program:
        pytest.skip("no qemu-img is installed")
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"qemu-img version (\d+)\.(\d+)", told)
    if not found or (int(found[1]), int(found[2])) < (11, 1):
        pytest.skip(f"its option parser is older than 11.1's: {told.splitlines()[0]}")
    env = dict(os.environ, LC_ALL="C")
    for name in "aby":
        Path(name).write_bytes(bytes(1 << 16))
    for words, _ in USAGE:
        done = subprocess.run(
            ["qemu-img", *words.split()], executable=program, capture_output=True, text=True, env=env, check=False
        )
        code = main(["qemu-img", *words.split()])
        assert (words, code, capsys.readouterr().err) == (words, done.returncode, done.stderr)


def test_the_version_is_where_clients_look_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/somewhere/qemu-img", "--version", "x"]) == 0
    assert re.match(r"qemu-img version ([0-9\.]*)\n", capsys.readouterr().out)
    assert main(["instar", "-V"]) == 0
    assert capsys.readouterr().out == f"instar version {version.INSTAR}\n"


def test_the_version_is_that_of_the_distribution() -> None:
    import tomllib

    project = Path(__file__).parents[1] / "pyproject.toml"
    if not project.exists():
        pytest.skip("the project file is not here")
    assert tomllib.loads(project.read_text())["project"]["version"] == version.INSTAR


@pytest.mark.parametrize("name", ["instar", "qemu-img"])
@pytest.mark.parametrize("verb", [None, *entry.VERBS])
def test_help_is_made_from_the_tables(name: str, verb: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, *([verb] if verb else []), "-h"]) == 0
    text, errors = capsys.readouterr()
    assert errors == ""
    assert text.endswith("\n")
    assert ("--image-policy" in text) == (name == "instar")
    if verb:
        assert text.startswith(f"Usage:\n  {name} {verb} ")
        for option in entry.verb_module(verb).VERB.options:
            assert not option.help or f"--{option.name}" in text
    else:
        assert f"\n  {entry.VERBS[0]} - " in text


def test_what_is_still_missing_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instar", "dd", "-f", "qcow2", "of=x"]) == 1
    missing = "dd of another format than raw from standard input"
    assert capsys.readouterr() == ("", f"instar: {missing} is not supported yet\n")


def test_extra_options_work_before_and_behind_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instar", "--timeout", "5", "config", "--image-policy=strict", "--output=json"]) == 0
    import json

    told = json.loads(capsys.readouterr().out)
    assert told["timeout"] == {"value": "5.0", "origin": "--timeout"}
    assert told["image-policy"] == {"value": "strict", "origin": "--image-policy"}
    assert main(["qemu-img", "info", "--timeout", "never", "x"]) == 1
    assert "--timeout expects a number of seconds, not 'never'\n" in capsys.readouterr().err


def test_formats_names_every_installed_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["instar", "formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Format", "Title", "Distribution", "Version", "Abilities"]
    assert any(line.split()[0] == "raw" for line in lines[1:])


def call(verb: str = "info") -> Call:
    return Call("qemu-img", "qemu-img", True, verb, DEFAULTS)


def test_a_failure_at_opening_names_the_file_and_its_hint_follows_bare() -> None:
    error = DeviceError('Failed to get shared "write" lock', path="F")
    error.hint = "Is another process using the image [F]?"
    assert outcome.failure(call(), error) == (
        "qemu-img: Could not open 'F': Failed to get shared \"write\" lock\nIs another process using the image [F]?\n",
        1,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeviceError("x", path="F"), 2),
        (FormatError("x", path="F"), 2),
        (FormatError("x"), 3),
        (DeviceError("x", offset=0), 4),
        (InstarError("x", kind=ErrorKind.USAGE), 2),
    ],
)
def test_compare_tells_its_failures_apart(error: InstarError, code: int) -> None:
    assert outcome.failure(call("compare"), error)[1] == code


def test_a_format_without_checks_is_told_by_63() -> None:
    error = InstarError("whatever", kind=ErrorKind.UNSUPPORTED)
    assert outcome.failure(call("check"), error) == ("qemu-img: This image format does not support checks\n", 63)
    damaged = FormatError("Unsupported qcow2 version 9", kind=ErrorKind.UNSUPPORTED, path="F")
    assert outcome.failure(call("check"), damaged)[1] == 1


def test_messages_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in outcome.failure(call(), FormatError("a\x1b[2J"))[0]
    assert "\x1b" not in outcome.usage(call(), Fault("a\x1b[2J", "b\x1b"))[0]
    assert "\x1b" not in outcome.unexpected(call(), ValueError("a\x1b[2J"))[0]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr(entry.verb_module("info"), "run", run)


def test_an_error_of_our_own_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError("oops"))
    assert main(["qemu-img", "info", "x"]) == 1
    assert capsys.readouterr().err == "qemu-img: internal error: ZeroDivisionError: oops\nINSTAR_DEBUG=1 shows where\n"
    monkeypatch.setenv("INSTAR_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["qemu-img", "info", "x"])


def test_an_interrupt_is_silent_and_gives_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["qemu-img", "info", "x"]) == 130
    assert capsys.readouterr() == ("", "")


def test_nobody_reading_is_no_drama() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from instar_core.cli.main import main; sys.exit(main(['qemu-img', '--help']))"
    root = str(Path(entry.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])),
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_path_that_nobody_typed_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/opt/x")
    assert shown_name("/opt/x/qemu-img") == "qemu-img"
    assert shown_name("./qemu-img") == "./qemu-img"
    assert shown_name("/y/qemu-img") == "/y/qemu-img"


HEAVY = frozenset(
    (
        "typing",
        "re",
        "enum",
        "dataclasses",
        "inspect",
        "functools",
        "contextlib",
        "collections",
        "argparse",
        "json",
        "socket",
        "signal",
        "subprocess",
        "threading",
        "pathlib",
        "tempfile",
        "importlib.metadata",
        "rich",
        "pluggy",
        "numpy",
    )
)


@pytest.mark.parametrize("verb", ["info", "map", "check"])
def test_the_start_path_imports_nothing_heavy(verb: str) -> None:
    code = (
        "import sys; before = set(sys.modules); from instar_core.cli import main\n"
        f"main.verb_module({verb!r}); main.main(['qemu-img', {verb!r}, '--output=json', 'no-such-file'])\n"
        "import instar_core.cli.render.info, instar_core.cli.render.map, instar_core.cli.render.check\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    root = str(Path(entry.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stdout.split()
    assert "instar_core.cli.getopt" in loaded
    assert not [name for name in loaded if name in HEAVY and name not in sys.builtin_module_names]
