"""The answer about one image: accept, or refuse with reasons."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from instar_core.record import NamedTuple


class Code:
    """Why an image is refused; programs may match on it. Codes are only added."""

    UNKNOWN = "unknown-format"
    """No format claims the file, and it shows too little to be a raw disk."""
    AMBIGUOUS = "ambiguous-format"
    """Several formats claim the file."""
    POLYGLOT = "polyglot"
    """It is an image of its format, and also a raw disk with partitions."""
    UNDECLARED = "format-undeclared"
    MISMATCH = "format-mismatch"
    """It is another format than was declared."""
    FORMAT = "format-not-allowed"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    """It needs something that is not known, an unknown feature bit among others."""
    FEATURE = "feature"
    """It uses a known feature that is not allowed."""
    BACKING = "backing-file"
    DATA = "data-file"
    EXTENT = "extent-file"
    REFERENCE = "reference"
    """A file that it may name cannot be used."""
    CHAIN = "chain-depth"
    SUBFORMAT = "vmdk-subformat"
    EXTENTS = "extents"
    VIRTUAL = "virtual-size"
    STORED = "stored-size"
    ROOM = "room"
    """Its disk does not fit where it is to go."""
    ALIGNMENT = "alignment"
    RATIO = "virtual-ratio"
    EXPANSION = "expansion"
    """Its content is out of proportion to what is stored: a bomb."""
    ENCRYPTED = "encrypted"
    SNAPSHOTS = "snapshots"
    BITMAPS = "bitmaps"
    PARTITIONS = "partition-table"
    UNREADABLE = "unreadable"
    """Its metadata can be read, its content cannot."""
    DIRTY = "dirty"
    """It was not closed cleanly."""
    CORRUPT = "corrupt"
    LEAKS = "leaks"
    LIMITS = "limits"
    """Reading it took more time or memory than is allowed, or did what a parser may not."""
    PARSER = "parser"
    """The plugin failed on it."""


class Reason(NamedTuple):
    """One thing that is against an image: a code of Code, and a sentence.

    `filename` is the image of the chain that it was found in, `offset` the byte of the file, `value` what was found
    and `limit` the most that is allowed, where these are known.
    """

    code: str
    text: str
    filename: str = ""
    offset: int | None = None
    value: int | None = None
    limit: int | None = None


class Verdict(NamedTuple):
    """What is said of one image under one policy. Sizes are bytes; None is what could not be learned."""

    filename: str
    policy: str
    accepted: bool
    reasons: tuple[Reason, ...] = ()
    format: str | None = None
    """What it is."""
    declared: str | None = None
    """What it was said to be."""
    virtual_size: int | None = None
    stored: int | None = None
    """The length of its files."""
    allocated: int | None = None
    """What its files take on disk."""
    content: int | None = None
    """Bytes of its disk that are stored, decoded; None where they were not counted."""
    evidence: str = ""
    """What shows that it is a raw disk."""
    subformat: str = ""
    """The createType of a VMDK image."""
    chain: int | None = None
    """Images of its chain, itself among them; None where it was not followed."""
    checked: bool = False
    """Whether its structure was checked."""
