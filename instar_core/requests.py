"""What a plugin is asked to make or to change, and the key slots that go with it: plain data, without any secret."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple
else:
    from instar_core.record import NamedTuple


class KeySlot(NamedTuple):
    """A key slot of an encrypted image: how a passphrase turns into the key material stored there."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no record needs
    kdf: str
    params: Mapping[str, Any]
    salt: bytes
    stripes: int
    offset: int
    length: int
    cipher: str
    hash: str


class KeyPlan(NamedTuple):
    """All that a key worker needs to turn one passphrase into the volume key. No secret is in it.

    `material` holds each slot's stored key material. `check` says how the key is recognised (salt, iterations, digest).

    The answer to instar_seal is one that is still to be filled: salts are zeros of the length wanted, the params of a
    slot and `check` hold `time` (milliseconds that one try may cost) in place of what the key worker chooses by it,
    `material` is empty. The key worker gives it back filled.
    """

    cipher: str
    key_size: int
    slots: tuple[KeySlot, ...]
    material: tuple[bytes, ...]
    check: Mapping[str, Any]


class Create(NamedTuple):
    """Request: a new image of `size` bytes, empty or to be filled with the runs that follow.

    `options` holds every option of the FormatSpec: parsed values, defaults where the user gave none, None where
    there is no default. `name` is the file name of device 0 without folders. `time` is ns since the epoch and
    `entropy` 64 random bytes, both made by the host. `backing` describes the backing image: name (as stored),
    format, size, details.
    """

    size: int
    options: Mapping[str, Any]
    name: bytes = b""
    time: int = 0
    entropy: bytes = bytes(64)
    compress: bool = False
    backing: Mapping[str, Any] | None = None
    keys: KeyPlan | None = None


class SnapshotEdit(NamedTuple):
    """Request: create, delete or apply the internal snapshot `name`. `action` is create, delete or apply.

    Applied, the snapshot's content is the active content too. A snapshot that is applied is found by id or name.
    """

    action: str
    name: str
    time: int = 0


class Repair(NamedTuple):
    """Request: mend what instar_check calls repairable: leaks only, or all. `mode` is leaks or all."""

    mode: str
    time: int = 0
    entropy: bytes = bytes(64)


class Amend(NamedTuple):
    """Request: these options of the image are changed; only those that the user gave are there.

    Secrets never are: `keys` are key slots that a key worker made of the plugin's own instar_seal for this request,
    `opened` the numbers of the key slots that the passphrase named as the old one opens, None where none was named.
    With `force` also what cannot be undone is done. `below` is as in Resize, for the option size.
    """

    options: Mapping[str, Any]
    keys: KeyPlan | None = None
    opened: tuple[int, ...] | None = None
    force: bool = False
    time: int = 0
    entropy: bytes = bytes(64)
    below: int | None = None


class Update(NamedTuple):
    """Request: the runs that follow are written into the image as it is; everything else of it stays.

    The answer is a dialogue as for Create: first a Geometry, then the edits that place the runs. The runs come in whole
    units, so that nothing of what was there has to be read. A plan whose Geometry has a coding is only asked for with
    `compress`.

    With `keep` the images that stand on this one go on standing on it: what identifies its content stays as it is. With
    `opaque` zeros are written such that no backing file that the image names later shows through.
    """

    compress: bool = False
    time: int = 0
    entropy: bytes = bytes(64)
    keep: bool = False
    opaque: bool = False


class Resize(NamedTuple):
    """Request: the virtual disk has `size` bytes. What it grows by reads as zeros.

    `preallocation` (off, metadata, falloc, full) is for what it grows by. Whether it may shrink was asked before.
    `below` is the size of the disk that the backing image has, None where there is none or nobody looked. `keep` is as
    for Update.
    """

    size: int
    preallocation: str = "off"
    time: int = 0
    entropy: bytes = bytes(64)
    below: int | None = None
    keep: bool = False


class Rebase(NamedTuple):
    """Request: the image names this backing file, or none, and nothing else of it changes.

    `backing` is as in Create: name (as stored), format, size, details, identity; the last three only where the file
    was looked at.
    """

    backing: Mapping[str, Any] | None = None
    time: int = 0
    entropy: bytes = bytes(64)


class Empty(NamedTuple):
    """Request: the image holds nothing of its own any more: all of it reads as its backing image."""

    time: int = 0
    entropy: bytes = bytes(64)


class BitmapEdit(NamedTuple):
    """Request: a dirty bitmap is changed. `action` is add, remove, clear, enable, disable, merge, or remove-all, which
    is about every bitmap.

    `granularity` (bytes, 0: the format's default) is for add. For merge the runs that follow are what is dirty in the
    source: stretches of DATA that ascend; they may be more than one of them wide and start anywhere. The actions in
    `further` follow, in their order, and all of them become current together; at most one of all is merge.
    """

    action: str
    name: str
    granularity: int = 0
    time: int = 0
    further: tuple[str, ...] = ()


def wanted_size(request: object) -> int:
    """Bytes of the disk that a change asks for; 0 where it asks for none."""
    if isinstance(request, Amend):
        size = request.options.get("size")
    else:
        size = request.size if isinstance(request, Resize) else 0
    return max(0, size or 0)
