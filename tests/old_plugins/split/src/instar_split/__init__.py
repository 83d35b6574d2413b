"""Split disks: a head that names two further files, in which the content lies."""

from instar_core.types import Capability, FormatSpec, Option, Signature

SPEC = FormatSpec(
    name="split",
    hooks="instar_split.hooks",
    title="Split disk",
    api=(1, 0),
    signatures=(Signature(b"SPLITDSK", 8),),
    capabilities=frozenset(
        {Capability.READ, Capability.CREATE, Capability.FILL, Capability.MEASURE, Capability.UPDATE}
    ),
    options=(
        Option("size", "size", "Virtual disk size"),
        Option("stripe", "size", "Bytes of a stripe", "64k"),
        Option("filled", "bool", "Write zeros as well", "off"),
        Option("order", "str", "Which file comes first", "even", ("even", "odd")),
    ),
)
