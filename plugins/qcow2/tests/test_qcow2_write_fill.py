"""Filled qcow2 images, read back by qemu-img."""

from __future__ import annotations

import random

import pytest
from instar_qcow2.write import write

from instar_core.testing.beside import beside
from instar_core.types import Kind, Put, Run

load = beside(__file__)
executor, oracle = load("qcow2_executor"), load("qcow2_oracle")
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]

CASES = {
    "default": {},
    "v2": dict(compat="0.10"),
    "512": dict(cluster_size=512),
    "2M": dict(cluster_size=2 << 20),
    "refcount-1": dict(refcount_bits=1, cluster_size=4096),
    "refcount-64": dict(refcount_bits=64, cluster_size=512),
    "extended": dict(extended_l2=True),
    "extended-16k": dict(extended_l2=True, cluster_size=16384),
    "backing": dict(backing_file="base.raw", backing_fmt="raw"),
    "backing-v2": dict(backing_file="base.raw", backing_fmt="raw", compat="v2", cluster_size=4096),
    "backing-extended": dict(backing_file="base.raw", backing_fmt="raw", extended_l2=True),
    "deflate": dict(compress=True),
    "deflate-512": dict(compress=True, cluster_size=512),
    "deflate-2M": dict(compress=True, cluster_size=2 << 20),
    "deflate-refcount-1": dict(compress=True, refcount_bits=1, cluster_size=4096),
    "deflate-refcount-2": dict(compress=True, refcount_bits=2, cluster_size=4096),
    "deflate-refcount-64": dict(compress=True, refcount_bits=64, cluster_size=4096),
    "deflate-v2": dict(compress=True, compat="v2"),
    "deflate-extended": dict(compress=True, extended_l2=True),
    "deflate-backing-extended": dict(compress=True, extended_l2=True, backing_file="base.raw", backing_fmt="raw"),
    "zstd": dict(compress=True, compression_type="zstd", cluster_size=16384),
    "metadata": dict(preallocation="metadata"),
    "full": dict(preallocation="full", cluster_size=4096),
    "metadata-extended": dict(preallocation="metadata", extended_l2=True),
    "metadata-extended-backing": dict(
        preallocation="metadata", extended_l2=True, backing_file="base.raw", backing_fmt="raw"
    ),
    "data-file": dict(data_file="d.raw"),
    "data-file-extended": dict(data_file="d.raw", extended_l2=True),
    "data-file-raw": dict(data_file="d.raw", data_file_raw=True),
}


def random_content(rnd, size):
    """Bytes some of which compress well, some a little, some not at all."""
    parts = []
    have = 0
    while have < size:
        length = rnd.choice([700, 4096, 30000])
        period = rnd.choice([16, 300, length])
        parts.append((rnd.randbytes(period) * (length // period + 1))[:length])
        have += length
    return b"".join(parts)[:size]


def random_ranges(rnd, size, unit, zeros):
    ranges = []
    at = 0
    while at < size:
        end = min(size, at + unit * rnd.choice([1, 1, 2, 3, 17, 200]))
        kind = rnd.choice([None, Kind.DATA, Kind.DATA, Kind.ZERO if zeros else None])
        if kind is not None:
            ranges.append((at, end - at, kind))
        at = end
    return ranges


@pytest.mark.parametrize("name", CASES)
def test_a_filled_image_checks_clean_reads_back_and_is_no_larger_than_measured(tmp_path, name):
    options = CASES[name]
    if options.get("compression_type") == "zstd":
        pytest.importorskip("zstandard")
    rnd = random.Random(name)
    cluster = options.get("cluster_size", 65536)
    size = (1 << 20 if cluster < 4096 else 5 << 20) + 512 * rnd.randrange(99)
    base = rnd.randbytes(size // 1024 * 512)
    (tmp_path / "base.raw").write_bytes(base)
    data = random_content(rnd, size)
    request = executor.request(size, **options)
    geometry = next(write(None, request, ()))
    assert geometry.zeros == ("backing_file" in options)
    ranges = random_ranges(rnd, size, geometry.unit, geometry.zeros)
    extra = [tmp_path / "d.raw"] if "data_file" in options else []
    executor.make(tmp_path / "x", request, data, ranges, extra)
    wanted = bytearray(base.ljust(size, b"\0") if "backing_file" in options else bytes(size))
    stored = set()
    for start, length, kind in ranges:
        wanted[start : start + length] = data[start : start + length] if kind == Kind.DATA else bytes(length)
        if kind == Kind.DATA or options.get("compat"):
            stored.update(range(start // cluster, -(-(start + length) // cluster)))
    oracle.assert_clean(tmp_path)
    assert oracle.content(tmp_path) == wanted
    if "data_file_raw" in options:
        assert (tmp_path / "d.raw").read_bytes() == wanted
    if "preallocation" not in options:
        assert (tmp_path / "x").stat().st_size <= geometry.overhead + len(stored) * cluster


def test_qemu_writes_to_a_filled_image_without_harm(tmp_path):
    if not oracle.QEMU_IO:
        pytest.skip("qemu-io is not installed")
    data = random_content(random.Random(1), 2 << 20)
    options = dict(compress=True, cluster_size=4096)
    executor.make(tmp_path / "x", executor.request(2 << 20, **options), data, [(0, 2 << 20, Kind.DATA)])
    oracle.io(tmp_path, "write -P 7 5000 100000", "discard 1M 512k")
    oracle.assert_clean(tmp_path)
    wanted = bytearray(data)
    wanted[5000:105000] = b"\7" * 100000
    wanted[1 << 20 : 3 << 19] = bytes(1 << 19)
    assert oracle.content(tmp_path) == wanted


def test_the_runs_of_one_table_lie_contiguously():
    request = executor.request(1 << 30)
    edits = list(write(None, request, (Run(at, 1 << 20) for at in range(0, 1 << 30, 1 << 20))))
    copies = [edit for edit in edits if type(edit).__name__ == "Copy"]
    assert {copy.offset - copy.start for copy in copies} == {copies[0].offset}


def test_memory_stays_bounded_while_a_large_image_is_filled():
    import tracemalloc

    def runs():
        for at in range(0, 4 << 30, 65536):
            yield Run(at, 65536, Kind.DATA, 20000 + at // 65536 % 999, 1)

    tracemalloc.start()
    try:
        for edit in write(None, executor.request(4 << 30, compress=True), runs()):
            assert not isinstance(edit, Put) or len(edit.data) <= 4 << 20
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_compressed_run_larger_than_its_cluster_is_a_mistake():
    with pytest.raises(ValueError, match="compressed run"):
        list(write(None, executor.request(1 << 20, compress=True), [Run(0, 65536, Kind.DATA, 65537, 1)]))
