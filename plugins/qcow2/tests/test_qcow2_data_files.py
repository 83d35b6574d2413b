"""Images with an external data file, generated, and read, mapped and checked as qemu-img does it."""

from __future__ import annotations

import itertools
import json
import random

import pytest
from instar_qcow2 import hooks

from instar_core.testing.beside import beside
from instar_core.types import NOWHERE, Kind, Layer, Span

load = beside(__file__)
encryption = load("qcow2_encryption")
oracle = encryption.oracle
pytestmark = [oracle.needs_qemu_io, pytest.mark.oracle]

FILES = {
    "plain": dict(data_file="d.raw"),
    "raw": dict(data_file="d.raw", data_file_raw=True),
    "metadata": dict(data_file="d.raw", preallocation="metadata"),
    "full": dict(data_file="d.raw", preallocation="full"),
}
CLUSTERS = {
    "default": {},
    "4k": dict(cluster_size=4096),
    "subclusters": dict(extended_l2=True, cluster_size=16384),
    "2M": dict(cluster_size=2 << 20),
}
SIZES = (3 << 20, 5000 << 10, 66560, 512)


@pytest.fixture(params=itertools.product(FILES, CLUSTERS), ids="-".join)
def image(request, tmp_path):
    files, clusters = request.param
    rng = random.Random(f"{files} {clusters}")
    size = rng.choice(SIZES)
    encryption.created(tmp_path, {**FILES[files], **CLUSTERS[clusters]}, size)
    commands = []
    for _ in range(8):
        start = rng.randrange(size // 512) * 512
        length = min(size - start, rng.randrange(1, 400) * 512)
        commands.append(
            f"{rng.choice(('write -P 7', 'write -P 9', 'write -z', 'write -z -u', 'discard'))} {start} {length}"
        )
    oracle.io(tmp_path, *commands)
    with encryption.Files(tmp_path / "x", tmp_path / "d.raw") as opened:
        yield tmp_path, opened


def test_content_map_and_check_are_those_of_qemu_img(image):
    folder, opened = image
    info = hooks.instar_info(opened)
    content = bytearray(info.virtual_size)
    ours = []
    for extent in hooks.instar_map(opened, Layer(), Span(0, info.virtual_size)):
        assert extent.offset in (extent.start, NOWHERE), "content lies in the data file where it lies on the disk"
        kind = extent.kind != Kind.ABSENT, extent.kind != Kind.DATA, extent.kind == Kind.DATA, extent.offset
        ours.append((extent.start, extent.length, *kind))
        if extent.kind == Kind.DATA:
            assert extent.device == 1
            place = slice(extent.start, extent.start + extent.length)
            content[place] = opened.devices[1].read(extent.offset, extent.length, pad=True)
    theirs = [
        (e["start"], e["length"], e["present"], e["zero"], e["data"], e.get("offset", NOWHERE))
        for e in json.loads(oracle.img(folder, "map", "--output=json", "x"))
    ]
    assert bytes(content) == oracle.content(folder)
    for mine, qemus in zip(by_sector(ours), by_sector(theirs), strict=True):
        # The host looks for holes of the file under data later: there qemu-img already says zero.
        assert mine == qemus or (mine[2] and qemus == (True, True, False, mine[3]))
    done = json.loads(oracle.img(folder, "check", "--output=json", "x"))
    *findings, tally = hooks.instar_check(opened)
    assert findings == []
    counted = (done["total-clusters"], done.get("allocated-clusters", 0), done.get("fragmented-clusters", 0))
    assert (tally.total, tally.allocated, tally.fragmented) == counted
    assert tally.end == done["image-end-offset"]


def by_sector(entries):
    """(present, zero, data, offset) of every sector."""
    for _, length, present, zero, data, offset in entries:
        for at in range(0, length, 512):
            yield present, zero, data, NOWHERE if offset == NOWHERE else offset + at


def test_an_image_with_a_data_file_has_no_snapshots_as_in_qemu(image):
    folder, opened = image
    done = oracle.run(folder, oracle.QEMU_IMG, "snapshot", "-c", "a", "x")
    assert "Operation not supported" in done.stderr
    assert hooks.instar_info(opened).snapshots == ()
