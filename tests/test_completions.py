"""What bash, zsh and fish offer while a command line is typed, asked of the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from instar_core import registry
from instar_core.cli import completion, extras, getopt
from instar_core.cli.completion.words import gather
from instar_core.cli.main import OWN, VERBS, verb_module

ROOT = Path(__file__).parents[1]
SPECS = [spec for _, spec, _ in registry.formats() if spec is not None]
QCOW2 = "qcow2" in registry.entries()

CASES = [
    ("instar inf", {"info"}, {"convert"}),
    ("instar --sandbox kvm inf", {"info"}, {"kvm"}),
    ("instar --sandbox ", {"auto", "kvm", "process", "inline"}, {"info"}),
    ("instar info --out", {"--output"}, {"--object"}),
    ("instar info --output ", {"human", "json"}, set()),
    ("instar check -r ", {"leaks", "all"}, set()),
    ("instar convert -t ", {"none", "writeback", "unsafe"}, {"qcow2"}),
    ("instar sandbox ", {"show", "prepare", "test"}, set()),
    ("instar create -f ra", {"raw"}, set()),
    ("instar dd is", {"isize="}, set()),
    ("instar info fol", {"folder with space/"}, set()),
    ("instar-qemu-img f", set(), {"formats"}),
    ("instar-qemu-img inf", {"info"}, set()),
]
LISTS = [
    ("instar convert -O qcow2 -o comp", {"compat=", "compression_type="}, {"cluster_size="}),
    ("instar create -f qcow2 -o compat=v3,clus", {"compat=v3,cluster_size="}, set()),
    ("instar create -f qcow2 -o lazy_refcounts=", {"lazy_refcounts=on", "lazy_refcounts=off"}, set()),
    ("instar convert -Oqcow2 -o preallocation=fa", {"preallocation=falloc"}, set()),
    ("instar amend -f qcow2 -o refc", {"refcount_bits="}, set()),
]
with_qcow2 = pytest.mark.skipif(not QCOW2, reason="instar-qcow2 is not installed")
ALL = [*CASES, *(pytest.param(*case, marks=with_qcow2) for case in LISTS)]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each shell with the scripts of both commands, for the formats that are installed."""
    root = tmp_path_factory.mktemp("completions")
    known = gather(SPECS)
    for shell, render in completion.shells().items():
        (root / shell).mkdir()
        for command in ("instar", "instar-qemu-img"):
            (root / shell / completion.file_name(shell, command)).write_text(render(known, command))
    (root / "folder with space").mkdir()
    return root


def have(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    return path


def ran(words: list[str], folder: Path) -> str:
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.stdout


BREAKS = re.compile(r"[^\s=]+|=")
DRIVER = """
source "$1"; shift
COMP_LINE="$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_POINT=${#COMP_LINE}
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
complete -p "${COMP_WORDS[0]}" >/dev/null
"_${COMP_WORDS[0]//-/_}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("line,offered,absent", ALL)
def test_bash_offers_what_can_follow(line: str, offered: set[str], absent: set[str], scripts: Path) -> None:
    words = BREAKS.findall(line) + ([""] if line.endswith((" ", "=")) else [])
    script = str(scripts / "bash" / words[0])
    found = set(ran([have("bash"), "-uc", DRIVER, "driver", script, line, *words], scripts).splitlines())
    typed = line.rpartition(" ")[2]  # bash puts what is offered in place of what stands behind the last =
    before = typed.rpartition("=")[0] + "=" if "=" in typed else ""
    found = {before + word + ("/" if (scripts / word).is_dir() and word else "") for word in found}
    assert offered <= found
    assert not absent & found


@pytest.mark.parametrize("line,offered,absent", ALL)
def test_fish_offers_what_can_follow(line: str, offered: set[str], absent: set[str], scripts: Path) -> None:
    script = scripts / "fish" / f"{line.partition(' ')[0]}.fish"
    told = ran([have("fish"), "--no-config", "-c", f"source '{script}'; complete -C '{line}'"], scripts)
    found = {entry.partition("\t")[0].replace("\\ ", " ") for entry in told.splitlines()}
    assert offered <= found
    assert not absent & found


PROMPT = "zsh% "


class Zsh:
    """A zsh at a terminal of its own, to which keys are sent."""

    def __init__(self, path: str, folder: Path) -> None:
        self.terminal, inner = pty.openpty()
        self.process = subprocess.Popen(
            [have("setsid"), "-c", path, "-f", "-i"],
            stdin=inner, stdout=inner, stderr=inner, cwd=folder,
            env={"TERM": "dumb", "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        os.close(inner)
        setup = (
            f"stty columns 240 rows 100; fpath=({folder}/zsh $fpath); autoload -U compinit; compinit -u -D; "
            "LISTMAX=1000; PS1='zsh%% '; unset zle_bracketed_paste; bindkey '^T' list-choices; echo re''ady\n"
        )
        assert "ready" in self.typed(setup, "ready")

    def typed(self, keys: str, until: str) -> str:
        """What the terminal shows after the keys, up to the prompt behind a text."""
        os.write(self.terminal, keys.encode())
        shown, end = "", time.monotonic() + 15
        while PROMPT not in shown.partition(until)[2] and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                shown += os.read(self.terminal, 1 << 16).decode(errors="replace")
        return shown.replace("\r", "")

    def offered(self, line: str) -> str:
        """What is listed at the end of the line. A command typed after it says when that is done."""
        mark = f"done{time.monotonic_ns()}"
        shown = self.typed(f"{line}\x14\x15echo {mark[:4]}''{mark[4:]}\n", mark)
        return "\n".join(each for each in shown.partition(line)[2].splitlines() if line not in each)

    def close(self) -> None:
        os.close(self.terminal)
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def zsh(scripts: Path):  # type: ignore[no-untyped-def]
    shell = Zsh(have("zsh"), scripts)
    yield shell
    shell.close()


@pytest.mark.parametrize("line,offered,absent", ALL)
def test_zsh_offers_what_can_follow(line: str, offered: set[str], absent: set[str], zsh: Zsh) -> None:
    shown = zsh.offered(line)
    found = set(re.findall(r"[^\s]+", shown))
    wanted = {re.split(r"[,=](?=.)", word)[-1].rstrip("=").split()[0] for word in offered}
    assert wanted <= {word.rstrip("=\\") for word in found}, shown
    assert not absent & found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_sound_and_start_no_python(shell: str, scripts: Path) -> None:
    for script in (scripts / shell).iterdir():
        ran([have(shell), "-n", str(script)], scripts)
        code = [line for line in script.read_text().splitlines() if not line.startswith("#")]
        assert "python" not in "\n".join(code).lower()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_verb_and_option_is_in_every_script(shell: str, scripts: Path) -> None:
    text = (scripts / shell / completion.file_name(shell, "instar")).read_text()
    drop_in = (scripts / shell / completion.file_name(shell, "instar-qemu-img")).read_text()
    for name in (*VERBS, *OWN):
        assert re.search(rf"\b{name}\b", text)
        for option in (getopt.HELP, *verb_module(name).VERB.options, *extras.EXTRAS):
            if option.name:
                assert (f"-l {option.name} " if shell == "fish" else f"--{option.name}") in text, (name, option.name)
    assert "--image-policy" not in drop_in
    assert not re.search(r"\bformats:", drop_in)


SHOWS = {
    "bash": "complete -p instar instar-qemu-img qemu-img",
    "zsh": "print $_comps[instar] $_comps[qemu-img]",
    "fish": "complete -C 'instar inf'; complete -C 'qemu-img inf'; complete -C 'qemu-img check -r '",
}
SHOWN = {
    "bash": "complete -F _instar instar\n"
    "complete -F _instar_qemu_img instar-qemu-img\ncomplete -F _instar_qemu_img qemu-img\n",
    "zsh": "_instar _instar-qemu-img\n",
    "fish": "info\tDisplay information about the image\n" * 2 + "all\tleaks\t",
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_lines_that_the_document_gives_for_a_shell_work(shell: str, tmp_path: Path) -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in data["shared-data"].items():
        shutil.copytree(ROOT / source, tmp_path / target)
    text = (ROOT / "docs" / "shells.md").read_text().replace("/opt/instar/share", str(tmp_path / "share"))
    lines = "".join(re.findall(rf"^```{shell}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace(
        "compinit\n", "compinit -u -D\n"
    )
    (tmp_path / "bin").mkdir()  # fish completes only what is there
    for command in ("instar", "instar-qemu-img", "qemu-img"):
        (tmp_path / "bin" / command).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / command).chmod(0o755)
    words = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--init-command", lines]}[shell]
    code = SHOWS[shell] if shell == "fish" else lines + SHOWS[shell]
    shown = ran([have(shell), *words, "-c", code], tmp_path)
    if shell == "fish":
        shown = re.sub(r"(all|leaks)\t.*\n", r"\1\t", shown)
    assert shown == SHOWN[shell]


def test_the_module_prints_the_script_for_what_is_installed(scripts: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for words, code in ((["bash"], 0), (["fish", "instar-qemu-img"], 0), (["tcsh"], 2), ([], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "instar_core.cli.completion", *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code
        if code == 0:
            name = completion.file_name(words[0], words[-1] if len(words) > 1 else "instar")
            assert done.stdout == (scripts / words[0] / name).read_text()
