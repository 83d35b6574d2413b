"""Every deed that a sandbox is tried with."""

from __future__ import annotations

from instar_sandbox.containment.catalogue import inside, machine, outside

DEEDS = (*outside.DEEDS, *inside.DEEDS, *machine.DEEDS)
THOROUGH = outside.THOROUGH
"""Deeds of thousands of sessions, done only when named."""
