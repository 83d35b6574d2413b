"""New qcow2 images, empty or filled."""

from __future__ import annotations

from instar_core.errors import FormatError
from instar_core.types import Coding, Create, Geometry, NewFile, Zero
from instar_qcow2 import layout
from instar_qcow2.empty import empty
from instar_qcow2.encryption import coding as cipher
from instar_qcow2.heading import heading
from instar_qcow2.mapped import fill_mapped
from instar_qcow2.plan import plan_image
from instar_qcow2.sequential import fill
from instar_qcow2.sizes import overhead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from instar_core.types import Edit, Run
    from instar_qcow2.plan import Plan


def create(request: Create, runs: Iterable[Run]) -> Iterator[Geometry | Edit]:
    """A new image that holds the runs. Before the last barrier the file has no header.

    Raises FormatError, before anything else, for options that qemu-img refuses, and in its words.
    """
    plan = plan_image(request)
    heading(plan, 0, 0, 0)
    yield geometry(plan)
    if plan.encryption.method != layout.CRYPT_NONE and plan.keys is None:
        raise FormatError("an image is to be encrypted and no key slots were made for it")
    source = iter(runs)
    first = next(source, None)
    yield Zero(0, plan.cluster_size)
    if plan.preallocation != "off":
        yield from fill_mapped(plan, _again(first, source))
    elif first is None:
        yield from empty(plan)
    else:
        yield from fill(plan, _again(first, source))


def geometry(plan: Plan) -> Geometry:
    """How the writer wants the runs. Zeros count where something else would show through: a backing or a kept file, or,
    where nothing in the image can say that they are zeros, what an unwritten cluster decrypts to."""
    coding = None
    if plan.compress:
        zstd = plan.compression_type == layout.COMPRESSION_ZSTD
        coding = Coding("zstd" if zstd else "deflate-12", plan.cluster_size)
    files: tuple[NewFile, ...] = ()
    if plan.data_file:
        files = (NewFile(plan.data_file, plan.size, named=True),)
    encryption = plan.encryption
    encrypted = encryption.method != layout.CRYPT_NONE
    unsaid = encrypted and plan.preallocation != "off" and not plan.unwritten_zeros
    by_offset = encryption.method == layout.CRYPT_LUKS
    # The rest of the last cluster is written too: left alone, it would not read as zeros when the disk grows.
    size = plan.clusters << plan.cluster_bits if encrypted and not plan.data_file_raw else plan.size
    return Geometry(
        plan.unit,
        size,
        zeros=bool(plan.backing_file) or plan.keep_data_file or unsaid,
        coding=coding,
        overhead=overhead(plan),
        files=files,
        measure_unit=plan.cluster_size,
        cipher=cipher(encryption.cipher, encryption.key_size, by_offset=by_offset) if encrypted else None,
    )


def _again(first: Run | None, rest: Iterator[Run]) -> Iterator[Run]:
    if first is not None:
        yield first
    yield from rest
