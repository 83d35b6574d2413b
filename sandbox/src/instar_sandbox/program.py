"""What is run in a sandbox, and how much it may use."""

from __future__ import annotations

MAX_FRAME = 8 << 20
"""Bytes of the largest frame on a channel, unless the caller says otherwise."""


class Program:
    """A module with two functions and the argument for the first.

    `module.prepare(argument, descriptors) -> state` runs before the walls are up: it may import, and read its
    descriptors. `module.serve(state, channel)` runs behind them.
    """

    __slots__ = ("argument", "module")

    def __init__(self, module: str, argument: bytes = b"") -> None:
        self.module = module
        self.argument = argument

    def __repr__(self) -> str:
        return f"Program({self.module!r}, {len(self.argument)} bytes)"


class Limits:
    """Bounds of one session.

    `cpu`: seconds of processor time. `memory`: bytes of address space, including what the process starts with.
    `wall`: seconds from start to end of the whole session, None for no bound.
    """

    __slots__ = ("cpu", "memory", "wall")

    def __init__(self, cpu: int = 30, memory: int = 1 << 30, wall: float | None = None) -> None:
        self.cpu = cpu
        self.memory = memory
        self.wall = wall

    def __repr__(self) -> str:
        return f"Limits(cpu={self.cpu}, memory={self.memory}, wall={self.wall})"
