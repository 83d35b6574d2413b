"""The guides for platforms: every command line in them is carried out, in copies of the places that they name.

Names of places (/etc, /opt, …) lead below a folder of the test. What needs a machine of its own is stood in for: sudo
runs the command as it is, systemctl keeps a list, and installing puts the code under test in place, after a look
whether pip was given what is there. dpkg-divert is Debian's own, told of the folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from instar_core import registry
from instar_core.cli import extras

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "migration"
PLATFORMS = ("openstack", "ovirt", "proxmox")
PLACES = re.compile(r"(?<![\w./$])/(etc|opt|usr|var)/")
THEIRS = "qemu-img version 10.0.2 of the distribution"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


typed = loaded("typed_commands")
pytestmark = pytest.mark.skipif("qcow2" not in registry.entries(), reason="instar-qcow2 is not installed")

PYTHON3 = """
[ "$1 $2" = "-m venv" ] || { echo "python3: not expected: $*" >&2; exit 2; }
mkdir -p "$3/bin"
cp "$STANDINS/pip" "$3/bin/pip"
"""
PIP = """
[ "$1" = install ] || { echo "pip: not expected: $*" >&2; exit 2; }
shift
for word; do
    [ -f "${word%%\\[*}/pyproject.toml" ] || { echo "pip: there is no project in $word" >&2; exit 2; }
done
cp "$PROGRAMS"/instar "$PROGRAMS"/instar-qemu-img "${0%/*}"
"""
SUDO = 'while :; do case "$1" in -u) shift 2 ;; *) break ;; esac; done; exec "$@"\n'
SYSTEMCTL = 'echo "$*" >>"$SEEN"; [ "$1" != show ] || cat "$PLACES"/etc/systemd/system/"$2".service.d/*.conf\n'
SYSTEM = """from instar_core.cli import settings_load
settings_load.load.__kwdefaults__["system"] = "{}/etc/instar.toml"
"""
DIVERT = 'for word; do shift; set -- "$@" "${word#"$PLACES"}"; done; exec "$THEIR_DIVERT" --root "$PLACES" "$@"\n'


class Host:
    """A folder that stands in for the root of a host with qemu-img, and what was asked of its services."""

    def __init__(self, folder: Path) -> None:
        self.places, self.seen = folder / "places", folder / "seen"
        for place in ("etc/sudoers.d", "etc/cinder", "usr/bin", "usr/local/bin", "opt", "var/tmp", "var/lib/dpkg/info"):
            (self.places / place).mkdir(parents=True)
        for name in ("status", "diversions", "statoverride"):
            (self.places / "var/lib/dpkg" / name).touch()
        (self.places / "etc/cinder/rootwrap.conf").write_text("[DEFAULT]\nexec_dirs=/sbin,/usr/sbin,/bin,/usr/bin\n")
        self.script(self.places / "usr/bin", "qemu-img", f"echo {THEIRS}\n")
        standins = folder / "standins"
        standins.mkdir()
        for name, text in (
            ("python3", PYTHON3),
            ("pip", PIP),
            ("sudo", SUDO),
            ("systemctl", SYSTEMCTL),
            ("dpkg-divert", DIVERT),
        ):
            self.script(standins, name, text)
        programs = typed.programs(folder / "programs")
        (programs / "qemu-img").unlink()
        for path in programs.iterdir():  # the settings of this machine are those of the folder
            path.write_text(path.read_text().replace("sys.exit(", f"{SYSTEM.format(self.places)}sys.exit("))
        self.variables = {
            **typed.environment(standins, folder),
            "PLACES": str(self.places), "STANDINS": str(standins), "PROGRAMS": str(programs), "SEEN": str(self.seen),
            "THEIR_DIVERT": shutil.which("dpkg-divert") or "", "DPKG_FORCE": "not-root",
        }  # fmt: skip
        del self.variables["INSTAR_SANDBOX"]
        system = os.pathsep.join(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        self.variables["PATH"] = f"{standins}:{self.places}/usr/local/bin:{self.places}/usr/bin:{system}"

    @staticmethod
    def script(folder: Path, name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)

    def does(self, lines: str) -> str:
        """What the lines print. They must succeed, and be silent on standard error."""
        there = PLACES.sub(rf"{self.places}/\1/", lines)
        done: subprocess.CompletedProcess[str] = typed.shell(there, ROOT, self.variables)
        assert (done.returncode, done.stderr) == (0, ""), lines
        return done.stdout.replace(str(self.places), "")


def steps(platform: str) -> dict[str, str]:
    """Heading → the commands below it."""
    text = (GUIDES / f"{platform}.md").read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return {title: "\n".join(typed.blocks(body)) for title, body in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_commands_of_a_guide_put_instar_first_and_take_it_away_again(platform: str, tmp_path: Path) -> None:
    if platform == "proxmox" and shutil.which("dpkg-divert") is None:
        pytest.skip("dpkg-divert is not installed here")
    if not (ROOT / "plugins").is_dir():
        pytest.skip("this is a copy without the plugins that the guides install")
    assert platform in extras.POLICIES
    host, guide = Host(tmp_path), steps(platform)
    assert list(guide) == ["Install", "Put it first", "Verify", "Go back", "What differs"]
    held = host.does(guide["Install"])
    assert re.search(rf"^image-policy +{platform} +/etc/instar.toml$", held, re.MULTILINE)
    assert host.does("/usr/bin/qemu-img --version") == THEIRS + "\n"
    host.does(guide["Put it first"])
    told = host.does(guide["Verify"])
    assert "instar" in told
    assert '"format": "qcow2"' in told
    assert not list((host.places / "var/tmp").iterdir())
    host.does(guide["Go back"])
    assert host.does("qemu-img --version; /usr/bin/qemu-img --version") == 2 * (THEIRS + "\n")
    assert [path for path in (host.places / "usr/bin").iterdir() if path.name != "qemu-img"] == []


def test_cinders_rootwrap_finds_instar_first_and_is_as_before_afterwards(tmp_path: Path) -> None:
    host, guide = Host(tmp_path), steps("openstack")
    config = host.places / "etc/cinder/rootwrap.conf"
    before = config.read_text()
    host.does(guide["Install"] + guide["Put it first"])
    (folders,) = re.findall(r"^exec_dirs=(.*)$", config.read_text().replace(str(host.places), ""), re.MULTILINE)
    assert folders.split(",")[0] == "/usr/local/bin"
    host.does(guide["Go back"])
    assert config.read_text() == before


def test_the_services_of_ovirt_see_instar_in_place_of_the_packages_program(tmp_path: Path) -> None:
    host, guide = Host(tmp_path), steps("ovirt")
    host.does(guide["Install"] + guide["Put it first"])
    for service in ("vdsmd", "ovirt-imageio"):
        (file,) = (host.places / f"etc/systemd/system/{service}.service.d").iterdir()
        assert "[Service]\nBindReadOnlyPaths=" in file.read_text()
        source, _, target = file.read_text().split("=")[1].strip().partition(":")
        assert Path(source).is_file() and Path(target).is_file()
    assert host.seen.read_text().splitlines()[-2:] == ["daemon-reload", "restart vdsmd ovirt-imageio"]


def test_a_guide_installs_as_the_readme_does() -> None:
    install = re.findall(r"pip (install .*?) &&", (ROOT / "README.md").read_text())[0]
    for platform in PLATFORMS:
        assert f"/opt/instar/bin/pip {install}\n" in (GUIDES / f"{platform}.md").read_text()
