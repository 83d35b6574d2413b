"""An image and everything it stands on: its extents and data file, its backing image, and so on down to the base."""

from __future__ import annotations

import os

from instar_core import device as devices
from instar_core import limits, locks, policy, probe, registry, unlocking
from instar_core.errors import ErrorKind, FormatError, InstarError, Loop, PolicyError, UnknownFormat
from instar_core.session import FormatSession
from instar_core.types import Role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from instar_core.device import Device
    from instar_core.launch import Begun
    from instar_core.settings import Settings
    from instar_core.types import ImageInfo, Reference


HEADER = "header"
"""Option that names the file in which an image's header lies apart from its content: device 1."""


class Member:
    """One image of a chain, open and being parsed in its own session. A context manager; `close` ends all of it."""

    __slots__ = ("apart", "backing", "devices", "format", "home", "info", "options", "path", "session", "shown")

    def __init__(self, path: str, found: list[Device], format: str, session: FormatSession, info: ImageInfo) -> None:
        self.path = path
        self.devices = found
        self.format = format
        self.session = session
        self.info = info
        self.home = os.path.dirname(found[0].place())
        self.backing: Member | None = None
        self.shown = path
        """What to call it: its path, or the name that described it."""
        self.options: Mapping[str, Any] = {}
        """With which it was opened; those of `backing.…` are for the images below."""
        self.apart = False
        """Whether device 1 is the image's header."""

    def __enter__(self) -> Member:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The session and every file of this image and of those below are closed."""
        member: Member | None = self
        while member is not None:
            member.session.close()
            for device in member.devices:
                device.close()
            member = member.backing

    def reference(self) -> Reference | None:
        """The backing reference, if the image has one."""
        for reference in self.info.references:
            if reference.role == Role.BACKING:
                return reference
        return None

    def backing_path(self) -> str | None:
        """The name of the backing image as seen from here: relative names count from the image's folder."""
        reference = self.reference()
        return resolve(reference.name, self.path) if reference else None

    def members(self) -> list[Member]:
        """This image and those below it, top first."""
        listed = []
        member: Member | None = self
        while member is not None:
            listed.append(member)
            member = member.backing
        return listed


def resolve(name: bytes, image: str) -> str:
    """A backing file's name as a path: relative to the image's own folder, as the image itself was named.

    Names of protocols stay as they are.
    """
    text = os.fsdecode(name)
    if text.startswith("file:"):
        text = text[5:]
    if text.startswith("/") or protocol(text):
        return text
    if protocol(image):  # beside a source nothing lies on this machine
        return f"{protocol(image)}:{text}"
    return os.path.join(os.path.dirname(image), text)


def protocol(text: str) -> str:
    """The protocol that a file name names (proto:rest with no slash before the colon), or an empty string."""
    head, colon, _ = text.partition(":")
    return head if colon and head and "/" not in head and head != "file" else ""


def plain(path: str) -> str:
    """A name from the command line as a path, or as the name of a source. Raises InstarError for other protocols."""
    if path.startswith("file:"):
        rest = path[5:]
        rest = rest[2:] if rest.startswith("///") else rest
        return f"./{rest}" if protocol(rest) or rest.startswith("file:") else rest
    if protocol(path):
        from instar_core.sources import names

        names.value(path)
    return path


def open_member(
    path: str,
    settings: Settings,
    operation: str,
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: Device | None = None,
    whole: bool = True,
    begun: Begun | None = None,
    held: Collection[Any] = (),
) -> Member:
    """The image at `path`, its format decided, its own files open. Backing images are not followed.

    With `whole` the data file and the extents are opened too; without, only what `info` of the format itself needs.
    `begun` is what launch.begin made of the same path, operation, settings and format; it ends with the member.
    Files of the identities `held` are locked by the caller already. Raises InstarError with `path` set.
    """
    opened_before = begun.device if begun else device
    found = [opened_before] if opened_before else []
    session = None
    shown = path
    if opened_before is None and protocol(path) == "json":
        from instar_core import chosen

        path, format, options, _ = chosen.named(path, format, options)
    given: dict[str, Any] | None = None
    unread = False
    if options and not any(isinstance(value, str) for value in options.values()):
        given = unlocking.own(options)  # such as a check's own, which is not to wait for what reads texts
    elif options:
        from instar_core import chosen, described

        unread = any(isinstance(value, described.Text) for value in options.values())
        if unread and format is not None and registry.known(format):
            options, unread = chosen.read(format, options, path, settings, operation), False
        given = {name: value for name, value in unlocking.own(options).items() if not isinstance(value, described.Text)}
    further = given.pop(HEADER, None) if given else None
    if given is not None and further is not None:
        given[HEADER] = True
    try:
        if format is not None:
            registry.require(format)
        if not found:
            found.append(devices.open_named(plain(path)))
        if further is not None:
            found.append(devices.open_named(plain(further)))
        unlocking.require_secret(format, operation, options, settings)
        session = FormatSession(found, operation, settings, format, given, begun.session if begun else None)
        name = format or probe.decide(session.probe(), settings, path)
        if unread:
            session.close()
            options = chosen.read(name, options or {}, path, settings, operation)
            given = {**unlocking.own(options), HEADER: True} if further is not None else unlocking.own(options)
            session = FormatSession(found, operation, settings, name, given)
        info = session.info(name)
        wanted = [r for r in info.references if r.role == Role.EXTENT or (r.role == Role.DATA and whole)]
        if wanted:
            session.close()
            found += _open_parts(wanted, path, found[0], settings)
            session = FormatSession(found, operation, settings, name, given)
            info = session.info(name)
        if info.encrypted and operation != "info":
            info = unlocking.unlocked(session, name, info, options, settings)
        if not settings.force_share and (options or {}).get(unlocking.SHARED) is not True:
            for opened in found:
                if opened.identity not in held:
                    locks.take(opened, claim(operation, name))
        member = Member(path, found, name, session, info)
        member.apart = further is not None
        member.options = options or {}
        member.shown = shown
        return member
    except BaseException as error:
        if session is not None:
            session.close()
        for opened in found:
            opened.close()
        if isinstance(error, InstarError):
            error.path = shown
        raise


def claim(operation: str, format: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The image locks that an operation takes on what it reads."""
    if operation != "info":
        return locks.READ
    return locks.PLAIN if format == "raw" else locks.LOOK


def _open_parts(wanted: list[Reference], path: str, image: Device, settings: Settings) -> list[Device]:
    found: list[Device] = []
    home = os.path.dirname(image.place())
    try:
        for reference in wanted:
            found.append(open_reference(reference, path, home, settings))
    except BaseException:
        for opened in found:
            opened.close()
        raise
    return found


def open_reference(reference: Reference, path: str, home: str, settings: Settings) -> Device:
    """The file that the image at `path` (really in the folder `home`) refers to, if policy allows.

    Raises PolicyError or DeviceError.
    """
    refused = policy.allowed(reference.role, settings)
    if refused:
        name = os.fsdecode(reference.name)
        raise PolicyError(f"{refused}: '{name}'", path=path)
    name = os.fsdecode(reference.name)
    target = name if name.startswith("/") else os.path.join(os.path.dirname(path), name)
    if reference.role != Role.BACKING and protocol(path):
        raise PolicyError(f"'{name}' lies beside a source, where no further files are opened", path=path)
    if reference.role == Role.BACKING:
        target = resolve(reference.name, path)
    place = devices.Place(target)
    try:
        policy.judge(reference.role, place, home, settings)
        return place.open()
    finally:
        place.close()


def open_chain(
    path: str,
    settings: Settings,
    operation: str,
    *,
    format: str | None = None,
    options: Mapping[str, Any] | None = None,
    whole: bool = True,
    shallow: bool = False,
    device: Device | None = None,
    begun: Begun | None = None,
    held: Collection[Any] = (),
) -> Member:
    """The image and every image below it, linked by Member.backing. Closing the top closes all.

    `shallow` names the errors of backing images as `info` does: by the backing image's own name. `device`, `begun` and
    `held` are as in open_member.
    """
    top = open_member(
        path, settings, operation, format=format, options=options, device=device, whole=whole, begun=begun, held=held
    )
    path = top.shown
    try:
        seen = {top.devices[0].identity}
        member = top
        for _ in range(limits.CHAIN_DEPTH):
            reference = member.reference()
            below = unlocking.below(member.options)
            if unlocking.BELOW in member.options:  # with no value: there is said to be none
                return top
            named = any(key.startswith("file.") for key in below)
            if reference is None and not named:
                return top
            if named:
                from instar_core import chosen

                chosen.require_backing(member, path)
            try:
                if named:
                    member.backing = chosen.opened(member, below, seen, settings, operation, whole, held)
                elif reference is not None:
                    member.backing = _open_backing(member, reference, seen, settings, operation, whole, below, held)
            except InstarError as error:
                if not shallow:
                    error.message = f"Could not open backing file: {error.message}"
                    error.path = path
                elif isinstance(error, Loop):
                    error.path = None
                raise
            if member.backing is None:
                return top
            if operation == "info":
                member.session.close()  # all that was asked is answered, and a chain may be long
            member = member.backing
        raise FormatError(
            f"the backing chain is longer than {limits.CHAIN_DEPTH} images", kind=ErrorKind.LIMIT, path=path
        )
    except BaseException:
        top.close()
        raise


def _open_backing(
    member: Member,
    reference: Reference,
    seen: set[Any],
    settings: Settings,
    operation: str,
    whole: bool,
    options: dict[str, Any],
    held: Collection[Any] = (),
) -> Member:
    target = resolve(reference.name, member.path)
    rules = policy.policy(settings)
    if protocol(target) == "json" and not rules.judged:
        from instar_core import chosen

        return chosen.described_by_image(target, reference.format, seen, settings, operation, whole, held)
    if protocol(target):
        raise PolicyError(f"'{target}' names a protocol; backing files must be plain files", path=target)
    if rules.declared and reference.format is None:
        raise PolicyError(f"the format of the backing file '{target}' is not declared", path=target)
    opened = open_reference(reference, member.path, member.home, settings)
    if opened.identity in seen:
        opened.close()
        raise Loop(f"Backing file '{target}' creates an infinite loop.", path=target)
    seen.add(opened.identity)
    declared = reference.format
    if "driver" in options:  # the caller's word, which counts more than the image's
        declared = str(options["driver"])
        options = {key: value for key, value in options.items() if key != "driver"}
        return open_member(
            target, settings, operation, format=declared, device=opened, whole=whole, options=options, held=held
        )
    if not rules.declared:
        lenient = settings._replace(unsafe_quirks=True)
        below = open_member(
            target, lenient, operation, format=declared, device=opened, whole=whole, options=options, held=held
        )
    else:
        below = _confirmed(target, opened, declared, settings, operation, whole, options, held)
    if operation != "info":
        try:
            confirm_identity(reference, below, target)
        except FormatError:
            below.close()
            raise
    return below


def confirm_identity(reference: Reference, below: Member, target: str) -> None:
    """Raises FormatError where the image was made for another backing file than this."""
    for key, what, own in (
        ("cid", "CID", below.info.details.get("cid")),
        ("identity", "identifier", below.info.extra.get("identity")),
    ):
        wanted = reference.details.get(key)
        if wanted is not None and wanted != own:
            raise FormatError(
                f"the image was made for a backing file with {what} {wanted}, but '{target}' has {what} {own}",
                kind=ErrorKind.CORRUPT,
                path=target,
            )


def _confirmed(
    target: str,
    opened: Device,
    declared: str | None,
    settings: Settings,
    operation: str,
    whole: bool,
    options: dict[str, Any],
    held: Collection[Any],
) -> Member:
    """The backing image, of the format it was declared to be, as its own probe confirms."""
    strict = settings._replace(unsafe_quirks=False)
    try:
        member = open_member(target, strict, operation, device=opened, whole=whole, options=options, held=held)
    except UnknownFormat as error:
        raise PolicyError(
            f"the backing file '{target}' shows no sign of being a {declared} disk", path=target
        ) from error
    if member.format != declared:
        found = member.format
        member.close()
        raise PolicyError(f"the backing file '{target}' is {found}, not {declared} as the image says", path=target)
    return member
