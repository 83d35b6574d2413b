"""What a guest sends is counted in frames, however it is split, so that last words never stand inside one."""

import fcntl
import os
import random

import pytest
from instar_sandbox.frames import LAST, Assembly
from instar_sandbox.kvm.output import Output


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 1 << 20)  # F_SETPIPE_SZ
    yield reader, writer
    os.close(reader)
    os.close(writer)


def frames(chance, count):
    lengths = [chance.choice((0, 0, 1, 2, 3, 4, 5, 255, 256, chance.randrange(70000))) for _ in range(count)]
    last = [LAST if chance.random() < 0.2 else 0 for _ in lengths]
    return b"".join(
        (length | flag).to_bytes(4, "little") + chance.randbytes(length)
        for length, flag in zip(lengths, last, strict=True)
    )


def torn(stream):
    """Whether bytes of a channel end within a frame, by the host's own reading."""
    assembly = Assembly((1 << 31) - 1)
    assembly.add(stream)
    while assembly.take() is not None:
        pass
    return bool(assembly._data)


@pytest.mark.parametrize("seed", range(10))
def test_frames_are_counted_under_any_splits(pipe, seed):
    print(f"seed {seed}")
    reader, writer = pipe
    chance = random.Random(seed)
    stream, output, at = frames(chance, 30)[: 1 << 20], Output(writer), 0
    while at < len(stream):
        step = chance.choice((0, 1, 2, 3, 4, 5, 100, 50000))
        piece = memoryview(bytearray(stream))[at : at + step]
        assert output.write(piece) == len(piece)
        at += len(piece)
        assert os.read(reader, 1 << 20) == piece if piece else True
        assert output.torn == torn(stream[:at]), at
    output.write(memoryview(b"\x05\0\0\0ab"))
    assert output.torn


def test_what_the_pipe_does_not_take_is_not_counted(pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    output = Output(writer)
    stream = memoryview(bytearray(frames(random.Random(3), 400)))
    assert len(stream) > 1 << 20
    sent = 0
    while sent < len(stream):
        done = output.write(stream[sent:])
        sent += done
        assert output.torn == torn(bytes(stream[:sent]))
        os.read(reader, 12345)
    assert not output.torn


def test_last_words_stand_behind_whole_frames_only(pipe):
    reader, writer = pipe
    output = Output(writer)
    output.write(memoryview(b"\x02\0\0\0ab"))
    output.last_words(b"Xwhy")
    assert os.read(reader, 100) == b"\x02\0\0\0ab\x04\0\0\x80Xwhy"


@pytest.mark.parametrize("stream", [b"\x01", b"\0\0\0", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\x03\0\0\x80ab"])
def test_inside_a_frame_nothing_is_said(pipe, stream):
    reader, writer = pipe
    output = Output(writer)
    output.write(memoryview(stream))
    assert output.torn
    output.last_words(b"Xwhy")
    assert os.read(reader, 100) == stream


def test_a_long_frame_in_short_pieces_is_one_frame(pipe):
    reader, writer = pipe
    output = Output(writer)
    for byte in (100000).to_bytes(4, "little"):
        output.write(memoryview(bytes([byte])))
    for _ in range(99):
        output.write(memoryview(bytes(1000)))
    assert output.torn
    output.write(memoryview(bytes(1000)))
    assert not output.torn
    assert len(os.read(reader, 1 << 20)) == 100004
