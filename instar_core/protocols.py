"""Protocols that no source plugin speaks, and what to use instead."""

from __future__ import annotations

from instar_core.errors import ErrorKind, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BLOCK: Final = "and name the block device"
DOWNLOAD: Final = "download the file first, and name that"

INSTEAD: Final = {
    "nbds": f"attach the export (nbd-client) {BLOCK}",
    "rbd": f"map the image (rbd device map) {BLOCK}",
    "iscsi": f"log in to the target (iscsiadm) {BLOCK}",
    "iser": f"log in to the target (iscsiadm) {BLOCK}",
    "nvme": f"bind the controller to the kernel's driver {BLOCK}",
    "gluster": "mount the volume, and name the file in it",
    "gluster+tcp": "mount the volume, and name the file in it",
    "gluster+unix": "mount the volume, and name the file in it",
    "nfs": "mount the share, and name the file in it",
    "ssh": "mount the folder (sshfs) or copy the file, and name that",
    "sftp": "mount the folder (sshfs) or copy the file, and name that",
    "ftp": DOWNLOAD,
    "ftps": DOWNLOAD,
    "pbs": f"map the archive (proxmox-backup-client map) {BLOCK}",
    "sheepdog": "export the volume as a block device, and name that",
    "fat": "make an image of the folder (mkfs.vfat, mcopy), and name that",
}
"""What does the work of a protocol that qemu-img speaks."""


def refusal(protocol: str, name: str) -> UsageError:
    """Why a name of the protocol is not followed, and what to do. The error has the name as its path."""
    instead = INSTEAD.get(protocol)
    if instead is None:
        return UsageError(f"Unknown protocol '{protocol}'", kind=ErrorKind.UNSUPPORTED, path=name)
    return UsageError(f"{protocol} is not spoken here: {instead}", kind=ErrorKind.UNSUPPORTED, path=name)
