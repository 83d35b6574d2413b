"""A program with memory that the host shares: it does there what it is told to."""

import sys

from instar_sandbox import shared
from instar_sandbox.jail import libc


def prepare(argument, descriptors):
    return shared.view(descriptors[-1], int(argument)) if argument else None


def serve(memory, channel):
    while True:
        try:
            order = channel.receive().split()
        except EOFError:
            return
        channel.send(act(memory, *order))


def act(memory, verb, place, what=b""):
    if verb == b"write":
        memory[int(place) : int(place) + len(what)] = what
        return b"written"
    if verb == b"read":
        return bytes(memory[int(place) : int(place) + int(what)])
    if verb == b"fill":
        memory[:] = what * (len(memory) // len(what))
        return b"filled"
    if verb == b"poke":  # an address of its own choice
        view = libc.memory(int(place), 1)
        before = bytes(view)
        view[:] = what
        return before
    sys.exit(f"unknown order {verb!r}")
