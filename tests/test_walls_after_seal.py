"""Once the walls are up nothing is imported or opened: what each verb needs was there before.

A worker that tried would have been killed, so that a verb succeeds in the process sandbox is the proof.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import instar_core
from instar_core import registry
from instar_core.errors import SandboxError
from instar_core.settings import Settings

PROCESS = Settings(sandbox="process")
CONTENT = b"".join(bytes([index % 251]) * 700 for index in range(1200)) + bytes(1 << 17) + b"end"
SPECS = {entry.name: spec for entry, spec, _ in registry.formats() if spec}
CREATABLE = sorted(name for name, spec in SPECS.items() if "create" in spec.capabilities)
SECRET = ["--object", "secret,id=s,data=x"]
LOCKED = {"luks": {"key-secret": "s", "iter-time": "1"}}
if "qcow2" in SPECS:
    LOCKED["qcow2"] = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": "1"}
if "qcow" in SPECS:
    LOCKED["qcow"] = {"encrypt.format": "aes", "encrypt.key-secret": "s"}
VARIANTS: list[tuple[str, dict[str, str], bool]] = [(name, {}, False) for name in CREATABLE if name != "luks"]
VARIANTS += [(name, {}, True) for name in CREATABLE if "compress" in SPECS[name].capabilities and name != "vmdk"]
if "qcow2" in SPECS:
    VARIANTS += [("qcow2", {key: value}, False) for key, value in (
        ("cluster_size", "4k"), ("compat", "0.10"), ("extended_l2", "on"), ("refcount_bits", "1"),
        ("preallocation", "metadata"), ("preallocation", "full"), ("lazy_refcounts", "on"),
    )]  # fmt: skip
if "vmdk" in SPECS:
    VARIANTS += [("vmdk", {"subformat": name}, False) for name in (
        "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized",
    )]  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source.raw"
    path.write_bytes(CONTENT)
    return str(path)


def run(*words: str) -> str:
    """The standard output of the command, which succeeds, in a bare interpreter: what a test has imported is not there
    for the worker to inherit."""
    path = [entry for entry in sys.path if entry]
    code = f"import sys; sys.path[:0] = {path!r}; from instar_core.cli.main import main; sys.exit(main(sys.argv))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *words, "--sandbox=process"],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (words, done.stderr)
    return done.stdout


@pytest.mark.parametrize(
    ("format", "options", "compress"), VARIANTS, ids=[f"{n}{'-c' if c else ''}{o or ''}" for n, o, c in VARIANTS]
)
def test_every_verb_finds_what_it_needs_behind_its_walls(
    source: str, tmp_path: Path, format: str, options: dict[str, str], compress: bool
) -> None:
    empty, full, back = (str(tmp_path / name) for name in ("empty.img", "full.img", "back.img"))
    listed = ["-o", ",".join(f"{key}={value}" for key, value in options.items())] if options else []
    run("create", "-f", format, *listed, empty, "1M")
    run("convert", "-f", "raw", "-O", format, *listed, *(["-c"] if compress else []), source, full)
    for path in (empty, full):
        run("info", "-f", format, path)
        run("map", "--output=json", "-f", format, path)
        if "check" in SPECS[format].capabilities:
            run("check", "-f", format, path)
    if "measure" in SPECS[format].capabilities:
        run("measure", "-f", format, "-O", format, full)
    run("convert", "-f", format, full, back)
    size = instar_core.info(full, format=format)[0].image.virtual_size
    assert size >= len(CONTENT)
    assert Path(back).read_bytes() == CONTENT.ljust(size, b"\0")
    assert "identical" in run("compare", "-f", "raw", "-F", format, source, full)


@pytest.mark.parametrize("format", [name for name in LOCKED if name in SPECS])
def test_encrypted_images_find_what_they_need_behind_their_walls(source: str, tmp_path: Path, format: str) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    options = LOCKED[format]
    listed = ["-o", ",".join(f"{key}={value}" for key, value in options.items())]
    name = next(key for key in options if key.endswith("key-secret"))
    empty, full, back = (str(tmp_path / name) for name in ("empty.img", "full.img", "back.img"))
    run("create", *SECRET, "-f", format, *listed, empty, "1M")
    run("convert", *SECRET, "-f", "raw", "-O", format, *listed, source, full)
    for path in (empty, full):
        opened = [*SECRET, "--image-opts", f"driver={format},{name}=s,file.filename={path}"]
        run("info", path)
        run("map", "--output=json", *opened)
        run("check", *opened)
    run("convert", *opened, back)
    assert Path(back).read_bytes() == CONTENT + bytes(-len(CONTENT) % 512)
    if format != "qcow":
        prefix = name.removesuffix("key-secret")
        given = f"{prefix}state=active,{prefix}new-secret=t,{prefix}iter-time=1"
        run("amend", "--object", "secret,id=t,data=y", *opened, "-o", given)


@pytest.mark.parametrize("format", [name for name in CREATABLE if name not in ("raw", "luks")])
def test_detection_finds_what_it_needs_behind_its_walls(format: str, tmp_path: Path) -> None:
    path = str(tmp_path / "image")
    instar_core.create(path, format=format, size=1 << 20, settings=PROCESS)
    assert f"file format: {format}" in run("info", path)


def test_snapshots_find_what_they_need_behind_their_walls(source: str, tmp_path: Path) -> None:
    if "qcow2" not in SPECS:
        pytest.skip("instar-qcow2 is not installed")
    path = str(tmp_path / "image")
    run("convert", "-f", "raw", "-O", "qcow2", source, path)
    for words in (("-c", "one"), ("-c", "two"), ("-d", "one"), ("-l",)):
        run("snapshot", *words, path)
    run("convert", "-l", "two", path, str(tmp_path / "back"))
    run("check", path)
    assert (tmp_path / "back").read_bytes()[: len(CONTENT)] == CONTENT


LATE = """
from instar_core.hookspecs import hookimpl
from instar_core.types import ImageInfo

@hookimpl
def instar_info(image):
    {deed}
    return ImageInfo("late", 512)
"""


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the distribution of a format called late, on the path."""
    (tmp_path / "site" / "instar_late").mkdir(parents=True)
    (tmp_path / "site" / "instar_late-0.1.dist-info").mkdir()
    site = tmp_path / "site"
    (site / "instar_late" / "__init__.py").write_text(
        "from instar_core.types import FormatSpec\nSPEC = FormatSpec(name='late', hooks='instar_late.hooks')\n"
    )
    (site / "instar_late-0.1.dist-info" / "entry_points.txt").write_text(
        "[instar.formats.v1]\nlate = instar_late:SPEC\n"
    )
    monkeypatch.syspath_prepend(str(site))
    registry.forget()
    yield site / "instar_late" / "hooks.py"
    registry.forget()
    for name in [name for name in sys.modules if name.startswith("instar_late")]:
        del sys.modules[name]


@pytest.mark.parametrize("deed", ["import wave", "import turtle", "open('/dev/null')", "__import__('os').stat('/')"])
def test_a_hook_that_imports_or_opens_late_is_killed(late: Path, source: str, deed: str) -> None:
    late.write_text(LATE.format(deed=deed))
    with pytest.raises(SandboxError, match="forbidden system call"):
        instar_core.info(source, format="late", settings=PROCESS)


def test_what_was_imported_before_the_walls_is_there_behind_them(late: Path, source: str) -> None:
    late.write_text("import wave\n" + LATE.format(deed="import wave"))
    assert instar_core.info(source, format="late", settings=PROCESS)[0].image.virtual_size == 512
