"""Every number of every header at the edges of its type: count times width, sector times 512, cluster shifted by bits.

What an image claims is bounded before anything is multiplied, allocated or read by it (CVE-2014-0142 to 0148, 0222,
0223 and CVE-2015-5162 were all of this kind).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .case import ANY, LINES, Ask, Blob, Case, File, ask
from .extremes import Opens, Table
from .fields_microsoft import TABLE as MICROSOFT
from .fields_others import TABLE as OTHERS
from .fields_qemu import TABLE as QEMU
from .fields_vmware import TABLE as VMWARE
from .forge import bochs, cloop, dmg, iso, luks, parallels, qcow, qcow2, qed, vdi, vhdx, vmdk, vpc

TABLE: Table = {**QEMU, **VMWARE, **MICROSOFT, **OTHERS}

BUILDERS: Mapping[str, Callable[..., Blob]] = {
    "qcow2": qcow2.image,
    "qcow": qcow.image,
    "qed": qed.image,
    "luks": luks.image,
    "vmdk": vmdk.sparse,
    "cowd": vmdk.cowd,
    "sesparse": vmdk.sesparse,
    "vpc": vpc.dynamic,
    "vhdx": vhdx.image,
    "vdi": vdi.image,
    "parallels": parallels.image,
    "bochs": bochs.image,
    "cloop": cloop.image,
    "dmg": dmg.image,
    "iso": iso.image,
}
SOURCES = {
    ("qcow", "l2_bits"): "CVE-2014-0222",
    ("qcow", "size"): "CVE-2014-0223",
    ("parallels", "tracks"): "CVE-2014-0142",
    ("parallels", "entries"): "CVE-2014-0143",
    ("bochs", "extent"): "CVE-2014-0142",
    ("bochs", "catalog_size"): "CVE-2014-0143",
    ("bochs", "size"): "CVE-2014-0147",
    ("cloop", "count"): "CVE-2014-0143",
    ("cloop", "block"): "CVE-2014-0144",
    ("vpc", "block"): "CVE-2014-0142",
    ("vpc", "entries"): "CVE-2014-0144",
    ("vdi", "blocks"): "CVE-2014-0144",
    ("vdi", "size"): "CVE-2014-0144",
    ("vhdx", "block"): "CVE-2014-0148",
    ("vhdx", "logical"): "CVE-2014-0148",
    ("qcow2", "header_length"): "CVE-2014-0144",
    ("qcow2", "backing_offset"): "CVE-2014-0144",
    ("qcow2", "reftable_clusters"): "CVE-2014-0144",
    ("qcow2", "reftable_offset"): "CVE-2014-0144",
    ("qcow2", "snapshots"): "CVE-2014-0144",
    ("qcow2", "l1_size"): "CVE-2014-0144",
    ("qcow2", "refcount_order"): "CVE-2014-0143",
}
DESCRIPTOR = vmdk.text('RW 4096 SESPARSE "e"', kind="seSparse")


def cases() -> Iterator[Case]:
    """One case for each field and value."""
    for format, fields in TABLE.items():
        for field, outcomes in fields.items():
            for values, outcome in outcomes.items():
                for value in values:
                    yield _case(format, field, value, outcome)


def largest() -> Iterator[Case]:
    """Of each field the largest value for each outcome."""
    for format, fields in TABLE.items():
        for field, outcomes in fields.items():
            for values, outcome in outcomes.items():
                yield _case(format, field, max(values), outcome)


def _case(format: str, field: str, value: int, outcome: str | Opens) -> Case:
    def files(_: object) -> Mapping[str, File]:
        blob = BUILDERS[format](**{field: value})
        return {"x": DESCRIPTOR, "e": blob} if format == "sesparse" else {"x": blob}

    return Case(
        f"{format} {field} {value:#x}",
        f"{field} is {value:#x}",
        SOURCES.get((format, field), "every number at the edges of its type"),
        files,
        tuple(_asks(value, outcome)),
    )


def _asks(value: int, outcome: str | Opens) -> Iterator[Ask]:
    """A refused image is refused as source too; of one that opens, all metadata are walked."""
    if isinstance(outcome, str):
        line = "Could not open 'x': " + outcome.format(value=value)
        yield ask("info", "x", 1, line)._replace(names=("instar",))
        yield ask("convert", "x", 1, line)._replace(names=("qemu-img",))
        return
    yield ask("info", "x", 0)._replace(names=("instar",))
    yield ask("map", "x", 1 if outcome.map else 0, outcome.map)._replace(names=("qemu-img",))
    yield Ask(
        ("check", "x"), outcome.check, LINES if outcome.check != 1 else LINES + "Check failed: " + ANY, (), ("instar",)
    )
