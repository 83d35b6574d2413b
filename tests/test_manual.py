"""The manual is made from the tables of the command line, is up to date, and what it shows works."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import instar_core
from instar_core import registry
from instar_core.cli import extras, getopt
from instar_core.cli.main import OWN, STANDARD, VERBS, verb_module

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "man"
SITE = ROOT / "docs" / "commands"
HERE = Path(__file__).parent

sys.path.insert(0, str(ROOT))
try:
    from docs.manual import blocks, files, markdown, pages, roff, tables
finally:
    sys.path.remove(str(ROOT))


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


typed = loaded("typed_commands")
everything = pytest.mark.skipif(
    not (ROOT / "plugins").is_dir()
    or not {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir()} <= registry.entries().keys(),
    reason="not every plugin is installed, or this is a copy without them",
)


def plain(page: Path) -> str:
    """The text of a manual page without its mark-up."""
    text = re.sub(r"\\f[BIR]|\\:|\\&", "", page.read_text())
    for escape, meaning in (
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(ga", "`"),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\(dq", '"'),
    ):
        text = text.replace(escape, meaning)
    return text.replace("\\e", "\\")


@everything
def test_the_generated_documents_are_as_they_would_be_written_now() -> None:
    assert files.stale(files.everything()) == [], "run: python -m docs.manual"


def test_the_pages_of_the_commands_are_as_they_would_be_written_now() -> None:
    for path, text in files.of(pages.command_pages()).items():
        assert (ROOT / path).read_text() == text, f"{path}: run: python -m docs.manual"


@pytest.mark.parametrize("verb", sorted(VERBS + OWN))
def test_every_option_of_every_verb_stands_on_its_page_with_a_description(verb: str) -> None:
    page = plain(PAGES / "man1" / f"instar-{verb}.1")
    entries = re.findall(r"^\.TP\n(.+)\n((?:[^.].*\n)+)", page, re.MULTILINE)
    described = {}
    for term, text in entries:
        for word in re.findall(r"(?<!\S)-[^\s,]+", term):
            described[word] = text
    for option in (getopt.HELP, *verb_module(verb).VERB.options, *extras.EXTRAS):
        for word in (f"-{option.letter}" if option.letter else "", f"--{option.name}" if option.name else ""):
            if word:
                assert len(described[word].split()) > 1, word
                first = " ".join(option.help).split()[1:4]
                assert " ".join(first) in " ".join(described[word].split()), word
    for name, text in verb_module(verb).VERB.operands:
        assert f"{name}\n" in page
        assert " ".join(text[0].split()[1:3]) in " ".join(page.split())


def test_the_overview_has_every_command_standard_option_and_variable() -> None:
    page = plain(PAGES / "man1" / "instar.1")
    assert set(re.findall(r"instar-(\w+)\(1\)", page)) >= {*VERBS, *OWN}
    for option in (*STANDARD, *extras.EXTRAS):
        assert f"--{option.name}" in page
    drop_in = plain(PAGES / "man1" / "instar-qemu-img.1").partition('.SH "COMMANDS"')[2].partition(".SH")[0]
    assert set(re.findall(r"instar-(\w+)\(1\)", drop_in)) == set(VERBS)


@everything
def test_every_option_of_every_format_is_described() -> None:
    page = plain(PAGES / "man7" / "instar-options.7")
    for name, spec in pages.formats().items():
        section = page.partition(f'.SH "OPTIONS OF {name.upper()}"')[2].partition(".SH")[0]
        for option in (*spec.options, *spec.amend_options, *spec.open_options):
            assert f"{option.name}=" in section, (name, option.name)
            assert " ".join(option.help.split()[1:4]) in " ".join(section.split()), (name, option.name)


def test_an_option_that_nothing_describes_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing describes it"):
        tables.options((getopt.Opt("new", "", "new", "VALUE"),), {})
    with pytest.raises(ValueError, match="no such option: --old"):
        tables.options((getopt.HELP,), {"--old": "it is gone"})


@pytest.mark.parametrize("text", ["no heading", "## A\n| a | table |\n", "## A\n```python\n1\n```\n", "## A\n1. one\n"])
def test_prose_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="here"):
        blocks.read(text, "here")


def test_both_renderings_say_the_same() -> None:
    text = "## A\nSay `a-b` and *c*.\nSee instar-info(1).\n\n- `x`: One\n  thing.\n\n```sh\n.hidden 'quoted'\n```\n"
    page = blocks.Page("p", 1, "a page", (blocks.Section("A", blocks.read(text, "here")["A"]),))
    assert markdown.render(page).partition("## A")[2] == (
        "\n\nSay `a-b` and *c*. See [instar-info(1)](instar-info.md).\n\n- `x`\\\n  One thing.\n\n"
        "```sh\n.hidden 'quoted'\n```\n"
    )
    assert roff.render(page, "1").partition('.SH "A"\n')[2] == (
        "Say \\fBa\\-b\\fR and \\fIc\\fR. See \\fBinstar\\-info\\fR(1).\n.TP\n\\fBx\\fR\nOne thing.\n"
        '.IP "" 4\n.nf\n\\&.hidden \\(aqquoted\\(aq\n.fi\n'
    )


def test_every_quirk_stands_in_the_page_with_what_restores_qemus_way() -> None:
    page = " ".join(plain(PAGES / "man7" / "instar-quirks.7").split())
    for quirk in tomllib.loads((ROOT / "docs" / "quirks.toml").read_text())["quirk"]:
        entry = page.partition(f".TP {quirk['name']} ")[2].partition(".TP")[0]
        assert " ".join(quirk["case"].split()[:3]) in entry, quirk["name"]
        assert (quirk["switch"] or "Nothing restores") in entry, quirk["name"]


@pytest.mark.parametrize(
    "tool", [["mandoc", "-Tlint", "-Wwarning"], ["man", "--warnings", "-E", "UTF-8", "-l"]], ids=lambda tool: tool[0]
)
def test_the_manual_pages_render_without_a_warning(tool: list[str]) -> None:
    if shutil.which(tool[0]) is None or (tool[0] == "man" and shutil.which("troff") is None):
        pytest.skip(f"{tool[0]} is not installed here")
    found = sorted(str(path) for path in PAGES.glob("man?/*"))
    done = subprocess.run(
        [*tool, *found],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    told = done.stdout if tool[0] == "mandoc" else ""
    assert [line for line in (told + done.stderr).splitlines() if "STYLE" not in line] == []
    assert tool[0] == "mandoc" or "NAME" in done.stdout


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not registry.entries().keys() >= typed.FORMATS:
        pytest.skip("the formats of the examples are not all installed")
    root = tmp_path_factory.mktemp("manual")
    commands, folder = typed.programs(root / "bin"), root / "images"
    folder.mkdir()
    done = typed.shell(typed.SETUP, folder, typed.environment(commands, root))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in SITE.glob("instar*.md") if typed.blocks(path.read_text()))
)
def test_the_examples_of_a_page_work(name: str, images: Path, tmp_path: Path) -> None:
    lines = "\n".join(typed.blocks((SITE / f"{name}.md").read_text().partition("\n## Examples\n")[2]))
    assert lines, "a page has examples"
    if "secret.luks" in lines:
        pytest.importorskip("cryptography")
    if "zstd" in lines:
        pytest.importorskip("zstandard")
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    done = typed.shell(lines, folder, typed.environment(images.parent / "bin", tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), lines


def test_the_site_leads_to_every_document() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = set("\n".join(re.findall(r"```{toctree}\n(.*?)```", index, re.DOTALL)).splitlines())
    for path in (ROOT / "docs").glob("*.md"):
        assert path.stem in listed | {"index"}, f"{path.name} is in no list of docs/index.md"
    for folder in ("commands", "migration"):
        below = (ROOT / "docs" / folder / "index.md").read_text()
        assert f"{folder}/index" in listed
        for path in (ROOT / "docs" / folder).glob("*.md"):
            assert path.stem == "index" or f"({path.name})" in below, path


def test_the_reference_of_the_library_has_every_function() -> None:
    described = set(
        re.findall(r"^\.\. auto(?:function|class):: (\w+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    )
    assert described == {*instar_core._OPERATIONS, "open", "Action", "Disk", "Settings", "Keyring", "Pool"}


def test_the_wheel_brings_the_pages_and_the_completions_to_where_they_are_looked_for() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "shared-data"
    ]
    assert data == {
        "docs/man": "share/man",
        "docs/completions/bash": "share/bash-completion/completions",
        "docs/completions/zsh": "share/zsh/site-functions",
        "docs/completions/fish": "share/fish/vendor_completions.d",
    }
    for folder in data:
        assert any(path.is_file() for path in (ROOT / folder).rglob("instar*" if "zsh" not in folder else "_instar*"))
