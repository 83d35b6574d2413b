"""What a plan in place may reach, and what it may take: a parser of untrusted bytes does not fill the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from instar_core import registry
from instar_core.dataplane.apply import BEGUN, CLUSTER, SLACK, Bounds
from instar_core.errors import ContractViolation
from instar_core.limits import UNIT
from instar_core.types import Barrier, Copy, ImageInfo, Punch, Put, Reserve, Truncate, Zero

MIB = 1 << 20
FAR = 1 << 50
CAPABILITIES = "update resize repair amend snapshot bitmap rebase empty backing"
PLAN = f"""
    yield from planned(request, runs, bytes(image.main.read({MIB} - 64, 64)).rstrip(b"\\0").decode())


def planned(request, runs, deed):
    if isinstance(request, Update):
        yield Geometry(BLOCK, {MIB})
    where, _, how = deed.partition(" ")
    if where in ("all", type(request).__name__):
        yield from {{
            "truncate": lambda: (Truncate({FAR}),),
            "put": lambda: (Put({FAR}, b"x"),),
            "zero": lambda: (Zero(0, {FAR}),),
            "far zero": lambda: (Zero({FAR}, 1),),
            "reserve": lambda: (Reserve(0, {FAR}),),
            "full": lambda: (Reserve(0, {FAR}, "full"),),
            "late": lambda: (Barrier(), Truncate({FAR})),
            "again": lambda: (Reserve({MIB}, {4 * MIB}) for _ in range(1000)),
        }}[how]()
    if isinstance(request, Update):
        for run in runs:
            yield Copy(run.start, {MIB} + run.start, run.length)


def made(request, runs):
"""
"""What the toy answers to a request for a change: the deed that stands at the end of its first MiB."""

Call = Callable[..., tuple[int, str, str]]


def reach(size: int = 0, wanted: int = 0, *files: int, cluster: int = 0) -> Callable[..., None]:
    """Passes edits through the bounds of an image of such files and such a disk."""
    info = ImageInfo("toy", size, cluster)
    bounds = Bounds([SimpleNamespace(size=each) for each in files], info, wanted)  # type: ignore[misc]

    def take(*edits: object) -> None:
        assert list(bounds.kept(iter(edits))) == list(edits)  # type: ignore[arg-type]

    return take


def needed(content: int) -> int:
    """How much room a change may take for so much content."""
    return content + content // SLACK + UNIT


EDGES = {
    "truncate": Truncate,
    "put": lambda end: Put(end - 3, b"abc"),
    "zero": lambda end: Zero(end - 512, 512),
    "copy": lambda end: Copy(0, end - 512, 512),
    "reserve": lambda end: Reserve(end - 512, 512, "full"),
}


@pytest.mark.parametrize("kind", EDGES)
@pytest.mark.parametrize(
    ("given", "content"),
    [
        ((0, 0), 0),
        ((5 * MIB, 0, MIB, 2 * MIB), 8 * MIB),
        ((5 * MIB, 9 * MIB, MIB), 10 * MIB),
        ((9 * MIB, 5 * MIB, 3 << 40), (3 << 40) + 9 * MIB),
    ],
)
def test_a_change_reaches_to_its_bound_and_not_a_byte_further(kind: str, given: tuple[int, ...], content: int) -> None:
    edge, end = EDGES[kind], needed(content) + BEGUN * CLUSTER
    reach(*given)(edge(end))
    with pytest.raises(ContractViolation, match=f"a change reaches to {end + 1}, far past all that the image can need"):
        reach(*given)(edge(end + 1))


@pytest.mark.parametrize("take", [Zero, Reserve, lambda offset, length: Copy(0, offset, length)])
@pytest.mark.parametrize(("cluster", "more"), [(0, 0), (256 * MIB, 512 * MIB), (CLUSTER, 4 << 30), (FAR, 4 << 30)])
def test_what_is_taken_adds_up_wherever_it_lies(take: Callable[[int, int], object], cluster: int, more: int) -> None:
    room = reach(8 * MIB, 0, 2 * MIB, cluster=cluster)
    rest = needed(10 * MIB) + more - 9 * 8 * MIB
    room(*[take(0, 8 * MIB)] * 9, take(MIB, rest))
    with pytest.raises(ContractViolation, match="a change takes far more room than the image can need"):
        room(take(0, 1))


def test_what_takes_no_room_is_free_however_often() -> None:
    free = reach(MIB, 0, MIB)
    for _ in range(1000):
        free(Truncate(MIB), Put(0, bytes(MIB)), Punch(0, MIB), Barrier())
    free(Punch(FAR, FAR))  # a file does not grow by it


@pytest.fixture
def greedy(
    stranger: Callable[..., str], tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], str]]:
    """Makes an image of a format whose plugin asks for far too much: file name, and what it plans for which request.

    What is named over stands on an image named base.
    """
    abilities = ", ".join(f'"{name}"' for name in CAPABILITIES.split())
    module = stranger(
        tmp_path / "site",
        "greedy",
        spec={
            "import Capability, FormatSpec": "import Capability, FormatSpec, Option",
            "Capability.MEASURE": f"Capability.MEASURE, {abilities}",
            'name="toy",': 'name="toy",\n    amend_options=(Option("word", "str", "any"),),',
        },
        hooks={
            "import Kind, Match, Put, Severity, Tally, Truncate": (
                "import Kind, Match, Put, Reference, Reserve, Severity, Tally, Truncate, Update, Zero"
            ),
            'return ImageInfo("toy", _table(image)[0], BLOCK)': (
                'below = (Reference("backing", b"base", "toy"),) if image.main.read(500, 1) == b"o" else ()\n'
                '    return ImageInfo("toy", _table(image)[0], BLOCK, references=below)'
            ),
            "    yield Tally(": (
                '    if b"Repair" in image.main.read(1 << 19, 1 << 19):\n'
                '        yield Finding(Severity.LEAK, "a leak", 0, repairable=True)\n'
                "    yield Tally("
            ),
            "def instar_write(request, runs):\n": (
                "def instar_write(image, request, runs):\n"
                "    if isinstance(request, Create):\n"
                "        yield from made(request, runs)\n"
                "        return" + PLAN
            ),
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry.forget()

    def make(name: str, deed: str) -> str:
        head = b"TOYDISK\n" + MIB.to_bytes(8, "big") + (16).to_bytes(4, "big")
        entries = (MIB if name == "over" else 0).to_bytes(8, "big") * 16
        data = (head + entries).ljust(500, b"\0") + name[:1].encode()
        Path(name).write_bytes(data.ljust(MIB - 64, b"\0") + deed.encode().ljust(64, b"\0") + bytes(65536))
        return name

    yield make
    registry.forget()
    for name in [name for name in sys.modules if name.startswith(module)]:
        del sys.modules[name]


HOWS = {"truncate": FAR, "put": FAR + 1, "zero": FAR, "far zero": FAR + 1, "reserve": FAR, "full": FAR, "late": FAR}
TOO_FAR = "a change reaches to {}, far past all that the image can need\n"
TOO_MUCH = "a change takes far more room than the image can need\n"
VERBS = {
    "Resize": "resize image 2M",
    "Repair": "check -r all image",
    "Amend": "amend -o word=x image",
    "SnapshotEdit": "snapshot -c name image",
    "BitmapEdit": "bitmap --add image name",
    "Rebase": "rebase -u -b image -F greedy over",
    "Update": "convert -n -f raw -O greedy content image",
    "Empty": "commit over",
}


@pytest.mark.parametrize("request_", VERBS)
def test_a_plan_that_reaches_too_far_is_refused_whatever_was_asked(
    greedy: Callable[[str, str], str], instar: Call, request_: str
) -> None:
    greedy("image", f"{request_} truncate")
    greedy("over", f"{request_} truncate")
    greedy("base", "none")
    Path("content").write_bytes(b"x" * 4096)
    before = [Path(name).read_bytes() for name in ("image", "over")]
    code, _, told = instar(*VERBS[request_].split(), name="instar")
    *found, told = told.splitlines(keepends=True)
    assert (code, found) == (1, ["a leak\n"] if request_ == "Repair" else [])
    assert told.startswith("instar: ") and told.endswith(TOO_FAR.format(FAR))
    assert [Path(name).read_bytes() for name in ("image", "over")] == before
    assert instar("info", "-f", "greedy", "image")[0] == 0


def test_a_commit_into_an_image_whose_parser_wants_too_much_is_refused(
    greedy: Callable[[str, str], str], instar: Call
) -> None:
    greedy("over", "none")
    greedy("base", "Update far zero")
    before = Path("base").read_bytes(), Path("over").read_bytes()
    assert instar("commit", "over", name="instar") == (1, "", "instar: " + TOO_FAR.format(FAR + 1))
    assert (Path("base").read_bytes(), Path("over").read_bytes()) == before


@pytest.mark.parametrize("how", [*HOWS, "again"])
def test_a_plan_that_takes_too_much_is_refused_however_it_is_said(
    greedy: Callable[[str, str], str], instar: Call, how: str
) -> None:
    image = Path(greedy("image", f"all {how}"))
    before = image.read_bytes()
    code, out, told = instar("resize", "image", "2M", name="instar")
    assert (code, out, told) == (1, "", "instar: " + (TOO_FAR.format(HOWS[how]) if how in HOWS else TOO_MUCH))
    assert image.read_bytes() == before if how in HOWS else image.stat().st_size <= 5 * MIB


def test_the_same_plugin_works_where_it_wants_nothing(greedy: Callable[[str, str], str], instar: Call) -> None:
    greedy("image", "none")
    greedy("base", "none")
    greedy("over", "none")
    for request in VERBS:
        if request not in ("Repair", "Update", "Empty"):  # these look at what came of it
            assert instar(*VERBS[request].split(), name="instar")[::2] == (0, ""), request


LARGE = {
    "vhdx": "block_size=256M",
    "parallels": "cluster_size=512M",
    "qcow2": "cluster_size=2M,refcount_bits=64",
    "qed": "cluster_size=1M,table_size=16",
    "vdi": "",
    "vpc": "",
}


@pytest.mark.parametrize("format", LARGE)
def test_a_small_disk_of_large_clusters_is_changed(alone: Path, instar: Call, format: str) -> None:
    if format not in registry.entries():
        pytest.skip(f"instar-{format} is not installed")
    options = ["-o", LARGE[format]] if LARGE[format] else []
    assert instar("create", "-q", "-f", format, *options, "x", "1M")[0] == 0
    Path("content").write_bytes(b"content " * 512)
    good = (0, "", "")
    assert instar("convert", "-n", "-f", "raw", "-O", format, "content", "x") == good
    assert instar("resize", "-q", "-f", format, "x", "3M", name="instar") == good
    if format == "qcow2":
        for words in ("snapshot -c a x", "snapshot -a a x", "amend -o refcount_bits=16 x", "bitmap --add -g 512 x b"):
            assert instar(*words.split()) == good
    assert instar("convert", "-f", format, "-O", "raw", "x", "read") == good
    assert Path("read").read_bytes() == (b"content " * 512).ljust(Path("read").stat().st_size, b"\0")
