"""What a page is made of, before it is drawn by anything, and how the prose files are read.

Prose is a small part of Markdown: `## ` headings, paragraphs, lists of `- ` items, items that begin with `` `term`: ``,
and fenced blocks of shell. Within text there are `` `words to type` ``, `*emphasis*`, links, and names of pages like
`instar-info(1)`. Anything else is refused, so that a page never shows what only one of the two renderers understands.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ITEM = re.compile(r"- (.*)")
TERM = re.compile(r"((?:`[^`]+`(?:, )?)+): (.+)", re.DOTALL)


class Paragraph(NamedTuple):
    """Running text."""

    text: str


class Items(NamedTuple):
    """A list without order."""

    texts: tuple[str, ...]


class Terms(NamedTuple):
    """Terms, each with what it means. Terms are marked up like text."""

    entries: tuple[tuple[str, str], ...]


class Code(NamedTuple):
    """Lines to type, kept as they are."""

    text: str


Block = Paragraph | Items | Terms | Code


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


class Page(NamedTuple):
    """One page: its name and section of the manual, what it is about in one line, and its sections."""

    name: str
    number: int
    summary: str
    sections: tuple[Section, ...]


def read(text: str, where: str) -> dict[str, tuple[Block, ...]]:
    """The blocks of each section of a prose file. Raises ValueError, naming `where`, for what is not in the grammar."""
    sections: dict[str, tuple[Block, ...]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if title in sections:
            raise ValueError(f"{where}: two sections are called {title}")
        sections[title] = tuple(_blocks(body, f"{where}, {title}"))
    if not sections or not text.startswith("## "):
        raise ValueError(f"{where}: prose begins with a heading of the second level")
    return sections


def _blocks(body: str, where: str) -> list[Block]:
    found: list[Block] = []
    for number, part in enumerate(re.split(r"^```(.*)$", body, flags=re.MULTILINE)):
        kind = number % 4  # plain text, what opens a fenced block, what is in it, what closes it
        if kind == 0 and part.strip():
            found += _plain(part.strip("\n"), where)
        elif kind == 1 and part != "sh":
            raise ValueError(f"{where}: a fenced block is of sh")
        elif kind == 2:
            found.append(Code(part.strip("\n")))
    return found


def _plain(chunk: str, where: str) -> list[Block]:
    found: list[Block] = []
    for text in re.split(r"\n\s*\n", chunk):
        if re.search(r"^(#|>|\||\d+\. |<)", text, re.MULTILINE):
            raise ValueError(f"{where}: not in the grammar of prose: {text[:40]!r}")
        if not text.startswith("- "):
            found.append(Paragraph(_joined(text)))
            continue
        items = tuple(_joined(item) for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:])
        terms = [TERM.fullmatch(item) for item in items]
        if all(terms):
            found.append(Terms(tuple((match[1], match[2]) for match in terms if match)))
        else:
            found.append(Items(items))
    return found


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())
