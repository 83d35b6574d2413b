"""The conformance kit over luks, with volumes that qemu-img and cryptsetup made as its corpus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from instar_core.testing import FormatConformance

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
CRYPTSETUP = shutil.which("cryptsetup") or shutil.which("/sbin/cryptsetup")
SIZE = 18 << 20
FORMATS = {
    "luks1": ("--type", "luks1", "--pbkdf-force-iterations", "1000"),
    "luks2": ("--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--sector-size", "4096"),
}
SMALL = ("--cipher", "aes-cbc-essiv:sha256", "--key-size", "128")


def by_cryptsetup(path, *arguments):
    path.write_bytes(b"")
    os.truncate(path, SIZE)
    subprocess.run([CRYPTSETUP, "-q", "luksFormat", *arguments, path, "-"], input=b"pw", check=True)
    return path


class TestLuks(FormatConformance):
    format = "luks"
    hostile_fields = ((6, 2), (8, 8), (16, 8), (104, 4), (108, 4), (164, 4), (208, 4), (212, 4), (248, 4), (252, 4))

    base_options = {"key-secret": "s", "iter-time": "1"}  # noqa: RUF012
    fill_options = (
        {},
        {"cipher-alg": "aes-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "hash-alg": "sha1"},
        {"version": "2", "pbkdf": "pbkdf2", "label": "a label"},
        {"version": "2", "pbkdf": "pbkdf2", "sector-size": "4096"},
    )
    allowed_imports = ("_sha2", "_sha256", "_sha512")  # the interpreter's own hashes, without OpenSSL

    @pytest.fixture
    def corpus(self, tmp_path):
        made = []
        if QEMU_IMG:
            path = tmp_path / "by_qemu.luks"
            command = [QEMU_IMG, "create", "-q", "-f", "luks", "--object", "secret,id=s,data=pw"]
            subprocess.run([*command, "-o", "key-secret=s,iter-time=10", path, "1M"], check=True)
            made.append(("by qemu", path))
        if CRYPTSETUP:
            for name, arguments in FORMATS.items():
                made.append((f"{name} by cryptsetup", by_cryptsetup(tmp_path / name, *arguments, *SMALL)))
        return made
