"""Requests answered: each names a format and brings all pieces that were kept for it. Nothing is remembered."""

from __future__ import annotations

from instar_core import limits, wire
from instar_core.worker.stream import disks, gpt, iso, luks, qcow2, vhdx, vmdk
from instar_core.worker.stream.words import Piece

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from instar_core.worker.format import Channel
    from instar_core.worker.stream.words import Verdict

EXAMINERS: dict[str, Callable[[Mapping[str, Piece], Mapping[str, Any]], Verdict]] = {
    "qcow2": qcow2.examine,
    "qed": disks.qed,
    "vhd": disks.vhd,
    "vdi": disks.vdi,
    "vhdx": vhdx.examine,
    "vmdk": vmdk.examine,
    "iso": iso.examine,
    "gpt": gpt.examine,
    "luks": luks.examine,
}


def prepare(argument: bytes, descriptors: tuple[int, ...]) -> None:
    """Nothing: what is needed has been imported with this module, and the stream comes in requests."""


def serve(state: None, channel: Channel) -> None:
    """Requests answered until the host closes the channel: (format, {name: (offset, data, done)}, options)."""
    while True:
        try:
            frame = channel.receive()
        except EOFError:
            return
        if frame[:1] != wire.REQUEST:
            return
        try:
            name, pieces, options = wire.decode(frame[1:])
            kept = {key: Piece._make(piece) for key, piece in pieces.items()}
            answer = wire.VALUE + wire.encode(EXAMINERS[name](kept, options))
        except MemoryError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            answer = wire.ERROR + wire.encode("".join(c if c.isprintable() else "?" for c in text[: limits.MESSAGE]))
        channel.send(answer)
