"""LUKS headers made by hand, and the foreign programs that judge."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from instar_core.source import Image, bytes_source, descriptor_source
from instar_core.testing import foreign

PAYLOAD = 4040 * 512
SLOT = 208
SLOT_SIZE = 48


def pytest_collection_modifyitems(items):
    foreign.skip_where_old(items, Path(__file__).parent)


class Programs:
    """Foreign programs; asking for one that is missing skips the test."""

    def find(self, name, variable=None):
        found = (variable and os.environ.get(variable)) or shutil.which(name) or shutil.which(f"/sbin/{name}")
        if not found:
            pytest.skip(f"{name} is not installed")
        return found

    def run(self, *command, stdin=b"", check=True):
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr.decode(errors='replace')}")
        return done

    def qemu_img(self, *arguments, check=True):
        return self.run(self.find("qemu-img", "INSTAR_QEMU_IMG"), *map(str, arguments), check=check)

    def qemu_io(self, path, secret, *commands):
        """Commands on the plain content of the volume."""
        given = [part for command in commands for part in ("-c", command)]
        spec = f"driver=luks,key-secret=s,file.filename={path}"
        program = self.find("qemu-io", "INSTAR_QEMU_IO")
        return self.run(program, "--object", f"secret,id=s,data={secret}", "--image-opts", spec, *given)

    def cryptsetup(self, *arguments, stdin=b""):
        return self.run(self.find("cryptsetup"), "-q", *map(str, arguments), stdin=stdin)

    def luks_info(self, path):
        """qemu-img's own account of the volume, or the reason why it gives none."""
        done = self.qemu_img("info", "-f", "luks", "--output=json", path, check=False)
        if done.returncode:
            message = done.stderr.decode(errors="surrogateescape").removesuffix("\n")
            return message.removeprefix(f"qemu-img: Could not open '{path}': ")
        return json.loads(done.stdout)

    def content(self, path, secret, target):
        """The plain content as qemu-img converts it."""
        spec = f"driver=luks,key-secret=s,file.filename={path}"
        self.qemu_img("convert", "--object", f"secret,id=s,data={secret}", "--image-opts", spec, "-O", "raw", target)
        return target.read_bytes()


@pytest.fixture(scope="session")
def programs():
    return Programs()


def build(**fields):
    """A LUKS1 header with one active slot; `slots` maps a slot's number to changes of its fields."""
    values = {
        "magic": b"LUKS\xba\xbe",
        "version": 1,
        "cipher_name": b"aes",
        "cipher_mode": b"xts-plain64",
        "hash_spec": b"sha256",
        "payload": PAYLOAD // 512,
        "key_bytes": 64,
        "digest": bytes(20),
        "digest_salt": bytes(32),
        "iterations": 1000,
        "uuid": b"01234567-89ab-cdef-0123-456789abcdef",
        "slots": {},
    }
    values.update(fields)
    changes = values.pop("slots")
    made = struct.pack(">6sH32s32s32sII20s32sI40s", *values.values())
    for index in range(8):
        slot = {
            "active": 0xDEAD if index else 0x00AC71F3,
            "iterations": 0 if index else 2000,
            "salt": bytes(32),
            "sector": 8 + 504 * index,
            "stripes": 4000,
            **changes.get(index, {}),
        }
        made += struct.pack(">II32sII", *slot.values())
    return made


@pytest.fixture(scope="session")
def header():
    return build


@pytest.fixture
def image():
    """A function from bytes, or from the path of a file, to the image that hooks read."""
    opened = []

    def make(content):
        if isinstance(content, bytes):
            return Image([bytes_source(content)])
        descriptor = os.open(content, os.O_RDONLY)
        opened.append(descriptor)
        return Image([descriptor_source(descriptor, os.fstat(descriptor).st_size)])

    yield make
    for descriptor in opened:
        os.close(descriptor)
