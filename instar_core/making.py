"""Making a new image: the dialogue with its format's writer, in a session that sees no untrusted byte."""

from __future__ import annotations

import os
from errno import ENOENT, ENOTDIR

from instar_core import options as optionlists
from instar_core import registry, sealing
from instar_core.effort import compressing
from instar_core.errors import DeviceError, ErrorKind, InstarError, UsageError
from instar_core.session import FormatSession
from instar_core.spec import FILE_OPTIONS
from instar_core.types import Capability, Create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from instar_core.chain import Member
    from instar_core.device import Device
    from instar_core.options import Value
    from instar_core.session import Dialogue
    from instar_core.settings import Settings
    from instar_core.target import Target
    from instar_core.types import FormatSpec


class Order:
    """What is to be made, decided before anything is opened or created: format, options, size, backing."""

    def __init__(self, path: str, format: str, given: Mapping[str, str], settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self.spec: FormatSpec = registry.spec(format)
        if Capability.CREATE not in self.spec.capabilities:
            raise InstarError(f"Format driver '{format}' does not support image creation", kind=ErrorKind.UNSUPPORTED)
        self.given = dict(given)
        self.known = optionlists.table(self.spec)
        self.values: dict[str, Value] = optionlists.parse(self.known, self.given)
        self.compress = False
        self.backing: dict[str, object] | None = None
        self.measuring = False
        """Nothing will be written: key slots are made as fast as possible."""

    def fillable(self) -> None:
        """Raises InstarError where images of the format are only made empty."""
        if Capability.FILL not in self.spec.capabilities:
            text = f"Format driver '{self.spec.name}' does not support writing content into a new image"
            raise InstarError(text, kind=ErrorKind.UNSUPPORTED)

    def take_backing(self, name: str | None, format: str | None) -> None:
        """The backing file given apart from the option list counts; it may not be named twice."""
        for key, value in (("backing_file", name), ("backing_fmt", format)):
            if value is None:
                continue
            if key not in self.values:
                what = "Backing file" if key == "backing_file" else "Backing format"
                raise UsageError(f"{what} not supported for file format '{self.spec.name}'", path=self.path)
            self.values[key] = value
            self.given[key] = value

    def give(self, name: str, text: str) -> None:
        """The option has the value that the text means. Raises UsageError."""
        option = next(option for option in self.known if option.name == name)
        self.values[name] = optionlists.parse_value(option, text)
        self.given[name] = text

    def printed(self, size: int) -> tuple[tuple[str, object], ...]:
        """The options as `create` announces them: those with a value, in the format's order; text as the user gave
        it."""
        listed: list[tuple[str, object]] = []
        for option in self.spec.options:
            if option.name == "size":
                listed.append(("size", size))
                continue
            value = self.values.get(option.name)
            if value is None:
                continue
            if option.type == "bool":
                given = self.given.get(option.name)
                listed.append((option.name, given if given is not None else "on" if value else "off"))
            else:
                listed.append((option.name, value))
        own = {option.name for option in self.spec.options}
        listed += [(name, value) for name, value in self._of_file() if name not in own]
        return tuple(listed)

    def _of_file(self) -> list[tuple[str, object]]:
        """The options of the file under the image that were given."""
        found: list[tuple[str, object]] = []
        for option in FILE_OPTIONS:
            if option.name in self.given:
                value = self.given[option.name] if option.type == "bool" else self.values[option.name]
                found.append((option.name, value))
        return found

    def check_file_options(self) -> None:
        """Raises UsageError for a preallocation that no file has, where the format leaves it to the file."""
        how = self.values.get("preallocation")
        if how is None or any(option.name == "preallocation" for option in self.spec.options):
            return
        if how == "metadata":
            raise UsageError("Unsupported preallocation mode: metadata", path=self.path)
        if how not in ("off", "falloc", "full"):
            raise UsageError(f"invalid parameter value: {how}", path=self.path)

    def request(self, size: int) -> Create:
        """The request that the plugin gets, with the time and the entropy that it may need."""
        import time

        return Create(
            size,
            self.values,
            os.fsencode(os.path.basename(self.path)),
            time.time_ns(),
            os.urandom(64),
            self.compress,
            self.backing,
        )

    def require_content(self, size: int) -> None:
        """Raises InstarError where an image with the content of a disk of `size` bytes could not be made, or not be
        opened again."""
        require_folder(self.path)
        if self.spec.name == "vmdk" and not size:
            kind = self.values.get("subformat") or "monolithicSparse"
            told = f"Could not open '{self.path}': Unsupported image type '{kind}'"
            raise InstarError(told, kind=ErrorKind.UNSUPPORTED)

    def session(self) -> FormatSession:
        """A session of the writer. It is always a jailed process (or inline, where that was asked for by name)."""
        place = "inline" if self.settings.sandbox == "inline" else "process"
        operation = "write/create" if sealing.secret(self.values) is None else "write"
        return FormatSession([], operation, self.settings._replace(sandbox=place), self.spec.name)

    def dialogue(self, session: FormatSession, size: int) -> Dialogue:
        """The dialogue, its geometry stated. Raises FormatError with the path where the options do not fit."""
        try:
            request = self.request(size)
            secret = sealing.secret(self.values)
            if secret is None or Capability.ENCRYPT not in self.spec.capabilities:
                dialogue = session.write(self.spec.name, request)
                dialogue.geometry = compressing(dialogue.geometry, self.settings.compression)
                return dialogue
            plan, key = sealing.sealed(session, self.spec.name, request, secret, self.settings, self.measuring)
            dialogue = session.write(self.spec.name, request._replace(keys=plan))
            dialogue.geometry = sealing.keyed(dialogue.geometry, key)
            return dialogue
        except InstarError as error:
            error.path = self.path or None
            raise


def describe_backing(member: Member, stored: str, format: str | None) -> dict[str, object]:
    """What a writer is told of the backing image."""
    return {
        "name": os.fsencode(stored),
        "format": format,
        "size": member.info.virtual_size,
        "details": dict(member.info.details),
        "identity": member.info.extra.get("identity"),
    }


def prepare_file(device: Device, order: Order) -> None:
    """The file options that are the host's own are set on the still empty file: nocow and the extent size hint."""
    from instar_core.dataplane import ioctls

    if order.values.get("nocow"):
        ioctls.set_nocow(device.descriptor)
    hint = order.values.get("extent_size_hint")
    if hint is None:
        hint = 1 << 20
    if hint:
        ioctls.set_extent_size_hint(device.descriptor, int(hint))


def require_folder(path: str) -> None:
    """Raises DeviceError where the folder of a new image is not there: that is told first."""
    folder = os.path.dirname(path) or "."
    if ":" in path.partition("/")[0]:
        from instar_core.sources import names

        if names.is_source(path):
            return
    if not os.path.isdir(folder):
        code = ENOTDIR if os.path.exists(folder) else ENOENT
        raise DeviceError(f"Could not create '{path}': {os.strerror(code)}", errno=code, path=path)


def require_known_backing(order: Order) -> None:
    """Raises UsageError for a backing format that is none."""
    declared, name = order.values.get("backing_fmt"), order.spec.name
    if declared is None:
        return
    if name == "vmdk" and declared != "vmdk":
        raise UsageError("backing_file must be a vmdk image", path=order.path)
    if not registry.known(str(declared)):
        told = f"Parameter 'backing-fmt' does not accept value '{declared}'"
        raise UsageError(f"unrecognized backing format '{declared}'" if name == "qcow" else told, path=order.path)


def open_target(target: Target, order: Order, dialogue: Dialogue, *, create: bool = True) -> None:
    """The files of the new image are there and empty. Without `create` the first must be there."""
    require_folder(order.path)
    order.check_file_options()
    device = target.take(order.path, create=create)
    if not device.fixed and create:
        prepare_file(device, order)
    target.take_further(dialogue.geometry, keep=bool(order.values.get("keep_data_file")), given=order.given.values())
