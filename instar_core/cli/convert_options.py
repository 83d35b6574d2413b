"""The options of convert."""

from __future__ import annotations

from instar_core.cli import optionlist, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb

MOST_SPARSE = 16 << 20
"""Largest run of zeros that -S may ask for, in bytes."""
SECTOR = 512
MOST_PARALLEL = 16
SNAPSHOT_KEYS = ("snapshot.id", "snapshot.name")


def sparse(text: str) -> int:
    """Bytes of zeros that are worth a hole."""
    size = values.size("buffer size for sparse output")(text)
    if size % SECTOR or size > MOST_SPARSE:
        raise Fault(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. "
            "Select 0 to disable sparse detection (fully allocates output)."
        )
    return size


def parallel(text: str) -> int:
    """How many requests at a time: a plain number, suffixes are not taken."""
    return values.number("number of coroutines", 1, MOST_PARALLEL)(text)


def snapshot(text: str) -> str:
    """An id or a name, or `snapshot.id=ID,snapshot.name=NAME`."""
    if text.startswith("snapshot."):
        for key, _ in optionlist.pairs(text):
            if key not in SNAPSHOT_KEYS:
                raise Fault(f"Invalid parameter '{key}'", again(f"Failed in parsing snapshot param '{text}'"))
    return text


def again(line: str) -> str:
    """A line that is prefixed with the name of the program like the first."""
    return Fault.PREFIX + line


VERB = Verb(
    "convert",
    (
        "[-f SRC_FMT] [-T SRC_CACHE]",
        "[-l SNAPSHOT] [--bitmaps [--skip-broken-bitmaps]] [--salvage]",
        "[-O TGT_FMT] [-o TGT_FMT_OPTS] [-t TGT_CACHE]",
        "[-b BACKING_FILE [-F BACKING_FMT]] [-S SPARSE_SIZE]",
        "[-n [--target-image-opts] [--target-is-zero]] [-c]",
        "[-U] [-r RATE] [-m NUM_PARALLEL] [-W] [-C] [-p] [-q]",
        "SRC_FILE [SRC_FILE2...] TGT_FILE",
    ),
    "Copy one or more images to another with optional format conversion",
    (
        Opt(
            "format",
            "f",
            "source-format",
            "SRC_FMT",
            ("specify format of all SRC_FILEs explicitly (default: probing is used)",),
        ),
        values.IMAGE_OPTS._replace(help=("treat each SRC_FILE as an option string (key=value,..), not a file name",)),
        Opt("source_cache", "T", "source-cache", "SRC_CACHE", ("source image(s) cache mode (writeback)",)),
        Opt("snapshot", "l", "snapshot", "SNAPSHOT", ("specify source snapshot",), snapshot),
        Opt("bitmaps", "", "bitmaps", "", ("also copy the dirty bitmaps of the source",)),
        Opt("skip_broken", "", "skip-broken-bitmaps", "", ("skip (do not error out) any broken bitmaps",)),
        Opt("salvage", "", "salvage", "", ("ignore errors on input (convert unreadable areas to zeros)",)),
        Opt("target_format", "O", "target-format", "TGT_FMT", ("specify TGT_FILE image format (default: raw)",)),
        Opt(
            "target_opts",
            "",
            "target-image-opts",
            "",
            ("treat TGT_FILE as an option string (key=value,..), not a file name",),
        ),
        Opt(
            "options",
            "o",
            "target-format-options",
            "TGT_FMT_OPTS",
            ("TGT_FMT-specific options",),
            optionlist.gather,
            True,
        ),
        Opt(
            "target_cache",
            "t",
            "target-cache",
            "TGT_CACHE",
            ("cache mode for the target (default: unsafe)",),
        ),
        Opt(
            "backing",
            "b",
            "backing",
            "BACKING_FILE",
            ("create target image to be a CoW on top of BACKING_FILE (-B means the same)",),
        ),
        Opt("backing", "B", "", "BACKING_FILE"),
        Opt("backing_format", "F", "backing-format", "BACKING_FMT", ("specify BACKING_FILE image format explicitly",)),
        Opt(
            "sparse",
            "S",
            "sparse-size",
            "SPARSE_SIZE[bkKMGTPE]",
            ("specify number of consecutive zero bytes to treat as a gap on output",),
            sparse,
        ),
        Opt("no_create", "n", "no-create", "", ("omit target volume creation",)),
        Opt("target_zero", "", "target-is-zero", "", ("indicates that the target volume is pre-zeroed",)),
        Opt("compress", "c", "compress", "", ("create compressed output image",)),
        values.SHARE._replace(help=("open images in shared mode for concurrent access",)),
        Opt("rate", "r", "rate-limit", "RATE", ("I/O rate limit, in bytes per second",), values.size("rate limit")),
        Opt("parallel", "m", "parallel", "NUM_PARALLEL", ("specify parallelism (default: 8)",), parallel),
        Opt("offload", "C", "copy-range-offloading", "", ("try to use copy offloading",)),
        Opt("out_of_order", "W", "oob-writes", "", ("enable out-of-order writes to improve performance",)),
        values.PROGRESS,
        values.QUIET,
        values.OBJECT,
    ),
    (
        ("SRC_FILE...", ("one or more source image file names",)),
        ("TGT_FILE", ("target (output) image file name",)),
    ),
)
