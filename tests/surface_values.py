"""What the options of the command lines are drawn from: values that are right, and ones that are not."""

from __future__ import annotations

IMAGES = (
    ("d.qcow2", "qcow2"), ("d.qcow2", "qcow2"), ("d.raw", "raw"), ("d.raw", "raw"), ("small.raw", "raw"),
    ("odd.raw", "raw"), ("empty.raw", "raw"), ("base.qcow2", "qcow2"), ("over.qcow2", "qcow2"), ("over.qcow2", "qcow2"),
    ("top.qcow2", "qcow2"), ("top.qcow2", "qcow2"), ("snap.qcow2", "qcow2"), ("snap.qcow2", "qcow2"),
    ("marked.qcow2", "qcow2"), ("marked.qcow2", "qcow2"), ("old.qcow2", "qcow2"), ("sub.qcow2", "qcow2"),
    ("packed.qcow2", "qcow2"), ("orphan.qcow2", "qcow2"), ("leaky.qcow2", "qcow2"), ("torn.qcow2", "qcow2"),
    ("sealed.qcow2", "qcow2"), ("data.qcow2", "qcow2"), ("d.vmdk", "vmdk"), ("flat.vmdk", "vmdk"), ("d.vdi", "vdi"),
    ("d.vpc", "vpc"), ("d.vhdx", "vhdx"), ("d.qed", "qed"), ("over.qed", "qed"), ("d.qcow", "qcow"),
    ("d.parallels", "parallels"), ("d.luks", "luks"), ("a,b.qcow2", "qcow2"),
)  # fmt: skip
"""The images that there are, with their formats; what is more telling stands here twice."""
FORMATS = ("raw", "qcow2", "vmdk", "vdi", "vpc", "vhdx", "qed", "qcow", "parallels", "luks")
SIZES = (
    "1M", "1M", "4M", "2m", "1048576", "3M", "1.5M", "0.5M", "64k", "512K", "1k", "512", "1024b", "0x100000", "0",
    "1G", "1g",
    "2T", " 1M", "+1M", "01M", "1.M", "1p",
)  # fmt: skip
WRONG_SIZES = (
    "1B", "513", "1.5", "1e3", "abc", "", "1MB", "1Mi", "0x10k", "0x", "-1", "-0", "8E", "16E", "1E",
    "9223372036854775808", "18446744073709551615", "18446744073709551616", "1 M", "1M ", ".5M", "1,5M", "0x1.8", "--1",
)  # fmt: skip
NUMBERS = ("1", "2", "3", "4", "8", "0x2")
WRONG_NUMBERS = ("0", "-1", "17", "1k", "abc", "", "1.5", "99999999999999999999", "2147483648", "+2", " 3")
CACHES = ("none", "off", "directsync", "writeback", "writethrough", "unsafe")
WRONG_CACHES = ("foo", "", "Writeback", "no")
SECRET = "secret,id=s,data=open"
OBJECTS = (
    "secret,id=t,file=pass", "secret,id=s", "secret,data=x", "foo,id=x", "secret,id=s,data=b3Blbg==,format=base64",
    "secret,id=s,data=!,format=base64", "secret,id=s,data=a,file=pass", "", "secret", "secret,id=s,file=gone",
    '{"qom-type":"secret","id":"s","data":"open"}', "secret,id=s,data=a,foo=1", "secret,id=0,data=a",
)  # fmt: skip
TRUTHS = ("on", "off", "yes", "no", "true", "false", "y", "n", "1", "ON", "maybe")
PREALLOCATIONS = ("off", "metadata", "falloc", "full", "foo")
CREATE_OPTIONS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "raw": {"preallocation": PREALLOCATIONS, "size": ("1M", "2M"), "nocow": ("off", "on"),
            "extent_size_hint": ("1M", "x")},
    "qcow2": {
        "cluster_size": ("4k", "64k", "512", "2M", "128K", "65536", "4M", "1000", "0"),
        "compat": ("1.1", "0.10", "v2", "v3", "1.2", ""),
        "lazy_refcounts": TRUTHS,
        "nolazy_refcounts": (None,),
        "refcount_bits": ("1", "8", "16", "64", "3", "128", "x"),
        "extended_l2": TRUTHS,
        "compression_type": ("zlib", "zstd", "lz4"),
        "preallocation": PREALLOCATIONS,
        "backing_file": ("base.qcow2", "gone", "a,,b.qcow2", "d.raw"),
        "backing_fmt": ("qcow2", "raw", "foo"),
        "data_file": ("data2.raw", "data.raw"),
        "data_file_raw": TRUTHS,
        "encrypt.format": ("foo", "luks,encrypt.key-secret=s,encrypt.iter-time=10"),
        "size": ("1M", "3M", "x"),
        "lazy_refcount": ("on",),
    },
    "vmdk": {
        "subformat": (
            "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized",
            "foo",
        ),
        "adapter_type": ("ide", "lsilogic", "buslogic", "legacyESX", "foo"),
        "compat6": TRUTHS,
        "hwversion": ("4", "6", "x"),
        "toolsversion": ("123",),
        "zeroed_grain": TRUTHS,
    },
    "vdi": {"static": TRUTHS, "preallocation": PREALLOCATIONS},
    "vpc": {"subformat": ("dynamic", "fixed", "foo"), "force_size": TRUTHS},
    "vhdx": {
        "subformat": ("dynamic", "foo"),
        "block_size": ("1M", "2M", "0", "512k", "x"),
        "log_size": ("1M", "2M", "512k"),
        "block_state_zero": TRUTHS,
    },
    "qed": {"cluster_size": ("64k", "4k", "1000", "64M"), "table_size": ("2", "4", "16", "3", "32")},
    "qcow": {"encryption": ("off",), "backing_file": ("base.qcow2", "gone"), "backing_fmt": ("qcow2",)},
    "parallels": {"cluster_size": ("1M", "64k", "x")},
    "luks": {
        "key-secret": ("s,iter-time=10", "s,iter-time=10", "gone"),
        "cipher-alg": ("aes-256,key-secret=s,iter-time=10", "aes-128,key-secret=s,iter-time=10", "foo"),
        "iter-time": ("10,key-secret=s", "x"),
    },
}  # fmt: skip
AMENDMENTS: dict[str, dict[str, tuple[str | None, ...]]] = {
    "qcow2": {
        "compat": ("1.1", "0.10", "v3", "v2", "1.2"),
        "lazy_refcounts": TRUTHS,
        "refcount_bits": ("1", "8", "16", "64", "3"),
        "size": ("2M", "512k", "x"),
        "cluster_size": ("4k", "64k"),
        "preallocation": ("off", "full"),
        "data_file": ("data2.raw",),
        "data_file_raw": ("on", "off"),
        "help": (None,),
    },
    "luks": {"state": ("active,new-secret=s,iter-time=10", "inactive,keyslot=0", "foo"), "keyslot": ("0", "9"),
             "help": (None,)},
    "raw": {"size": ("2M",), "help": (None,)},
    "vmdk": {"size": ("2M",), "subformat": ("streamOptimized",), "help": (None,)},
}  # fmt: skip
