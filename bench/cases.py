"""What is measured, as data: a line of the table each."""

from __future__ import annotations

from bench.case import OUT, Case

ALL_CORES = ("-m", "16", "-W")
"""What qemu-img needs to code on more than one processor."""
DIRECT = ("-t", "none", "-T", "none")
FLAT = ("-o", "subformat=monolithicFlat")
STREAM = ("-o", "subformat=streamOptimized")
ZSTD = ("-c", "-o", "compression_type=zstd")
SMALL = ("--compression", "small")
SECRET = ("--object", "secret,id=s,data=hush")
KEYED = "key-secret=s,iter-time=10"
"""The least time that qemu-img spends on a passphrase: what it takes is measured apart."""

INFO = ("info", "@small.qcow2")
INFO_JSON = ("info", "--output=json", "@small.qcow2")
INFO_SHARED = ("info", "--output=json", "--force-share", "@small.qcow2")
OPENSTACK = ("openstack", *INFO_SHARED)
MAP = ("map", "--output=json", "@huge.qcow2")
CHECK = ("check", "@huge.qcow2")
MEASURE = ("measure", "-O", "qcow2", "-f", "qcow2", "@huge.qcow2")
COMPARE = ("compare", "-f", "raw", "-F", "qcow2", "@wide.raw", "@wide.qcow2")
SPARSE = ("convert", "-f", "qcow2", "-O", "qcow2", "@sparse.qcow2", OUT)

GROWN, SHRUNK = "+8G", "-512M"
BASES = ("data.qcow2", "other.qcow2")
REFLINK = ("xfs", "btrfs")
OTHERS = ("vmdk", "vhdx", "vpc", "vdi")


def _info(name: str, image: str, *options: str, aim: float = 5) -> Case:
    return Case(f"info-{name}", ("info", *options, f"@{image}"), answers=True, short=True, aim=aim)


def _convert(name: str, source: str, made: str, *options: str, aim: float = 0.0, place: str = "") -> Case:
    kind = source.rpartition(".")[2]
    words = ("convert", "-f", kind, "-O", made, *options, f"@{source}", OUT)
    return Case(f"convert-{name}", words, made=made, aim=aim, place=place)


def _also_all_cores(case: Case) -> tuple[Case, Case]:
    """The case, and the same against qemu-img with all processors."""
    verb, *rest = case.words
    return case, case._replace(name=f"{case.name}-W", theirs=("qemu-img", verb, *ALL_CORES, *rest), aim=0.0)


def _small(case: Case) -> Case:
    """The case with instar taking pains to need no more room than qemu-img."""
    return case._replace(ours=("qemu-img", *case.words, *SMALL))


def _apart(name: str, aim: float, made: str, words: tuple[str, ...], tiny: tuple[str, ...]) -> tuple[Case, Case]:
    """The whole command, and what is left of it without the time that its keys take."""
    whole = Case(f"convert-{name}", words, made=made)
    return whole, whole._replace(name=f"convert-{name}-apart", apart=tiny, aim=aim)


def _from_luks(image: str) -> tuple[str, ...]:
    opened = f"driver=luks,key-secret=s,file.filename=@{image}"
    return ("convert", *SECRET, "--image-opts", opened, "-O", "raw", OUT)


def _to_luks(image: str) -> tuple[str, ...]:
    return ("convert", *SECRET, "-f", "raw", "-O", "luks", "-o", KEYED, f"@{image}", OUT)


def _change(name: str, image: str, verb: str, *words: str, also: tuple[str, ...] = (), aim: float = 0.0) -> Case:
    return Case(name, (verb, "-f", "qcow2", *words), changes=(image, *also), aim=aim)


def _called(case: Case, aim: float) -> Case:
    return case._replace(name=f"library-{case.name}", call=case.name, ours=(), aim=aim)


START = (
    Case("start-python", INFO, ("python", "-c", "pass"), short=True, parses=False),
    Case("start-version", ("--version",), ("instar", "--version"), short=True, parses=False),
    Case("start-info", INFO, ("instar", *INFO), short=True, aim=5),
)
INFOS = (
    _info("raw", "small.raw"),
    _info("qcow2", "small.qcow2"),
    _info("qcow2-json", "small.qcow2", "--output=json"),
    _info("vmdk", "small.vmdk"),
    Case("info-openstack", INFO_SHARED, theirs=OPENSTACK, answers=True, short=True, aim=0.7),
    Case("info-openstack-both", INFO_SHARED, OPENSTACK, theirs=OPENSTACK, answers=True, short=True),
)
CALLED_INFO = (
    Case("library-info", INFO_JSON, call="info", answers=True, short=True, aim=1),
    Case("library-info-openstack", INFO_SHARED, call="info", theirs=OPENSTACK, answers=True, short=True, aim=0.15),
)
STRUCTURE = (
    Case("map-huge", MAP, answers=True, aim=0.3),
    Case("map-fragmented", ("map", "--output=json", "@fragmented.qcow2"), answers=True, aim=1.1),
    Case("check-huge", CHECK, answers=True, aim=0.5),
    Case("check-fragmented", ("check", "@fragmented.qcow2"), answers=True),
    Case("measure-huge", MEASURE, answers=True, aim=0.35),
    Case("compare-raw-qcow2", COMPARE, answers=True, aim=0.7),
)
PLAIN = (
    _convert("raw-raw", "mixed.raw", "raw"),
    _convert("raw-qcow2", "mixed.raw", "qcow2", aim=0.7),
    _convert("raw-qcow2-C", "mixed.raw", "qcow2", "-C", aim=1),
    _convert("raw-qcow2-S0", "mixed.raw", "qcow2", "-S", "0"),
    _convert("qcow2-raw", "mixed.qcow2", "raw", aim=0.8),
    _convert("qcow2-raw-C", "mixed.qcow2", "raw", "-C", aim=1),
    _convert("qcow2-qcow2", "mixed.qcow2", "qcow2"),
    _convert("raw-raw-direct", "mixed.raw", "raw", *DIRECT, aim=1),
    _convert("raw-qcow2-direct", "mixed.raw", "qcow2", *DIRECT, aim=1),
    _convert("qcow2-raw-direct", "mixed.qcow2", "raw", *DIRECT, aim=1),
    _convert("fragmented-raw", "fragmented.qcow2", "raw", aim=0.9),
    _convert("chain-raw", "top.qcow2", "raw", aim=0.9),
    _convert("sparse-raw", "sparse.qcow2", "raw"),
    Case("convert-sparse-qcow2", SPARSE, made="qcow2"),
    Case(
        "random-reads",
        ("@mixed.qcow2",),
        theirs=("qemu-io", "-r", "-f", "qcow2", "@mixed.qcow2"),
        given="reads.qemu-io",
        call="random-reads",
        aim=2,
    ),
)
FORMATS = tuple(
    case
    for kind in OTHERS
    for case in (
        _convert(f"raw-{kind}", "mixed.raw", kind, aim=0.9),
        _convert(f"{kind}-raw", f"mixed.{kind}", "raw", aim=0.9),
        _convert(f"qcow2-{kind}", "mixed.qcow2", kind, aim=0.9),
        _convert(f"{kind}-qcow2", f"mixed.{kind}", "qcow2", aim=0.9),
    )
)
CODED = (
    _convert("raw-flat", "mixed.raw", "vmdk", *FLAT),
    _convert("flat-raw", "flat.vmdk", "raw"),
    *_also_all_cores(_convert("raw-zlib", "files.raw", "qcow2", "-c", aim=0.1)),
    *_also_all_cores(_small(_convert("raw-zlib-small", "files.raw", "qcow2", "-c", aim=0.6))),
    *_also_all_cores(_convert("raw-zstd", "files.raw", "qcow2", *ZSTD, aim=0.6)),
    *_also_all_cores(_convert("raw-stream", "files.raw", "vmdk", *STREAM, aim=0.15)),
    *_also_all_cores(_convert("zlib-raw", "zlib.qcow2", "raw", aim=0.33)),
    *_also_all_cores(_convert("zstd-raw", "zstd.qcow2", "raw", aim=0.65)),
    *_also_all_cores(_convert("stream-raw", "stream.vmdk", "raw", aim=0.33)),
    *_apart("luks-raw", 0.7, "raw", _from_luks("mixed.luks"), _from_luks("tiny.luks")),
    *_apart("raw-luks", 0.7, "luks", _to_luks("mixed.raw"), _to_luks("tiny.raw")),
)
SHARED = tuple(
    _convert(f"{one}-{other}-{place}", f"mixed.{one}", other, aim=0.1, place=place)
    for place in REFLINK
    for one in ("raw", "qcow2")
    for other in ("raw", "qcow2")
)
CHANGES = (
    _change("snapshot-create", "data.qcow2", "snapshot", "-c", "s", "@data.qcow2", aim=0.9),
    _change("snapshot-apply", "snapped.qcow2", "snapshot", "-a", "s", "@snapped.qcow2", aim=0.9),
    _change("snapshot-delete", "snapped.qcow2", "snapshot", "-d", "s", "@snapped.qcow2", aim=0.9),
    _change("resize-grow", "data.qcow2", "resize", "@data.qcow2", GROWN),
    _change("resize-shrink", "data.qcow2", "resize", "--shrink", "@data.qcow2", SHRUNK),
    _change("commit", "over.qcow2", "commit", "@over.qcow2", also=("empty.qcow2",), aim=0.9),
    _change("commit-d", "over.qcow2", "commit", "-d", "@over.qcow2", also=("empty.qcow2",), aim=0.9),
    _change("rebase", "thin.qcow2", "rebase", "-b", "other.qcow2", "-F", "qcow2", "@thin.qcow2", also=BASES, aim=0.9),
    _change("rebase-none", "thin.qcow2", "rebase", "-b", "", "@thin.qcow2", also=BASES),
)

CASES = (
    *START,
    *INFOS,
    *CALLED_INFO,
    *STRUCTURE,
    *PLAIN,
    *FORMATS,
    *CODED,
    *SHARED,
    *CHANGES,
    *[_called(case, 0.9 if case.aim else 0.0) for case in CHANGES if case.name != "commit-d"],
)
