"""What `info` printed as an object: from JSON, and from the text for people."""

from __future__ import annotations

import pytest

from instar_core.compat.oslo import imageutils


def test_what_info_printed_is_an_object() -> None:
    text = '{"filename": "a", "format": "qcow2", "virtual-size": 7, "actual-size": 4096, "encrypted": true}'
    for given in (text, text.encode()):
        info = imageutils.QemuImgInfo(given)
        assert (info.image, info.file_format, info.virtual_size, info.disk_size) == ("a", "qcow2", 7, 4096)
        assert (info.encrypted, info.cluster_size, info.snapshots, info.backing_file) == ("yes", None, [], None)
    assert imageutils.QemuImgInfo().image is None
    with pytest.raises(ValueError, match="Unsupported format"):
        imageutils.QemuImgInfo("", format="xml")


HUMAN = """image: a
file format: QCOW2
virtual size: 1.5 GiB (1610612736 bytes)
disk size: 196 KiB
cluster_size: 65536
encrypted: yes
backing file: base (actual path: /images/base)
backing file format: raw
Snapshot list:
ID        TAG               VM SIZE                DATE       VM CLOCK
1         first             1.7M 2011-10-04 19:04:00   32:06:34.974
Format specific information:
    compat: 1.1
"""


def test_what_info_printed_for_people_is_an_object_too() -> None:
    info = imageutils.QemuImgInfo(HUMAN, format="human")
    assert (info.image, info.file_format, info.virtual_size, info.disk_size) == ("a", "qcow2", 1610612736, 196 << 10)
    assert (info.backing_file, info.backing_file_format) == ("/images/base", "raw")
    assert (info.cluster_size, info.encrypted, info.format_specific) == (65536, "yes", None)
    assert info.snapshots == [
        {"id": "1", "tag": "first", "vm_size": "1.7M", "date": "2011-10-04", "vm_clock": "19:04:00 32:06:34.974"}
    ]
    assert "snapshots: [{" in str(info)
    assert imageutils.QemuImgInfo("disk size: unavailable", format="human").disk_size == 0
    assert imageutils.QemuImgInfo("disk size: 1e+03 KiB", format="human").disk_size == 1000 << 10
