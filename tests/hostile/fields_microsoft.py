"""Fields of VHD, VHDX and VDI files at the edges of their types, and what comes of each."""

from __future__ import annotations

from .extremes import ALL, HALF, LONG, TOP, WORD, Opens, Table

TABLE: Table = {
    "vpc": {
        "features": {
            (WORD,): Opens(),
        },
        "version": {
            (WORD,): Opens(),
        },
        "header_offset": {
            (0, HALF, WORD, LONG): "Invalid header magic",
            (TOP, ALL): "Error reading dynamic VHD header",
        },
        "time": {
            (WORD,): Opens(),
        },
        "original": {
            (ALL,): Opens(),
        },
        "current": {
            (0,): Opens(),
            (HALF, WORD, LONG): "Page table too small",
            (TOP, ALL): "File too large",
        },
        "geometry": {
            (WORD,): Opens(),
        },
        "type": {
            (0,): Opens("Could not open 'x': disk type 0 is none of fixed, dynamic and differencing", 2),
            (HALF,): Opens("Could not open 'x': disk type 2147483648 is none of fixed, dynamic and differencing", 2),
            (WORD,): Opens("Could not open 'x': disk type 4294967295 is none of fixed, dynamic and differencing", 2),
        },
        "next": {
            (ALL,): Opens(),
        },
        "table_offset": {
            (0,): "block-vpc: free_data_block_offset points after the end of file. The image has been truncated.",
            (HALF, WORD, LONG, TOP, ALL): "Error reading pagetable",
        },
        "header_version": {
            (WORD,): Opens(),
        },
        "entries": {
            (0,): "Page table too small",
            (HALF,): "Max Table Entries too large (-{value})",
            (WORD,): "Max Table Entries too large (-1)",
        },
        "block": {
            (0,): "Invalid block size 0",
            (HALF,): Opens(),
            (WORD,): "Invalid block size {value}",
        },
    },
    "vhdx": {
        "size": {
            (0, HALF, LONG): Opens(),
            (WORD,): "a disk of {value} bytes is not made of sectors of 512",
            (TOP, ALL): "a disk of {value} bytes is larger than 64 TiB",
        },
        "block": {
            (0,): "blocks of 0 bytes are not possible",
            (HALF, WORD): "blocks of {value} bytes are not possible",
        },
        "logical": {
            (0,): "logical sectors of 0 bytes are not possible",
            (HALF, WORD): "logical sectors of {value} bytes are not possible",
        },
        "log_length": {
            (0,): Opens(),
            (HALF,): "VHDX region 2097152-3145728 overlaps with region 1048576-2148532224",
            (WORD,): "VHDX region 2097152-3145728 overlaps with region 1048576-4296015871",
        },
        "log_offset": {
            (ALL,): Opens(),
        },
        "log_version": {
            (0,): Opens(),
            (0xFFFF,): "a log of version {value} is not known",
        },
        "version": {
            (0, 0xFFFF): "No valid VHDX header found",
        },
        "region_count": {
            (0,): "there is no block allocation table",
            (HALF, WORD): "a region table of {value} entries is too long",
        },
        "items_count": {
            (0,): "the metadata item caa16737-fa36-4d43-b3b6-33f0aa44e76b is missing",
            (0xFFFF,): "a metadata table of {value} entries is too long",
        },
    },
    "vdi": {
        "signature": {
            (0, HALF, WORD): "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one",
        },
        "version": {
            (0,): "unsupported VDI image (version 0.0)",
            (HALF,): "unsupported VDI image (version 32768.0)",
            (WORD,): "unsupported VDI image (version 65535.65535)",
        },
        "header_size": {
            (WORD,): Opens(),
        },
        "type": {
            (WORD,): Opens(),
        },
        "bmap_offset": {
            (0,): Opens(check=2),
            (HALF,): Opens("Could not open 'x': the block map goes on past the end of the file", 2),
            (WORD,): "unsupported VDI image (unaligned block map offset {value:#x})",
        },
        "data": {
            (0,): Opens(check=3),
            (HALF,): Opens(),
            (WORD,): "unsupported VDI image (unaligned data offset {value:#x})",
        },
        "sector": {
            (0,): "unsupported VDI image (sector size 0 is not 512)",
            (HALF, WORD): "unsupported VDI image (sector size {value} is not 512)",
        },
        "size": {
            (0,): Opens(),
            (HALF, LONG): "unsupported VDI image (disk size {value}, image bitmap has room for 2097152)",
            (WORD,): "unsupported VDI image (disk size 4294967296, image bitmap has room for 2097152)",
            (TOP, ALL): "Unsupported VDI image size (size is {value:#x}, max supported is 0x1fffff8000000)",
        },
        "block": {
            (0,): "unsupported VDI image (block size 0 is not 1048576)",
            (HALF, WORD): "unsupported VDI image (block size {value} is not 1048576)",
        },
        "extra": {
            (0,): Opens(),
            (HALF, WORD): "unsupported VDI image ({value} bytes of extra data in front of each block)",
        },
        "blocks": {
            (0,): "unsupported VDI image (disk size 2097152, image bitmap has room for 0)",
            (HALF, WORD): "unsupported VDI image (too many blocks {value}, max is 536870784)",
        },
        "allocated": {
            (0,): Opens(),
            (HALF, WORD): Opens(check=2),
        },
    },
}
