"""What is measured, as data."""

from __future__ import annotations

from typing import NamedTuple

OUT = "@out"
"""Stands for the file that a run makes; another word that begins with @ stands for the image of that name, or for its
copy where the case changes it."""


class Case(NamedTuple):
    """One comparison: both programs get `words`, instar's under the name qemu-img.

    `ours` runs another command of ours instead: "instar" or "python" and its arguments; `call` calls the function of
    that name in bench.calls, with the first image among the words. `made` is the format of what
    a run makes. `answers` says that both must print the same. `short` cases are run more often. With `memory` it is
    the peak of memory that is compared, not the time. A case that does not `parse` anything has no sandbox.
    """

    name: str
    words: tuple[str, ...]
    ours: tuple[str, ...] = ()
    made: str = ""
    answers: bool = False
    short: bool = False
    memory: bool = False
    parses: bool = True
    changes: tuple[str, ...] = ()
    call: str = ""


def _change(name: str, image: str, verb: str, *words: str, also: tuple[str, ...] = ()) -> Case:
    return Case(name, (verb, "-f", "qcow2", *words), changes=(image, *also))


def _convert(name: str, source: str, made: str, *options: str) -> Case:
    kind = source.rpartition(".")[2]
    return Case(f"convert-{name}", ("convert", "-f", kind, "-O", made, *options, f"@{source}", OUT), made=made)


def _info(name: str, image: str, *options: str) -> Case:
    return Case(f"info-{name}", ("info", *options, f"@{image}"), answers=True, short=True)


INFO = ("info", "@small.qcow2")
MAP = ("map", "--output=json", "@huge.qcow2")
CHECK = ("check", "@huge.qcow2")
SPARSE = ("convert", "-f", "qcow2", "-O", "qcow2", "@sparse.qcow2", OUT)
FLAT = ("-o", "subformat=monolithicFlat")
STREAM = ("-o", "subformat=streamOptimized")
ZSTD = ("-c", "-o", "compression_type=zstd")

GROWN, SHRUNK = "+8G", "-512M"
BASES = ("data.qcow2", "other.qcow2")

CHANGES = (
    _change("snapshot-create", "data.qcow2", "snapshot", "-c", "s", "@data.qcow2"),
    _change("snapshot-apply", "snapped.qcow2", "snapshot", "-a", "s", "@snapped.qcow2"),
    _change("snapshot-delete", "snapped.qcow2", "snapshot", "-d", "s", "@snapped.qcow2"),
    _change("resize-grow", "data.qcow2", "resize", "@data.qcow2", GROWN),
    _change("resize-shrink", "data.qcow2", "resize", "--shrink", "@data.qcow2", SHRUNK),
    _change("commit", "over.qcow2", "commit", "@over.qcow2", also=("empty.qcow2",)),
    _change("commit-d", "over.qcow2", "commit", "-d", "@over.qcow2", also=("empty.qcow2",)),
    _change("rebase", "thin.qcow2", "rebase", "-b", "other.qcow2", "-F", "qcow2", "@thin.qcow2", also=BASES),
    _change("rebase-none", "thin.qcow2", "rebase", "-b", "", "@thin.qcow2", also=BASES),
)
INFO_JSON = Case("info", ("info", "--output=json", "@small.qcow2"), answers=True, short=True)


def _called(case: Case) -> Case:
    return case._replace(name=f"library-{case.name}", call=case.name)


CASES = (
    Case("start-python", INFO, ("python", "-c", "pass"), short=True, parses=False),
    Case("start-version", ("--version",), ("instar", "--version"), short=True, parses=False),
    Case("start-info", INFO, ("instar", *INFO), short=True),
    _info("raw", "small.raw"),
    _info("qcow2", "small.qcow2"),
    _info("qcow2-json", "small.qcow2", "--output=json"),
    _info("vmdk", "small.vmdk"),
    Case("map-huge", MAP, answers=True),
    Case("map-fragmented", ("map", "--output=json", "@fragmented.qcow2"), answers=True),
    Case("check-huge", CHECK, answers=True),
    Case("check-fragmented", ("check", "@fragmented.qcow2"), answers=True),
    Case("measure-huge", ("measure", "-O", "qcow2", "-f", "qcow2", "@huge.qcow2"), answers=True),
    Case("compare-raw-qcow2", ("compare", "-f", "raw", "-F", "qcow2", "@mixed.raw", "@mixed.qcow2"), answers=True),
    _convert("raw-raw", "mixed.raw", "raw"),
    _convert("raw-qcow2", "mixed.raw", "qcow2"),
    _convert("raw-qcow2-C", "mixed.raw", "qcow2", "-C"),
    _convert("raw-qcow2-S0", "mixed.raw", "qcow2", "-S", "0"),
    _convert("qcow2-raw", "mixed.qcow2", "raw"),
    _convert("qcow2-raw-C", "mixed.qcow2", "raw", "-C"),
    _convert("qcow2-qcow2", "mixed.qcow2", "qcow2"),
    _convert("raw-vmdk", "mixed.raw", "vmdk"),
    _convert("vmdk-raw", "mixed.vmdk", "raw"),
    _convert("raw-flat", "mixed.raw", "vmdk", *FLAT),
    _convert("flat-raw", "flat.vmdk", "raw"),
    _convert("raw-stream", "part.raw", "vmdk", *STREAM),
    _convert("stream-raw", "stream.vmdk", "raw"),
    _convert("raw-zlib", "part.raw", "qcow2", "-c"),
    _convert("zlib-raw", "zlib.qcow2", "raw"),
    _convert("raw-zstd", "part.raw", "qcow2", *ZSTD),
    _convert("zstd-raw", "zstd.qcow2", "raw"),
    _convert("large-zlib-raw", "zlib-large.qcow2", "raw"),
    _convert("large-zstd-raw", "zstd-large.qcow2", "raw"),
    _convert("fragmented-raw", "fragmented.qcow2", "raw"),
    _convert("chain-raw", "top.qcow2", "raw"),
    _convert("sparse-raw", "sparse.qcow2", "raw"),
    Case("convert-sparse-qcow2", SPARSE, made="qcow2"),
    *CHANGES,
    *[_called(case) for case in (INFO_JSON, *CHANGES) if case.name != "commit-d"],
    Case("memory-map-huge", MAP, answers=True, memory=True),
    Case("memory-check-huge", CHECK, answers=True, memory=True),
    Case("memory-convert-sparse", SPARSE, made="qcow2", memory=True),
    _convert("raw-zlib", "part.raw", "qcow2", "-c")._replace(name="memory-convert-zlib", memory=True),
)
