"""Hostile values in what is not of fixed places: the JSON of LUKS2 headers, the property lists of UDIF images.

A text is rewritten as a whole, and padded to the length that it had.
"""

from __future__ import annotations

import base64
import importlib
import re
from typing import TYPE_CHECKING

from instar_core.testing.hostile import EDGES, Mutation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from instar_core.testing.medium import Medium

VALUES = (
    b"null", b"true", b"-1", b"0", b"1", b'"0"', b'"-1"', b"{}", b"[]", b'""', b'"\\ud800"', b"1e999", b"1.5", b"NaN",
    b'"18446744073709551615"', b'"9223372036854775808"', b'"99999999999999999999999999"', b"4294967296",
    b"9" * 5000, b"[" * 3000, b'{"a":' * 2000, b'"' + b"A" * 3000 + b'"', b'"dynamic"', b'"\xff\xfe"', b'"0x10"',
    b'" 1"',
)  # fmt: skip


def luks(media: Sequence[Medium], random: Random) -> Mutation | None:
    """A value or a name in the JSON of one or both copies of a header is another."""
    medium = media[0]
    if medium.pread(2, 6) != b"\0\2":
        return None
    size = int.from_bytes(medium.pread(8, 8), "big")
    text = medium.pread(size - 4096, 4096).rstrip(b"\0")
    words = list(re.finditer(rb'"(?:[^"\\]|\\.)*"|-?\d+|true|false|null|\{\}|\[\]', text))
    new, title = text, []
    for _ in range(random.choice((1, 1, 1, 2))):
        word = random.choice(words)
        value = _value(random, word.group(), [one.group() for one in words])
        if word.end() > len(new):
            continue
        new = new[: word.start()] + value + new[word.end() :]
        title.append(f"{word.group()[:20]!r} at {word.start()} to {value[:30]!r}")
    new = new[: size - 4097].ljust(size - 4096, b"\0")
    places = random.choice(((4096, size + 4096), (4096, size + 4096), (4096,), (size + 4096,)))
    return Mutation(f"JSON {'; '.join(title)}", 0, tuple((place, new) for place in places))


def _value(random: Random, old: bytes, others: Sequence[bytes]) -> bytes:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(others)
    number = re.fullmatch(rb'("?)(-?\d+)("?)', old)
    if kind < 3 and number:
        plain = int(number[2])
        value = random.choice((*EDGES, plain + 1, plain - 1, plain * 2, plain // 2, plain + 512, -plain, 1 << 70))
        return number[1] + str(value).encode() + number[3]
    return random.choice(VALUES)


PLIST = (
    b"<dict/>", b"<array/>", b"<data></data>", b"<data>!!!!</data>", b"<string>&x;</string>", b"<!DOCTYPE a [", b"]]>",
    b"<array>" * 2000, b"<dict>" * 2000, b"\xff\xfe", b"<integer>9</integer>", b"&#0;", b"&#x110000;", b"<!--", b"blkx",
    b'<!ENTITY a "b">', b"<key>resource-fork</key>", b"<key>blkx</key>", b"</dict>", b"</array>", b"<", b">", b"",
)  # fmt: skip


def dmg(media: Sequence[Medium], random: Random) -> Mutation | None:
    """A word of the property list is another, or a field of a block table in it."""
    at = importlib.import_module("instar_dmg.layout")
    medium = media[0]
    head = at.Koly._make(at.KOLY.unpack(medium.pread(at.KOLY.size, medium.size - at.KOLY.size)))
    if not head.xml_length:
        return None
    text = medium.pread(head.xml_length, head.xml_offset)
    datas = list(re.finditer(rb"<data>([^<]*)</data>", text))
    if datas and random.random() < 0.7:
        found = random.choice(datas)
        table = bytearray(base64.b64decode(found[1]))
        title = []
        for _ in range(random.choice((1, 1, 2))):
            place, width = _table_field(at, len(table), random)
            old = int.from_bytes(table[place : place + width], "big")
            value = random.choice((*EDGES, old + 1, old - 1, old * 2, medium.size, random.getrandbits(8 * width), 2, 7))
            table[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, "big")[: len(table) - place]
            title.append(f"block table byte {place} is {value:#x}")
        if random.random() < 0.1:
            del table[random.randrange(len(table) + 1) :]
            title.append(f"cut to {len(table)} bytes")
        new = text[: found.start(1)] + base64.b64encode(bytes(table)) + text[found.end(1) :]
        return _replaced(head, new, "; ".join(title))
    words = list(re.finditer(rb"</?[a-zA-Z!?][^>]*>|[^<>\s]+", text))
    word = random.choice(words)
    value = random.choice((random.choice(words).group(), random.choice(PLIST)))
    new = text[: word.start()] + value + text[word.end() :]
    return _replaced(head, new, f"{word.group()[:20]!r} at {word.start()} to {value[:30]!r}")


def _table_field(at: object, size: int, random: Random) -> tuple[int, int]:
    head = [(0, 4), (8, 8), (16, 8), (24, 8), (200, 4)]
    chunks = max(0, (size - at.MISH.size) // at.CHUNK.size)
    if not chunks or random.random() < 0.3:
        place, width = random.choice(head)
        return min(place, max(0, size - width)), width
    skip, width = random.choice(((0, 4), (8, 8), (16, 8), (24, 8), (32, 8)))
    return at.MISH.size + random.randrange(chunks) * at.CHUNK.size + skip, width


def _replaced(head: object, text: bytes, title: str) -> Mutation:
    """The text in place of the property list, without its indentation if it would be too long else."""
    if len(text) > head.xml_length:
        text = re.sub(rb"\n\t+", b"\n", text)
    new = text[: head.xml_length].ljust(head.xml_length)
    return Mutation(f"property list: {title}", 0, ((head.xml_offset, new),))


TEXTS = {"luks": luks, "dmg": dmg}
"""By the names of the formats."""
