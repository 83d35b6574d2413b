"""Root's qemu-img as OpenStack's services reach it: through oslo.rootwrap, by the filters that Cinder ships.

Where a service has sudo start rootwrap, the tests start it as root themselves, with a service's environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if os.geteuid() != 0:
    pytest.skip("rootwrap runs commands as root", allow_module_level=True)
pytest.importorskip("oslo_rootwrap", reason="oslo.rootwrap is not installed")

FILTERS = Path(sys.prefix) / "etc/cinder/rootwrap.d/volume.filters"
if not FILTERS.exists():
    pytest.skip("the filters of cinder are not installed", allow_module_level=True)

ENTRY = "import sys\nfrom oslo_rootwrap.cmd import {name}\nsys.exit({name}())\n"
CLIENT = """
import json, sys
from oslo_rootwrap import client
made = client.Client(json.loads(sys.argv[1]))
told = [made.execute(["qemu-img", "info", "--output=json", name]) for name in (sys.argv[2], "/absent")]
print(json.dumps(told))
"""
SHIM = "from instar_core.cli.main import command\n\ncommand()\n"
SERVICE = 36
Done = subprocess.CompletedProcess[str]


class Host:
    """A service's configuration, and root's way into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "filters", "home/.config", "volumes"):
            (folder / name).mkdir(parents=True)
        shutil.copy(FILTERS, folder / "filters")
        program = folder / "bin" / "qemu-img"
        program.write_text(f"#!{sys.executable}\n{SHIM}")
        program.chmod(0o755)
        self.config = folder / "rootwrap.conf"
        places = f"filters_path={folder / 'filters'}\nexec_dirs={folder / 'bin'},/usr/bin,/bin\n"
        self.config.write_text(f"[DEFAULT]\n{places}use_syslog=False\n")
        for path in (folder / "home", folder / "home" / ".config", folder / "volumes"):
            os.chown(path, SERVICE, SERVICE)
        (folder / "volumes").chmod(0o700)
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C"}

    def helper(self, name: str) -> list[str]:
        """What stands behind sudo in a service's root helper."""
        return [sys.executable, "-c", ENTRY.format(name=name), str(self.config)]

    def run(self, *words: str) -> Done:
        return subprocess.run(
            [*self.helper("main"), *words],
            cwd=self.folder / "volumes",
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path)
    monkeypatch.chdir(tmp_path / "volumes")
    made.good("qemu-img", "create", "-q", "-f", "qcow2", "volume", "4M")
    os.chown("volume", SERVICE, SERVICE)
    os.chmod("volume", 0o600)
    yield made


def test_the_lines_that_cinder_runs_as_root(host: Host) -> None:
    told = json.loads(host.good("env", "LC_ALL=C", "qemu-img", "info", "--output=json", "-f", "qcow2", "volume"))
    assert told["virtual-size"] == 4 << 20 and told["format"] == "qcow2"
    Path("target").touch()
    os.chown("target", SERVICE, SERVICE)
    os.chmod("target", 0o660)
    line = "qemu-img convert -O raw -t none -f qcow2 volume target"
    host.good(*line.split())
    assert Path("target").read_bytes() == bytes(4 << 20)
    host.good("qemu-img", "resize", "-q", "-f", "qcow2", "volume", "8M")
    host.good("qemu-img", "rebase", "-u", "-b", "", "volume")
    for name, mode in (("target", 0o100660), ("volume", 0o100600)):
        facts = os.stat(name)
        assert (facts.st_uid, facts.st_gid, facts.st_mode) == (SERVICE, SERVICE, mode)


def test_what_no_filter_names_is_not_run(host: Host) -> None:
    done = host.run("qemu-nbd", "--version")
    assert done.returncode == 99 and "Unauthorized command" in done.stderr
    done = host.run("env", "INSTAR_SANDBOX=inline", "LC_ALL=C", "qemu-img", "info", "volume")
    assert done.returncode == 99


def test_settings_in_the_services_home_never_loosen_what_root_does(host: Host) -> None:
    settings = host.folder / "home" / ".config" / "instar.toml"
    for text in ('sandbox = "inline"', 'image-policy = "qemu"', "unsafe-quirks = true"):
        settings.write_text(text + "\n")
        done = host.run("qemu-img", "info", "volume")
        assert done.returncode == 1 and f"{settings} asks for" in done.stderr and done.stdout == ""
    settings.write_text('image-policy = "strict"\n')
    assert "file format: qcow2" in host.good("qemu-img", "info", "volume")


def test_an_image_cannot_have_root_read_what_is_no_disk(host: Host) -> None:
    """What root may read is no reason to show it: the file is a text, whatever the image says of it."""
    secret = host.folder / "shadow"
    secret.write_text("root:secret:" * 100)
    secret.chmod(0o600)
    host.good("qemu-img", "rebase", "-u", "-F", "raw", "-b", str(secret), "volume")
    done = host.run("qemu-img", "convert", "-O", "raw", "-f", "qcow2", "volume", "target")
    assert done.returncode == 1 and "shows no sign of being a raw disk" in done.stderr
    assert not Path("target").exists()


def test_a_rootwrap_daemon_runs_it_too(host: Host) -> None:
    """The client's end, which keeps its connection as long as it lives, is a process of its own, as a service is."""
    volume = str(host.folder / "volumes" / "volume")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(host.helper("daemon")), volume],
        env=host.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (code, out, err), (failed, nothing, why) = json.loads(done.stdout)
    assert (code, err) == (0, "") and json.loads(out)["format"] == "qcow2"
    assert (failed, nothing) == (1, "") and "No such file or directory" in why
