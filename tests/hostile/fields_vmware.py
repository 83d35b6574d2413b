"""Fields of VMDK files at the edges of their types, and what comes of each."""

from __future__ import annotations

from .extremes import ALL, HALF, LONG, TOP, WORD, Opens, Table

TABLE: Table = {
    "vmdk": {
        "version": {
            (0,): Opens(),
            (HALF, WORD): "Unsupported VMDK version {value}",
        },
        "flags": {
            (WORD,): Opens(),
        },
        "capacity": {
            (0,): "Unsupported image type 'monolithicSparse'",
            (HALF, WORD, LONG): Opens(check=2),
            (TOP, ALL): "Image size is too large",
        },
        "grain": {
            (0, HALF, LONG, TOP): "L1 entry size is invalid",
            (WORD, ALL): "Invalid granularity, image may be corrupt",
        },
        "descriptor_offset": {
            (ALL,): Opens(),
        },
        "descriptor_size": {
            (ALL,): Opens(),
        },
        "entries": {
            (0,): "L1 entry size is invalid",
            (HALF, WORD): "L2 table size too big",
        },
        "rgd_offset": {
            (ALL,): Opens(),
        },
        "gd_offset": {
            (0, HALF, WORD, LONG, TOP): Opens(check=2),
            (ALL,): "Invalid argument: the footer of the stream-optimized file is missing",
        },
        "overhead": {
            (0,): Opens(),
            (HALF,): "File truncated, expecting at least 1099511627776 bytes",
            (WORD,): "File truncated, expecting at least 2199023255040 bytes",
            (LONG,): "File truncated, expecting at least 2199023255552 bytes",
            (TOP,): "File truncated, expecting at least 4722366482869645213696 bytes",
            (ALL,): "File truncated, expecting at least 9444732965739290426880 bytes",
        },
        "unclean": {
            (0xFF,): Opens(),
        },
        "compress": {
            (0xFFFF,): Opens(),
        },
    },
    "cowd": {
        "version": {
            (WORD,): Opens(),
        },
        "flags": {
            (WORD,): Opens(),
        },
        "capacity": {
            (0,): Opens(),
            (HALF,): "a grain directory of 1 entries is too small for 1099511627776 bytes",
            (WORD,): "a grain directory of 1 entries is too small for 2199023255040 bytes",
        },
        "grain": {
            (0, HALF, WORD): "Invalid granularity, image may be corrupt",
        },
        "gd_offset": {
            (WORD,): Opens(check=2),
        },
        "directory": {
            (0,): "a grain directory of 0 entries is too small for 1048576 bytes",
            (HALF, WORD): "L1 size too big",
        },
        "free": {
            (WORD,): Opens(),
        },
    },
    "sesparse": {
        "version": {
            (0,): "Unsupported version: 0x0",
            (HALF, WORD, LONG, TOP, ALL): "Unsupported version: {value:#x}",
        },
        "capacity": {
            (0,): Opens(),
            (HALF,): "a grain directory of 8 sectors is too small for 1099511627776 bytes",
            (WORD,): "a grain directory of 8 sectors is too small for 2199023255040 bytes",
            (LONG,): "a grain directory of 8 sectors is too small for 2199023255552 bytes",
            (TOP, ALL): "Image size is too large",
        },
        "grain": {
            (0,): "Unsupported grain size: 0",
            (HALF, WORD, LONG, TOP, ALL): "Unsupported grain size: {value}",
        },
        "table": {
            (0,): "Unsupported grain table size: 0",
            (HALF, WORD, LONG, TOP, ALL): "Unsupported grain table size: {value}",
        },
        "flags": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Unsupported flags: {value:#x}",
        },
        "r1": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Unsupported reserved bits: {value:#x} 0x0 0x0 0x0",
        },
        "r2": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Unsupported reserved bits: 0x0 {value:#x} 0x0 0x0",
        },
        "r3": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Unsupported reserved bits: 0x0 0x0 {value:#x} 0x0",
        },
        "r4": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Unsupported reserved bits: 0x0 0x0 0x0 {value:#x}",
        },
        "volatile": {
            (0,): "Bad volatile header magic: 0xcafebabe",
            (HALF, WORD, LONG): "Bad volatile header magic: 0x0",
            (TOP, ALL): "Image size is too large",
        },
        "volatile_size": {
            (ALL,): Opens(),
        },
        "journal_header": {
            (ALL,): Opens(),
        },
        "journal_header_size": {
            (ALL,): Opens(),
        },
        "journal": {
            (ALL,): Opens(),
        },
        "journal_size": {
            (ALL,): Opens(),
        },
        "gd_offset": {
            (0,): Opens("the grain directory entry 0xcafebabe is none", 1),
            (HALF, WORD, LONG): Opens(check=2),
            (TOP, ALL): "Image size is too large",
        },
        "gd_size": {
            (0,): "a grain directory of 0 sectors is too small for 2097152 bytes",
            (HALF, WORD, LONG, TOP, ALL): Opens(),
        },
        "tables_offset": {
            (0, HALF, WORD, LONG): Opens(),
            (TOP, ALL): "Image size is too large",
        },
        "tables_size": {
            (ALL,): Opens(),
        },
        "bitmap": {
            (ALL,): Opens(),
        },
        "bitmap_size": {
            (ALL,): Opens(),
        },
        "backmap": {
            (ALL,): Opens(),
        },
        "backmap_size": {
            (ALL,): Opens(),
        },
        "grains": {
            (0, HALF, WORD, LONG): Opens(),
            (TOP, ALL): "Image size is too large",
        },
        "grains_size": {
            (ALL,): Opens(),
        },
    },
}
