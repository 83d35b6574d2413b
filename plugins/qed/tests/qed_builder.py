"""QED images made by the specification alone (docs/interop/qed_spec.rst of QEMU), valid or not."""

from __future__ import annotations

import struct

BACKING, NEED_CHECK, NO_PROBE = 1, 2, 4
DATA, ZERO = "data", "zero"


def build(
    size,
    clusters,
    *,
    cluster=4096,
    table=2,
    header=1,
    features=0,
    compat=0,
    autoclear=0,
    backing=b"",
    order=None,
    gap=(),
    tail=b"",
):
    """A QED image. `clusters` maps cluster numbers of the disk to DATA, ZERO, bytes, or an entry as it stands.

    Clusters of content are given out in the order of `order` (else ascending) behind all tables, with a leaked one
    before each number in `gap`. The content of DATA clusters tells their number.
    """
    width = table * cluster // 8
    l1 = [0] * width
    tables = {}
    end = header + table
    for number in sorted(clusters):
        if number // width not in tables:
            tables[number // width] = [0] * width
            l1[number // width] = end * cluster
            end += table
    body = []
    for number in order or sorted(clusters):
        if number in gap:
            body.append(b"\xee" * cluster)
        what = clusters[number]
        if what == ZERO:
            tables[number // width][number % width] = 1
        elif isinstance(what, int):
            tables[number // width][number % width] = what
        else:
            tables[number // width][number % width] = (end + len(body)) * cluster
            body.append(content(number, cluster) if what == DATA else what.ljust(cluster, b"\0"))
    if backing:
        features |= BACKING
    head = struct.pack(
        "<4sIIIQQQQQII", b"QED\0", cluster, table, header, features, compat, autoclear, header * cluster, size,
        64 if backing else 0, len(backing),
    )  # fmt: skip
    parts = [(head + backing).ljust(header * cluster, b"\0"), struct.pack(f"<{width}Q", *l1)]
    parts += [struct.pack(f"<{width}Q", *tables[index]) for index in sorted(tables)]
    return b"".join([*parts, *body, tail])


def content(number, cluster):
    """What a cluster of DATA holds."""
    return (b"cluster %7d " % number * (cluster // 16 + 1))[:cluster]


def disk(size, clusters, cluster=4096):
    """The disk that the image reads as, over nothing."""
    made = bytearray(-(-size // cluster) * cluster)
    for number, what in clusters.items():
        if what == DATA or isinstance(what, bytes):
            data = content(number, cluster) if what == DATA else what
            made[number * cluster : number * cluster + len(data)] = data
    return bytes(made[:size])


def changed(data, offset, value, layout="<Q"):
    """The image with one field replaced."""
    return data[:offset] + struct.pack(layout, value) + data[offset + struct.calcsize(layout) :]
