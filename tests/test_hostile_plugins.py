"""Whatever a plugin does in the process sandbox is one clear error in bounded time, and the next call works."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

import instar_core
from instar_core import limits, registry
from instar_core.errors import ContractViolation, DeviceError, FormatError, InstarError, PluginError, SandboxError
from instar_core.settings import Settings

DEEDS = Path(__file__).with_name("hostile_deeds.py")
SPEC = """
from instar_core.types import Option
from instar_core.spec import FormatSpec

SPEC = FormatSpec(
    name="vma",
    hooks="instar_evil.hooks",
    capabilities=frozenset({"read", "create", "fill", "check", "measure"}),
    options=(Option("deed", "str", "what to do", ""),),
)
"""
SETTINGS = Settings(sandbox="process", timeout=30)
LIMIT = 60
"""Seconds in which every error must be there."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distribution whose plugin means ill."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / "instar_evil").mkdir()
    (folder / "instar_evil" / "__init__.py").write_text(SPEC)
    (folder / "instar_evil" / "hooks.py").write_text(DEEDS.read_text())
    info = folder / "instar_evil-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instar-evil\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[instar.formats.v1]\nvma = instar_evil:SPEC\n")
    return folder


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin is installed, CPU time is short, and what blocks is stopped."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still at it after {LIMIT} s")

    monkeypatch.syspath_prepend(str(site))
    registry.forget()
    monkeypatch.setattr(limits, "WORKER_CPU", 1)
    monkeypatch.setattr(limits, "MAP_CPU", 1)
    monkeypatch.setattr(limits, "MAP_CPU_PER_GIB", 0)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    registry.forget()
    for name in [name for name in sys.modules if name.startswith("instar_evil")]:
        del sys.modules[name]


@pytest.fixture
def image(tmp_path: Path) -> Callable[[str], str]:
    """Makes an image that asks the plugin for a deed."""

    def make(deed: str) -> str:
        path = tmp_path / "image"
        path.write_bytes((b"VMA\0" + deed.encode()).ljust(4096, b"\0"))
        return str(path)

    return make


def fails(call: Callable[[], object], kind: type[InstarError], words: str, settings: Settings = SETTINGS) -> None:
    """The call raises one error of this kind with these words, printable and short; then the next call works."""
    began = monotonic()
    with pytest.raises(InstarError) as caught:
        call()
    text = str(caught.value)
    assert isinstance(caught.value, kind), (type(caught.value), text)
    assert words in text
    assert text.isprintable() and len(text) < 1000
    assert monotonic() - began < LIMIT
    works(settings)


def works(settings: Settings) -> None:
    """A plain call succeeds, and no child is left."""
    found = instar_core.info(str(DEEDS), format="raw", settings=settings)
    assert found[0].image.virtual_size == -(-DEEDS.stat().st_size // 512) * 512


FORBIDDEN = (SandboxError, "forbidden system call")
DONE = {
    "open": FORBIDDEN, "list": FORBIDDEN, "import": FORBIDDEN, "exec": FORBIDDEN, "fork": FORBIDDEN,
    "thread": FORBIDDEN, "socket": FORBIDDEN, "kill": FORBIDDEN, "unlink": FORBIDDEN, "read-elsewhere": FORBIDDEN,
    "write-image": FORBIDDEN, "no-such-call": FORBIDDEN,
    "grow": (SandboxError, "needed more than its 1024 MiB of memory"),
    "spin": (SandboxError, "more than its 1 s of CPU time"),
    "null": (SandboxError, "crashed (signal 11, SIGSEGV)"),
    "abort": (SandboxError, "crashed (signal 6, SIGABRT)"),
    "exit": (SandboxError, "cut short"),
    "exit-9": (SandboxError, "ended with status 9"),
    "leave": (SandboxError, "SystemExit"),
    "loud": (ContractViolation, "ValueError: ?[2J?"),
    "lie": (FormatError, "?[31mxxx"),
    "recurse": (ContractViolation, "RecursionError"),
    "torn": (SandboxError, "cut short"),
    "flood": (SandboxError, "more than the 8388608 allowed"),
    "empty-frame": (ContractViolation, ""),
    "unknown-frame": (ContractViolation, ""),
    "bad-value": (ContractViolation, "cannot be read"),
    "long-value": (ContractViolation, ""),
    "short-error": (ContractViolation, "cannot be read"),
    "two-answers": (ContractViolation, ""),
}  # fmt: skip


@pytest.mark.parametrize("deed", DONE)
def test_a_forbidden_deed_ends_the_worker_and_is_named(image: Callable[[str], str], deed: str) -> None:
    kind, words = DONE[deed]
    path = image(deed)
    fails(lambda: instar_core.info(path, settings=SETTINGS), kind, words)
    assert Path(path).read_bytes().startswith(b"VMA\0")


def test_a_worker_that_says_nothing_is_given_up_at_the_deadline(image: Callable[[str], str]) -> None:
    hurried = SETTINGS._replace(timeout=1.5)
    fails(
        lambda: instar_core.info(image("wait"), settings=hurried), SandboxError, "past its deadline of 1.5 s", SETTINGS
    )


@pytest.mark.parametrize("deed", ["map-open", "late-open", "late-exit", "late-torn", "late-grow", "late-recurse"])
def test_a_stream_that_breaks_off_is_an_error_and_never_a_short_answer(image: Callable[[str], str], deed: str) -> None:
    kind = ContractViolation if deed == "late-recurse" else SandboxError
    fails(lambda: list(instar_core.map(image(deed), settings=SETTINGS)), kind, "")
    fails(lambda: instar_core.open(image(deed), settings=SETTINGS).read(), kind, "")


ANSWERED = {
    "nothing": "ImageInfo was wanted", "text": "ImageInfo was wanted", "foreign": "answered for the format raw",
    "size-text": "a number was wanted", "size-true": "a number was wanted", "size-negative": "a number was wanted",
    "size-huge": "too large", "references": "5000 references", "role": "role that does not exist",
    "name-text": "file name in bytes", "name-long": "too long", "codings": "100 codings", "unit": "is not possible",
    "snapshots": "70000 snapshots", "flags": "flags", "object": "object does not cross", "key": "text",
    "deep": "too deep", "deeper": "", "number": "", "large": "", "short": "ImageInfo was wanted",
}  # fmt: skip


@pytest.mark.parametrize("deed", ANSWERED)
def test_an_answer_of_the_wrong_shape_is_not_believed(image: Callable[[str], str], deed: str) -> None:
    kind = (ContractViolation, FormatError)
    fails(lambda: instar_core.info(image(deed), settings=SETTINGS), kind, ANSWERED[deed])  # type: ignore[arg-type]


MAPPED = {
    "no-extent": "ends at 0", "no-iterable": "", "gap": "a gap or an overlap at 512", "overlap": "at 1024",
    "back": "at 0", "short-map": "ends at 512", "long-map": "goes on past", "empty-extents": "at 0",
    "kind": "kind that does not exist", "device": "device 7", "place": "is no place", "nowhere": "is no place",
    "negative": "", "coding": "coding", "skip": "stored length or skip", "no-extents": "", "float": "",
}  # fmt: skip


@pytest.mark.parametrize("deed", MAPPED)
def test_a_map_that_lies_is_not_believed(image: Callable[[str], str], deed: str, tmp_path: Path) -> None:
    kind = (ContractViolation, FormatError)
    path = image(deed)
    fails(lambda: list(instar_core.map(path, settings=SETTINGS)), kind, MAPPED[deed])  # type: ignore[arg-type]
    target = tmp_path / "target"
    fails(lambda: instar_core.convert([path], str(target), settings=SETTINGS), kind, MAPPED[deed])  # type: ignore[arg-type]
    assert not target.exists()


def test_a_map_of_single_bytes_is_bounded_by_its_cpu_time_or_right(image: Callable[[str], str]) -> None:
    try:
        found = list(instar_core.map(image("ones"), settings=SETTINGS))
    except SandboxError as error:
        assert "CPU" in str(error)
    else:
        assert [(each.start, each.length) for each in found] == [(0, 1 << 18)]


CHECKED = {
    "no-tally": "without its tally", "severity": "severity", "no-finding": "", "findings": "findings",
    "tally-text": "a number was wanted", "check-open": "forbidden", "check-spin": "CPU",
}  # fmt: skip


@pytest.mark.parametrize("deed", CHECKED)
def test_a_check_that_lies_is_not_believed(
    image: Callable[[str], str], deed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FINDINGS", 10_000)
    fails(lambda: instar_core.check(image(deed), settings=SETTINGS), InstarError, CHECKED[deed])


@pytest.mark.parametrize("deed", ["claim-raw", "claim-other", "claim-text", "claim-long", "probe-spin", "probe-open"])
def test_a_plugin_speaks_for_its_own_format_only(image: Callable[[str], str], deed: str) -> None:
    fails(lambda: instar_core.info(image(deed), settings=SETTINGS), InstarError, "")


WRITTEN = {
    "no-geometry": ContractViolation, "geometry-unit": ContractViolation, "file-above": ContractViolation,
    "file-root": ContractViolation, "file-named": ContractViolation, "file-dots": ContractViolation,
    "edit-device": ContractViolation, "edit-place": ContractViolation, "edit-text": ContractViolation,
    "copy-nothing": ContractViolation, "deaf": ContractViolation, "leave-out": ContractViolation,
    "twice": ContractViolation, "open-late": SandboxError, "endless": SandboxError,
}  # fmt: skip


@pytest.mark.parametrize("deed", WRITTEN)
def test_a_writer_that_lies_leaves_nothing(tmp_path: Path, deed: str) -> None:
    source, target, stolen = tmp_path / "source", tmp_path / "folder" / "target", Path("/tmp/instar-stolen")
    stolen.unlink(missing_ok=True)
    source.write_bytes(b"content!" * 8192)
    target.parent.mkdir()

    def convert() -> None:
        instar_core.convert(
            [str(source)],
            str(target),
            source_format="raw",
            target_format="vma",
            options={"deed": deed},
            settings=SETTINGS,
        )

    fails(convert, WRITTEN[deed], "")
    assert os.listdir(target.parent) == []
    assert sorted(os.listdir(tmp_path)) == ["folder", "source"]
    assert not stolen.exists()
    target.write_bytes(b"old" * 1000)
    fails(convert, WRITTEN[deed], "")
    assert os.listdir(target.parent) == ["target"]
    assert target.read_bytes() in (b"", b"old" * 1000)


def test_an_honest_plugin_of_the_same_shape_works(image: Callable[[str], str], tmp_path: Path) -> None:
    path = image("")
    assert instar_core.info(path, settings=SETTINGS)[0].image.format == "vma"
    assert [each.length for each in instar_core.map(path, settings=SETTINGS)] == [1 << 18]
    assert instar_core.check(path, settings=SETTINGS).corruptions == 0
    target = tmp_path / "target"
    instar_core.convert([str(DEEDS)], str(target), source_format="raw", target_format="vma", settings=SETTINGS)
    assert target.read_bytes().rstrip(b"\0") == DEEDS.read_bytes().rstrip(b"\0")


def test_a_broken_device_is_no_fault_of_the_plugin() -> None:
    with pytest.raises(DeviceError):
        instar_core.info("/nonexistent", settings=SETTINGS)
    assert not issubclass(DeviceError, PluginError)
