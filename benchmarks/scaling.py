"""How the cost grows with the model: values from 1e5 to 1e8 in 20 tensors, and 10 to 4,000 tiny tensors.

    python benchmarks/scaling.py [--points params:1e6,tensors:400] [--rounds N] [--seconds S] [--launches N] [--warm N]

Each point is a bare loop and a watched one, two processes that work in turns (see `overhead.py`): the bare step, the
watched block over the bare ones beside it (median with quartiles, and where that median lies), what gradscope accounts
for as its own, of the loop's time (of the median block, and of all blocks together), and the same in microseconds.
"""
from __future__ import annotations

import argparse
import statistics

from overhead import Plan, add_options, head, interval, measure, plan_of, share, spread

PARAMS = ("1e5", "3e5", "1e6", "3e6", "1e7", "3e7", "1e8")
TENSORS = ("10", "40", "100", "400", "1000", "4000")
POINTS = (*(f"params:{size}" for size in PARAMS), *(f"tensors:{size}" for size in TENSORS))
_COLUMNS = ("loop", "bare ms a step", "watched / bare", "95 % of its median", "accounted", "in all", "own us a step")


def row(name: str, plan: Plan) -> str:
    """Measure one point; its line of the table."""
    results = measure(name, plan, {"watch()": {}})
    bare, watched = results["bare"], results["watch()"]
    cells = [
        name,
        f"{1e3 * statistics.median(bare.typical):.3f}",
        spread(watched.ratios),
        interval(watched.ratios),
        f"{spread([100 * a for a in watched.accounted], 2)} %",
        f"{100 * share(watched.blocks):.2f} %",
        f"{1e6 * watched.own:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how the cost of watching grows with the model.")
    parser.add_argument("--points", default=",".join(POINTS), help="comma-separated; default: %(default)s")
    add_options(parser)
    given = parser.parse_args()
    from workloads import find  # torch: not for the workers, which read this file too

    plan = plan_of(given, parser)
    names = [name for name in given.points.split(",") if name]
    try:
        for name in names:
            find(name)
    except ValueError as error:
        parser.error(str(error))
    print(head(_COLUMNS), flush=True)
    for name in names:
        print(row(name, plan), flush=True)


if __name__ == "__main__":
    main()
