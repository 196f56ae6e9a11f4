"""The tables: what one tool has found, in all and for each rule, and all tools beside each other."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from measuring import GRADSCOPE, Outcome, Watched
from programs import Program
from scoring import Alarm, Share, first_right, found, healed, named


@dataclass(frozen=True)
class Row:
    """All that is known of one program: without a tool, under each, and what `gradscope try` made of it."""

    program: Program
    bare: Outcome
    watched: Mapping[str, Watched] = field(default_factory=dict)
    tried: tuple[float, ...] = ()

    def alarms(self, tool: str) -> Sequence[Alarm]:
        return self.watched[tool].alarms if tool in self.watched else ()

    def right(self, tool: str) -> bool:
        """The planted fault first, or nothing to a healthy program."""
        alarms = self.alarms(tool)
        return first_right(alarms, self.program.codes) if self.program.faulty else not alarms

    def changed(self, tool: str) -> bool:
        """Whether watching has changed what the program does."""
        if tool not in self.watched:
            return False
        seen = self.watched[tool].outcome
        return (seen.code, str(seen.result)) != (self.bare.code, str(self.bare.result))


def by_rule(rows: Sequence[Row], twins: Mapping[str, Outcome]) -> str:
    """gradscope's finds, in all and for each rule."""
    faulty = [row for row in rows if row.program.faulty]
    lines = ["| | faulty | found | first right | named | healed by `try` | step, median |", "|---" * 7 + "|"]
    codes = sorted({row.program.codes[0] for row in faulty})
    groups = [("all", faulty), *((code, [r for r in faulty if r.program.codes[0] == code]) for code in codes)]
    for name, group in groups:
        right = [row.alarms(GRADSCOPE)[0] for row in group if row.right(GRADSCOPE)]
        steps = [alarm.step for alarm in right if alarm.step is not None]
        cells = [
            str(len(group)),
            _share(group, lambda r: found(r.alarms(GRADSCOPE))),
            _share(group, lambda r: r.right(GRADSCOPE)),
            _share(group, lambda r: named(r.alarms(GRADSCOPE), r.program.codes)),
            _share([r for r in group if r.tried], lambda r: _healed(r, twins)),
            f"{statistics.median(steps):.0f}" if steps else "-",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_tool(rows: Sequence[Row], tools: Sequence[str]) -> str:
    """Each tool's finds and false alarms."""
    faulty, healthy = [r for r in rows if r.program.faulty], [r for r in rows if not r.program.faulty]
    hard = [r for r in healthy if r.program.hard]
    heads = ("tool", "found", "fault named", "first right", "false alarms", "of hard ones", "slowdown", "broken")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for tool in tools:
        ratios = [r.watched[tool].outcome.seconds / r.bare.seconds for r in rows if tool in r.watched]
        cells = [
            tool,
            _share(faulty, lambda r: found(r.alarms(tool))),
            _share(faulty, lambda r: named(r.alarms(tool), r.program.codes)),
            _share(faulty, lambda r: r.right(tool)),
            _share(healthy, lambda r: found(r.alarms(tool))),
            _share(hard, lambda r: found(r.alarms(tool))),
            f"{statistics.median(ratios):.2f}" if ratios else "-",
            str(sum(row.changed(tool) for row in rows)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _healed(row: Row, twins: Mapping[str, Outcome]) -> bool:
    twin = twins.get(row.program.host)
    return twin is not None and any(healed(result, twin.result) for result in row.tried)


def _share(rows: Sequence[Row], hit: Callable[[Row], bool]) -> str:
    return str(Share(sum(map(hit, rows)), len(rows))) if rows else "-"
