"""Limits of our own, those of the platforms, and being limited from outside as oslo_concurrency.prlimit does it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import instar_sandbox
import pytest
from instar_sandbox.kvm import machine

import instar_core
from instar_core import launch, limits, registry
from instar_core.cli import settings_load
from instar_core.cli.main import VERBS, main
from instar_core.device import Device
from instar_core.errors import UsageError
from instar_core.policy import PRESETS
from instar_core.pool import Pool
from instar_core.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
PROCESS = "process"

CODE = """
import os, resource, sys
if sys.argv[2] == "limited":
    resource.setrlimit(resource.RLIMIT_AS, (1073741824, 1073741824))
    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
from instar_core.cli import main
from instar_sandbox.kvm import place
place.SYSTEM_FOLDER = sys.argv[1]
sys.exit(main.main(["instar", *sys.argv[3:]]))
"""
"""Runs instar with the limits of prlimit --as=1073741824 --cpu=30, set before anything is imported."""

READING = (
    ("info", "{image}"),
    ("info", "--backing-chain", "--output=json", "{image}"),
    ("map", "--output=json", "{image}"),
    ("check", "{image}"),
    ("measure", "-O", "qcow2", "{image}"),
    ("compare", "{image}", "{raw}"),
    ("convert", "-O", "raw", "{image}", "{folder}/out"),
    ("convert", "-c", "-O", "qcow2", "{raw}", "{folder}/packed"),
    ("dd", "-O", "raw", "if={image}", "of={folder}/copy"),
    ("snapshot", "-l", "{image}"),
    ("bench", "-c", "5", "{image}"),
    ("inspect", "--policy", "openstack", "{image}"),
)
"""Every verb that reads an image that is there."""


def run(cache: Path, limited: bool, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INSTAR_")}
    environment.update(
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
        XDG_CACHE_HOME=str(cache),
        XDG_CONFIG_HOME=str(cache),
    )
    command = [sys.executable, "-c", CODE, str(cache / "instar-sandbox"), "limited" if limited else "free", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with snapshots."""
    try:
        os.close(machine.open_device())
    except instar_sandbox.NoPlatform as error:
        pytest.skip(f"no guests here: {error}")
    cache = tmp_path_factory.mktemp("cache")
    done = run(cache, False, "sandbox", "prepare")
    assert done.returncode == 0, done.stderr
    return cache


@pytest.fixture
def images(tmp_path: Path) -> dict[str, str]:
    if "qcow2" not in registry.entries():
        pytest.skip("instar-qcow2 is not installed")
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(MIB) + b"text" * (MIB // 4) + bytes(MIB))
    image = str(tmp_path / "image")
    instar_core.convert([str(raw)], image, target_format="qcow2", compress=True, settings=Settings(sandbox=PROCESS))
    return {"raw": str(raw), "image": image, "folder": str(tmp_path)}


def works(cache: Path, kind: str, images: dict[str, str]) -> None:
    for words in READING:
        done = run(cache, True, *(word.format(**images) for word in words), "--sandbox", kind)
        assert (done.returncode, done.stderr) == (0, ""), (words, done.stderr)
    raw = Path(images["raw"]).read_bytes()
    assert Path(images["folder"], "out").read_bytes() == raw
    assert Path(images["folder"], "copy").read_bytes() == raw


def test_under_the_limits_of_prlimit_every_verb_that_reads_works_in_processes(
    tmp_path: Path, images: dict[str, str]
) -> None:
    works(tmp_path, PROCESS, images)


def test_under_the_limits_of_prlimit_every_verb_that_reads_works_in_guests(
    prepared: Path, images: dict[str, str]
) -> None:
    works(prepared, "kvm", images)


@pytest.mark.parametrize("kind", [PROCESS, "kvm"])
def test_checksums_of_partition_tables_are_computed_wherever_images_are_parsed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cache = request.getfixturevalue("prepared") if kind == "kvm" else tmp_path
    header = b"EFI PART" + struct.pack("<IIIIQQQQ16sQIII", 1 << 16, 92, 7, 0, 1, 9, 34, 40, bytes(16), 2, 128, 128, 9)
    record = bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"", 1, 9).ljust(64, b"\0") + b"\x55\xaa"
    path = tmp_path / "disk"
    path.write_bytes((record + header).ljust(MIB, b"\0"))
    done = run(cache, True, "inspect", str(path), "--sandbox", kind)
    assert (done.returncode, done.stderr) == (2, "")
    assert [reason["offset"] for reason in json.loads(done.stdout)["reasons"]] == [512 + 16, 512 + 88]


def test_every_image_policy_has_the_limits_that_the_platforms_give_to_info() -> None:
    assert {(rules.cpu, rules.memory) for rules in PRESETS.values()} == {(30, GIB)}
    assert (limits.WORKER_CPU, limits.WORKER_MEMORY) == (30, GIB)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    opened = Device(str(path), os.open(path, os.O_RDONLY))
    yield opened
    opened.close()


def bounds(operation: str, device: Device, **settings: object) -> tuple[int, int]:
    found = launch.budget(operation, [device], Settings(**settings))  # type: ignore[arg-type]
    return found.cpu, found.memory


def test_a_worker_has_the_limits_of_its_policy_unless_the_settings_say_others(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bounds("info", device) == (30, GIB)
    assert bounds("check", device) == (limits.MAP_CPU, GIB)
    monkeypatch.setitem(PRESETS, "strict", PRESETS["strict"]._replace(cpu=2, memory=GIB // 2))
    assert bounds("info", device, policy="strict") == (2, GIB // 2)
    assert bounds("map", device, policy="strict") == (limits.MAP_CPU, GIB // 2)
    assert bounds("info", device, policy="strict", cpu=7, memory=GIB // 4) == (7, GIB // 4)
    assert bounds("map", device, cpu=7) == (7, GIB)
    with pytest.raises(UsageError):
        bounds("info", device, policy="lenient")


def test_limits_come_from_files_environment_and_command_line(tmp_path: Path) -> None:
    system = tmp_path / "etc.toml"
    system.write_text('cpu-limit = 9\nmemory-limit = "512M"\n')
    environment = {"INSTAR_CPU_LIMIT": "8", "INSTAR_MEMORY_LIMIT": "", "HOME": str(tmp_path)}
    held = settings_load.load({"memory-limit": GIB}, environment=environment, system=str(system), root=False)
    assert held["cpu-limit"] == (8, "INSTAR_CPU_LIMIT")
    assert held["memory-limit"] == (GIB, "--memory-limit")
    made = settings_load.settings(held)
    assert (made.cpu, made.memory) == (8, GIB)
    held = settings_load.load({}, environment={}, system=str(system), root=False)
    assert (held["cpu-limit"].value, held["memory-limit"].value) == (9, 512 * MIB)


def test_for_root_the_environment_and_the_users_file_can_only_tighten_limits(tmp_path: Path) -> None:
    system = tmp_path / "etc.toml"

    def load(root: bool, **environment: str) -> dict[str, settings_load.Held]:
        return settings_load.load({"cpu-limit": 1000}, environment=environment, system=str(system), root=root)

    for name, value in (("INSTAR_CPU_LIMIT", "31"), ("INSTAR_MEMORY_LIMIT", "2G")):
        assert load(False, **{name: value})
        with pytest.raises(
            UsageError, match=rf"{name} asks for a .*-limit of \d+, more than \d+ \(default\): for root"
        ):
            load(True, **{name: value})
    assert load(True, INSTAR_MEMORY_LIMIT="512M")["memory-limit"].value == 512 * MIB
    system.write_text('memory-limit = "4G"\n')
    assert load(True, INSTAR_MEMORY_LIMIT="3G")["memory-limit"].value == 3 * GIB
    assert load(True)["cpu-limit"].value == 1000


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("cpu-limit", "0", "expects a whole number of seconds, not '0'"),
        ("cpu-limit", "1.5", "expects a whole number of seconds, not '1.5'"),
        ("memory-limit", "1M", "expects a size of at least 256M, not '1M'"),
        ("memory-limit", "much", "expects a size of at least 256M, not 'much'"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    option: str, value: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    assert main(["instar", "info", f"--{option}", value, str(path)]) == 1
    assert f"--{option} {problem}" in capsys.readouterr().err


def test_every_session_of_an_image_is_started_with_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    seen = []
    start = instar_sandbox.start

    def watched(platform: str, program: object, descriptors: object, bounds: instar_sandbox.Limits, **named: object):  # type: ignore[no-untyped-def]
        seen.append((bounds.cpu, bounds.memory))
        return start(platform, program, descriptors, bounds, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(instar_sandbox, "start", watched)
    settings = Settings(sandbox=PROCESS, cpu=5, memory=GIB // 2)
    instar_core.info(str(path), settings=settings)
    list(instar_core.map(str(path), settings=settings))
    assert instar_core.inspect(str(path), policy="openstack", settings=settings).accepted
    assert len(seen) >= 4
    assert set(seen) == {(5, GIB // 2)}
    seen.clear()
    assert instar_core.inspect(str(path), policy="openstack", settings=Settings(sandbox=PROCESS)).accepted
    assert set(seen) == {(60, GIB)}


def test_every_verb_that_reads_is_in_the_tests_above() -> None:
    changing = {"amend", "bitmap", "commit", "create", "rebase", "resize"}
    assert {words[0] for words in READING} == {*VERBS, "inspect"} - changing


def test_a_pool_does_not_serve_who_wants_less_memory_than_it_gives() -> None:
    with Pool(1, sandbox=PROCESS) as pool:
        assert pool.serves(pool.settings)
        assert not pool.serves(pool.settings._replace(memory=GIB // 2))
