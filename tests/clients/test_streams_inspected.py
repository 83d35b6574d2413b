"""format_inspector's face: streams in chunks of any size, parsed in a sandbox, in memory that does not grow."""

from __future__ import annotations

import importlib.util
import io
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from instar_core import limits
from instar_core.compat.oslo.imageutils import format_inspector as inspectors


def _images() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stream_images", Path(__file__).with_name("stream_images.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


images = _images()

Said = list[tuple[str, int, object]]


def judged(data: bytes, read: Callable[[], int]) -> Said:
    """What is said of a stream: format, size, and "safe", the failed checks, or None where there is no verdict."""
    wrapper = inspectors.InspectWrapper(io.BytesIO(data))
    while wrapper.read(read()):
        pass
    wrapper.close()
    return sorted((str(each), each.virtual_size, safety(each)) for each in wrapper.formats or [])


def safety(inspector: inspectors.FileInspector) -> object:
    try:
        inspector.safety_check()
    except inspectors.SafetyCheckFailed as error:
        return {name: str(failure) for name, failure in error.failures.items()}
    except inspectors.ImageFormatError:
        return None
    return "safe"


def whole(data: bytes) -> Said:
    return judged(data, lambda: max(1, len(data)))


FACTS = [
    ("qcow2", "qcow2", images.SIZE, "safe"),
    ("qcow2-backing", "qcow2", images.SIZE, {"backing_file": "Image has a backing file"}),
    ("qcow2-data-file", "qcow2", images.SIZE, {"data_file": "Image has data_file set"}),
    ("qcow2-subclusters", "qcow2", images.SIZE, {"unknown_features": "Unknown QCOW2 features found"}),
    ("qcow2-v1", "qcow2", images.SIZE, {"unknown_features": "Unsupported qcow2 version"}),
    ("vhd", "vhd", images.SIZE, "safe"),
    ("vdi", "vdi", images.SIZE, "safe"),
    ("qed", "qed", 2048, {"banned": "This file format is not allowed"}),
    ("vhdx", "vhdx", images.SIZE, "safe"),
    ("vmdk", "vmdk", images.SIZE, "safe"),
    ("vmdk-stream", "vmdk", images.SIZE, "safe"),
    ("vmdk-no-footer", "vmdk", images.SIZE, {"footer": "Header and footer signature do not match"}),
    ("vmdk-flat-inside", "vmdk", 0, {"descriptor": "Unsupported subformat"}),
    ("vmdk-path", "vmdk", images.SIZE, {"descriptor": "Invalid extent filenames found"}),
    ("iso", "iso", 200 * 2048, "safe"),
    ("gpt", "gpt", 20 * 512, "safe"),
    ("gpt-second", "gpt", 20 * 512, {"mbr": "GPT MBR defines invalid extra partitions"}),
    ("mbr-empty", "gpt", 20 * 512, {"mbr": "GPT MBR has no partitions defined"}),
    ("fat", "raw", 20 * 512, "safe"),
    ("luks", "luks", 64 * 1024 - 8 * 512, "safe"),
    ("luks2", "luks", 64 * 1024 - 8 * 512, {"version": "LUKS version 2 is not supported"}),
    ("zeros", "raw", 300 * 1024, "safe"),
    ("nothing", "raw", 0, "safe"),
]


@pytest.mark.parametrize(("name", "format", "size", "verdict"), FACTS, ids=[fact[0] for fact in FACTS])
def test_a_stream_is_recognised_measured_and_judged(name: str, format: str, size: int, verdict: object) -> None:
    assert whole(images.AGREED[name]) == [(format, size, verdict)]


@pytest.mark.parametrize("name", images.SAFER)
def test_what_hides_its_format_is_not_taken_for_a_safe_disk(name: str) -> None:
    (said,) = whole(images.SAFER[name])
    assert said[0] != "raw"
    assert said[2] != "safe"


@pytest.mark.parametrize("name", ["qcow2-all", "vmdk", "vmdk-no-footer", "vhdx", "iso-and-qcow2", "luks", "text"])
def test_the_verdict_does_not_depend_on_the_size_of_the_chunks(name: str) -> None:
    data = images.AGREED[name]
    chance = random.Random(name)
    sizes: list[Callable[[], int]] = [
        lambda: 512,
        lambda: 65536,
        lambda: chance.choice([1, 7, 511, 513, 4096, 70000]),
        lambda: 1 if len(data) < 20000 else 17,
    ]
    assert [judged(data, size) for size in sizes] == [whole(data)] * len(sizes)


@pytest.mark.parametrize("chunk", [99, 512, 65536, 1 << 20])
def test_metadata_before_the_table_that_names_it_is_missed_in_chunks_of_any_size(chunk: int) -> None:
    data = images.early_vhdx()
    assert judged(data, lambda: chunk) == [("vhdx", 0, None)]


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_a_descriptor_that_is_a_file_of_its_own_is_read_to_its_end(chunk: int) -> None:
    data = b"#\n" * 400 + b'createType="monolithicFlat"\nRW 10 FLAT "a" 0\n'
    assert judged(data, lambda: chunk) == [("vmdk", 0, {"descriptor": "Unsupported subformat"})]


def test_two_formats_at_once_are_named_and_none_is_chosen() -> None:
    wrapper = inspectors.InspectWrapper(io.BytesIO(images.AGREED["iso-and-qcow2"]))
    while wrapper.read(4096):
        pass
    wrapper.close()
    assert sorted(map(str, wrapper.formats or [])) == ["iso", "qcow2"]
    with pytest.raises(inspectors.ImageFormatError, match="Multiple formats detected: iso,qcow2"):
        _ = wrapper.format


def test_a_source_that_cannot_be_read_back_is_enough() -> None:
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(images.qcow2()[:4096])
    wrapper = inspectors.InspectWrapper(os.fdopen(reading, "rb", buffering=0))
    assert b"".join(iter(lambda: wrapper.read(100), b"")) == images.qcow2()[:4096]
    wrapper.close()
    assert str(wrapper.format) == "qcow2"


def test_an_iterator_of_chunks_passes_unchanged() -> None:
    chunks = [b"abc", b"", images.qcow2(), b"end"]
    wrapper = inspectors.InspectWrapper(iter(chunks))
    assert list(wrapper) == chunks
    assert str(wrapper.format) == "raw"


def test_another_format_than_expected_ends_the_stream_as_soon_as_that_is_known() -> None:
    source = io.BytesIO(bytes(1 << 20))
    wrapper = inspectors.InspectWrapper(source, expected_format="qcow2")
    with pytest.raises(inspectors.ImageFormatError, match="does not match expected format 'qcow2'"):
        wrapper.read(2048)
    wrapper.close()


def test_the_expected_format_is_told_apart_in_small_chunks() -> None:
    data = images.vmdk()
    wrapper = inspectors.InspectWrapper(io.BytesIO(data), expected_format="vmdk")
    while wrapper.read(16):
        pass
    wrapper.close()
    assert str(wrapper.format) == "vmdk"


def test_only_allowed_formats_are_looked_for() -> None:
    wrapper = inspectors.InspectWrapper(io.BytesIO(images.qcow2()), allowed_formats=["vmdk", "vhdx"])
    while wrapper.read(4096):
        pass
    wrapper.close()
    with pytest.raises(inspectors.ImageFormatError, match="any allowed format"):
        _ = wrapper.format


def test_a_file_is_read_as_far_as_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(images.qcow2() + bytes(4 << 20))
    found = inspectors.detect_file_format(str(path))
    assert isinstance(found, inspectors.QcowInspector)
    assert 0 < found.actual_size < 1 << 20
    assert inspectors.QcowInspector.from_file(str(path)).actual_size == 512
    assert found.qemu_header_info["size"] == found.virtual_size == images.SIZE
    with pytest.raises(inspectors.ImageFormatError, match="not in requested format"):
        inspectors.VDIInspector.from_file(str(path))
    with pytest.raises(FileNotFoundError):
        inspectors.detect_file_format(str(tmp_path / "missing"))


def test_an_inspector_is_found_by_the_name_of_its_format() -> None:
    assert inspectors.get_inspector("vmdk") is inspectors.VMDKInspector
    assert inspectors.get_inspector("nothing") is None
    assert {name: kind.NAME for name, kind in inspectors.ALL_FORMATS.items()} == {
        name: name for name in ("raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks")
    }


def test_an_inspector_without_its_bytes_gives_no_verdict() -> None:
    inspector = inspectors.QcowInspector()
    with pytest.raises(inspectors.ImageFormatError, match="Incomplete"):
        inspector.safety_check()
    inspector.eat_chunk(bytes(512))
    assert inspector.complete and not inspector.format_match
    with pytest.raises(inspectors.ImageFormatError, match="does not match"):
        inspector.safety_check()
    inspector.finish()
    with pytest.raises(RuntimeError, match="finished"):
        inspector.eat_chunk(b"x")


def test_an_error_is_raised_for_each_further_chunk() -> None:
    inspector = inspectors.VMDKInspector()
    for _ in range(2):
        with pytest.raises(inspectors.ImageFormatError, match="Signature KDMV not found"):
            inspector.eat_chunk(bytes(512))
    assert inspector.actual_size == 1024


def test_memory_does_not_grow_with_the_stream() -> None:
    """A descriptor as long as its header can claim, then far more of the stream than may be kept."""
    data = images.vmdk(sectors=1 << 40)
    tail = b"\x20" * (1 << 20)
    wrapper = inspectors.InspectWrapper(iter([data, *[tail] * 40]))
    tracemalloc.start()
    try:
        for _ in wrapper:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    wrapper.close()
    found = wrapper.format
    assert found is not None and found.actual_size == len(data) + 40 * len(tail)
    assert sum(found.context_info.values()) <= 512 + (1 << 20)
    assert peak < 3 * limits.KEPT


def test_a_foreign_inspector_is_fed_as_ever() -> None:
    class Mine(inspectors.FileInspector):
        NAME = "mine"
        seen: list[str]

        def _initialize(self) -> None:
            self.seen = []
            self.new_region("head", inspectors.CaptureRegion(2, 3))
            self.add_safety_check(inspectors.SafetyCheck("strict", self.strict))

        def post_process(self) -> None:
            if self.region("head").complete and not self.has_region("more"):
                self.new_region("more", inspectors.CaptureRegion(6, 1))
                self.new_region("end", inspectors.EndCaptureRegion(2))

        def region_complete(self, region_name: str) -> None:
            self.seen.append(region_name)

        def strict(self) -> None:
            raise inspectors.SafetyViolation("never")

        @property
        def format_match(self) -> bool:
            return self.region("head").data == b"cde"

    for chunk in (1, 3, 4, 100):
        inspector = Mine()
        for at in range(0, 8, chunk):
            inspector.eat_chunk(b"abcdefgh"[at : at + chunk])
        inspector.finish()
        assert inspector.format_match and inspector.complete
        assert sorted(inspector.seen) == ["head", "more"]
        assert (inspector.region("more").data, inspector.region("end").data) == (b"g", b"gh")
        with pytest.raises(inspectors.SafetyCheckFailed) as caught:
            inspector.safety_check()
        assert caught.value.failures["strict"].check.name == "strict"
