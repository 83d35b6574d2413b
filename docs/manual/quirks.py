"""The page of the deliberate differences from qemu-img, from docs/quirks.toml."""

from __future__ import annotations

import tomllib
from typing import Any

from docs.manual.blocks import Page, Paragraph, Section, Terms
from docs.manual.tables import escape

CATEGORIES = {
    "safety": ("Safety", "instar refuses or hides what would be unsafe."),
    "qemu bug": ("Mistakes of qemu-img", "qemu-img does what no one can want."),
    "environment": ("Environment", "The host offers less, or other things, than qemu-img was built for."),
}


def page(name: str, source: bytes) -> Page:
    """The page, grouped by category. Raises ValueError for a category that is not known."""
    found = tomllib.loads(source.decode())["quirk"]
    unknown = {each["category"] for each in found} - CATEGORIES.keys()
    if unknown:
        raise ValueError(f"unknown categories: {', '.join(sorted(unknown))}")
    counts = ", ".join(f"{title}: {len(_of(found, key))}" for key, (title, _) in CATEGORIES.items())
    intro = (
        Paragraph(
            f"Called qemu-img, instar answers as qemu-img does. Where it deliberately does not, that is listed here: "
            f"{len(found)} differences ({counts}). Each is proved by a test, and says what restores qemu-img's way, "
            f"or why nothing does."
        ),
    )
    sections = [Section("Description", intro)]
    for key, (title, meaning) in CATEGORIES.items():
        entries = tuple((f"`{each['name']}`", _told(each)) for each in _of(found, key))
        sections.append(Section(title, (Paragraph(meaning), Terms(entries))))
    sections.append(
        Section("See also", (Paragraph("instar-qemu-img(1), instar(1)"),)),
    )
    return Page(name, 7, "deliberate differences from qemu-img", tuple(sections))


def _of(found: list[dict[str, Any]], category: str) -> list[dict[str, Any]]:
    return [each for each in found if each["category"] == category]


def _told(quirk: dict[str, Any]) -> str:
    if quirk["switch"]:
        last = f"Restored by: `{quirk['switch']}`" + (
            "." if quirk["switch"].startswith("-") else " (the name of the command)."
        )
    elif quirk.get("crash"):
        last = "Nothing restores qemu-img's way: it crashes, hangs or runs without a bound."
    else:
        last = f"Nothing restores qemu-img's way: {escape(quirk['no_switch'])}."
    return f"{escape(quirk['case'])}\n{last}"
