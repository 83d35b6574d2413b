"""The compressing codecs: every library reads what every other writes, and nothing hostile makes more than a unit."""

from __future__ import annotations

import builtins
import random
import zlib

import pytest

from instar_core import codecs
from instar_core.codecs import deflate, zstd
from instar_core.errors import ErrorKind, FormatError, NotInstalled

UNIT = 65536
NAMES = ("deflate-12", "zlib", "zstd")
FAST = ("isal", "deflate", "zlib_ng", "zstandard", "compression")


def contents():
    rng = random.Random(1)
    words = [rng.randbytes(rng.randrange(2, 12)) for _ in range(300)]
    text = b"".join(rng.choice(words) for _ in range(20000))[:UNIT]
    return {
        "text": text,
        "zeros": bytes(UNIT),
        "noise": rng.randbytes(UNIT),
        "far": text[:5000] + bytes(55536) + text[:5000],
    }


@pytest.fixture(params=["all", "none"])
def libraries(request, monkeypatch):
    """With every library that is installed, and with the standard library alone."""
    if request.param == "none":
        real = builtins.__import__

        def refuse(name, *rest):
            if name.partition(".")[0] in FAST:
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", refuse)
    return request.param


def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def encode(name, content, room=UNIT * 2, **params):
    out = bytearray(room)
    length = codecs.encoder(name)(params, UNIT)(memoryview(content), memoryview(out), 0)
    return bytes(out[:length])


def decode(name, stored, unit=UNIT, room=None):
    out = bytearray(b"\xee" * (room or unit + 100))
    length = codecs.decoder(name)({}, unit)(memoryview(stored), memoryview(out), 0)
    assert out[unit:] == b"\xee" * (len(out) - unit), "nothing past the unit"
    return bytes(out[:length])


def deflated(content, window, level=6):
    engine = zlib.compressobj(level, zlib.DEFLATED, window)
    return engine.compress(content) + engine.flush()


@pytest.mark.parametrize("name", ["deflate-12", "zlib"])
@pytest.mark.parametrize("content", contents().values(), ids=contents())
def test_what_is_encoded_decodes_with_every_library(libraries, name, content):
    stored = encode(name, content)
    assert decode(name, stored) == content
    assert decode(name, stored + b"\x55" * 511) == content
    window = -12 if name == "deflate-12" else 15
    assert zlib.decompressobj(window).decompress(stored) == content, "the window is not wider than it may be"


@pytest.mark.parametrize("window", [9, 12, 15])
def test_qcow2_clusters_of_any_window_are_read(libraries, window):
    content = contents()["far"]
    assert decode("deflate-12", deflated(content, -window)) == content


def test_the_default_level_is_near_the_size_of_zlibs(libraries):
    text = contents()["text"]
    assert len(encode("deflate-12", text)) <= 1.12 * len(deflated(text, -12))
    assert len(encode("zlib", text)) <= 1.12 * len(deflated(text, 15))


@pytest.mark.parametrize("name", ["deflate-12", "zlib"])
def test_a_stream_that_goes_on_past_the_unit_is_cut_there(libraries, name):
    content = contents()["text"] * 3
    stored = deflated(content, -15 if name == "deflate-12" else 15)
    assert decode(name, stored) == content[:UNIT]


def test_a_bomb_makes_one_unit_and_no_more(libraries):
    import resource

    bomb = deflated(bytes(400 << 20), -15, 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode("deflate-12", bomb) == bytes(UNIT)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_short_streams_are_corrupt_in_qcow2_and_short_grains_in_vmdk(libraries):
    short = contents()["text"][:1000]
    with pytest.raises(FormatError, match="ends after 1000 of 65536 bytes") as caught:
        decode("deflate-12", deflated(short, -12))
    assert caught.value.kind == ErrorKind.CORRUPT
    assert decode("zlib", deflated(short, 15)) == short


@pytest.mark.parametrize("name", ["deflate-12", "zlib"])
def test_hostile_streams_are_corrupt_and_nothing_else(libraries, name):
    rng = random.Random(2)
    good = deflated(contents()["text"], -12 if name == "deflate-12" else 15)
    cases = [b"", b"\xff" * 100, good[: len(good) // 2], rng.randbytes(5000)]
    for _ in range(100):
        changed = bytearray(good)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        cases.append(bytes(changed))
    failed = 0
    for stored in cases:
        try:
            assert len(decode(name, stored)) <= UNIT
        except FormatError as error:
            assert error.kind == ErrorKind.CORRUPT
            failed += 1
    assert failed > 4


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_not_encoded(name):
    if name == "zstd":
        pytest.importorskip("zstandard")
    assert encode(name, contents()["noise"], room=UNIT - 1) == b""


def test_small_qcow2_clusters_are_those_of_qemu_and_small_vmdk_grains_no_larger_than_its(libraries):
    for content in contents().values():
        engine = zlib.compressobj(6, zlib.DEFLATED, -12, 9)
        assert encode("deflate-12", content, effort="small") == engine.compress(content) + engine.flush()
        assert len(encode("zlib", content, effort="small")) <= len(zlib.compress(content))
    text = contents()["text"]
    assert decode("zlib", encode("zlib", text, effort="small")) == text
    if libraries == "all" and all(importable(name) for name in ("isal", "deflate")):
        assert len(encode("deflate-12", text, effort="small")) < len(encode("deflate-12", text))
        assert len(encode("zlib", text, effort="small")) < len(encode("zlib", text))


def test_a_level_can_be_asked_for():
    text = contents()["text"]
    assert len(encode("zlib", text, level=9)) <= len(encode("zlib", text, level=1))


@pytest.mark.parametrize("content", contents().values(), ids=contents())
def test_zstd_frames_decode_to_their_unit(content):
    zstandard = pytest.importorskip("zstandard")
    stored = encode("zstd", content)
    assert zstandard.ZstdDecompressor().decompress(stored) == content
    assert decode("zstd", stored + bytes(300)) == content
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    assert decode("zstd", unsized) == content
    two = zstandard.compress(content[:777]) + zstandard.compress(content[777:])
    assert decode("zstd", two + b"") == content


def test_hostile_zstd_is_corrupt_and_makes_no_more_than_a_unit():
    zstandard = pytest.importorskip("zstandard")
    text = contents()["text"]
    good = zstandard.compress(text)
    bomb = zstandard.compress(bytes(300 << 20))
    assert decode("zstd", bomb) == bytes(UNIT)
    wide = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27))
    for stored in (
        b"",
        b"\xff" * 64,
        good[:-20],
        zstandard.compress(text[:100]),
        zstandard.compress(text[:100]) + bytes(9),
    ):
        with pytest.raises(FormatError) as caught:
            decode("zstd", stored)
        assert caught.value.kind == ErrorKind.CORRUPT
    engine = wide.compressobj()
    with pytest.raises(FormatError, match="corrupt"):
        decode("zstd", engine.compress(text) + engine.flush())


def test_zstd_without_a_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(zstd, "_zstandard", lambda: None)
    monkeypatch.setattr(zstd, "_python", lambda: None)
    for make in (codecs.decoder, codecs.encoder):
        with pytest.raises(NotInstalled, match=r"instar\[zstd\]"):
            make("zstd")({}, UNIT)


def test_zstd_of_the_standard_library_does_the_same(monkeypatch):
    pytest.importorskip("compression.zstd", reason="the standard library has zstd from Python 3.14 on")
    monkeypatch.setattr(zstd, "_zstandard", lambda: None)
    text = contents()["text"]
    stored = encode("zstd", text)
    assert decode("zstd", stored + bytes(100)) == text
    with pytest.raises(FormatError):
        decode("zstd", stored[:-5])


def test_an_unknown_coding_is_unsupported():
    with pytest.raises(FormatError, match="unknown coding 'lzma'") as caught:
        codecs.decoder("lzma")
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_inflate_is_the_last_word(monkeypatch):
    monkeypatch.setattr(deflate, "_raw_inflate", lambda: lambda stored, unit: b"wrong length")
    text = contents()["text"]
    assert decode("deflate-12", deflated(text, -12)) == text
