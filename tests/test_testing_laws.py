"""Every law of the conformance kit catches a format that breaks it: the toy, broken in one way each."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

BROKEN = {
    # law broken: (change of the specification, change of the hooks, law that must catch it, what it must say)
    "gap": ({}, {"        at += length": "        at += length + 512"}, "a_map_ascends", "a gap"),
    "overlap": ({}, {"at, length, Kind.ZERO)": "at, length + 1, Kind.ZERO)"}, "a_map_ascends", "goes on to|an overlap"),
    "short": ({}, {"while at < end:": "while at < end - 70000:"}, "a_map_ascends", "ends at"),
    "outside": ({}, {"place + skip)": "place + skip + (1 << 40))"}, "a_map_ascends", "ends at"),
    "wrongplace": (
        {},
        {"table[number] = end +": "table[number] = 512 + end +"},
        "what_was_written_is_read_back",
        "reads differently",
    ),
    "allzero": (
        {},
        {" if place else Extent": " if not place < 1 << 63 else Extent"},
        "what_was_written_is_read_back",
        "reads differently",
    ),
    "twice": (
        {},
        {"        end += -(": "        yield Copy(run.start, end, run.length)\n        end += -("},
        "what_was_written_is_read_back",
        "placed|twice",
    ),
    "forgets": (
        {},
        {"        yield Copy(": "        if run.start:\n            yield Copy("},
        "what_was_written_is_read_back",
        "not placed",
    ),
    "unasked": (
        {},
        {"    for run in runs:": "    for run in [r for r, _ in zip(runs, (1,))]:"},
        "what_was_written_is_read_back",
        "before it had asked",
    ),
    "negative": ({}, {"yield Put(START,": "yield Put(START - 4096,"}, "an_empty_image_reads_as_zeros", "Put at -"),
    "nobarrier": ({}, {"    yield Barrier()\n": ""}, "an_empty_image_reads_as_zeros", "without a barrier"),
    "headerfirst": (
        {},
        {
            "    yield Truncate(end)": "    yield Put(0, HEADER.pack(MAGIC, request.size, count))\n"
            "    yield Barrier()\n    yield Truncate(end)"
        },
        "nothing_is_readable",
        "it opens, but",
    ),
    "overhead": ({}, {"overhead=first": "overhead=first - 1"}, "measure_is_exact", "measured"),
    "wasteful": ({}, {"overhead=first": "overhead=first + 1"}, "measure_is_exact", "measured"),
    "dirty": ({}, {"if place % BLOCK or": "if place or"}, "a_check_of_its_own_image", "cannot lie"),
    "notally": ({}, {"    yield Tally(": "    Tally("}, "a_check_of_its_own_image", "0 tallies"),
    "window": ({}, {"Kind.DATA, 0, place + skip)": "Kind.DATA, 0, place)"}, "map_of_a_window", "that of the whole"),
    "forgetful": (
        {},
        {
            "_table(image)[0], BLOCK)": "_table(image)[0], BLOCK, details={'n': COUNT.append(1) or len(COUNT)})",
            "START =": "COUNT = []\nSTART =",
        },
        "info_says_possible",
        "differs the second time",
    ),
    "valueerror": (
        {},
        {'raise FormatError("not the header of a toy disk", offset=0)': 'raise ValueError("no")'},
        "hooks_answer_or_refuse_hostile",
        "raises ValueError",
    ),
    "randomerror": (
        {},
        {'raise FormatError("not the header of a toy disk", offset=0)': 'raise ValueError("no")'},
        "hooks_answer_or_refuse_random",
        "ValueError",
    ),
    "endless": (
        {},
        {"if magic != MAGIC or": "while count > MOST:\n        pass\n    if magic != MAGIC or"},
        "hooks_answer_or_refuse_hostile",
        "processor time",
    ),
    "greedy": (
        {},
        {"    if magic != MAGIC or": "    bytearray(size % (1 << 40))\n    if magic != MAGIC or"},
        "hooks_answer_or_refuse_hostile",
        "of memory",
    ),
    "recursive": (
        {},
        {
            "    magic, size, count": "    if image.main.read(8, 1) != bytes(1):\n        return _table(image)\n"
            "    magic, size, count"
        },
        "hooks_answer_or_refuse_hostile",
        "recurses",
    ),
    "hostilegap": (
        {},
        {"table[at // BLOCK], at % BLOCK": "table[at // BLOCK] % (1 << 40), at % BLOCK + (table[at // BLOCK] >> 40)"},
        "hooks_answer_or_refuse_hostile",
        "length|gap|overlap|goes on",
    ),
    "probe": (
        {},
        {"view.head.startswith(MAGIC)": "view.head[7] == 10 and view.head.startswith(MAGIC)"},
        "a_probe_takes",
        "IndexError",
    ),
    "claims": ({}, {'Match("toy")': 'Match("raw")'}, "a_probe_takes", "claims the format"),
    "blind": (
        {},
        {"view.head.startswith(MAGIC)": "view.tail.startswith(MAGIC)"},
        "its_own_images_are_known",
        "does not know",
    ),
    "anysize": (
        {},
        {'or count > MOST:\n        raise FormatError("toy': ':\n        raise FormatError("toy'},
        "a_writer_answers_or_refuses",
        "of memory|MemoryError|OverflowError|processor time",
    ),
    "nohook": ({}, {"@hookimpl\ndef instar_check": "def instar_check"}, "every_claimed_capability", "no instar_check"),
    "unmarked": ({}, {"@hookimpl\ndef instar_check": "def instar_check"}, "hooks_name_only", "not marked"),
    "argument": ({}, {"def instar_info(image)": "def instar_info(image, path)"}, "hooks_name_only", "path"),
    "misspelt": ({}, {"def instar_check(": "def instar_chek("}, "hooks_name_only", "instar_chek"),
    "taken": ({'b"TOYDISK': 'b"QED\\0DISK'}, {}, "signatures_agree", "qed"),
    "heavy": ({'"""Toy disks': 'import json\n"""Toy disks'}, {}, "importing_the_specification", "json"),
    "opens": (
        {},
        {"from struct import Struct": "import os\nfrom struct import Struct"},
        "the_plugin_imports_only",
        "imports os",
    ),
    "late": ({}, {"    seen = {0}": "    import bz2\n\n    seen = {0}"}, "what_a_hook_imports_late", "bz2"),
    "newer": ({"api=(1, 0)": "api=(1, 99)"}, {}, "the_specification_is_plain", r"needs version 1\.99"),
    "unkind": (
        {"api=(1, 0)": 'preload={"write": (), "write/growth": ()}'},
        {},
        "the_specification_is_plain",
        "a request called growth",
    ),
    "narrow": ({"api=(1, 0)": 'preload={"write/create": ()}'}, {}, "the_specification_is_plain", "for several of them"),
    "types": (
        {},
        {"_table(image)[0], BLOCK)": "_table(image)[0], BLOCK, details={'x': 1.5})"},
        "info_says_possible",
        "float",
    ),
}

MODULE = """
from instar_core.testing import Budget, FormatConformance


class Test_{0}(FormatConformance):
    format = "{0}"
    disk_sizes = (512, 1000448)
    hostile_samples = 160
    hostile_fields = ((8, 8), (16, 4))
    budget = Budget(seconds=0.3, memory=256 << 20)
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory, stranger, path_with):
    """What each law says of the format that breaks it: (test's name, outcome, text), from one run of pytest."""
    site = tmp_path_factory.mktemp("broken")
    chosen = []
    for kind, (spec, hooks, law, _) in BROKEN.items():
        stranger(site, kind, spec, hooks)
        test = site / f"test_{kind}.py"
        test.write_text(MODULE.format(kind))
        chosen.append((kind, law))
    words = " or ".join(f"(Test_{kind} and {law})" for kind, law in chosen)
    report = site / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={site}",
         "--tb=short", "-o", "junit_logging=all",
         f"--junitxml={report}", "-k", words, *(str(site / f"test_{kind}.py") for kind in BROKEN)],
        env=path_with(site), cwd=site, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    said: dict[str, list[tuple[str, str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kind = case.get("classname", "").rpartition("Test_")[2]
        outcome, text = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome, text = child.tag, (child.get("message") or "") + (child.text or "")
        out = "".join(child.text or "" for child in case.iter("system-out"))
        said.setdefault(kind, []).append((case.get("name", ""), outcome, text + out))
    return said


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_format_is_caught_by_the_law_that_it_breaks(verdicts, kind):
    _, _, law, words = BROKEN[kind]
    ((name, outcome, text),) = verdicts[kind]
    assert law in name
    assert outcome in ("failure", "error"), f"{name} passed for a format with {kind}"
    assert re.search(words, text), text[-1500:]


def test_every_failure_tells_the_seed_that_repeats_it(verdicts):
    assert any("INSTAR_SEED=" in text for _, _, text in verdicts["valueerror"])
    assert any("(seed " in text for _, _, text in verdicts["valueerror"])
