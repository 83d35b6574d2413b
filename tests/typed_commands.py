"""A folder with the commands and a few images, in which lines of shell from the documents are carried out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FORMATS = {"qcow2", "vmdk", "vhdx", "luks", "vpc"}
"""What has to be installed for the images, and for the examples."""
SETUP = """
python3 - <<'CODE'
with open("disk.raw", "wb") as file:
    file.truncate(64 << 20)
    file.seek(510)
    file.write(b"\\x55\\xaa")
    file.seek(1 << 20)
    file.write(b"content\\n" * 4096)
CODE
instar convert -O qcow2 disk.raw disk.qcow2
instar convert -O vmdk disk.raw disk.vmdk
cp disk.qcow2 base.qcow2
instar create -q -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2
printf first >passphrase
printf second >second
echo "no disk" >notes.txt
"""
SECONDS = 60


def programs(folder: Path) -> Path:
    """A folder of commands: instar, both names of the drop-in, and vhd-util, of the interpreter and the code under
    test."""
    folder.mkdir(parents=True)
    called = {
        "instar": ("main", "instar"),
        "instar-qemu-img": ("main", "qemu-img"),
        "qemu-img": ("main", "qemu-img"),
        "instar-vhd-util": ("vhd_util", "vhd-util"),
    }
    for name, (module, word) in called.items():
        text = (
            f"#!{sys.executable}\nimport sys\nsys.path[:0] = {[path for path in sys.path if path]!r}\n"
            f"from instar_core.cli.{module} import main\nsys.exit(main([{word!r}, *sys.argv[1:]]))\n"
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def environment(commands: Path, home: Path) -> dict[str, str]:
    """The environment: these commands first, nobody's settings, and no variable of the tests but the sandbox's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("INSTAR_", "XDG_"))}
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "INSTAR_SANDBOX": "process"}


def shell(text: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The lines carried out in the folder by bash, up to the first that fails."""
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, "-euo", "pipefail", "-c", text],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def blocks(text: str) -> list[str]:
    """What stands in the fenced blocks of shell of a document."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
