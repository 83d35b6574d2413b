"""How an operation is to behave: sandbox, policy, quirks, time limit."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from instar_core.keyring import Keyring
    from instar_core.pool import Pool
else:
    from instar_core.record import NamedTuple


class Settings(NamedTuple):
    """Settings of one operation; the defaults are the safe ones."""

    sandbox: str = "auto"
    """auto, kvm, process or inline; auto never means inline."""
    policy: str = "default"
    """Name of the image policy: default, untrusted, qemu, openstack, proxmox, ovirt, strict."""
    roots: tuple[str, ...] = ()
    """Folders that referenced files must lie in; () means where the policy's own rule says."""
    unsafe_quirks: bool = False
    """Do as qemu-img does also where that is unsafe: anything may be raw."""
    ignore_quirks: bool = False
    """Leave out qemu-img's oddities of presentation."""
    extra_detail: bool = False
    """Show format-specific facts that qemu-img does not."""
    qemu: bool = False
    """Answer to the name qemu-img: its presence rules and version line."""
    timeout: float | None = None
    """Wall-clock seconds for the whole operation."""
    cpu: int | None = None
    """CPU seconds of each worker that parses an image; None for what the policy, or else the work, gives it."""
    memory: int | None = None
    """Bytes of address space of such a worker; None for what the policy gives it."""
    force_share: bool = False
    """Neither take nor honour image locks (reading only)."""
    pool: Pool | None = None
    """Sandboxes that stand ready, for sessions that parse images."""
    keyring: Keyring | None = None
    """Passphrases by the names that options call them by. With any, no worker is forked from a process that holds
    them."""
    compression: str = "fast"
    """How hard content is compressed: fast, or small, which is no larger than what qemu-img makes (see effort.py)."""

    @property
    def as_qemu(self) -> bool:
        """Whether what qemu-img cannot do is refused as qemu-img does."""
        return self.qemu and not self.ignore_quirks


DEFAULTS = Settings()
