"""Encrypted images: what qemu says of them with a secret, and sectors decrypted without instar's own codecs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import zlib

from instar_qcow2 import hooks

from instar_core.source import Image, descriptor_source
from instar_core.testing.beside import beside
from instar_core.types import Kind, Layer, Span
from instar_core.worker import key as key_worker

load = beside(__file__)
executor, oracle = load("qcow2_executor"), load("qcow2_oracle")

SECTOR = 512
PASSPHRASE = b"open sesame"
FAST = {"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": 10}
AES = {"encrypt.format": "aes", "encrypt.key-secret": "s"}


def option_list(options):
    """Options as qemu-img takes them."""
    words = {"True": "on", "False": "off"}
    return ",".join(f"{name}={words.get(str(value), value)}" for name, value in options.items())


def secrets(**more):
    """Arguments that give qemu the secret s, and others."""
    given = {"s": PASSPHRASE.decode(), **more}
    return [word for name, data in given.items() for word in ("--object", f"secret,id={name},data={data}")]


def opened(name="x", secret="s"):
    """Arguments that open an image with a secret."""
    return ["--image-opts", f"driver=qcow2,encrypt.key-secret={secret},file.filename={name}"]


def img(folder, verb, *words, secret="s", name="x", **more):
    """qemu-img on the image with its secret."""
    return oracle.img(folder, verb, *secrets(**more), *opened(name, secret), *words)


def io(folder, *commands, name="x"):
    words = [word for command in commands for word in ("-c", command)]
    done = oracle.run(folder, oracle.QEMU_IO, *secrets(), *opened(name), *words)
    assert done.returncode == 0, (commands, done.stdout, done.stderr)


def created(folder, options, size, name="x"):
    """A new image by qemu-img."""
    oracle.img(folder, "create", "-q", *secrets(), "-f", "qcow2", "-o", option_list(options), name, str(size))


def content(folder, name="x", secret="s", snapshot=None, **more):
    words = ["-l", f"snapshot.id={snapshot}"] if snapshot else []
    img(folder, "convert", *words, "-O", "raw", "content.raw", secret=secret, name=name, **more)
    return (folder / "content.raw").read_bytes()


def mapped(folder, name="x"):
    return json.loads(img(folder, "map", "--output=json", name=name))


def assert_clean(folder, name="x"):
    done = oracle.run(folder, oracle.QEMU_IMG, "check", *secrets(), *opened(name))
    assert done.returncode == 0, done.stdout + done.stderr


def sector_cipher(params, key, number, data, *, decrypt=True):
    """One sector, by the cipher library alone."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    _, mode, vectors = params["cipher"].split("-", 2)
    vector = number.to_bytes(16, "little")
    if vectors.startswith("essiv:"):
        salt = hashlib.new(vectors.partition(":")[2], key).digest()
        encryptor = Cipher(algorithms.AES(salt), modes.ECB()).encryptor()
        vector = encryptor.update(vector)
    chosen = {"xts": modes.XTS, "cbc": modes.CBC}[mode](vector)
    made = Cipher(algorithms.AES(key), chosen)
    coder = made.decryptor() if decrypt else made.encryptor()
    return coder.update(data) + coder.finalize()


def sectors(coding, key, data, start, offset, *, decrypt=True):
    """Many: data at `start` of the disk and `offset` of the device."""
    place = offset if coding.params["by"] == "offset" else start
    assert coding.unit == SECTOR
    assert place % SECTOR == 0
    assert len(data) % SECTOR == 0
    first = place // SECTOR
    return b"".join(
        sector_cipher(coding.params, key, first + at // SECTOR, data[at : at + SECTOR], decrypt=decrypt)
        for at in range(0, len(data), SECTOR)
    )


class Files:
    """Files as the devices of one image, closed with it."""

    def __init__(self, *paths):
        self.descriptors = [os.open(path, os.O_RDONLY) for path in paths]

    def __enter__(self):
        return Image([descriptor_source(descriptor, os.fstat(descriptor).st_size) for descriptor in self.descriptors])

    def __exit__(self, *_):
        for descriptor in self.descriptors:
            os.close(descriptor)


def read(image, key, layer=None, below=b""):
    """The plain content of an image by its map; `below` is the backing image's."""
    layer = layer or Layer()
    info = hooks.instar_info(image)
    out = bytearray(below.ljust(info.virtual_size, b"\0")[: info.virtual_size])
    for extent in hooks.instar_map(image, layer, Span(0, info.virtual_size)):
        place = slice(extent.start, extent.start + extent.length)
        if extent.kind == Kind.ABSENT:
            continue
        if extent.kind == Kind.ZERO:
            out[place] = bytes(extent.length)
            continue
        coding = info.codings[extent.coding - 1]
        stored = image.devices[extent.device].read(extent.offset, extent.stored, pad=True)
        if coding.name == "cipher":
            out[place] = sectors(coding, key, stored, extent.start, extent.offset)
        else:
            assert coding.name == "deflate-12"
            plain = zlib.decompressobj(-12).decompress(stored, coding.unit)
            out[place] = plain[extent.skip : extent.skip + extent.length]
    return bytes(out)


def unlock(image, passphrase=PASSPHRASE):
    """The volume key, None where the passphrase opens nothing."""
    found = key_worker.derive(hooks.instar_unlock(image), passphrase)
    return found and found[0]


def sealed(created_, passphrase=PASSPHRASE, seed=5):
    """The request with its key slots made, and the key."""
    order = hooks.instar_seal(None, created_)
    rng = random.Random(seed)
    key = rng.randbytes(order.key_size)
    plan = key_worker.seal(order, passphrase, key, rng.randbytes(key_worker.randomness(order)))
    if any(slot.kdf == "plain" for slot in plan.slots):
        key, _ = key_worker.derive(plan, passphrase)
    return created_._replace(keys=plan), key


def encrypt(coding, key, data, start, offset):
    return sectors(coding, key, data, start, offset, decrypt=False)


def written(folder, options, size, data=None, ranges=(), extra=(), name="x"):
    """A new image by instar's writer; returns the key and the geometry."""
    asked, key = sealed(executor.request(size, **options))
    geometry = executor.make(folder / name, asked, data, ranges, extra, encrypt=encrypt, key=key)
    return key, geometry
