"""Differences that random command lines meet and that are deliberate, by the quirks of docs/quirks.toml.

Each excuse knows what instar must say or make then, so that it covers nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import excuses

if TYPE_CHECKING:
    from collections.abc import Callable

    from differential import Answer
    from surface_grammar import Line

WARNINGS = re.compile(
    rb"WARNING: Image format was not specified for '.*' and probing guessed raw\.\n"
    rb" {9}Automatically .*\n {9}Specify .*\n"
    rb'|qemu-img: warning: Use of "backing": "" is deprecated; use "backing": null instead\n'
    rb"|qemu-img: warning: short-form boolean option '.*' deprecated\nPlease use .*=o(n|ff) instead\n"
)
NODE = re.compile(rb"#block\d+")


def warnings(_line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """All else is the same."""
    told = WARNINGS.sub(b"", want.err)
    return told != want.err and told == have.err and len(found) == 1 and found[0].startswith("err")


def only(found: list[str], *kinds: str) -> bool:
    """Whether what differs is of these kinds: code, out, err, files, or the name of a file."""
    return bool(found) and all(each.startswith(kinds) for each in found)


def vhdx_reason(_line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """qemu-img gives no reason."""
    bare = want.err.endswith(b": Invalid argument\n")
    return only(found, "err") and bare and (b"VHDX" in have.err or b"vhdx" in have.err)


def node_names(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """In place of the name of a node stands a name that the command line has."""
    given = b" to n:" if any("node-name=n" in word for word in line.words) else b"#block"
    told = WARNINGS.sub(b"", want.err).replace(b" to n:", b" to #block0:")
    pattern = b".+".join(re.escape(part) for part in NODE.split(told))
    return only(found, "err") and given in want.err and re.fullmatch(pattern, have.err, re.DOTALL) is not None


def half_written(_line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """Both fail with the same words; only what is left of the target differs."""
    return (
        bool(want.code and have.code) and not only(found, "code", "out", "err") and found[0][:4] not in ("code", "err:")
    )


def as_histories(name: str) -> Callable[[Line, Answer, Answer, list[str]], bool]:
    """An excuse of the histories."""

    def excuse(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
        words = [line.verb, *(word for word in line.words if word != line.verb)]
        image = next((word for word in words if ".vhdx" in word or ".qed" in word or ".parallels" in word), "")
        return excuses.EXCUSES[name]([*words, "--output=json" if want.out[:1] in b"[{" else "", image], want, have)

    return excuse


def other_status(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """qemu-img stops at a place where only what its drivers say differs; instar looks further."""
    quiet = any(re.match(r"--q|-[a-zA-Z]*q", word) for word in line.words)
    strict = any(re.match(r"--s|-[a-zA-Z]*s", word) for word in line.words)
    if line.verb == "compare" and quiet and strict and (want.code, have.code) == (1, 0):
        return only(found, "code")
    status = re.search(rb"Strict mode: Offset (\d+) block status mismatch!", want.out)
    if line.verb != "compare" or status is None or not only(found, "out", "code"):
        return False
    later = re.search(rb"ffset (\d+)", have.out)
    return int(later[1]) >= int(status[1]) if later else b"Images are identical.\n" in have.out


def compressed_qcow(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """qemu-img fails without a word."""
    text = " ".join(line.words)
    failed = (want.code, want.err, have.code) == (1, b"", 0)
    return line.verb == "convert" and "qcow" in text and failed and only(found, "code")


def differencing(line: Line, want: Answer, _have: Answer, _found: list[str]) -> bool:
    """The formats have parents."""
    told = re.search(rb"Backing file (format )?not supported for file format '(vpc|vhdx)'", want.err)
    return line.verb in ("create", "convert") and told is not None


def empty_vmdk(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """qemu-img makes what it cannot open, or ends itself."""
    told = b"Unsupported image type" in have.err and have.code == 1
    return line.verb in ("dd", "convert") and want.code in (1, -6) and told


def own_backing(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """An image is not put over itself; qemu-img mostly cannot lock it twice, and else does it."""
    locked = want.code == have.code == 1 and b'Failed to get shared "write" lock' in want.err
    return line.verb == "rebase" and have.code == 1 and (locked or b"creates an infinite loop" in have.err)


def bitmapless(_line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """instar refuses before it looks at the target."""
    return bool(want.code and have.code) and b"does not support bitmaps" in have.err


def torn(line: Line, _want: Answer, have: Answer, found: list[str]) -> bool:
    """What would be overwritten by further content is not added to, or is not overwritten."""
    refused = have.code == 1 and b"in use but its refcount is 0" in have.err
    spared = line.verb == "resize" and not have.code and only(found, "torn.qcow2: Answer(code=1, out=b'Content")
    return "torn.qcow2" in " ".join(line.words) and (refused or spared)


def unordered(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """qemu-img ends itself by a failed assertion."""
    out_of_order = any(word == "--oob-writes" or re.match(r"-[a-zA-Z]*W", word) for word in line.words)
    return out_of_order and want.code == -6 and b"qed_aio_write_alloc: Assertion" in want.err and not have.code


def longer_file(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """qemu-img ends itself by a failed assertion, or says that files do not shrink."""
    refused = want.code == -6 or b"Cannot use preallocation for shrinking files" in want.err
    return line.verb == "resize" and refused and have.code == 0


def covered(line: Line, _want: Answer, have: Answer, found: list[str]) -> bool:
    """What was zeros stays zeros over the first backing file of an image of version 2."""
    text = " ".join(line.words)
    return line.verb == "rebase" and "old.qcow2" in text and not have.code and only(found, "old.qcow2: Answer(code=1")


def same_file(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """The file is read as another format than before."""
    chained = any(name in " ".join(line.words) for name in ("over.qcow2", "top.qcow2", "over.qed"))
    copied = not have.code and len(found) == 1 and "Content mismatch" in found[0]
    unread = (want.code, have.code) == (0, 1) and b"Could not open new backing file" in have.err
    return line.verb == "rebase" and chained and (copied or unread)


def over_zero(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """Both copy nothing."""
    told = b"Cannot use --target-is-zero when the destination image has a backing file" in have.err
    return line.verb == "convert" and told and (want.code, have.code) == (0, 1) and only(found, "code")


def unmade(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """Nobody could make such a qcow2 image."""
    words = (
        b"data-file-raw requires", b"Lazy refcounts", b"data files are only", b"keep_data_file", b"Could not create",
        b"Backing file and preallocation", b"Extended L2 entries", b"does not accept value",
    )  # fmt: skip
    told = any(word in have.err for word in words)
    return line.verb == "measure" and told and (want.code, have.code) == (0, 1)


def backing_file(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """The backing file is looked for beside the image."""
    named = any(word.startswith("file:") or "=file:" in word for word in line.words)
    aside = re.search(rb"Could not open '(dir|gone)/", have.err)
    return line.verb in ("create", "convert", "rebase") and named and have.code == 1 and aside is not None


def data_file(line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """The data file is where the image looks for it."""
    made = (want.code, have.code) == (0, 0) and only(found, "files") and len(found) == 1
    return line.verb in ("create", "convert") and made and "'dir/data2.raw'" in found[0].partition(", instar")[2]


def compressed_parts(line: Line, want: Answer, _have: Answer, _found: list[str]) -> bool:
    """qemu-img ends itself by a failed assertion."""
    return line.verb == "rebase" and want.code == -6 and b"img_rebase: Assertion" in want.err


def own_source(line: Line, _want: Answer, have: Answer, _found: list[str]) -> bool:
    """What is read is not written over."""
    return line.verb in ("dd", "convert") and have.code == 1 and b"is one of the files that are" in have.err


def large_vmdk(line: Line, want: Answer, have: Answer, _found: list[str]) -> bool:
    """qemu-img makes one of another size."""
    return (line.verb, want.code, have.code) == ("create", 0, 1) and b"too large for file format 'vmdk'" in have.err


def wrapped(line: Line, _want: Answer, have: Answer, _found: list[str]) -> bool:
    """Nothing is done by instar: the size is none."""
    large = any(re.fullmatch(r"[-+]?([0-9]{19,20}|8E)", word) for word in line.words)
    return line.verb == "resize" and large and b"New image size must be positive" in have.err


def folder(_line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """Both refuse the folder."""
    return only(found, "err") and b"does not support O_DIRECT" in want.err and b"to be a regular file" in have.err


def more_options(_line: Line, want: Answer, have: Answer, found: list[str]) -> bool:
    """All of qemu-img's are there, in its order."""
    theirs, ours = want.out.splitlines(), have.out.splitlines()
    shared = [each for each in ours if each in theirs]
    further = [each for each in ours if each not in theirs]
    listed = theirs[:1] == ours[:1] and theirs[:1] != [] and theirs[0].startswith(b"Supported ")
    return only(found, "out") and listed and shared == theirs and all(b"=<" in each for each in further)


EXCUSES: dict[str, Callable[[Line, Answer, Answer, list[str]], bool]] = {
    "no-warnings": warnings,
    "vhdx-says-why": vhdx_reason,
    "bitmap-node-names": node_names,
    "half-written-target": half_written,
    "map-of-vhdx": as_histories("map-of-vhdx"),
    "compare-strict-status": other_status,
    "qcow-compressed": compressed_qcow,
    "vpc-differencing": differencing,
    "vmdk-of-nothing": empty_vmdk,
    "more-create-options": more_options,
    "vmdk-too-large": large_vmdk,
    "rebase-loop": own_backing,
    "target-without-bitmaps": bitmapless,
    "torn-refcounts": torn,
    "own-source": own_source,
    "rebase-uncovers-nothing": covered,
    "rebase-same-file": same_file,
    "rebase-compressed-parts": compressed_parts,
    "resize-in-a-longer-file": longer_file,
    "resize-past-63-bits": wrapped,
    "qed-out-of-order": unordered,
    "data-file-beside-its-image": data_file,
    "backing-file-beside-its-image": backing_file,
    "measure-of-what-cannot-be": unmade,
    "target-is-zero-over-backing": over_zero,
    "folder-past-the-cache": folder,
}
"""By the names of the quirks."""


def find(line: Line, want: Answer, have: Answer, found: list[str]) -> str:
    """The name of the quirk that explains what was found, empty where none does."""
    return next((name for name, excuse in EXCUSES.items() if excuse(line, want, have, found)), "")
