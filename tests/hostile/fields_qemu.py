"""Fields of QEMU's own formats and of LUKS at the edges of their types, and what comes of each."""

from __future__ import annotations

from .extremes import ALL, HALF, LONG, TOP, WORD, Opens, Table

TABLE: Table = {
    "qcow2": {
        "version": {
            (0,): "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one",
            (HALF, WORD): "Unsupported qcow2 version {value}",
        },
        "backing_offset": {
            (0,): Opens(check=3),
            (HALF, WORD, LONG, TOP, ALL): "Invalid backing file offset",
        },
        "backing_size": {
            (WORD,): Opens(check=3),
        },
        "cluster_bits": {
            (0,): "Unsupported cluster size: 2^0",
            (HALF, WORD): "Unsupported cluster size: 2^{value}",
        },
        "size": {
            (0,): Opens(check=3),
            (HALF, WORD, LONG): "L1 table is too small",
            (TOP,): "Image is too big",
            (ALL,): "Could not refresh total sector count: File too large",
        },
        "crypt": {
            (0,): Opens(check=3),
            (HALF,): "Unsupported encryption method -{value}",
            (WORD,): "Unsupported encryption method -1",
        },
        "l1_size": {
            (0,): "L1 table is too small",
            (HALF, WORD): "Active L1 table too large",
        },
        "l1_offset": {
            (0,): Opens("Image is corrupt: L1 entry 0x514649fb00000003 has reserved bits set (L1 index: 0)", 2),
            (HALF, LONG): Opens(check=2),
            (WORD, TOP, ALL): "Active L1 table offset invalid",
        },
        "reftable_offset": {
            (0, HALF, LONG): Opens(check=2),
            (WORD, TOP, ALL): "Reference count table offset invalid",
        },
        "reftable_clusters": {
            (0,): "Image does not contain a reference count table",
            (HALF, WORD): "Reference count table too large",
        },
        "snapshots": {
            (0,): Opens(check=3),
            (HALF, WORD): "Snapshot table too large",
        },
        "snapshots_offset": {
            (0, HALF, LONG): Opens(check=3),
            (WORD, TOP, ALL): "Snapshot table offset invalid",
        },
        "incompatible": {
            (0,): Opens(check=3),
            (HALF, LONG, TOP): "Unsupported qcow2 feature(s): Unknown incompatible feature: {value:x}",
            (WORD, ALL): "qcow2: Compression type incompatible feature bit must not be set",
        },
        "compatible": {
            (ALL,): Opens(check=3),
        },
        "autoclear": {
            (0, HALF, LONG, TOP): Opens(check=3),
            (WORD, ALL): Opens("Could not open 'x': data-file-raw requires a data file", 3),
        },
        "refcount_order": {
            (0,): Opens(check=2),
            (HALF, WORD): "Reference count entry width too large; may not exceed 64 bits",
        },
        "header_length": {
            (0,): "qcow2 header too short",
            (HALF, WORD): "qcow2 header exceeds cluster size",
        },
        "compression": {
            (0,): Opens(check=3),
            (0xFF,): "qcow2: unknown compression type: {value}",
        },
    },
    "qcow": {
        "version": {
            (0,): "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one",
            (HALF, WORD): "Unsupported qcow2 version {value}",
        },
        "backing_offset": {
            (0, HALF, WORD, LONG): Opens(check=3),
            (TOP, ALL): "Input/output error: the backing file's name lies where no file reaches",
        },
        "backing_size": {
            (WORD,): Opens(check=3),
        },
        "size": {
            (0,): "Image size is too small (must be at least 2 bytes)",
            (HALF, WORD, LONG): Opens(check=2),
            (TOP, ALL): "Image too large",
        },
        "cluster_bits": {
            (0, 0xFF): "Cluster size must be between 512 and 64k",
        },
        "l2_bits": {
            (0, 0xFF): "L2 table size must be between 512 and 64k",
        },
        "crypt": {
            (0,): Opens(check=3),
            (HALF, WORD): "invalid encryption method in qcow header",
        },
        "l1_offset": {
            (0,): Opens("the L2 table at 0x514649fb00000001 lies where no file reaches", 2),
            (HALF, WORD, LONG): Opens(check=2),
            (TOP, ALL): "Input/output error: the L1 table lies where no file reaches",
        },
    },
    "qed": {
        "cluster_size": {
            (0, HALF, WORD): "QED cluster size is invalid",
        },
        "table_size": {
            (0, HALF, WORD): "QED table size is invalid",
        },
        "header_size": {
            (0,): Opens(check=3),
            (HALF, WORD): "QED table offset is invalid",
        },
        "features": {
            (0,): Opens(check=3),
            (HALF, LONG, TOP): "Unsupported QED features: {value:x}",
            (WORD,): "Unsupported QED features: fffffff8",
            (ALL,): "Unsupported QED features: fffffffffffffff8",
        },
        "compatible": {
            (ALL,): Opens(check=3),
        },
        "autoclear": {
            (ALL,): Opens(check=3),
        },
        "l1_offset": {
            (0, HALF, WORD, LONG, TOP, ALL): "QED table offset is invalid",
        },
        "size": {
            (0, HALF, LONG): Opens(check=3),
            (WORD, TOP, ALL): "QED image size is invalid",
        },
        "backing_offset": {
            (WORD,): Opens(check=3),
        },
        "backing_size": {
            (WORD,): Opens(check=3),
        },
    },
    "luks": {
        "version": {
            (0,): "LUKS version 0 is not supported",
            (0xFFFF,): "LUKS version {value} is not supported",
        },
        "payload": {
            (0,): "LUKS payload is overlapping with the header",
            (HALF, WORD): "Could not refresh total sector count: Input/output error",
        },
        "key_bytes": {
            (0,): "Algorithm 'aes' with key size 0 bytes not supported",
            (HALF,): "Algorithm 'aes' with key size 1073741824 bytes not supported",
            (WORD,): "Keyslot 0 is overlapping with the encrypted payload",
        },
        "iterations": {
            (0,): "LUKS key iteration count is zero",
            (HALF, WORD): Opens("Could not open 'x': Parameter 'key-secret' is required for cipher"),
        },
    },
}
