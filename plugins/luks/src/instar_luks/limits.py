"""Bounds on what a LUKS header may ask for, each with its reason."""

from __future__ import annotations

ITERATIONS = 1 << 26
"""Most PBKDF2 iterations of a key slot or of the digest that are tried: about a minute of one core. Tools choose them
for 1 to 2 seconds on the machine that makes the volume; only unlocking is refused, never info."""

EXTENT = 1 << 31
"""Bytes after which the one run of encrypted sectors is cut into a further extent: a stored length has 32 bits on the
wire."""
