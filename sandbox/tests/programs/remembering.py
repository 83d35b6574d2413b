"""A program with a past: much of it is made when it is imported, and it changes that with every question."""

import os
import zlib

CONTENT = bytes(range(256)) * (3 << 12)
PAST = {number: CONTENT[number : number + 100] for number in range(20000)}
ZEROS = bytearray(24 << 20)


def prepare(argument, descriptors):
    return argument, descriptors


def serve(state, channel):
    argument, descriptors = state
    while True:
        try:
            question = channel.receive()
        except EOFError:
            return
        channel.send(answer(argument, descriptors, question))


def answer(argument, descriptors, question):
    """A sum over the past, in which the question is from now on, over the files, and over much memory in between."""
    key = zlib.crc32(question) % len(PAST)
    PAST[key] += question
    ZEROS[key * 1000 : key * 1000 + len(question)] = question
    found = zlib.crc32(argument + CONTENT)
    for piece in PAST.values():
        found = zlib.crc32(piece, found)
    found = zlib.crc32(ZEROS, found)
    for descriptor in descriptors:
        found = zlib.crc32(os.pread(descriptor, 1 << 20, len(question)), found)
    large = [bytes(1 << 20) + question for _ in range(20)]
    found = zlib.crc32(b"".join(large), found)
    return b"%d" % found
