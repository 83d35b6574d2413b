"""Runs a command on a machine with AMD's virtualization (SVM), where this one has none of its own or an odd one.

    python tests/svm/run.py -- python -u -m pytest sandbox/tests/test_kvm_sessions.py

The machine is emulated down to SVM by qemu-system-x86_64 without acceleration, runs a kernel of Debian with kvm-amd,
and holds this interpreter, all that it can import, and this checkout, each at its place; the command runs as root in
the checkout. What it says appears on standard output, and its exit status is this program's. Other statuses:

    77   there can be no machine here, for the reason said
    124  the command did not end before the deadline; the machine was killed
    125  the machine failed: its kernel's last words are said
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import time

import contents
import cpio
import debian
import kmod
import vm

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODULE = "kvm-amd"
INSIDE = "INSTAR_SVM_INSIDE"
"""Set on the machine, where nothing may be skipped for want of KVM."""
PASSED_ON = ("PYTHONPATH", "LD_LIBRARY_PATH")
LARGEST_ARCHIVE = 800 << 20
"""Bytes. The machine holds it twice while it starts."""
UNABLE, LATE, FAILED = 77, 124, 125
LAST_WORDS = 3000
USERS = "root:x:0:0:root:/home:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"


def main() -> int:
    """The exit status."""
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    try:
        if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
            raise debian.Unable("this is not Linux on x86_64")
        emulator, (kernel, modules), shell = debian.emulator(), debian.kernel(), debian.shell()
        files = kmod.found_in(modules)
        order = kmod.load_order([MODULE], kmod.needs_of(MODULE, files))
    except (debian.Unable, LookupError, OSError) as error:
        print(f"no machine: {error}", file=sys.stderr)
        return UNABLE
    place = tempfile.mkdtemp(prefix="instar-svm-")
    try:
        token = secrets.token_hex(16)
        held = contents.of_this_interpreter(CHECKOUT)
        with open(f"{place}/archive", "wb") as out:
            archive = cpio.Archive(out)
            fill(archive, held, shell, [(name, files[name]) for name in order], arguments.command, token)
            archive.close()
        if archive.size > LARGEST_ARCHIVE:
            print(f"no machine: it would hold {archive.size >> 20} MiB", file=sys.stderr)
            return UNABLE
        words = f"{len(held.files)} files, {archive.size >> 20} MiB, made in {time.monotonic() - started:.1f} s"
        print(f"machine: {os.path.basename(kernel)}, {', '.join(order)}; {words}", file=sys.stderr, flush=True)
        line = vm.command_line(
            emulator, kernel, f"{place}/archive", f"{place}/kernel.log", arguments.processors, arguments.cpu
        )
        if shutil.which("setpriv"):  # else only a kill of this program that it cannot catch leaves the machine running
            line = ["setpriv", "--pdeathsig", "KILL", *line]
        return boot(line, vm.Speech(token), place, arguments.deadline)
    finally:
        if arguments.keep:
            print(f"machine: kept in {place}", file=sys.stderr)
        else:
            shutil.rmtree(place, ignore_errors=True)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [options] -- COMMAND ...",
    )
    parser.add_argument("--deadline", type=float, default=900, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--processors", type=int, default=1, choices=(1, 2), help="default: %(default)s")
    parser.add_argument("--cpu", default=vm.PROCESSOR, help="as the emulator names it; default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave the folder with the archive and the kernel's words")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="`python` in it is this interpreter")
    return parser.parse_args()


def fill(
    archive: cpio.Archive,
    held: contents.Contents,
    shell: str,
    modules: list[tuple[str, str]],
    command: list[str],
    token: str,
) -> None:
    """The archive holds the contents, the shell, the modules in their order, and the first process with its orders."""
    own = {
        "/bin/busybox": content(shell),
        "/machine/init": content(os.path.join(os.path.dirname(os.path.abspath(__file__)), "init.sh")),
        "/machine/modules": "".join(f"{name}.ko\n" for name, _ in modules).encode(),
        "/machine/token": token.encode(),
        "/machine/python": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n'.encode(),
        "/machine/command": orders(command).encode(),
        "/etc/passwd": USERS.encode(),
        "/etc/group": GROUPS.encode(),
        "/etc/hosts": b"127.0.0.1 localhost\n",
        **{f"/machine/{name}.ko": kmod.content(path) for name, path in modules},
    }
    programs = {"/bin/busybox", "/machine/init", "/machine/python"}
    folders = held.folders | {"/bin", "/machine", "/etc", "/tmp", "/home", "/run"}
    for path in [*held.files, *held.links]:
        folders |= set(contents.above(path))
    folders -= held.links.keys()
    moved = {contents.real(path, held.links): data for path, data in own.items()}
    executable = {contents.real(path, held.links) for path in programs}
    for path in moved:
        folders |= set(contents.above(path))
    for path in sorted(folders - {"/"}):
        archive.folder(path)
    for path, target in sorted(held.links.items()):
        archive.link(path, target)
    if "/bin/sh" not in held.links and "/bin/sh" not in held.files:
        archive.link(contents.real("/bin/sh", held.links), "busybox")
    for path in sorted(held.files):
        try:
            data, status = content(path), os.stat(path)
        except FileNotFoundError:  # somebody else is at work in the checkout
            continue
        archive.file(path, data, bool(status.st_mode & 0o111), int(status.st_mtime))
    for path, data in moved.items():
        archive.file(path, data, path in executable)


def orders(command: list[str]) -> str:
    """A script of the shell that runs the command, where and as it would run here."""
    words = {
        "PATH": f"{os.path.dirname(sys.executable)}:/bin:/sbin:/usr/bin:/usr/sbin:/machine",
        "HOME": "/home",
        "LC_ALL": "C.UTF-8",
        INSIDE: "1",
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in words.items()]
    return "\n".join([*lines, f"cd {shlex.quote(CHECKOUT)}", f"exec {shlex.join(command)}", ""])


def content(path: str) -> bytes:
    """The bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def boot(line: list[str], speech: vm.Speech, place: str, deadline: float) -> int:
    """Runs the machine to its end. Returns the exit status."""
    started = time.monotonic()
    complaints, kernel_log = f"{place}/emulator.log", f"{place}/kernel.log"
    try:
        status = vm.run(line, speech, sys.stdout.buffer, complaints, deadline)
    except vm.DeadlinePassed as error:
        print(f"machine: {error}", file=sys.stderr)
        return LATE
    print(f"machine: ended after {time.monotonic() - started:.1f} s", file=sys.stderr)
    if status is None:
        for path in (complaints, kernel_log):
            if os.path.exists(path):
                print(content(path)[-LAST_WORDS:].decode(errors="replace"), file=sys.stderr)
        print("machine: it failed before the command could end", file=sys.stderr)
        return FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
