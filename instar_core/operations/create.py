"""create: a new, empty image."""

from __future__ import annotations

import os

from instar_core import chain as chains
from instar_core import registry
from instar_core.errors import InstarError, UsageError
from instar_core.making import Order, describe_backing, open_target
from instar_core.results import Creation
from instar_core.settings import DEFAULTS
from instar_core.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from instar_core.settings import Settings


def create(
    path: str,
    *,
    format: str = "raw",
    size: int | None = None,
    options: Mapping[str, str] | None = None,
    backing: str | None = None,
    backing_format: str | None = None,
    unsafe_backing: bool = False,
    settings: Settings = DEFAULTS,
    announce: Callable[[Creation], None] | None = None,
) -> Creation:
    """A new image stands at `path`, empty, or with the content of its backing file.

    `size` is bytes; without it the backing image's. `options` are texts as a user types them. The backing file is
    opened and must be what it is said to be, unless `unsafe_backing`. `announce` is called once when all is decided
    and nothing is made yet. On failure no file stays that was not there before. Raises InstarError.
    """
    path = chains.plain(path)
    try:
        order = Order(path, format, options or {}, settings)
        order.take_backing(backing, backing_format)
        made = decide_size(order, size)
        if order.values.get("backing_file") is not None:
            made = look_at_backing(order, made, unsafe_backing)
        if made is None:
            raise UsageError("Image creation needs a size parameter", path=path)
    except InstarError as error:
        if isinstance(error, UsageError) and error.path is None and "Unknown file format" not in error.message:
            error.path = path
        raise
    creation = Creation(path, format, made, order.printed(made))
    if announce is not None:
        announce(creation)
    _refuse_lone_format(order)
    with order.session() as session, Target(path) as target:
        from instar_core.dataplane.fill import fill

        dialogue = order.dialogue(session, made)
        open_target(target, order, dialogue)
        geometry = dialogue.geometry
        if geometry.cipher is not None:  # what nobody wrote yet is random for whoever has the key, as everywhere
            geometry = geometry._replace(full=False)
        fill(iter(()), geometry, dialogue.converse, dialogue.finish, target.descriptors)
        target.commit()
    return creation


def _refuse_lone_format(order: Order) -> None:
    """Raises UsageError for a backing format without a backing file: after the announcement, as qemu-img does."""
    declared = order.values.get("backing_fmt")
    if declared is None or order.values.get("backing_file") is not None:
        return
    if not registry.known(str(declared)):
        raise UsageError(f"Parameter 'backing-fmt' does not accept value '{declared}'", path=order.path)
    raise UsageError("Backing format cannot be used without backing file", path=order.path)


def decide_size(order: Order, size: int | None) -> int | None:
    """The size that the call or its option list names; not both."""
    listed = order.values.get("size")
    if listed is not None and size is not None:
        raise UsageError("The image size must be specified only once", path=order.path)
    return size if listed is None else int(listed)


def look_at_backing(order: Order, size: int | None, unsafe: bool) -> int | None:
    """The size of the new image, the backing image's where none was given; the order knows its backing image then."""
    stored = str(order.values["backing_file"])
    declared = order.values.get("backing_fmt")
    if not stored:
        raise UsageError("Expected backing file name, got empty string", path=order.path)
    target = chains.resolve(os.fsencode(stored), order.path)
    if os.path.realpath(target) == os.path.realpath(order.path):
        raise UsageError("Error: Trying to create an image with the same filename as the backing file", path=order.path)
    if declared is None and "backing_fmt" in order.values:
        hint = "" if unsafe else detected(target, order.settings)
        raise UsageError("Backing file specified without backing format", hint=hint, path=order.path)
    if unsafe:
        name = os.fsencode(stored)
        order.backing = {"name": name, "format": declared, "size": size or 0, "details": {}, "identity": None}
        return size
    try:
        settings = order.settings._replace(unsafe_quirks=True, force_share=True)
        with chains.open_member(
            target, settings, "info", format=None if declared is None else str(declared), whole=False
        ) as member:
            order.backing = describe_backing(member, stored, str(declared) if declared else member.format)
            return member.info.virtual_size if size is None else size
    except InstarError as error:
        error.hint = "Could not open backing image."
        error.path = order.path
        raise


def detected(target: str, settings: Settings) -> str:
    """A line that says what the backing file seems to be; empty where it cannot be told."""
    try:
        with chains.open_member(target, settings._replace(unsafe_quirks=True), "info", whole=False) as member:
            return f"Detected format of {member.format}."
    except InstarError:
        return ""
