"""Reader disks: a format that is only read, with as little as a plugin can have."""

from instar_core.types import FormatSpec, Option, Signature

SPEC = FormatSpec(
    "reader",
    "instar_reader.hooks",
    "Reader disk",
    (1, 0),
    signatures=(Signature(b"READER!\n", -512),),
    capabilities=frozenset({"read", "check"}),
    open_options=(Option("first", "size", "the first block of the table that counts"),),
)
