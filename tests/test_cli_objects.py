"""Secrets defined on the command line are what qemu-img takes them for, and do not show where others can look."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instar_core.cli import objects
from instar_core.cli.fault import Fault
from instar_core.cli.main import main
from instar_core.errors import InstarError
from instar_core.keyring import Keyring

QEMU_IMG = os.environ.get("INSTAR_QEMU_IMG") or shutil.which("qemu-img")
MASTER = base64.b64encode(bytes(range(32))).decode()
VECTOR = base64.b64encode(bytes(16)).decode()


def encrypted(passphrase: bytes) -> bytes:
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers", reason="cryptography is not installed")
    padding = 16 - len(passphrase) % 16
    encryptor = ciphers.Cipher(ciphers.algorithms.AES(bytes(range(32))), ciphers.modes.CBC(bytes(16))).encryptor()
    stored: bytes = encryptor.update(passphrase + bytes([padding]) * padding) + encryptor.finalize()
    return stored


def test_data_and_a_file_are_taken_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"with newline\n")
    made = objects.keyring(["secret,id=a,data=x,,y", f"secret,id=b,file={tmp_path}/file"])
    assert made.passphrase("a") == b"x,y"
    assert made.passphrase("b") == b"with newline\n"


def test_base64_and_json_are_understood() -> None:
    made = objects.keyring(["secret,id=a,data=cGFzcw==,format=base64", '{"qom-type":"secret","id":"b","data":"z"}'])
    assert made.passphrase("a") == b"pass"
    assert made.passphrase("b") == b"z"


@pytest.mark.parametrize("form", ["raw", "base64"])
def test_a_secret_encrypted_by_another_is_decrypted(form: str, tmp_path: Path) -> None:
    stored = encrypted(b"passphrase")
    (tmp_path / "file").write_bytes(stored if form == "raw" else base64.b64encode(stored))
    made = objects.keyring(
        [
            f"secret,id=master,data={MASTER},format=base64",
            f"secret,id=a,file={tmp_path}/file,format={form},keyid=master,iv={VECTOR}",
        ]
    )
    assert made.passphrase("a") == b"passphrase"


@pytest.mark.skipif(not QEMU_IMG, reason="qemu-img is not installed")
def test_an_encrypted_secret_opens_for_instar_what_it_opens_for_qemu_img(tmp_path: Path) -> None:
    pytest.importorskip("instar_luks", reason="instar-luks is not installed")
    (tmp_path / "file").write_bytes(base64.b64encode(encrypted(b"hidden")))
    secret = f"secret,id=a,file={tmp_path}/file,format=base64,keyid=m,iv={VECTOR}"
    objects_ = ["--object", f"secret,id=m,data={MASTER},format=base64", "--object", secret]
    image = tmp_path / "image"
    options = "key-secret=a,iter-time=10"
    subprocess.run([QEMU_IMG, "create", "-q", *objects_, "-f", "luks", "-o", options, image, "64k"], check=True)
    opened = f"driver=luks,key-secret=a,file.filename={image}"
    for program in (QEMU_IMG, None):
        raw = tmp_path / "raw"
        words = ["convert", *objects_, "--image-opts", opened, "-O", "raw", str(raw)]
        if program:
            subprocess.run([program, *words], check=True)
            expected = raw.read_bytes()
        else:
            assert main(["qemu-img", *words]) == 0
            assert raw.read_bytes() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("secret,data=x", "Parameter 'id' is missing"),
        ("foo,id=s", "Parameter 'qom-type' does not accept value 'foo'"),
        ("id=s", "Parameter 'qom-type' is missing"),
        ("secret,id=s", "Either 'file' or 'data' must be provided"),
        ("secret,id=s,data=a,file=b", "'file' and 'data' are mutually exclusive"),
        ("secret,id=s,data=a,bar=1", "Parameter 'bar' is unexpected"),
        ("secret,id=s,data=a,format=xx", "Parameter 'format' does not accept value 'xx'"),
        ("secret,id=s,data=a!!,format=base64", "Base64 data contains invalid characters"),
        ("secret,id=s,data=a,keyid=k,iv=AAAA", "No secret with id 'k'"),
        ("secret,id=s,file=/nowhere/x", "Unable to read /nowhere/x: Failed to open file “/nowhere/x”: No such file"),
    ],
)
def test_what_is_no_secret_is_refused_in_qemus_words(text: str, message: str) -> None:
    with pytest.raises(Fault) as caught:
        objects.keyring([text])
    assert caught.value.lines[0].startswith(message)


def test_two_secrets_of_one_name_are_refused() -> None:
    with pytest.raises(Fault, match="attempt to add duplicate property 's' to object"):
        objects.keyring(["secret,id=s,data=a", "secret,id=s,data=b"])


def test_help_names_the_objects_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qemu-img", "info", "--object", "help", "x"]) == 0
    assert capsys.readouterr().out == "List of user creatable objects:\n  secret\n"


def test_a_passphrase_given_as_data_does_not_show_in_the_arguments(tmp_path: Path) -> None:
    """The fifo keeps the command waiting while its arguments are looked at, as ps would."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = "import sys; from instar_core.cli.main import command; sys.argv[0] = 'qemu-img'; command()"
    words = ["info", "--object", "secret,id=s,data=hush-hush", "--object", f"secret,id=t,file={fifo}", "x"]
    with subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE) as child:
        try:
            shown = b"hush-hush"
            deadline = time.monotonic() + 20
            while b"hush-hush" in shown and time.monotonic() < deadline:
                time.sleep(0.05)
                shown = Path(f"/proc/{child.pid}/cmdline").read_bytes()
            assert b"id=s,data=*********" in shown
            assert b"hush" not in shown
            fifo.write_bytes(b"x")
            child.communicate(timeout=20)
        finally:
            child.kill()


def test_a_keyring_shows_no_passphrase_and_forgets() -> None:
    ring = Keyring({"a": b"hush-hush"})
    assert "hush" not in repr(ring)
    held = ring._held["a"]
    ring.clear()
    assert held == bytes(9)
    assert not ring
    with pytest.raises(InstarError, match="No secret with id 'a'"):
        ring.passphrase("a")


def test_a_passphrase_that_is_no_text_is_refused() -> None:
    with pytest.raises(InstarError, match="Data from secret a is not valid UTF-8"):
        Keyring({"a": b"\xff"}).passphrase("a")
