"""What sandboxes there are, as text, as tables on a terminal, and as JSON."""

from __future__ import annotations

from instar_core.cli import output
from instar_core.cli.jsontext import pretty
from instar_core.cli.preparing import restoring
from instar_core.cli.printable import printable
from instar_core.cli.sizes import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final, NamedTuple

    from instar_sandbox.kvm.report import Kvm
    from instar_sandbox.timing import Speed

    from instar_core.operations.sandbox import Recipe, State
else:
    from instar_core.record import NamedTuple

WORK: Final = {"lean": "parsing images", "bulk": "decoding, keys"}
"""What the workers of a recipe do."""
WAYS: Final = {0: "enters ring 0", 3: "stays in ring 3"}


class Table(NamedTuple):
    """A table: its title, the headings of its columns, and its rows, each with whether all is well there."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[tuple[str, ...], bool]]


def heading(state: State, origin: str) -> str:
    """The setting that holds."""
    return f"sandbox: {state.setting} ({printable(origin)})\n"


def tables(state: State) -> list[Table]:
    """What is chosen, the walls, KVM, snapshots, and times."""
    chosen = [
        ((WORK[each.recipe], each.platform, _yes(each.works), printable(each.why)), each.works)
        for each in state.choices
    ]
    walls = [
        ((wall.name, "yes" if wall.mandatory else "no", _yes(wall.works), printable(wall.why)), wall.works)
        for wall in state.walls
    ]
    return [
        Table("", ("Work", "Sandbox", "Works", "Why"), chosen),
        Table("Walls of the jailed process", ("Wall", "Mandatory", "Works", "Remark"), walls),
        Table("KVM", ("Fact", "Value", "Remark"), [*_kvm(state.kvm), *_space(state)]),
        Table("Snapshots", ("Name", "Size", "Made", "Memory", "Where"), [_snapshot(each) for each in state.recipes]),
        Table("Times now, in ms", ("Worker", "First answer", "Next answer", "Remark"), _times(state)),
    ]


def show(made: Sequence[Table]) -> None:
    """The tables are on standard output: drawn on a terminal, else with their columns below one another."""
    if not output.terminal():
        from instar_core.cli.formats import plain

        for table in made:
            title = f"\n{table.title}\n" if table.title else ""
            output.out(title + plain([table.headings, *(row for row, _ in table.rows)]))
        return
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    output.flush()
    console = Console()
    for table in made:
        drawn = Drawn(title=table.title or None, title_justify="left")
        for each in table.headings:
            drawn.add_column(each, overflow="fold")
        for row, well in table.rows:
            drawn.add_row(*(Text(cell, style="" if well else "red") for cell in row))
        console.print(drawn)


def _kvm(kvm: Kvm) -> list[tuple[tuple[str, ...], bool]]:
    ring = "" if kvm.ring is None else f"syscall {WAYS[kvm.ring]}"
    return [
        ((kvm.device, "opens" if kvm.opens else "closed", "" if kvm.opens else printable(kvm.why)), kvm.opens),
        (("API version", str(kvm.version) if kvm.version else "-", ""), True),
        (("Backend", kvm.backend, printable(kvm.vendor)), True),
        (("A small machine", "runs" if kvm.runs else "-", ring or (printable(kvm.why) if kvm.opens else "")), kvm.runs),
    ]


def _space(state: State) -> list[tuple[tuple[str, ...], bool]]:
    ceiling = "unlimited" if state.space is None else human_size(state.space, plain=True)
    room = f"a guest gets {human_size(state.room, plain=True)}" if state.room else "too little for a guest"
    return [(("Address space", ceiling, room), state.room > 0)]


def _snapshot(recipe: Recipe) -> tuple[tuple[str, ...], bool]:
    if not recipe.prepared:
        return (recipe.name, "-", "-", "-", printable(recipe.why)), False
    size = human_size(recipe.size, plain=True)
    return (recipe.name, size, _date(recipe.made), restoring(recipe.large), printable(recipe.path)), True


def _times(state: State) -> list[tuple[tuple[str, ...], bool]]:
    rows = [_time("process", state.process, state.process_why)]
    return rows + [_time(f"kvm, {each.name}", each.speed, each.why) for each in state.recipes if each.prepared]


def _time(name: str, speed: Speed | None, why: str) -> tuple[tuple[str, ...], bool]:
    if speed is None:
        return (name, "-", "-", printable(why)), False
    return (name, f"{speed.first * 1e3:.1f}", f"{speed.next * 1e3:.2f}", printable(why)), not why


def json(state: State, origin: str) -> str:
    """All of it; times in microseconds, the date of a snapshot in seconds since the epoch."""
    return pretty(_json(state, origin)) + "\n"


def _json(state: State, origin: str) -> dict[str, Any]:
    kvm = state.kvm._asdict()
    kvm.update(snapshots=[_json_recipe(each) for each in state.recipes], room=state.room)
    kvm["address-space"] = state.space
    return {
        "setting": state.setting,
        "origin": origin,
        "works": state.works,
        "work": [choice._asdict() for choice in state.choices],
        "process": {
            "works": not state.process_why,
            "why": state.process_why,
            "walls": [wall._asdict() for wall in state.walls],
            **_json_speed(state.process),
        },
        "kvm": kvm,
        "folder": state.folder,
        "others": list(state.others),
    }


def _json_recipe(recipe: Recipe) -> dict[str, Any]:
    made: dict[str, Any] = {"name": recipe.name, "prepared": recipe.prepared, "path": recipe.path, "why": recipe.why}
    if recipe.prepared:
        made.update(size=recipe.size, made=recipe.made, memory="large" if recipe.large else "shared")
    return {**made, **_json_speed(recipe.speed)}


def _json_speed(speed: Speed | None) -> dict[str, int]:
    if speed is None:
        return {}
    return {"first-answer-us": round(speed.first * 1e6), "next-answer-us": round(speed.next * 1e6)}


def _date(seconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _yes(truth: bool) -> str:
    return "yes" if truth else "NO"
