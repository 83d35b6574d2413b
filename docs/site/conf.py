"""How Sphinx makes the site: `sphinx-build -W -c docs/site . OUT`, from the root of a checkout.

The source folder is the root, so that links between documents are the same in the repository and on the site.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "sandbox" / "src")]

from instar_core.cli.version import INSTAR as release  # noqa: E402, N811

project = "instar"
author = "the authors of instar"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md", "docs/commands/*.md", "docs/migration/*.md", "docs/sample/*.md",
    "README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "sandbox/README.md", "plugins/*/README.md",
]  # fmt: skip
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"instar {release}"
html_show_sphinx = False
html_show_copyright = False
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
nitpick_ignore = [("myst", "tests/toy"), ("myst", "../tests/toy")]
"""Links to a folder of the repository, for which a site has no page."""


def without_made_up_arguments(*event: Any) -> tuple[str, None] | None:
    """Nothing in place of the arguments that all named tuples of record.py show: their fields follow, described."""
    signature = event[5]
    return ("", None) if signature == "(*values, **named)" else None


def setup(app: Any) -> None:
    """What Sphinx calls when it has read this file."""
    app.connect("autodoc-process-signature", without_made_up_arguments)
