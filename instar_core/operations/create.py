"""create: a new, empty image."""

from __future__ import annotations

import os
from errno import EFBIG

from instar_core import chain as chains
from instar_core.errors import DeviceError, InstarError, PolicyError, UsageError
from instar_core.making import Order, describe_backing, open_target, require_folder, require_known_backing
from instar_core.results import Creation
from instar_core.settings import DEFAULTS
from instar_core.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from instar_core.chain import Member
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
    if format == "vmdk":
        require_known_backing(order)
    require_folder(path)
    require_known_backing(order)
    try:
        _make(order, path, made)
    except DeviceError as error:
        if error.errno == EFBIG:
            error.message = f"The image size is too large for file format '{format}'"
        raise
    return creation


def _make(order: Order, path: str, size: int) -> None:
    from instar_core.dataplane.fill import fill

    with order.session() as session, Target(path) as target:
        dialogue = order.dialogue(session, size)
        open_target(target, order, dialogue)
        geometry = dialogue.geometry
        if geometry.cipher is not None:  # what nobody wrote yet is random for whoever has the key, as everywhere
            geometry = geometry._replace(full=False)
        fill(iter(()), geometry, dialogue.converse, dialogue.finish, target.descriptors)
        target.commit()


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
    undeclared = declared is None and "backing_fmt" in order.values
    if unsafe and undeclared:
        raise UsageError("Backing file specified without backing format", path=order.path)
    if unsafe:
        name = os.fsencode(stored)
        order.backing = {"name": name, "format": declared, "size": size or 0, "details": {}, "identity": None}
        return size
    try:
        with opened(target, None if declared is None else str(declared), order.settings) as member:
            if undeclared:
                hint = f"Detected format of {member.format}."
                raise Undeclared("Backing file specified without backing format", hint=hint, path=order.path)
            order.backing = describe_backing(member, stored, str(declared) if declared else member.format)
            return member.info.virtual_size if size is None else size
    except Undeclared:
        raise
    except InstarError as error:
        error.hint = "Could not open backing image."
        error.path = order.path
        raise


class Undeclared(UsageError):
    """Nobody said of what format the backing file is."""


def opened(path: str, format: str | None, settings: Settings) -> Member:
    """The backing image, and what lies below it: an image over a chain that cannot be opened could not be either.

    What only a rule forbids is no reason not to make the image: it is judged when the image is opened. Raises
    InstarError.
    """
    settings = settings._replace(unsafe_quirks=True, force_share=True)
    try:
        return chains.open_chain(path, settings, "info", format=format, whole=False)
    except PolicyError:
        return chains.open_member(path, settings, "info", format=format, whole=False)
