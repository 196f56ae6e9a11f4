"""The tables of learning_rate.py, in Markdown."""
from __future__ import annotations

import math
from collections import Counter
from typing import Iterable, Mapping, Sequence

import judging
from judging import BETWEEN, FINE, HIGH, LOW, Detector, Run, detection, success


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, columns aligned."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    body = "\n".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines)
    return f"\n{title}\n\n{body}"


def number(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.1e}"


def count(runs: Iterable[Run]) -> str:
    """How many are fine, too high, too low, between."""
    counter = Counter(run.label for run in runs)
    return " / ".join(str(counter[label]) for label in (FINE, HIGH, LOW, BETWEEN))


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """All; those of adaptive optimizers; the others."""
    adaptive = [run for run in runs if run.adaptive]
    return {"all": list(runs), "adaptive": adaptive, "SGD": [run for run in runs if not run.adaptive]}


def detections(title: str, runs: Sequence[Run], detectors: Mapping[str, Detector], wanted: str) -> str:
    rows = []
    for name, detector in detectors.items():
        for group, some in groups(runs).items():
            d = detection(some, detector, wanted)
            recall = f"{number(d.recall)} of {sum(run.label == wanted for run in some)}"
            false = f"{d.on_fine} of {sum(run.label == FINE for run in some)}"
            rows.append([name, group, number(d.precision), recall, number(d.step, 0), false])
    return table(title, ("by", "optimizers", "precision", "recall", "median step", "false on fine runs"), rows)


def advice(title: str, runs: Sequence[Run], wanted: str) -> str:
    needy = [run for run in runs if run.label == wanted]
    names = dict.fromkeys(name for run in needy for name in run.tries)
    rows = []
    for name in sorted(names, key=lambda name: name != "gradscope"):
        for group, some in groups(needy).items():
            s = success(some, name)
            shares = [number(share) for share in (s.given, s.fine_at_once, s.fine_after_two, s.better)]
            rows.append([name, group, *shares, number(s.ratio)])
    return table(title, ("adviser", "optimizers", "given", "fine", "in two rounds", "better", "loss / best"), rows)


def by_problem(runs: Sequence[Run], watched: bool) -> str:
    rows = []
    for name in dict.fromkeys(run.problem for run in runs):
        mine = [run for run in runs if run.problem == name]
        fine = [run.lr for run in mine if run.label == FINE]
        row = [name, f"{min(fine):g} to {max(fine):g}" if fine else "-", count(mine)]
        if watched:
            high, low = [r for r in mine if r.label == HIGH], [r for r in mine if r.label == LOW]
            d, s = detection(mine, judging.OWN_HIGH["gradscope"], HIGH), success(high, "gradscope")
            loud = sum(run.label == FINE and any(alarm.loud for alarm in run.alarms) for run in mine)
            row += [number(d.recall), number(d.step, 0), str(loud), number(s.fine_at_once), number(s.fine_after_two)]
            row += [number(detection(mine, judging.OWN_LOW["GS302"], LOW).recall)]
            row += [number(success(low, "gradscope").fine_at_once)]
        rows.append(row)
    columns = ["problem", "fine", "fine / high / low / between"]
    if watched:
        columns += ["high: recall", "step", "fine runs with alarms", "advice fine", "in two rounds"]
        columns += ["low: recall", "advice fine"]
    return table("By problem", columns, rows)


def told(runs: Sequence[Run]) -> str:
    """In how many runs each rule spoke, by what they are."""
    spoke = Counter(key for run in runs for key in {(alarm.code, alarm.loud, run.label) for alarm in run.alarms})
    rows = []
    for code, loud in sorted({(code, loud) for code, loud, _ in spoke}, key=lambda key: (not key[1], key[0])):
        counts = [str(spoke[code, loud, label]) for label in (FINE, HIGH, LOW, BETWEEN)]
        rows.append([code, "error or warning" if loud else "info", *counts])
    totals = [str(sum(run.label == label for run in runs)) for label in (FINE, HIGH, LOW, BETWEEN)]
    return table("All that was told: runs", ("rule", "as", FINE, HIGH, LOW, BETWEEN), [*rows, ["of", "", *totals]])


def false_alarms(runs: Sequence[Run]) -> str:
    """Every error and warning on a fine run; and GS301, GS302 on those that are the opposite."""
    rows = []
    for run in runs:
        for alarm in run.alarms:
            opposite = run.label == LOW and judging.says_high(alarm) or run.label == HIGH and judging.says_low(alarm)
            if alarm.loud and (run.label == FINE or opposite):
                where = [run.problem, str(run.seed), f"{run.lr:g}", run.label]
                cause = "" if alarm.caused_by is None else f" (under {alarm.caused_by})"
                rows.append([*where, alarm.code + cause, alarm.severity, str(alarm.step), alarm.text])
    codes = Counter(row[4] for row in rows if row[3] == FINE)
    fine = [run for run in runs if run.label == FINE]
    hit = sum(any(alarm.loud for alarm in run.alarms) for run in fine)
    title = f"False alarms: errors and warnings on {hit} of {len(fine)} fine runs"
    title += f" ({', '.join(f'{code} {number}' for code, number in codes.most_common())})" if codes else ""
    columns = ("problem", "seed", "lr", "it is", "told", "severity", "step", "message")
    return table(title, columns, rows) if rows else f"\n{title}"


def report(runs: Sequence[Run], watched: bool) -> str:
    """All the tables."""
    high = {**(judging.OWN_HIGH if watched else {}), **judging.PEERS_HIGH}
    parts = [
        f"{len(runs)} runs, fine / too high / too low / between: {count(runs)}",
        detections("Too high: detection", runs, high, HIGH),
        advice("Too high: advice", runs, HIGH),
        detections("Too low: detection", runs, judging.OWN_LOW, LOW) if watched else "",
        advice("Too low: advice", runs, LOW),
        by_problem(runs, watched),
        told(runs) if watched else "",
        false_alarms(runs) if watched else "",
    ]
    return "\n".join(part for part in parts if part)
