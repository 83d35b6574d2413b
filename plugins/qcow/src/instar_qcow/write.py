"""Writing a new qcow image from front to back.

Clusters are given out one after another in the order of the runs. L2 tables follow the content that they map, several
at a time, so that both content and tables lie in long stretches and memory stays bounded. The header comes last.
"""

from __future__ import annotations

from instar_core.errors import ContractViolation, ErrorKind, FormatError
from instar_core.types import Barrier, Coding, Copy, Create, Geometry, Kind, Put, Truncate, Zero
from instar_qcow import encryption, layout
from instar_qcow.plan import plan_image
from instar_qcow.tablewriter import L1Table, L2Tables, compressed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.source import Image
    from instar_core.types import Edit, KeyPlan, Run, WriteRequest
    from instar_qcow.plan import Plan


def edits(image: Image | None, request: WriteRequest, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """The image's Geometry, then the edits that place `runs`, a Barrier, and the header.

    Raises FormatError (USAGE) for options that cannot be had and for a change of an existing image.
    """
    plan = plan_image(_create(image, request))
    yield geometry(plan)
    yield Truncate(0)
    yield Zero(0, plan.l1_end)
    if plan.backing_file:
        yield Put(layout.HEADER.size, plan.backing_file)
    content = Content(plan)
    for run in runs:
        yield from content.place(run)
    yield from content.finish()
    yield Barrier()
    yield Put(0, header(plan))


def seal(image: Image | None, request: WriteRequest) -> KeyPlan:
    """The way to the key of the image that the request asks for. Raises FormatError as `edits`, or if it has no key."""
    if not plan_image(_create(image, request)).encrypted:
        raise FormatError("Parameter 'encrypt.format' is missing", kind=ErrorKind.USAGE)
    return encryption.key_plan(filled=False)


def _create(image: Image | None, request: WriteRequest) -> Create:
    if image is not None or not isinstance(request, Create):
        raise FormatError("Format driver 'qcow' can only create images", kind=ErrorKind.USAGE)
    return request


def geometry(plan: Plan) -> Geometry:
    """How the runs are wanted: by clusters; zeros too where a backing image would show in their place."""
    return Geometry(
        plan.cluster_size,
        plan.size,
        zeros=bool(plan.backing_file),
        coding=Coding("deflate-12", plan.cluster_size) if plan.compress else None,
        overhead=-(-plan.l1_end // plan.cluster_size) * plan.cluster_size + plan.l1_size * plan.l2_bytes,
        cipher=encryption.coding() if plan.encrypted else None,
    )


def header(plan: Plan) -> bytes:
    """The header as qemu-img writes it, without a time."""
    return layout.HEADER.pack(
        *layout.Fields(
            backing_file_offset=layout.HEADER.size if plan.backing_file else 0,
            backing_file_size=len(plan.backing_file),
            size=plan.size,
            cluster_bits=plan.cluster_bits,
            l2_bits=plan.l2_bits,
            crypt_method=layout.CRYPT_AES if plan.encrypted else layout.CRYPT_NONE,
            l1_table_offset=plan.l1_offset,
        )
    )


class Content:
    """The clusters and tables of an image under construction; `_end` is the byte after what was given out."""

    __slots__ = ("_end", "_l1", "_l2", "_plan")

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._end = plan.l1_end
        self._l1 = L1Table(plan.l1_offset)
        self._l2 = L2Tables(plan)

    def place(self, run: Run) -> Iterator[Edit]:
        """The disk holds what the run offers."""
        if run.coding:
            yield from self._compressed(run)
        else:
            # Zeros are only offered where a parent would show. Encrypted ones are content: only the host can make them.
            zeros = run.kind == Kind.ZERO and not self._plan.encrypted
            yield from self._plain(run.start, run.length, zeros=zeros)

    def finish(self) -> Iterator[Edit]:
        """All tables are put."""
        self._l2.close()
        yield from self._tables()
        yield from self._l1.flush()
        yield Truncate(self._end)

    def _plain(self, start: int, length: int, *, zeros: bool) -> Iterator[Edit]:
        size = self._plan.cluster_size
        most = self._plan.l2_bytes // 8 * size * 16
        while length:
            piece = min(length, most - start % most)
            count = -(-piece // size)
            self._align()
            yield Zero(self._end, piece) if zeros else Copy(start, self._end, piece)
            self._l2.add(start // size, count, self._end, size)
            self._end += count * size
            if self._l2.full:
                yield from self._tables()
            start, length = start + piece, length - piece

    def _compressed(self, run: Run) -> Iterator[Edit]:
        """Compressed clusters lie byte to byte."""
        size, stored = self._plan.cluster_size, run.stored
        if not 0 < stored < size or run.start % size or run.length > size:
            raise ContractViolation(f"a compressed run of {stored} bytes at {run.start} is not a cluster's")
        if self._end + stored > 1 << layout.length_shift(self._plan.cluster_bits):
            raise FormatError("The image is too large for compressed clusters", kind=ErrorKind.LIMIT)
        yield Copy(run.start, self._end, stored)
        self._l2.add(run.start // size, 1, compressed(self._plan, self._end, stored), 0)
        self._end += stored
        if self._l2.full:
            yield from self._tables()

    def _tables(self) -> Iterator[Edit]:
        ready, self._l2.ready = self._l2.ready, []
        if not ready:
            return
        self._align()
        yield Put(self._end, b"".join([data for _, data in ready]))
        for index, _ in ready:
            yield from self._l1.record(index, self._end)
            self._end += self._plan.l2_bytes

    def _align(self) -> None:
        self._end = -(-self._end // self._plan.cluster_size) * self._plan.cluster_size
