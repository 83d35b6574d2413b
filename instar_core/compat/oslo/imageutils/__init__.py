"""oslo_utils.imageutils: what qemu-img info printed, and inspectors of formats."""

from __future__ import annotations

from instar_core.compat.oslo.imageutils.qemu import QemuImgInfo

__all__ = ["QemuImgInfo"]
