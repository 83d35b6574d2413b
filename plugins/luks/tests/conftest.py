"""LUKS headers made by hand, and the foreign programs that judge."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from instar_core.options import parse, table
from instar_core.source import Image, bytes_source, descriptor_source
from instar_core.testing import foreign
from instar_core.types import Amend, Barrier, Copy, Create, Geometry, Kind, Put, Reserve, Run, Truncate

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

    def opens(self, path, passphrase, *arguments):
        """Whether cryptsetup opens the volume with the passphrase (without any device mapper)."""
        program = self.find("cryptsetup")
        command = [program, "open", "--test-passphrase", *map(str, arguments), str(path), "--key-file", "-"]
        return self.run(*command, stdin=passphrase, check=False).returncode == 0

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

    def source(content):
        if isinstance(content, bytes):
            return bytes_source(content)
        descriptor = os.open(content, os.O_RDONLY)
        opened.append(descriptor)
        return descriptor_source(descriptor, os.fstat(descriptor).st_size)

    def make(content, header=None):
        if header is None:
            return Image([source(content)])
        return Image([source(content), source(header)], {"header": True})

    yield make
    for descriptor in opened:
        os.close(descriptor)


class Maker:
    """The host's part of a change, played on plain files: keys sealed, runs offered and encrypted, edits applied."""

    def __init__(self, image):
        self.image = image

    def create(self, path, passphrase, size, content=b"", stop=None, **given):
        """A new volume with this content; stopped before the edit of the number `stop`, where that is given."""
        from instar_luks import SPEC, hooks

        from instar_core import codecs, keys
        from instar_core.settings import Settings

        named = {name.replace("_", "-"): str(value) for name, value in given.items()}
        values = parse(table(SPEC), {"iter-time": "1", "key-secret": "s", **named})
        request = Create(size, values, path.name.encode(), entropy=bytes(range(64)))
        order = hooks.instar_seal(None, request)
        key = os.urandom(order.key_size)
        plan = keys.seal(order, passphrase, key, Settings(sandbox="inline"))
        runs = [Run(0, len(content), Kind.DATA)] if content else []
        steps = hooks.instar_write(None, request._replace(keys=plan), iter(runs))
        geometry = next(steps)
        assert isinstance(geometry, Geometry)
        cipher = geometry.cipher
        encrypt = codecs.encoder("cipher")({**cipher.params, "key": key}, cipher.unit)

        def offered(edit):
            plain = content[edit.start : edit.start + edit.length]
            plain += bytes(-len(plain) % cipher.unit)
            room = bytearray(len(plain))
            encrypt(memoryview(plain), memoryview(room), edit.start // cipher.unit * cipher.params.get("iv_step", 1))
            return room

        path.touch()
        self.apply([path], steps, offered, stop)
        return key

    def amend(self, path, passphrase, new=None, opened=None, force=False, header=None, stop=None, **given):
        """Key slots of a volume changed; `passphrase` opens it, `new` is the new secret."""
        from instar_luks import hooks

        from instar_core import keys
        from instar_core.settings import Settings

        settings = Settings(sandbox="inline")
        values = {name.replace("_", "-"): value for name, value in given.items()}
        volume = self.image(path, header)
        request = Amend(values, None, None, force, entropy=bytes(range(64)))
        plan = hooks.instar_unlock(volume)
        if opened is not None:
            request = request._replace(opened=keys.opened(plan, opened, settings))
        if new is not None:
            key, _ = keys.unlock(plan, passphrase, settings)
            request = request._replace(keys=keys.seal(hooks.instar_seal(volume, request), new, key, settings))
        files = [path] if header is None else [path, header]
        self.apply(files, hooks.instar_write(volume, request, iter(())), None, stop)

    def apply(self, paths, edits, offered=None, stop=None):
        """The edits carried out on the files; with `stop` only so many of them."""
        for number, edit in enumerate(edits):
            if number == stop:
                return
            if isinstance(edit, Barrier):
                continue
            with open(paths[edit.device], "r+b") as file:
                if isinstance(edit, Truncate):
                    file.truncate(edit.size)
                elif isinstance(edit, Reserve):
                    os.posix_fallocate(file.fileno(), edit.offset, edit.length)
                else:
                    assert isinstance(edit, Put | Copy)
                    file.seek(edit.offset)
                    file.write(edit.data if isinstance(edit, Put) else offered(edit))


@pytest.fixture
def maker(image):
    return Maker(image)


@pytest.fixture
def plain():
    """A function (volume, key) → its whole content: mapped, read, decrypted."""
    from instar_luks import hooks

    from instar_core import keys
    from instar_core.codecs import decoder
    from instar_core.types import Layer, Span

    def content(volume, key):
        info = keys.with_key(hooks.instar_info(volume), key)
        out = bytearray(info.virtual_size)
        for extent in hooks.instar_map(volume, Layer(), Span(0, info.virtual_size)):
            coding = info.codings[extent.coding - 1]
            decode = decoder(coding.name)(coding.params, coding.unit)
            stored = volume.devices[extent.device].read(extent.offset, extent.stored, pad=True)
            room = memoryview(out)[extent.start : extent.start + extent.length]
            number = extent.start // coding.unit * coding.params.get("iv_step", 1)
            assert decode(memoryview(stored), room, number) == extent.length
        return bytes(out)

    return content
