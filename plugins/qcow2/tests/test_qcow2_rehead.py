"""The first cluster is changed by one atomic write, whatever a stop leaves of the others."""

from __future__ import annotations

import itertools
import random

import pytest
from instar_qcow2 import layout
from instar_qcow2.header import read_header
from instar_qcow2.rehead import KEEP, rewriting

from instar_core.source import descriptor_source
from instar_core.testing.foreign import Programs
from instar_core.types import Barrier

PROGRAMS = Programs()


def opened(path):
    file = open(path, "rb")  # noqa: SIM115  the source reads from it
    return file, descriptor_source(file.fileno(), path.stat().st_size, path.stat().st_size)


def said(path):
    """What counts of a header, by the plugin's own reading of it."""
    file, source = opened(path)
    with file:
        header = read_header(source)
        return header._replace(backing_file_offset=0)


def phases(edits):
    found = [[]]
    for edit in edits:
        if isinstance(edit, Barrier):
            found.append([])
        else:
            found[-1].append(edit)
    return found


def written(data, puts):
    made = bytearray(data)
    for put in puts:
        made[put.offset : put.offset + len(put.data)] = put.data
    return bytes(made)


def plan(path, **changes):
    file, source = opened(path)
    with file:
        return rewriting(source, read_header(source), **changes)


def made(tmp_path, *options, backing=None):
    image = tmp_path / "a.qcow2"
    image.unlink(missing_ok=True)
    over = [] if backing is None else ["-u", "-b", backing, "-F", "raw"]
    PROGRAMS.img("create", "-q", "-f", "qcow2", *options, *over, image, "1M")
    return image


def cuts(image, rewritten):
    """Every state that a stop can leave: whole phases, and any part of the writes of the next."""
    data = image.read_bytes()
    for phase in phases(rewritten.edits()):
        assert all(put.offset % 512 + len(put.data) <= 512 for put in phase)
        for count in range(min(len(phase), 4) + 1):
            for some in itertools.islice(itertools.combinations(phase, count), 20):
                yield written(data, some)
        data = written(data, phase)
    yield data


SIZES = [("cluster_size=512",), ("cluster_size=1k",), ("cluster_size=64k",), ("compat=0.10",)]


@pytest.mark.oracle
@pytest.mark.parametrize("options", [["-o", ",".join(options)] for options in SIZES])
def test_any_stop_leaves_the_old_header_or_the_new_one(tmp_path, options):
    random.seed(str(options))
    states = 0
    for _ in range(12):
        image = made(tmp_path, *options, backing=random.choice([None, "b", "c" * random.randrange(1, 200)]))
        for _ in range(4):
            name = random.choice([KEEP, b"", b"n", b"x" * random.randrange(1, 150)])
            changes = {"fields": {"size": random.randrange(1, 2048) * 512}, "backing": name}
            old = said(image)
            if old.version >= 3:
                changes["extensions"] = random.choice(
                    [
                        {},
                        {layout.EXT_BACKING_FORMAT: b"qcow2"},
                        {layout.EXT_BACKING_FORMAT: None},
                        {0x12345678: b"kept"},
                    ]
                )
            rewritten = plan(image, **changes)
            last = None
            seen = []
            for data in cuts(image, rewritten):
                last = tmp_path / "cut"
                last.write_bytes(data)
                seen.append(said(last))
                states += 1
            new = seen[-1]
            assert new.size == changes["fields"]["size"]
            assert new.backing_file == (old.backing_file if name == KEEP else name or None)
            assert set(seen) <= {old, new}
            image.write_bytes(last.read_bytes())
            PROGRAMS.img("info", "-U", image)
    assert states > 100


@pytest.mark.oracle
def test_what_nobody_knows_and_the_names_of_features_stay(tmp_path):
    image = made(tmp_path)
    for number, name in enumerate([b"one", b"a longer one", b"", b"two"]):
        rewritten = plan(image, backing=name, extensions={0x6B6B0000 + number: b"kept" * number})
        data = image.read_bytes()
        for phase in phases(rewritten.edits()):
            data = written(data, phase)
        image.write_bytes(data)
    first = image.read_bytes()[:4096]
    assert b"extended L2 entries" in first
    assert first.count(b"kept") == 6
    assert said(image).backing_file == b"two"


@pytest.mark.oracle
def test_a_name_that_does_not_fit_is_refused(tmp_path):
    from instar_core.errors import FormatError

    image = made(tmp_path, "-o", "cluster_size=512")
    with pytest.raises(FormatError, match="No space left on device"):
        plan(image, backing=b"x" * 500)
    with pytest.raises(FormatError, match="Invalid argument"):
        plan(image, backing=b"x" * 1024)
