"""Taking walls away, so that a machine passes for one whose kernel has less. For tests only.

INSTAR_TEST_MASK names walls of the jail, divided by commas: namespaces, landlock. With it every sandbox that is started
lacks them, and the report says so.
"""

from __future__ import annotations

import os

VARIABLE = "INSTAR_TEST_MASK"
NAMES = frozenset(os.environ.get(VARIABLE, "").split(",")) - {""}
REPORTED = {"namespaces": ("namespaces", "empty root folder"), "landlock": ("Landlock",)}


def mask() -> None:
    """Sandboxes started from here on lack the walls that the environment names."""
    import instar_sandbox
    from instar_sandbox import platforms, report
    from instar_sandbox.errors import WallError

    if not NAMES:
        return
    assert REPORTED.keys() >= NAMES, f"{VARIABLE} knows {', '.join(REPORTED)}"
    whole = platforms.start

    def start(*words, unsafe_walls_off=(), **options):
        return whole(*words, unsafe_walls_off=NAMES | frozenset(unsafe_walls_off), **options)

    def absent():
        raise WallError("masked")

    platforms.start = instar_sandbox.start = start
    gone = {name for wall in NAMES for name in REPORTED[wall]}
    report.TRIALS = tuple((name, must, absent if name in gone else trial) for name, must, trial in report.TRIALS)
