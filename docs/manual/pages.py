"""The pages: which there are, and what of them comes from the tables and what from the prose."""

from __future__ import annotations

from pathlib import Path

from docs.manual import quirks, tables
from docs.manual.blocks import Block, Page, Paragraph, Section, Terms, read
from instar_core import registry
from instar_core.cli import extras, getopt, main, version, vhd_verbs
from instar_core.types import FormatSpec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMMAND, DROP_IN, OPTIONS, QUIRKS = "instar", "instar-qemu-img", "instar-options", "instar-quirks"
CHAINS = "instar-vhd-util"
EVERY = "Options of every command"


def prose(name: str) -> dict[str, tuple[Block, ...]]:
    """The sections that stand in a prose file. Raises FileNotFoundError where a verb has none."""
    return read((HERE / "prose" / f"{name}.md").read_text(), f"prose/{name}.md")


def formats() -> dict[str, FormatSpec]:
    """The formats of this repository, by name. Raises LookupError where a plugin of it is not installed."""
    wanted = {"raw", *(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))}
    found = {entry.name: spec for entry, spec, _ in registry.formats() if spec is not None and entry.name in wanted}
    if wanted - found.keys():
        raise LookupError(f"not installed: {', '.join(sorted(wanted - found.keys()))}")
    return {name: found[name] for name in sorted(found)}


def all_pages() -> list[Page]:
    """Every page of the manual."""
    return [*command_pages(), options_page(), quirks.page(QUIRKS, (ROOT / "docs" / "quirks.toml").read_bytes())]


def command_pages() -> list[Page]:
    """The pages for which no plugin has to be installed but the core."""
    return [overview(), drop_in(), chains_page(), *(verb_page(name) for name in sorted(main.VERBS + main.OWN))]


def overview() -> Page:
    """instar(1): what it is, and what all commands have in common."""
    said = prose("instar")
    sections = [
        Section("Synopsis", said.pop("Synopsis")),
        Section("Description", said.pop("Description")),
        Section("Commands", (_commands(sorted(main.VERBS + main.OWN)),)),
        Section("Standard options", (tables.options(main.STANDARD, {}),)),
        Section(EVERY, (*said.pop(EVERY), tables.options(extras.EXTRAS, {}))),
        Section(
            "Environment",
            (
                Paragraph("A setting may also come from the environment:"),
                tables.environment(),
                *said.pop("Environment"),
            ),
        ),
    ]
    sections += [Section(title, blocks) for title, blocks in said.items()]
    return Page(COMMAND, 1, "safe tools for virtual-machine disk images", tuple(sections))


def drop_in() -> Page:
    """instar-qemu-img(1): the same commands under the name qemu-img."""
    said = prose("qemu-img")
    sections = [
        Section("Synopsis", said.pop("Synopsis")),
        Section("Description", said.pop("Description")),
        Section("Commands", (_commands(sorted(main.VERBS)),)),
    ]
    sections += [Section(title, blocks) for title, blocks in said.items()]
    return Page(DROP_IN, 1, f"instar in place of qemu-img, answering as version {version.QEMU} does", tuple(sections))


def chains_page() -> Page:
    """instar-vhd-util(1): the same for chains of VHD files, in place of vhd-util."""
    said = prose("vhd-util")
    sections = [Section("Synopsis", said.pop("Synopsis")), Section("Description", said.pop("Description"))]
    for name, (verb, _) in vhd_verbs.VERBS.items():
        heading = Paragraph(tables.sentence((verb.summary,)))
        called = tables.synopsis(CHAINS, verb)
        sections.append(Section(f"Command {name}", (heading, *called, tables.options(verb.options, {}))))
    sections.append(Section(EVERY, (tables.options(extras.EXTRAS, {}),)))
    sections += [Section(title, blocks) for title, blocks in said.items()]
    return Page(CHAINS, 1, "chains of VHD files, in place of vhd-util", tuple(sections))


def _commands(names: list[str]) -> Terms:
    return Terms(
        tuple(
            (f"`{name}`", tables.sentence((main.verb_module(name).VERB.summary,)) + f" See {COMMAND}-{name}(1).")
            for name in names
        )
    )


def verb_page(name: str) -> Page:
    """The page of one verb."""
    verb = main.verb_module(name).VERB
    said = prose(name)
    more = {term.strip("`"): text for block in said.pop("Options", ()) for term, text in _terms(block)}
    options = tables.options((getopt.HELP, *verb.options), more)
    sections = [
        Section("Synopsis", tables.synopsis(COMMAND, verb)),
        Section("Description", said.pop("Description")),
        Section("Options", (Terms((*tables.operands(verb), *options.entries)),)),
        Section(EVERY, (tables.options(extras.EXTRAS, {}),)),
        Section("Exit status", (*said.pop("Exit status", prose("common")["Exit status"]), *prose("common")["Stopped"])),
        *(Section(title, blocks) for title, blocks in said.items() if title not in ("Examples", "See also")),
        Section("Environment and files", prose("common")["Environment and files"]),
        Section("Examples", said["Examples"]),
        Section("See also", said.get("See also", prose("common")["See also"])),
    ]
    return Page(f"{COMMAND}-{name}", 1, verb.summary[:1].lower() + verb.summary[1:], tuple(sections))


def _terms(block: Block) -> tuple[tuple[str, str], ...]:
    if not isinstance(block, Terms):
        raise ValueError("options are described by terms")
    return block.entries


def options_page() -> Page:
    """instar-options(7): the options of each format. Raises LookupError where a plugin is not installed."""
    said = prose("options")
    sections = [Section("Description", said.pop("Description"))]
    for name, spec in formats().items():
        blocks: list[Block] = []
        for title, found in tables.format_options(spec):
            blocks += [Paragraph(title), tables.option_terms(found)]
        if blocks:
            sections.append(Section(f"Options of {name}", tuple(blocks)))
    sections += [Section(title, blocks) for title, blocks in said.items()]
    return Page(OPTIONS, 7, "options of the disk image formats", tuple(sections))
