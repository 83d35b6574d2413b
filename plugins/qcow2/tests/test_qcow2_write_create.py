"""New qcow2 images without content, judged by qemu-img."""

from __future__ import annotations

import itertools
import json

import pytest
from instar_qcow2.write import write

from instar_core.errors import FormatError
from instar_core.testing.beside import beside

load = beside(__file__)
executor, oracle = load("qcow2_executor"), load("qcow2_oracle")
pytestmark = [oracle.needs_qemu_img, pytest.mark.oracle]

IMAGES = {
    "default": (1 << 30, {}),
    "size-0": (0, {}),
    "one-sector": (512, {}),
    "odd-size": (1000000 + 448, {}),
    "v2": (1 << 30, dict(compat="0.10")),
    "v3-by-name": (1 << 30, dict(compat="v3")),
    "cluster-512": (1 << 30, dict(cluster_size=512)),
    "cluster-4k": (1 << 30, dict(cluster_size=4096)),
    "cluster-2M": (1 << 40, dict(cluster_size=2 << 20)),
    "large-l1": (64 << 40, {}),
    "refcount-1": (1 << 30, dict(refcount_bits=1)),
    "refcount-64": (1 << 30, dict(refcount_bits=64, cluster_size=512)),
    "extended": (1 << 30, dict(extended_l2=True)),
    "lazy": (1 << 30, dict(lazy_refcounts=True)),
    "zstd": (1 << 30, dict(compression_type="zstd")),
    "backing": (1 << 20, dict(backing_file="base.raw", backing_fmt="raw")),
    "backing-v2-512": (1 << 20, dict(backing_file="base.raw", backing_fmt="raw", compat="v2", cluster_size=512)),
    "prealloc-metadata": (10 << 20, dict(preallocation="metadata")),
    "prealloc-falloc": (3 << 20, dict(preallocation="falloc", cluster_size=4096)),
    "prealloc-full": (3 << 20, dict(preallocation="full")),
    "prealloc-extended": (10 << 20, dict(preallocation="metadata", extended_l2=True)),
    "prealloc-extended-backing": (
        1 << 20,
        dict(preallocation="metadata", extended_l2=True, backing_file="base.raw", backing_fmt="raw"),
    ),
    "prealloc-v2-512": (1 << 20, dict(preallocation="metadata", compat="v2", cluster_size=512)),
    "data-file": (10 << 20, dict(data_file="d.raw")),
    "data-file-metadata": (10 << 20, dict(data_file="d.raw", preallocation="metadata")),
    "data-file-raw": (10 << 20, dict(data_file="d.raw", data_file_raw=True)),
    "data-file-kept": (1 << 20, dict(data_file="d.raw", data_file_raw=True, keep_data_file=True)),
}
SAME_SIZE = [name for name in IMAGES if name not in ("large-l1", "prealloc-extended-backing")]


def words(options):
    as_word = {True: "on", False: "off"}
    return ",".join(
        f"{name}={as_word.get(value, value) if isinstance(value, bool) else value}" for name, value in options.items()
    )


def made(folder, size, options):
    """The image x by the writer and q by qemu-img."""
    (folder / "base.raw").write_bytes(bytes(range(256)) * 4096)
    if "keep_data_file" in options and not oracle.knows("keep_data_file"):
        pytest.skip("this qemu-img does not know keep_data_file")
    extra = [folder / "d.raw"] if "data_file" in options else []
    if "keep_data_file" in options:
        extra[0].write_bytes(bytes(range(1, 256)) * 4113)
    executor.make(folder / "x", executor.request(size, **options), extra=extra)
    theirs = {**options, "data_file": "e.raw"} if extra else options
    if "keep_data_file" in options:
        (folder / "e.raw").write_bytes(extra[0].read_bytes())
    oracle.img(folder, "create", "-q", "-f", "qcow2", *(("-o", words(theirs)) if theirs else ()), "q", str(size))


@pytest.mark.parametrize("name", IMAGES)
def test_a_new_image_checks_clean_and_says_of_itself_what_qemu_imgs_says(tmp_path, name):
    made(tmp_path, *IMAGES[name])
    oracle.assert_clean(tmp_path)
    ours, theirs = (oracle.info(tmp_path, image) for image in "xq")
    for key in ("virtual-size", "cluster-size", "backing-filename", "backing-filename-format", "dirty-flag"):
        assert ours.get(key) == theirs.get(key)
    facts, wanted = ours["format-specific"]["data"], theirs["format-specific"]["data"]
    assert {**facts, "data-file": None} == {**wanted, "data-file": None}
    assert ("data-file" in facts) == ("data-file" in wanted)


@pytest.mark.parametrize("name", SAME_SIZE)
def test_a_new_image_is_as_large_as_qemu_imgs(tmp_path, name):
    made(tmp_path, *IMAGES[name])
    assert (tmp_path / "x").stat().st_size == (tmp_path / "q").stat().st_size


@pytest.mark.parametrize(
    "name", [name for name in IMAGES if name not in ("large-l1", "cluster-2M", "cluster-512", "prealloc-v2-512")]
)
def test_a_new_image_maps_as_qemu_imgs_does(tmp_path, name):
    made(tmp_path, *IMAGES[name])
    maps = [json.loads(oracle.img(tmp_path, "map", "--output=json", image)) for image in "xq"]
    for entry in itertools.chain(*maps):
        entry.pop("offset", None)
    assert maps[0] == maps[1]


def test_the_content_of_a_kept_data_file_shows(tmp_path):
    made(tmp_path, *IMAGES["data-file-kept"])
    assert oracle.content(tmp_path) == (tmp_path / "d.raw").read_bytes()[: 1 << 20].ljust(1 << 20, b"\0")


@pytest.mark.skipif(not oracle.QEMU_IMG or not oracle.knows("keep_data_file"), reason="qemu-img before 11.0")
@pytest.mark.parametrize("how", [dict(data_file_raw=True), dict(preallocation="metadata")], ids=str)
def test_a_kept_data_file_is_seen_through_subclusters(tmp_path, how):
    """quirk("data-file-of-subclusters")"""
    made(tmp_path, 1 << 20, dict(data_file="d.raw", keep_data_file=True, extended_l2=True, **how))
    assert oracle.content(tmp_path) == (tmp_path / "d.raw").read_bytes()[: 1 << 20].ljust(1 << 20, b"\0")
    assert not any(oracle.content(tmp_path, "q"))


FAULTS = {
    "cluster": dict(cluster_size=1000),
    "width v2": dict(compat="0.10", refcount_bits=8),
    "width": dict(refcount_bits=3),
    "lazy v2": dict(compat="0.10", lazy_refcounts=True),
    "extended v2": dict(compat="0.10", extended_l2=True),
    "extended small": dict(extended_l2=True, cluster_size=8192),
    "zstd v2": dict(compat="0.10", compression_type="zstd"),
    "data v2": dict(compat="0.10", data_file="d.raw"),
    "raw alone": dict(data_file_raw=True),
    "raw backing": dict(data_file="d.raw", data_file_raw=True, backing_file="base.raw", backing_fmt="raw"),
    "preallocation backing": dict(preallocation="metadata", backing_file="base.raw", backing_fmt="raw"),
    "keep alone": dict(keep_data_file=True),
    "keep invisible": dict(keep_data_file=True, data_file="d.raw"),
    "keep full": dict(keep_data_file=True, data_file="d.raw", data_file_raw=True, preallocation="full"),
    "large": dict(cluster_size=512, size=129 << 30),
    "version": dict(compat="1.2"),
    "compression": dict(compression_type="foo"),
    "preallocation": dict(preallocation="foo"),
    "name too long": dict(cluster_size=512, backing_file="b" * 500, backing_fmt="raw"),
}
PAIRS = [
    (one, two)
    for one, two in itertools.combinations_with_replacement(FAULTS, 2)
    if all(FAULTS[one].get(key, value) == value for key, value in FAULTS[two].items())
    and "name too long" not in (one, two)
]


def refusal(options):
    size = options.pop("size", 1 << 20)
    with pytest.raises(FormatError) as caught:
        next(write(None, executor.request(size, **options), ()))
    return str(caught.value)


def test_what_qemu_img_refuses_is_refused_with_its_words_also_where_two_faults_meet(tmp_path):
    (tmp_path / "base.raw").write_bytes(bytes(1 << 20))
    keep = oracle.knows("keep_data_file")
    for one, two in PAIRS:
        options = {**FAULTS[one], **FAULTS[two]}
        if "keep_data_file" in options and not keep:
            continue
        if "keep" in one + two and "raw alone" in (one, two) and "data_file" in options:
            continue  # the two make one another right
        (tmp_path / "d.raw").write_bytes(bytes(1 << 20))  # qemu-img removes it when it refuses
        size = [] if "size" in options else ["1M"]
        done = oracle.run(tmp_path, oracle.QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", words(options), "q", *size)
        assert done.returncode == 1, (one, two)
        assert done.stderr.strip() == "qemu-img: q: " + refusal(options), (one, two)


def test_a_backing_name_that_does_not_fit_is_refused_with_qemus_words(tmp_path):
    options = FAULTS["name too long"]
    done = oracle.run(tmp_path, oracle.QEMU_IMG, "create", "-u", "-f", "qcow2", "-o", words(options), "q", "1M")
    assert done.stderr.strip() == "qemu-img: q: " + refusal(dict(options))


@pytest.mark.parametrize("size", [0, 1, 512, 1 << 20, (1 << 30) + 512, 10 << 30, 1 << 40])
@pytest.mark.parametrize(
    "options",
    [{}, dict(cluster_size=512), dict(cluster_size=2 << 20), dict(refcount_bits=64), dict(extended_l2=True)],
    ids=str,
)
def test_the_overhead_is_what_qemu_img_measures(tmp_path, size, options):
    if options.get("cluster_size") == 512 and size > 1 << 37:
        pytest.skip("too large for clusters of 512 bytes")
    geometry = next(write(None, executor.request(size, **options), ()))
    more = ("-o", words(options)) if options else ()
    answer = json.loads(oracle.img(tmp_path, "measure", "--output=json", "-O", "qcow2", *more, "--size", str(size)))
    cluster = options.get("cluster_size", 65536)
    assert geometry.overhead == answer["required"]
    assert geometry.overhead + -(-geometry.size // cluster) * cluster == answer["fully-allocated"]
