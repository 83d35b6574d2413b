"""Changing the first cluster of an image: fields, header extensions and the backing file's name, by one atomic write.

A disk writes a sector of 512 bytes whole or not at all. So what lies past the first sector is written where nothing is
referenced, and then one write of the first sector makes all of it current. Where that cannot be done in one step (the
table of feature names, which qemu puts first, is in the way), the table goes and comes back behind the others.
Source: docs/interop/qcow2.txt of QEMU, "Header" and "Header extensions".
"""

from __future__ import annotations

from instar_core.errors import ErrorKind, FormatError
from instar_core.types import Barrier, Put
from instar_qcow2 import layout, limits
from instar_qcow2.extensions import extension_records
from instar_qcow2.heading import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Final, NamedTuple

    from instar_core.source import Source
    from instar_core.types import Edit
    from instar_qcow2.header import Header
else:
    from instar_core.record import NamedTuple

SECTOR: Final = 512
KEEP: Final = b"\0"
"""In place of a backing file's name: it stays."""
FIELDS_V2: Final = (
    "version", "backing_file_offset", "backing_file_size", "cluster_bits", "size", "crypt_method", "l1_size",
    "l1_table_offset", "refcount_table_offset", "refcount_table_clusters", "nb_snapshots", "snapshots_offset",
)  # fmt: skip
FIELDS_V3: Final = (
    "incompatible_features", "compatible_features", "autoclear_features", "refcount_order", "header_length",
)  # fmt: skip
END: Final = layout.EXTENSION.pack(layout.EXT_END, 0)


class State(NamedTuple):
    """A first cluster: its bytes, where its extensions end, and where the backing file's name lies (start, end)."""

    data: bytes
    end: int
    name: tuple[int, int]


class Rewriting(NamedTuple):
    """How the new first cluster comes about: `before` touches nothing that is referenced and must be on stable storage
    before `commit`, the one write that makes the new state current. `after` begins with a Barrier, if there is any."""

    before: tuple[Put, ...]
    commit: Put
    after: tuple[Edit, ...]

    def edits(self) -> Iterator[Edit]:
        """All of it, alone: Barriers lie between, and one is last."""
        yield from self.before
        yield Barrier()
        yield self.commit
        yield from self.after
        yield Barrier()


def rewriting(
    source: Source,
    header: Header,
    *,
    fields: Mapping[str, int] | None = None,
    extensions: Mapping[int, bytes | None] | None = None,
    backing: bytes = KEEP,
) -> Rewriting:
    """The first cluster with these fields (by the names of Header), extensions (None: without it) and backing name
    (empty: none). All else stays, extensions that nobody here knows too.

    Autoclear features that no program here keeps up are the caller's to clear. Raises FormatError, in qemu's words,
    where the name is too long or the cluster has no room.
    """
    old = present(source, header)
    values = {name: getattr(header, name) for name in (*FIELDS_V2, *FIELDS_V3)} | dict(fields or {})
    if values["version"] < 3:
        values["header_length"] = layout.HEADER_V2.size
    elif header.version < 3:
        values["header_length"] = layout.HEADER_LENGTH
    records = changed(source, header, old.end, extensions or {}, values["version"])
    name = (header.backing_file or b"") if backing == KEEP else backing
    if len(name) > limits.BACKING_NAME:
        raise FormatError("Invalid argument", kind=ErrorKind.LIMIT)
    fixed = fixed_part(old.data, values, header)
    bare = [record for record in records if record[0] != layout.EXT_FEATURE_NAMES]
    table = [record for record in records if record[0] == layout.EXT_FEATURE_NAMES]
    whole = composed(fixed, values, records, name, old)
    found = step(old, whole)
    if found is not None:
        return Rewriting(*found, ())
    first = composed(fixed, values, bare, name, old, sum(len(extension(kind, data)) for kind, data in table))
    found = step(old, first)
    if found is not None and first is not None:
        again = step(first, composed(fixed, values, bare + table, name, first)) if table else None
        after: tuple[Edit, ...] = () if again is None else (Barrier(), *again[0], Barrier(), again[1])
        return Rewriting(*found, after)
    last = whole or first
    if last is None:
        raise FormatError("No space left on device", kind=ErrorKind.LIMIT)
    # Two names or lists that each fill most of a small cluster: nothing can be kept beside it.
    return Rewriting((), Put(0, last.data[: max(last.end, last.name[1])]), ())


def present(source: Source, header: Header) -> State:
    """The first cluster as it is."""
    stop = header.backing_file_offset or header.cluster_size
    end = header.header_length
    for _, offset, length in extension_records(source, header.header_length, stop):
        end = offset + (length + 7 & ~7)
    start = header.backing_file_offset
    name = (start, start + header.backing_file_size) if start else (0, 0)
    return State(source.read(0, header.cluster_size, pad=True), min(end + len(END), stop), name)


def changed(
    source: Source, header: Header, end: int, extensions: Mapping[int, bytes | None], version: int
) -> list[tuple[int, bytes]]:
    """(type, data) of every extension as it will be, those that are there in their order, new ones behind them."""
    left = dict(extensions)
    found = []
    for kind, offset, length in extension_records(source, header.header_length, end):
        data = left.pop(kind) if kind in left else source.read(offset, length, pad=True)
        if data is not None and (version >= 3 or kind != layout.EXT_FEATURE_NAMES):
            found.append((kind, data))
    return found + [(kind, data) for kind, data in left.items() if data is not None]


def fixed_part(old: bytes, values: dict[str, int], header: Header) -> bytes:
    """What follows the version 2 fields: those of version 3, and further ones as they are."""
    if values["version"] < 3:
        return b""
    rest = old[layout.HEADER_V2.size + layout.HEADER_V3.size : values["header_length"]] if header.version >= 3 else b""
    made = layout.HEADER_V3.pack(*(values[name] for name in FIELDS_V3))
    return (made + rest).ljust(values["header_length"] - layout.HEADER_V2.size, b"\0")


def composed(
    fixed: bytes,
    values: Mapping[str, int],
    records: Sequence[tuple[int, bytes]],
    name: bytes,
    old: State,
    spare: int = 0,
) -> State | None:
    """The first cluster with all of this, the name in the first place where it does not overwrite the old one; None
    where there is no room. If possible, `spare` bytes are left before the name."""
    body = fixed + b"".join(extension(kind, data) for kind, data in records) + END
    end = layout.HEADER_V2.size + len(body)
    size = len(old.data)
    place = 0
    if name:
        stay = old.name[0] if old.data[slice(*old.name)] == name else 0
        wide = end + spare
        behind = max(wide, old.end, old.name[1])
        places = [at for at in (stay if stay >= wide else 0, wide, behind, stay, end) if end <= at <= size - len(name)]
        free = [at for at in places if at == stay or untouched(old, at, at + len(name))]
        if not places:
            return None
        place = (free or places)[0]
    elif end > size:
        return None
    fields = {**values, "backing_file_offset": place, "backing_file_size": len(name)}
    data = bytearray(old.data)
    head = layout.HEADER_V2.pack(layout.MAGIC, *(fields[field] for field in FIELDS_V2)) + body
    data[end : max(end, SECTOR)] = bytes(max(0, SECTOR - end))
    data[: len(head)] = head
    data[place : place + len(name)] = name
    return State(bytes(data), end, (place, place + len(name)))


def untouched(old: State, start: int, end: int) -> bool:
    """Whether nothing past the first sector that the old state refers to lies there."""
    start = max(start, SECTOR)
    return all(end <= max(first, SECTOR) or start >= last for first, last in ((0, old.end), old.name))


def step(old: State, new: State | None) -> tuple[tuple[Put, ...], Put] | None:
    """(what is written before, the one write that counts), or None where no single write can make it so."""
    if new is None:
        return None
    if len(new.data) < SECTOR:
        raise FormatError("a cluster is smaller than a sector", offset=20)
    differ = list(differences(old.data, new.data))
    used = [(at, end) for at, end in differ if at >= SECTOR and not untouched(old, at, end)]
    if used and len(differ) > 1:
        return None
    first = used[0] if used else next(((at, end) for at, end in differ if at < SECTOR), (0, SECTOR))
    before = tuple(Put(at, new.data[at:end]) for at, end in differ if (at, end) != first)
    return before, Put(first[0], new.data[slice(*first)])


def differences(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of what differs, at most one stretch in each sector."""
    for at in range(0, len(new), SECTOR):
        before, after = old[at : at + SECTOR], new[at : at + SECTOR]
        if before != after:
            changed = [index for index, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
            yield at + changed[0], at + changed[-1] + 1
