"""What the machine is made of, from Debian's packages: an emulator, installed; a kernel and a shell, only unpacked."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile

EMULATOR = "qemu-system-x86_64"
EMULATOR_PACKAGE = "qemu-system-x86"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
"""The newest kernel for clouds: kvm-amd is among its modules, and it is a third of the size of the other."""
SHELL_PACKAGE = "busybox-static"
CACHE = "INSTAR_SVM_CACHE"


class Unable(Exception):
    """Why there can be no machine here."""


def emulator() -> str:
    """The path of the emulator, which is installed where it is missing and the caller is root. Raises Unable."""
    found = shutil.which(EMULATOR)
    if found is None:
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Unable(f"{EMULATOR} is not here; on Debian, root installs it as {EMULATOR_PACKAGE}")
        _apt("update")
        words = ("-y", "install", "--no-install-recommends")
        # Of the newest release, where it is configured, so that it suits a newer qemu-img from there.
        if _apt(*words, "-t", f"{_codename()}-backports", EMULATOR_PACKAGE):
            error = _apt(*words, EMULATOR_PACKAGE)
            if error:
                raise Unable(f"{EMULATOR_PACKAGE} cannot be installed: {error}")
        found = shutil.which(EMULATOR)
    if found is None:
        raise Unable(f"{EMULATOR_PACKAGE} is installed, but there is no {EMULATOR}")
    return found


def kernel() -> tuple[str, str]:
    """The path of a kernel and of the folder of its modules. Raises Unable."""
    place = unpacked(KERNEL_PACKAGE)
    images, modules = glob.glob(f"{place}/boot/vmlinuz-*"), glob.glob(f"{place}/**/modules/*/kernel", recursive=True)
    if len(images) != 1 or len(modules) != 1:
        raise Unable(f"{place} holds {len(images)} kernels and {len(modules)} folders of modules, not one of each")
    return images[0], modules[0]


def shell() -> str:
    """The path of a busybox that needs no library. Raises Unable."""
    place = unpacked(SHELL_PACKAGE)
    for path in (f"{place}/bin/busybox", f"{place}/usr/bin/busybox"):
        if os.path.exists(path):
            return path
    raise Unable(f"{SHELL_PACKAGE} holds no busybox")


def cache() -> str:
    """The folder for what was unpacked, made where it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = os.environ.get(CACHE) or os.path.join(base, "instar-tests-svm")
    os.makedirs(place, 0o700, exist_ok=True)
    return os.path.abspath(place)


def unpacked(package: str) -> str:
    """The folder with a package's files, or those of the package that it stands for. Raises Unable."""
    place = os.path.join(cache(), package)
    if os.path.isdir(place):
        return place
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unable(f"{package} cannot be had: there is no {tool} here")
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        error = _apt("download", _real_name(package), folder=scratch)
        if error and os.geteuid() == 0 and not _apt("update"):
            error = _apt("download", _real_name(package), folder=scratch)
        files = glob.glob(f"{scratch}/*.deb")
        if error or len(files) != 1:
            raise Unable(f"{package} cannot be downloaded: {error or 'nothing came'}")
        done = _run("dpkg-deb", "-x", files[0], f"{scratch}/tree")
        if done.returncode:
            raise Unable(f"{package} cannot be unpacked: {_last_line(done.stderr)}")
        try:
            os.rename(f"{scratch}/tree", place)
        except OSError:
            if not os.path.isdir(place):  # else somebody else was faster
                raise
    return place


def _real_name(package: str) -> str:
    """The package that a package without files stands for: the first that it needs and that continues its name."""
    stem = package.removesuffix("-cloud-amd64")
    for line in _run("apt-cache", "depends", package).stdout.splitlines():
        word, _, needed = line.strip().partition(": ")
        if word == "Depends" and stem != package and needed.startswith(f"{stem}-"):
            return needed
    return package


def _codename() -> str:
    with open("/etc/os-release") as file:
        words = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    return words.get("VERSION_CODENAME", "stable").strip('"')


def _apt(*words: str, folder: str | None = None) -> str:
    """Runs apt-get. Returns the last line of its complaint, empty if there is none."""
    done = _run("apt-get", "-qq", *words, folder=folder)
    return "" if done.returncode == 0 else _last_line(done.stderr) or f"apt-get failed with {done.returncode}"


def _run(*command: str, folder: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
