"""New LUKS1 volumes, judged by qemu-img and cryptsetup."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("cryptography", reason="the extra instar[crypto] is not installed")

from instar_luks import hooks

from instar_core.errors import FormatError
from instar_core.types import Create, Put

PASS = b"pass word"
SIZE = 1 << 20
CHOICES = [
    {},
    {"cipher_alg": "aes-128"},
    {"cipher_alg": "aes-192"},
    {"cipher_mode": "cbc"},
    {"cipher_mode": "cbc", "ivgen_alg": "essiv"},
    {"cipher_mode": "cbc", "cipher_alg": "aes-128", "ivgen_alg": "essiv", "ivgen_hash_alg": "md5"},
    {"cipher_mode": "ctr", "ivgen_alg": "plain"},
    {"cipher_mode": "ecb"},
    {"ivgen_hash_alg": "sha1"},
    {"hash_alg": "sha1"},
    {"hash_alg": "sha512"},
    {"hash_alg": "ripemd160"},
    {"cipher_alg": "serpent-256"},
    {"cipher_alg": "serpent-192"},
    {"cipher_alg": "serpent-128", "cipher_mode": "cbc", "ivgen_alg": "essiv", "ivgen_hash_alg": "md5"},
    {"cipher_alg": "twofish-256"},
    {"cipher_alg": "twofish-128", "cipher_mode": "ctr"},
    {"cipher_alg": "cast5-128", "cipher_mode": "cbc"},
    {"cipher_alg": "cast5-128", "cipher_mode": "cbc", "ivgen_alg": "essiv", "ivgen_hash_alg": "md5"},
    {"cipher_alg": "cast5-128", "cipher_mode": "ctr", "ivgen_alg": "plain"},
]


def made(maker, *arguments, **given):
    """What maker.create gives; skips where the library of a rare cipher is missing."""
    from instar_core.errors import NotInstalled

    try:
        return maker.create(*arguments, **given)
    except NotInstalled as error:
        pytest.skip(error.message)


@pytest.mark.oracle
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()) or "default")
def test_qemu_img_reads_what_was_written(programs, maker, image, plain, tmp_path, choice):
    path = tmp_path / "v.luks"
    content = random.Random(str(choice)).randbytes(SIZE)
    key = made(maker, path, PASS, SIZE, content, **choice)
    assert programs.content(path, PASS.decode(), tmp_path / "v.raw") == content
    theirs = programs.luks_info(path)
    assert theirs["format-specific"]["data"] == hooks.instar_info(image(path)).details
    assert theirs["virtual-size"] == SIZE
    assert plain(image(path), key) == content


@pytest.mark.oracle
def test_a_volume_is_laid_out_as_qemu_img_lays_it_out(programs, maker, tmp_path):
    for choice in CHOICES[:3]:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        maker.create(ours, PASS, 1 << 20, **choice)
        options = "".join(f",{name.replace('_', '-')}={value}" for name, value in choice.items())
        secret = ["--object", f"secret,id=s,data={PASS.decode()}"]
        programs.qemu_img(
            "create", "-q", *secret, "-f", "luks", "-o", "key-secret=s,iter-time=1" + options, theirs, "1M"
        )
        assert ours.stat().st_size == theirs.stat().st_size
        mine, other = ours.read_bytes()[:592], theirs.read_bytes()[:592]
        assert mine[:112] == other[:112], "magic to key-bytes"
        for at in range(208, 592, 48):
            assert mine[at : at + 4] + mine[at + 40 : at + 48] == other[at : at + 4] + other[at + 40 : at + 48]


@pytest.mark.oracle
@pytest.mark.parametrize("hash_name", ["sha256", "sha1", "sha512"])
def test_cryptsetup_opens_it(programs, maker, tmp_path, hash_name):
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, hash_alg=hash_name)
    assert programs.opens(path, PASS)
    assert not programs.opens(path, PASS + b"\n")
    assert b"UUID:" in programs.cryptsetup("luksDump", path).stdout


@pytest.mark.oracle
def test_a_cipher_that_qemu_img_aborts_on_is_written_for_cryptsetup(programs, maker, tmp_path):
    """Key material of aes-192-cbc does not fill its last sector."""
    path = tmp_path / "v.luks"
    maker.create(path, PASS, SIZE, cipher_alg="aes-192", cipher_mode="cbc")
    assert programs.opens(path, PASS)


@pytest.mark.oracle
def test_a_detached_header_opens_a_payload_of_its_own(programs, maker, image, plain, tmp_path):
    header, payload = tmp_path / "h.luks", tmp_path / "payload"
    key = maker.create(header, PASS, SIZE, detached_header="on")
    assert header.stat().st_size == 2068480
    payload.write_bytes(bytes(SIZE))
    spec = f"driver=luks,key-secret=s,file.filename={payload},header.driver=file,header.filename={header}"
    secret = ("--object", f"secret,id=s,data={PASS.decode()}")
    programs.run(programs.find("qemu-io", "INSTAR_QEMU_IO"), *secret, "--image-opts", spec, "-c", "write -P 9 4k 8k")
    programs.qemu_img("convert", *secret, "--image-opts", spec, "-O", "raw", tmp_path / "v.raw")
    expected = (tmp_path / "v.raw").read_bytes()
    assert expected[4096:12288] == b"\x09" * 8192
    volume = image(payload, header)
    info = hooks.instar_info(volume)
    assert info.virtual_size == SIZE
    assert info.details["detached-header"] is True
    assert plain(volume, key) == expected
    assert programs.opens(payload, PASS, "--header", header)


@pytest.mark.oracle
def test_a_detached_header_of_qemu_img_and_of_cryptsetup_is_read(programs, image, plain, tmp_path):
    from instar_core.worker import key as key_worker

    payload, theirs, other = tmp_path / "payload", tmp_path / "q.luks", tmp_path / "c.luks"
    payload.write_bytes(bytes(SIZE))
    done = programs.qemu_img(
        "create", "-q", "--object", "secret,id=s,data=pw", "-f", "luks", "-o",
        "key-secret=s,iter-time=1,detached-header=on", theirs, "1M", check=False,
    )  # fmt: skip
    if b"Parameter 'detached-header' is unexpected" in done.stderr:
        pytest.skip("this qemu-img cannot make detached headers")
    programs.cryptsetup(
        "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--header", other, payload, "-",
        stdin=b"pw",
    )  # fmt: skip
    for header in (theirs, other):
        volume = image(payload, header)
        found = key_worker.derive(hooks.instar_unlock(volume), b"pw")
        assert found is not None
        assert len(plain(volume, found[0])) == SIZE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cipher_alg": "foo"}, "Parameter 'cipher-alg' does not accept value 'foo'"),
        ({"cipher_mode": "foo"}, "Parameter 'cipher-mode' does not accept value 'foo'"),
        ({"ivgen_alg": "foo"}, "Parameter 'ivgen-alg' does not accept value 'foo'"),
        ({"ivgen_hash_alg": "foo"}, "Parameter 'ivgen-hash-alg' does not accept value 'foo'"),
        ({"hash_alg": "foo"}, "Parameter 'hash-alg' does not accept value 'foo'"),
        ({"cipher_alg": "des"}, "Algorithm 'des' not supported"),
        ({"cipher_alg": "3des"}, "Algorithm '3des' not supported"),
        ({"cipher_alg": "cast5-128"}, "Unsupported cipher mode xts"),
        ({"ivgen_alg": "essiv", "ivgen_hash_alg": "sha1"}, "No AES cipher with key size 20 available"),
        (
            {"cipher_alg": "cast5-128", "cipher_mode": "cbc", "ivgen_alg": "essiv"},
            "Cipher cast5-128 not supported with essiv",
        ),
        (
            {"cipher_alg": "serpent-128", "ivgen_alg": "essiv", "ivgen_hash_alg": "sha512"},
            "No Serpent cipher with key size 64 available",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_in_the_words_of_qemu_img(programs, maker, tmp_path, options, message):
    path = tmp_path / "v.luks"
    with pytest.raises(FormatError) as caught:
        maker.create(path, PASS, SIZE, **options)
    assert caught.value.message == message
    given = "".join(f",{name.replace('_', '-')}={value}" for name, value in options.items())
    done = programs.qemu_img(
        "create", "-q", "--object", "secret,id=s,data=pw", "-f", "luks", "-o", "key-secret=s,iter-time=1" + given,
        path, "1M", check=False,
    )  # fmt: skip
    assert done.stderr.decode() == f"qemu-img: {path}: {message}\n"


def test_without_a_key_there_is_no_volume():
    with pytest.raises(FormatError, match=r"^Parameter 'key-secret' is required for cipher$"):
        list(hooks.instar_write(None, Create(SIZE, {}), iter(())))


def test_what_belongs_to_version_2_is_refused_of_version_1(maker, tmp_path):
    with pytest.raises(FormatError, match=r"^Parameter 'sector-size' needs version=2$"):
        maker.create(tmp_path / "v.luks", PASS, SIZE, sector_size=4096)
    with pytest.raises(FormatError, match=r"^Parameter 'version' does not accept value '3'$"):
        maker.create(tmp_path / "v.luks", PASS, SIZE, version=3)


@pytest.mark.parametrize("version", [1, 2])
def test_until_the_last_edit_nothing_is_a_volume(maker, image, tmp_path, version):
    path = tmp_path / "v.luks"
    path.write_bytes(b"LUKS\xba\xbe\0\1" * 1000)
    given = {"version": version, **({"pbkdf": "pbkdf2"} if version == 2 else {})}
    for stop in range(2, 8 if version == 2 else 6):
        maker.create(path, PASS, SIZE, bytes(SIZE), stop=stop, **given)
        head = path.read_bytes()[:8]
        if head.startswith(b"LUKS"):
            assert hooks.instar_info(image(path)).virtual_size == SIZE
            assert stop > 5
    assert not head.startswith(b"LUKS"), "the header is the very last edit"
    maker.create(path, PASS, SIZE, bytes(SIZE), **given)
    assert path.read_bytes().startswith(b"LUKS\xba\xbe\0" + bytes([version]))


def test_what_is_put_at_once_fits_a_frame(maker, tmp_path, monkeypatch):
    largest = []
    real = type(maker).apply

    def apply(self, paths, edits, offered=None, stop=None):
        def watched():
            for edit in edits:
                largest.append(len(edit.data) if isinstance(edit, Put) else 0)
                yield edit

        real(self, paths, watched(), offered, stop)

    monkeypatch.setattr(type(maker), "apply", apply)
    maker.create(tmp_path / "v.luks", PASS, SIZE)
    assert max(largest) == 256_000
