"""instar bench: many small requests, timed."""

from __future__ import annotations

from instar_core.cli import output, values
from instar_core.cli.fault import Fault
from instar_core.cli.getopt import Opt, Verb
from instar_core.cli.info import one_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from instar_core.cli.call import Call
    from instar_core.cli.getopt import Parsed
    from instar_core.results import Bench

MOST = (1 << 31) - 1
AIO = ("threads", "native", "io_uring")


def cache(text: str) -> str:
    """A cache mode."""
    if text not in values.CACHES:
        raise Fault("Invalid cache mode")
    return "none" if text == "off" else text


def engine(text: str) -> str:
    """How requests are made."""
    if text not in AIO:
        raise Fault(f"Invalid aio option: {text}")
    return text


VERB = Verb(
    "bench",
    (
        "[-f FMT | --image-opts] [-t CACHE]",
        "[-c COUNT] [-d DEPTH] [-o OFFSET] [-s BUFFER_SIZE] [-S STEP_SIZE]",
        "[-w [--pattern PATTERN] [--flush-interval INTERVAL [--no-drain]]]",
        "[-i AIO] [-n] [-U] [-q] FILE",
    ),
    "Run a simple image benchmark",
    (
        values.FORMAT._replace(help=("specify FILE format explicitly",)),
        values.IMAGE_OPTS,
        Opt("cache", "t", "cache", "CACHE", ("cache mode for FILE (default: writeback)",), cache),
        Opt(
            "count",
            "c",
            "count",
            "COUNT",
            ("number of I/O requests to perform",),
            values.number("request count", 1, MOST),
        ),
        Opt(
            "depth",
            "d",
            "depth",
            "DEPTH",
            ("number of requests to perform in parallel",),
            values.number("queue depth", 1, MOST),
        ),
        Opt("offset", "o", "offset", "OFFSET", ("start first request at this OFFSET",), values.size("offset")),
        Opt(
            "size",
            "s",
            "buffer-size",
            "BUFFER_SIZE[bkKMGTPE]",
            ("size of each I/O request, with optional multiplier suffix", "(powers of 1024, default is 4K)"),
            values.size("buffer size", 1, MOST),
        ),
        Opt(
            "step",
            "S",
            "step-size",
            "STEP_SIZE[bkKMGTPE]",
            (
                "each next request offset increment, with optional multiplier suffix",
                "(powers of 1024, default is the same as BUFFER_SIZE)",
            ),
            values.size("step size", 0, MOST),
        ),
        Opt("write", "w", "write", "", ("perform write test (default is read)",)),
        Opt(
            "pattern",
            "",
            "pattern",
            "PATTERN",
            ("write this pattern byte instead of zero",),
            values.number("pattern byte", 0, 0xFF),
        ),
        Opt(
            "flush_interval",
            "",
            "flush-interval",
            "FLUSH_INTERVAL",
            ("issue flush after this number of requests",),
            values.number("flush interval", 0, MOST),
        ),
        Opt("no_drain", "", "no-drain", "", ("do not wait when flushing pending requests",)),
        Opt("aio", "i", "aio", "AIO", ("async-io backend (threads, native, io_uring); all are threads here",), engine),
        Opt("native", "n", "native", "", ("use native AIO backend if possible",)),
        values.SHARE._replace(help=("open images in shared mode for concurrent access",)),
        values.OUTPUT._replace(own=True),
        values.QUIET,
        values.OBJECT,
    ),
    (values.FILE,),
)


def run(call: Call, parsed: Parsed) -> int:
    """The requests are made; how long that took is printed."""
    mode = parsed.get("cache", "writeback")
    aio = "native" if parsed.get("native") else parsed.get("aio", "threads")
    if len(parsed.operands) != 1:
        raise Fault("Expecting one image file name", usage=True)
    write, interval = parsed.get("write", False), parsed.get("flush_interval", 0)
    depth = parsed.get("depth", 64)
    if not write and interval:
        raise Fault("--flush-interval is only available in write tests")
    if interval and interval < depth:
        raise Fault("Flush interval can't be smaller than depth")
    asked = one_file(parsed)
    from instar_core.changing import DIRECT
    from instar_core.operations.bench import bench

    if aio == "native" and mode not in DIRECT:
        raise Fault(
            f"Could not open '{asked.path}': aio=native was specified, but it requires cache.direct=on, which was not "
            "specified."
        )
    count, size, offset = parsed.get("count", 75_000), parsed.get("size", 4096), parsed.get("offset", 0)
    step = parsed.get("step") or size
    human = parsed.get("output") != "json"

    def begun() -> None:
        if human:
            kind = "write" if write else "read"
            output.out(
                f"Sending {count} {kind} requests, {size} bytes each, {depth} in parallel "
                f"(starting at offset {offset}, step size {step})\n"
            )
            if interval:
                output.out(f"Sending flush every {interval} requests\n")
            output.flush()

    found = bench(
        asked.path,
        count=count,
        depth=depth,
        size=size,
        offset=offset,
        step=step,
        write=write,
        pattern=parsed.get("pattern", 0),
        flush_interval=interval,
        drain=not parsed.get("no_drain", False),
        cache=mode,
        format=asked.format,
        open_options=asked.options,
        settings=call.settings,
        begun=begun,
    )
    if human:
        output.out(f"Run completed in {found.seconds:3.3f} seconds.\n")
        if not call.qemu:
            output.out(f"Requests under way at once: {found.parallel}, each in a thread.\n")
        return 0
    _print(found, size, offset, step, depth)
    return 0


def _print(found: Bench, size: int, offset: int, step: int, depth: int) -> None:
    from instar_core.cli import jsontext

    rate = found.requests / found.seconds if found.seconds else 0.0
    facts = {
        "count": found.requests,
        "depth": depth,
        "parallel": found.parallel,
        "engine": found.engine,
        "buffer-size": size,
        "offset": offset,
        "step-size": step,
        "seconds": found.seconds,
        "requests-per-second": rate,
        "bytes-per-second": rate * size,
    }
    output.out(jsontext.pretty(facts) + "\n")
