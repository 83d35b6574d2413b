"""oslo.utils as a peer: its own tests pass with this project's inspectors, both say the same, and its parsers read what
`info` prints."""

from __future__ import annotations

import importlib.util
import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from instar_core import registry
from instar_core.cli.main import main
from instar_core.compat.oslo import imageutils as ours
from instar_core.compat.oslo.imageutils import format_inspector as our_inspectors
from instar_core.testing import foreign
from instar_core.testing.foreign import Programs

theirs = pytest.importorskip("oslo_utils.imageutils", reason="oslo.utils is not installed here")
if not hasattr(theirs, "__path__"):
    pytest.skip("this oslo.utils has no format inspector", allow_module_level=True)
their_inspectors = pytest.importorskip("oslo_utils.imageutils.format_inspector")

PROGRAMS = Programs()


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


images = _beside("stream_images")


def said(module: Any, data: bytes, read: Callable[[], int]) -> object:
    """What a module says of a stream: formats, sizes, and the reasons why they are not safe."""
    wrapper = module.InspectWrapper(io.BytesIO(data))
    while wrapper.read(read()):
        pass
    wrapper.close()
    found: list[tuple[str, int, object]] = []
    for each in wrapper.formats:
        verdict: object = "safe"
        try:
            each.safety_check()
        except module.SafetyCheckFailed as error:
            verdict = {name: str(failure) for name, failure in error.failures.items()}
        except module.ImageFormatError:
            verdict = None
        found.append((str(each), each.virtual_size, verdict))
    return sorted(found, key=str)


def agree(data: bytes, *chunks: int) -> None:
    """Both say the same of the stream in chunks of these sizes, and in random ones of at least a sector."""
    for chunk in (*chunks, 0):
        both = []
        for module in (their_inspectors, our_inspectors):
            chance = random.Random(len(data))
            sizes = (512, 513, 4096, 70000)
            both.append(said(module, data, lambda: chunk or chance.choice(sizes)))  # noqa: B023  called at once
        assert both[0] == both[1], chunk


@pytest.mark.parametrize("name", images.AGREED)
def test_both_say_the_same_of_a_stream(name: str) -> None:
    agree(images.AGREED[name], 512, 65536)


@pytest.mark.parametrize("name", ["qcow2-all", "vmdk-path", "gpt-chs", "vdi"])
def test_both_say_the_same_of_a_stream_that_comes_byte_by_byte(name: str) -> None:
    agree(images.AGREED[name][: 12 * 1024], 1)


@pytest.mark.parametrize("name", images.SAFER)
def test_they_do_not_refuse_what_is_refused_here(name: str) -> None:
    """Each of these differences is deliberate and described; one that is none any more should not be listed."""
    data = images.SAFER[name]
    differences = []
    for chunk in (4096, 4 << 20):
        try:
            found = said(their_inspectors, data, lambda: chunk)  # noqa: B023  called at once
        except Exception as error:
            found = repr(error)
        differences.append(found != said(our_inspectors, data, lambda: chunk))  # noqa: B023  likewise
    assert any(differences)


MADE = [
    ("qcow2", ""), ("qcow2", "compat=0.10"), ("qcow2", "cluster_size=2M"), ("qcow2", "compression_type=zstd"),
    ("qcow2", "refcount_bits=64,lazy_refcounts=on"), ("qcow2", "extended_l2=on"), ("qcow2", "preallocation=metadata"),
    ("qcow2", "data_file=other"), ("qcow", ""), ("qed", ""), ("vdi", ""), ("vdi", "static=on"), ("parallels", ""),
    ("vhdx", ""), ("vhdx", "subformat=fixed"), ("vhdx", "block_size=1M,log_size=3M"), ("vpc", ""),
    ("vpc", "subformat=fixed"), ("vmdk", ""), ("vmdk", "subformat=streamOptimized"), ("vmdk", "compat6=on"),
    ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=twoGbMaxExtentSparse"), ("raw", ""),
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize(("format", "options"), MADE, ids=[" ".join(made).strip() for made in MADE])
def test_both_say_the_same_of_what_qemu_img_makes(tmp_path: Path, format: str, options: str) -> None:
    path = tmp_path / "image"
    options = options.replace("other", str(tmp_path / "other"))
    PROGRAMS.img("create", "-q", "-f", format, *(["-o", options] if options else []), str(path), "3M")
    agree(path.read_bytes(), 4096)


LUKS = pytest.mark.skipif("luks" not in registry.entries(), reason="instar-luks is not installed")


@LUKS
def test_what_is_inside_luks_is_inspected_with_the_passphrase(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    inner, path = tmp_path / "inner", tmp_path / "image"
    inner.write_bytes(images.qcow2(backing=512))
    secret = ("--object", "secret,id=s,data=pass")
    options = "key-secret=s,iter-time=10"
    words = ["convert", *secret, "-f", "raw", "-O", "luks", "-o", options, str(inner), str(path)]
    assert main(["instar", *words]) == 0
    data = path.read_bytes()
    for module in (their_inspectors, our_inspectors):
        wrapper = module.InspectWrapper(io.BytesIO(data), params={"luks_passphrase": "pass"})
        while wrapper.read(65536):
            pass
        wrapper.close()
        assert str(wrapper.format.inner_format) == "qcow2"
        with pytest.raises(module.SafetyCheckFailed) as caught:
            wrapper.format.safety_check()
        assert list(caught.value.failures) == ["inner_backing_file"]
    with pytest.raises(ValueError, match="master key"):
        our_inspectors.LUKSInspector(params={"luks_passphrase": "wrong"}).eat_chunk(data)


def test_every_public_name_is_there_with_the_same_parameters() -> None:
    import inspect

    def public(module: Any) -> dict[str, Any]:
        own = {name: thing for name, thing in vars(module).items() if not name.startswith("_")}
        own.pop("QEMUHeader", None)  # a word for type checkers
        return {name: thing for name, thing in own.items() if getattr(thing, "__module__", "") == module.__name__}

    def parameters(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    for name, thing in public(their_inspectors).items():
        mine = getattr(our_inspectors, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(mine, Exception)
            continue
        assert parameters(mine)[: len(parameters(thing))] == parameters(thing), name
        if isinstance(thing, type):
            members = {member for member in dir(thing) if not member.startswith("_")}
            assert members - set(dir(mine)) <= PARSING, name
    assert their_inspectors.ALL_FORMATS.keys() == our_inspectors.ALL_FORMATS.keys()


PARSING = {
    *("BF_OFFSET", "BF_OFFSET_LEN", "I_FEATURES", "I_FEATURES_LEN"),
    *("METAREGION", "VIRTUAL_DISK_SIZE", "VHDX_METADATA_TABLE_MAX_SIZE"),
    *("MARKER_EOS", "MARKER_FOOTER", "MBR_SIGNATURE", "MBR_PTE_START", "MEDIA_TYPE_FDISK"),
}
"""Constants of layouts, which the host does not know: it does not parse."""

PRIVATE = {
    "test_vhd_table_over_limit": "_find_meta_entry",
    "test_vhd_table_under_limit": "_find_meta_entry",
    "test_decrypt_no_master_key_raises": "_decrypt_first_block",
    "test_post_process_uses_first_active_slot": "_active_slot",
    "test_region_complete_detects_inner_format": "oslo_utils.imageutils._luks",
    "test_qemu_img_unsupported": "the format 'human', which is read here",
}
"""Their tests that call their own parsers, or expect that what this project can do fails."""

SLOW = ("test_format_", "test_subformat", "test_vdi", "test_luks_", "mem_limit")

RUN = """
import sys, unittest
import oslo_utils.imageutils
from instar_core.compat.oslo import imageutils
from instar_core.compat.oslo.imageutils import format_inspector
oslo_utils.imageutils.format_inspector = format_inspector
oslo_utils.imageutils.QemuImgInfo = imageutils.QemuImgInfo
sys.modules["oslo_utils.imageutils.format_inspector"] = format_inspector
from oslo_utils.tests.imageutils import test_format_inspector, test_qemu
assert test_format_inspector.format_inspector is format_inspector
left_out, slow = sys.argv[1].split(","), sys.argv[2].split(",")
chosen = unittest.TestSuite()
def choose(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            choose(test)
        elif not any(part and part in test.id().rpartition(".")[2] for part in left_out + slow):
            chosen.addTest(test)
for module in (test_format_inspector, test_qemu):
    choose(unittest.defaultTestLoader.loadTestsFromModule(module))
result = unittest.TextTestRunner(stream=open("/dev/null", "w")).run(chosen)
for test, why in result.failures + result.errors:
    print(test.id(), why)
print(result.testsRun)
"""


def own_tests(slow: tuple[str, ...]) -> int:
    """How many of their tests ran; none failed."""
    for name in ("oslo_utils.tests.imageutils", "oslotest", "ddt"):
        try:
            found = importlib.util.find_spec(name)
        except ImportError:
            found = None
        if found is None:
            pytest.skip(f"{name} is not installed here")
    paths = [path for path in sys.path if path]
    program = foreign.qemu_img()
    folders = [str(Path(program).parent)] if program else []
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(paths),
        PATH=os.pathsep.join([*folders, os.environ.get("PATH", "")]),
    )
    arguments = [sys.executable, "-W", "ignore", "-c", RUN, ",".join(PRIVATE), ",".join(slow)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    *failed, count = done.stdout.splitlines()
    assert failed == []
    return int(count)


def test_their_own_tests_pass() -> None:
    assert own_tests(SLOW) >= 40


@pytest.mark.long
def test_all_of_their_own_tests_pass() -> None:
    assert own_tests(()) >= 65


@pytest.fixture
def printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `info` prints of an image that names another."""
    if "qcow2" not in registry.entries():
        pytest.skip("instar-qcow2 is not installed")
    base, path = tmp_path / "base", tmp_path / "image"
    base.write_bytes(images.mbr())
    assert main(["instar", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(path), "1G"]) == 0
    assert main(["instar", "snapshot", "-c", "first", str(path)]) == 0

    def run(*words: str) -> str:
        capfd.readouterr()
        assert main(["instar", "info", *words, str(path)]) == 0
        return capfd.readouterr().out

    return run


def test_their_parser_reads_the_json_that_info_prints(printed: Callable[..., str], tmp_path: Path) -> None:
    text = printed("--output=json")
    read = theirs.QemuImgInfo(text, format="json")
    assert (read.file_format, read.virtual_size, read.cluster_size) == ("qcow2", 1 << 30, 65536)
    assert (read.backing_file, read.backing_file_format) == (str(tmp_path / "base"), "raw")
    assert read.disk_size > 0 and read.snapshots[0]["name"] == "first"
    mine = ours.QemuImgInfo(text)
    assert vars(mine) == vars(read)
    assert str(mine) == str(read)


def test_their_parser_reads_the_text_that_info_prints(printed: Callable[..., str], tmp_path: Path) -> None:
    text = printed()
    reader = theirs.QemuImgInfo()
    if not hasattr(reader, "_parse"):
        pytest.skip("this oslo.utils does not read text any more")
    read = reader._parse(text)
    assert (read["file_format"], read["virtual_size"], read["cluster_size"]) == ("qcow2", 1 << 30, 65536)
    assert read["backing_file"] == str(tmp_path / "base")
    same(text, read)


def same(text: str, read: dict[str, Any]) -> None:
    """This project's parser of text says the same as theirs did."""
    mine = ours.QemuImgInfo(text, format="human")
    for name in ("image", "file_format", "virtual_size", "cluster_size", "disk_size", "backing_file", "encrypted"):
        assert getattr(mine, name) == read.get(name), name
    assert mine.backing_file_format == read.get("backing_file_format")
    assert mine.snapshots == read.get("snapshot_list", [])


@pytest.mark.oracle
@pytest.mark.parametrize(("format", "options"), [("qcow2", ""), ("vmdk", "subformat=monolithicFlat"), ("vhdx", "")])
def test_both_parsers_read_the_same_from_qemu_img(tmp_path: Path, format: str, options: str) -> None:
    path = tmp_path / "image"
    PROGRAMS.img("create", "-q", "-f", format, *(["-o", options] if options else []), str(path), "1G")
    text = PROGRAMS.img("info", str(path)).stdout.decode()
    reader = theirs.QemuImgInfo()
    if hasattr(reader, "_parse"):
        same(text, reader._parse(text))
    text = PROGRAMS.img("info", "--output=json", str(path)).stdout.decode()
    assert vars(ours.QemuImgInfo(text)) == vars(theirs.QemuImgInfo(text, format="json"))
