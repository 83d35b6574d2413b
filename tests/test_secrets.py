"""Passphrases and keys are where they must be and nowhere else: not in the memory of what parses images."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import instar_core as instar
from instar_core import chain, keys, unlocking
from instar_core.cli.main import main
from instar_core.errors import InstarError
from instar_core.keyring import Keyring
from instar_core.settings import Settings
from instar_core.testing.places import guest_or_skip

pytest.importorskip("instar_luks", reason="instar-luks is not installed")
pytest.importorskip("cryptography", reason="cryptography is not installed")

PASSPHRASE = b"correct horse battery staple"
CONTENT = os.urandom(1 << 16) + bytes(1 << 16)


@pytest.fixture(params=["luks", "qcow2"])
def image(request, tmp_path):
    """An encrypted image, its options, and what it holds."""
    pytest.importorskip(f"instar_{request.param}", reason=f"instar-{request.param} is not installed")
    prefix = "encrypt." if request.param == "qcow2" else ""
    (tmp_path / "raw").write_bytes(CONTENT)
    options = {prefix + "key-secret": "s", prefix + "iter-time": "10"}
    if prefix:
        options["encrypt.format"] = "luks"
    made = str(tmp_path / "image")
    settings = Settings(keyring=Keyring({"s": PASSPHRASE}))
    instar.convert(
        [str(tmp_path / "raw")],
        made,
        source_format="raw",
        target_format=request.param,
        options=options,
        settings=settings,
    )
    return made, {prefix + "key-secret": "s"}


def descendants():
    """The process ids of all that this process started, and that those started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while True:
        more = {child for child, parent in parents.items() if parent in found} - found
        if not more:
            return found - {os.getpid()}
        found |= more


def holds(process, wanted):
    """Whether one of these is anywhere in the readable memory of a process. Raises PermissionError."""
    with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or line.endswith(("[vvar]\n", "[vsyscall]\n")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            for at in range(start, end, 1 << 24):
                try:
                    memory.seek(at)
                    data = memory.read(min(end - at, (1 << 24) + 64))
                except (OSError, ValueError, OverflowError):
                    continue
                if any(each in data for each in wanted):
                    return True
    return False


@pytest.mark.parametrize("place", ["process", "kvm"])
def test_no_worker_that_parses_an_image_ever_holds_passphrase_or_key(image, place):
    path, options = image
    if place == "kvm":
        guest_or_skip()
        from instar_core import guests

        guests.hold([guests.BULK])
    settings = Settings(sandbox=place, keyring=Keyring({"s": PASSPHRASE}))
    with chain.open_chain(path, settings, "map", options=options) as top:
        key = unlocking.key(top.info)
        assert key is not None
        assert len(list(top.session.map(top.format, top.info, instar.Layer(), 0, top.info.virtual_size))) > 0
        processes = descendants()
        assert processes
        try:
            here = holds(os.getpid(), [PASSPHRASE])
            found = [process for process in processes if holds(process, [PASSPHRASE, key])]
        except PermissionError:
            pytest.skip("the memory of jailed processes can be read by root only")
    assert here, "the search does not find what is there"
    assert found == []


def test_the_content_of_an_encrypted_image_is_read_with_its_passphrase(image):
    path, options = image
    settings = Settings(keyring=Keyring({"s": PASSPHRASE}))
    with instar.open(path, open_options=options, settings=settings) as disk:
        assert disk.read() == CONTENT


def test_a_wrong_passphrase_is_refused_in_one_line(image, tmp_path, capsys):
    path, options = image
    (name,) = options
    format = "qcow2" if name.startswith("encrypt") else "luks"
    words = ["convert", "--object", "secret,id=s,data=wrong-and-hidden", "--image-opts"]
    words += [f"driver={format},{name}=s,file.filename={path}", "-O", "raw", str(tmp_path / "out")]
    assert main(["qemu-img", *words]) == 1
    told = capsys.readouterr().err
    assert told.endswith("Invalid password, cannot unlock any keyslot\n")
    assert "wrong-and-hidden" not in told
    assert not (tmp_path / "out").exists()


def test_without_a_passphrase_metadata_can_be_asked_for_and_content_cannot(image, tmp_path):
    path, _ = image
    (info,) = instar.info(path)
    assert info.image.encrypted
    with pytest.raises(InstarError, match="key-secret' is required for cipher"):
        instar.convert([path], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_secret_is_named(image, tmp_path):
    path, options = image
    with pytest.raises(InstarError, match="No secret with id 's'"):
        instar.convert([path], str(tmp_path / "out"), open_options=options)


def test_a_message_never_shows_a_passphrase(image, tmp_path, capfd):
    """Whatever goes wrong: in options, in files, in the image."""
    path, options = image
    (name,) = options
    given = "secret,id=s,data=do-not-show-me"
    format = "qcow2" if name.startswith("encrypt") else "luks"
    damaged = tmp_path / "damaged"
    damaged.write_bytes(Path(path).read_bytes()[:3000])
    for words in (
        ["info", "--object", given, "--object", given, path],
        ["info", "--object", given + ",format=base64", path],
        ["info", "--object", given + ",keyid=none", path],
        ["map", "--object", given, "--image-opts", f"driver={format},{name}=s,file.filename={damaged}"],
        ["create", "--object", given, "-f", format, "-o", f"{name}=s,no-such-option=1", str(tmp_path / "x"), "1M"],
    ):
        assert main(["qemu-img", *words]) != 0
    told = capfd.readouterr()
    assert "do-not-show-me" not in told.out + told.err


def test_the_commands_clear_the_keyring(image, monkeypatch, capsys):
    path, _ = image
    kept = []
    from instar_core.cli import objects

    made = objects.keyring

    def keeping(definitions):
        ring = made(definitions)
        kept.extend(ring._held.values())
        return ring

    monkeypatch.setattr(objects, "keyring", keeping)
    assert main(["qemu-img", "info", "--object", "secret,id=s,data=cleared", path]) == 0
    capsys.readouterr()
    assert kept == [bytearray(7)]


def test_keys_are_not_in_what_an_image_with_a_key_shows(image):
    path, options = image
    settings = Settings(keyring=Keyring({"s": PASSPHRASE}))
    with chain.open_member(path, settings, "map", options=options) as member:
        assert keys.CIPHER in {coding.name for coding in member.info.codings}
        assert PASSPHRASE.decode() not in repr(settings)


@pytest.mark.oracle
def test_qemu_img_reads_what_was_encrypted(image, tmp_path):
    qemu = os.environ.get("INSTAR_QEMU_IMG", "qemu-img")
    try:
        subprocess.run([qemu, "--version"], check=True, capture_output=True)
    except OSError:
        pytest.skip("qemu-img is not installed")
    path, options = image
    (name,) = options
    format = "qcow2" if name.startswith("encrypt") else "luks"
    secret = f"secret,id=s,data={PASSPHRASE.decode()}"
    opened = f"driver={format},{name}=s,file.filename={path}"
    subprocess.run(
        [qemu, "convert", "--object", secret, "--image-opts", opened, "-O", "raw", str(tmp_path / "out")], check=True
    )
    assert (tmp_path / "out").read_bytes() == CONTENT
