"""Which files are generated, and what belongs into each."""

from __future__ import annotations

from docs.manual import markdown, pages, roff
from docs.manual.blocks import Page
from instar_core.cli import version
from instar_core.cli.completion import file_name, shells, words

MAN, COMMANDS, COMPLETIONS = "docs/man", "docs/commands", "docs/completions"
INDEX = f"{COMMANDS}/index.md"


def everything() -> dict[str, str]:
    """Path below the root → text, for all that is generated. Raises LookupError where a plugin is not installed."""
    found = pages.all_pages()
    return {**of(found), INDEX: index(found), **completions()}


def of(found: list[Page]) -> dict[str, str]:
    """The two files of each page."""
    made = {}
    for page in found:
        made[f"{MAN}/man{page.number}/{page.name}.{page.number}"] = roff.render(page, version.INSTAR)
        made[f"{COMMANDS}/{page.name}.md"] = markdown.render(page)
    return made


def index(found: list[Page]) -> str:
    """The page that leads to all others."""
    lines = [markdown.NOTE, "", "# Manual", "", "The same pages as `man instar` shows.", ""]
    lines += [f"- [{page.name}({page.number})]({page.name}.md): {page.summary}" for page in found]
    listed = "\n".join(page.name for page in found)
    return "\n".join(lines) + f"\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def completions() -> dict[str, str]:
    """The files of the shells, for the formats of this repository."""
    known = words.gather(list(pages.formats().values()))
    return {
        f"{COMPLETIONS}/{shell}/{file_name(shell, command)}": render(known, command)
        for shell, render in shells().items()
        for command in (pages.COMMAND, pages.DROP_IN)
    }


def stale(made: dict[str, str]) -> list[str]:
    """Files that are not as they were made, and those that nothing makes any more."""
    there = {
        str(path.relative_to(pages.ROOT)): path
        for folder in (MAN, COMMANDS, COMPLETIONS)
        for path in (pages.ROOT / folder).rglob("*")
        if path.is_file()
    }
    changed = [path for path, text in made.items() if path not in there or there[path].read_text() != text]
    return sorted(changed + [path for path in there if path not in made])


def write(path: str, text: str | None) -> None:
    """The file holds the text, or is gone where there is none."""
    place = pages.ROOT / path
    if text is None:
        place.unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
