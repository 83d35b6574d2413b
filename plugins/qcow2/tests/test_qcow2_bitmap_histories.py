"""Histories of dirty bitmaps, step by step the same as by qemu-img. INSTAR_BITMAP_SEEDS says how many are tried."""

from __future__ import annotations

import os
import shutil
from random import Random

import pytest

from instar_core.errors import InstarError
from instar_core.operations.bitmap import Action, bitmap
from instar_core.settings import Settings
from instar_core.testing.beside import beside

load = beside(__file__)
oracle = load("qcow2_bitmap_oracle")
pytestmark = [oracle.needs_qemu, pytest.mark.oracle]

SETTINGS = Settings(sandbox="inline")
FIRST = int(os.environ.get("INSTAR_BITMAP_FIRST", "0"))
SEEDS = int(os.environ.get("INSTAR_BITMAP_SEEDS", "6"))
NAMES = ("a", "b", "ü", "long" * 60)
VERBS = ("add", "add", "add", "merge", "merge", "merge", "clear", "enable", "disable", "remove")
GRANULARITIES = (0, 0, 512, 1024, 4096, 65536, 1 << 20)


def created(random, path, size):
    options = [f"cluster_size={random.choice((512, 512, 1024, 4096, 65536))}"]
    if random.random() < 0.4:
        options.append(f"refcount_bits={random.choice((1, 2, 4, 8, 32, 64))}")
    if random.random() < 0.2:
        options = ["cluster_size=16k", "extended_l2=on"]
    oracle.img("create", "-q", "-f", "qcow2", "-o", ",".join(options), path, size)


def written(random, size, *paths):
    """The same is written to all of them, by QEMU, which records it in bitmaps that are enabled."""
    commands = []
    for _ in range(random.randint(1, 6)):
        at = random.randrange(0, size, 512)
        length = min(size - at, random.choice((512, 4096, 70_000 // 512 * 512, 1 << 20)))
        commands.append(f"write -P {random.randint(1, 255)} {at} {length}")
    for path in paths:
        oracle.io(path, *commands)


def words(actions, granularity, source):
    made = [f"--{each.verb}" if each.verb != "merge" else f"--merge={each.source}" for each in actions]
    if granularity:
        made += ["-g", str(granularity)]
    return made + ([] if source is None else ["-b", str(source), "-F", "qcow2"])


def by_instar(path, name, actions, granularity, source):
    try:
        bitmap(
            str(path),
            name,
            actions,
            granularity=granularity,
            source=None if source is None else str(source),
            source_format="qcow2" if source else None,
            format="qcow2",
            settings=SETTINGS,
        )
    except InstarError as error:
        return f"qemu-img: {error.message}\n" + (f"{error.hint}\n" if error.hint else "")
    return ""


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_after_every_step_the_bitmaps_are_those_of_qemu_img(tmp_path, seed):
    if "--remove-all" not in oracle.img("bitmap", "--help").stdout:
        pytest.skip("this qemu-img has no --remove-all")
    random = Random(seed)
    size = random.choice((512 * random.randint(1, 3000), 1 << 20, 3 << 20, 512 * random.randint(9000, 90000)))
    mine, theirs, other = tmp_path / "mine", tmp_path / "theirs", tmp_path / "other"
    created(random, mine, size)
    shutil.copy(mine, theirs)
    created(random, other, size if random.random() < 0.8 else size + 512)
    for name in NAMES[:3]:
        oracle.img("bitmap", "--add", "-g", random.choice(GRANULARITIES[2:]), other, name)
        written(random, size, other)
    for _ in range(random.randint(4, 10)):
        if random.random() < 0.3:
            written(random, size, mine, theirs)
        name = random.choice(NAMES)
        if random.random() < 0.08:
            actions = [Action("remove-all")]
        else:
            verbs = [random.choice(VERBS) for _ in range(random.choice((1, 1, 2, 3, 5)))]
            if random.random() < 0.1:
                verbs.insert(random.randrange(len(verbs)), "remove-all")
            actions = [Action(verb, random.choice(NAMES) if verb == "merge" else "") for verb in verbs]
        granularity = random.choice(GRANULARITIES) if any(each.verb == "add" for each in actions) else 0
        source = other if random.random() < 0.5 and any(each.verb == "merge" for each in actions) else None
        operand = [] if [each.verb for each in actions] == ["remove-all"] else [name]
        done = oracle.img("bitmap", "-f", "qcow2", *words(actions, granularity, source), theirs, *operand, check=False)
        told = by_instar(mine, name, actions, granularity, source)
        step = (seed, name, actions, granularity, source)
        assert told == done.stderr, step
        oracle.assert_clean(mine)
        assert oracle.listed(mine) == oracle.listed(theirs), step
        for each, _, _ in oracle.listed(mine):
            assert oracle.dirty(mine, each) == oracle.dirty(theirs, each), (*step, each)
    assert oracle.img("compare", mine, theirs).returncode == 0
