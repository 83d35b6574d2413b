"""Fields of all other formats at the edges of their types, and what comes of each."""

from __future__ import annotations

from .extremes import ALL, HALF, LONG, TOP, WORD, Opens, Table

TABLE: Table = {
    "parallels": {
        "version": {
            (0, HALF, WORD): "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one",
        },
        "heads": {
            (WORD,): Opens(),
        },
        "cylinders": {
            (WORD,): Opens(),
        },
        "tracks": {
            (0,): "Invalid image: Zero sectors per track",
            (HALF, WORD): "Invalid image: Too big cluster",
        },
        "entries": {
            (0,): "Invalid image: Catalog size too small for advertised disk size",
            (HALF, WORD): "Catalog too large",
        },
        "sectors": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Invalid image: Catalog size too small for advertised disk size",
        },
        "in_use": {
            (WORD,): Opens(),
        },
        "data": {
            (WORD,): Opens(check=2),
        },
        "flags": {
            (WORD,): Opens(),
        },
        "ext": {
            (0,): Opens(),
            (HALF, WORD, LONG): "Wrong parallels Format Extension magic: 0x0, expected: 0xab234cef23dcea87",
            (TOP, ALL): "Invalid image: Too big offset",
        },
    },
    "bochs": {
        "version": {
            (0, HALF, WORD): "no format claims it and nothing shows that it is a raw disk; use -f raw if it is one",
        },
        "header": {
            (0,): Opens("the extent for byte 0 is not inside the file", 2),
            (HALF,): Opens("64 bytes wanted at 2147483648, but the file ends at 576", 1),
            (WORD,): Opens("64 bytes wanted at 4294967295, but the file ends at 576", 1),
        },
        "catalog_size": {
            (0,): "Catalog size is too small for this disk size",
            (HALF, WORD): "Catalog size is too large",
        },
        "bitmap": {
            (0,): Opens("Could not open 'x': Bitmap size 0 is too small for extents of 4096 bytes", 1),
            (HALF, WORD): Opens(),
        },
        "extent": {
            (0,): "Extent size must be at least 512",
            (HALF,): "Extent size {value} is too large",
            (WORD,): "Extent size {value} is not a power of two",
        },
        "size": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Catalog size is too small for this disk size",
        },
    },
    "cloop": {
        "block": {
            (0,): "block_size cannot be zero",
            (HALF,): "block_size {value} must be 64 MB or less",
            (WORD,): "block_size {value} must be a multiple of 512",
        },
        "count": {
            (0,): Opens(),
            (HALF, WORD): "n_blocks {value} must be 536870911 or less",
        },
    },
    "dmg": {
        "version": {
            (WORD,): Opens(),
        },
        "header": {
            (WORD,): Opens(),
        },
        "flags": {
            (WORD,): Opens(),
        },
        "fork_offset": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Invalid argument: the data fork begins behind the trailer",
        },
        "fork_length": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): Opens(check=2),
        },
        "resource_offset": {
            (ALL,): Opens(),
        },
        "resource_length": {
            (0,): Opens(),
            (HALF, WORD, LONG, TOP, ALL): "Invalid argument: the resource fork does not lie before the trailer",
        },
        "segment": {
            (WORD,): Opens(),
        },
        "segments": {
            (0,): Opens(),
            (HALF, WORD): "an image that is divided over {value} files cannot be read",
        },
        "xml_offset": {
            (0,): "the property list cannot be parsed: …",
            (HALF, WORD, LONG, TOP, ALL): "Invalid argument: the property list does not lie before the trailer",
        },
        "xml_length": {
            (0,): "Invalid argument: there is neither a property list nor a resource fork",
            (HALF, WORD, LONG, TOP, ALL): "Invalid argument: the property list does not lie before the trailer",
        },
        "variant": {
            (WORD,): Opens(),
        },
        "sectors": {
            (0,): Opens(),
            (HALF, WORD, LONG): Opens("no chunk holds the sector 2048", 2),
            (TOP, ALL): "Invalid argument: too many sectors",
        },
    },
    "iso": {
        "space": {
            (WORD,): Opens(check=2),
        },
        "set": {
            (0xFFFF,): Opens(),
        },
        "number": {
            (0xFFFF,): Opens(),
        },
        "block": {
            (0xFFFF,): Opens(check=2),
        },
        "path_size": {
            (WORD,): Opens(check=2),
        },
        "path_l": {
            (WORD,): Opens(check=2),
        },
        "path_m": {
            (WORD,): Opens(check=2),
        },
        "root_length": {
            (0,): Opens(check=2),
            (0xFF,): Opens(),
        },
        "root_extended": {
            (0,): Opens(),
            (0xFF,): Opens(check=2),
        },
        "root": {
            (WORD,): Opens(check=2),
        },
        "root_size": {
            (0,): Opens(),
            (HALF, WORD): Opens(check=2),
        },
        "root_flags": {
            (0,): Opens(check=2),
            (0xFF,): Opens(),
        },
    },
}
