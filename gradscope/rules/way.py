"""The way that the steps of a run go, by their learning rates, and what the loss did along it."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.record.record import Array, Stream


@dataclass(frozen=True)
class Way:
    """Up to row number `at` (an index) nearly all of the way was gone; the way is the sum of the learning rates.

    `path` # (rows,) is the share of it that lies before each row, `rate` # (rows,) the learning rate as a share of its
    peak. `took` and `since` are the rows until `at` and since then; `nothing`: those since then add next to nothing.
    """

    at: int
    path: Array
    rate: Array
    took: int
    since: int
    nothing: bool


def rates(stream: Stream) -> Array | None:
    """# (rows,) The learning rate as a share of its peak: of all groups, the one that is highest."""
    found = []
    for optimizer in stream.optimizers:
        peak = optimizer.lr.max(axis=0, initial=0.0)
        if len(optimizer.rows) != len(stream.rows) or not np.isfinite(optimizer.lr).all():
            return None
        found += [optimizer.lr[:, group] / peak[group] for group in np.flatnonzero(peak > 0)]
    return np.asarray(np.max(found, axis=0)) if found else None


def way_to_nothing(stream: Stream, small: float, left: float) -> Way | None:
    """The way, where the learning rate is `small` (of its peak) from some row on; at its end `left` of it is left.

    None where it was as small before the peak, for as many rows as that lasted: a spike, and no end of a schedule.
    """
    rate = rates(stream)
    if rate is None or rate[-1] > small:
        return None
    weight = np.diff(stream.rows, append=stream.rows[-1] + 1)  # rows that were thinned out
    high = rate > small
    if weight[: int(np.argmax(high))][rate[: int(np.argmax(high))] > 0].sum() >= weight[high].sum():
        return None
    gone = np.concatenate([[0.0], np.cumsum(rate * weight)])
    until = len(rate) - int(np.argmax(rate[::-1] > small))
    path = gone[:-1] / gone[until]
    at = max(1, int(np.argmax(path >= 1 - left)))
    return Way(at, path, rate, int(weight[:at].sum()), int(weight[at:].sum()), bool(gone[-1] <= 1.1 * gone[until]))


@dataclass(frozen=True)
class Along:
    """What the loss did along a way: its `level` since the end of it, how far it had fallen to that (`fall`), and
    `above`, how much of that was to come where half of the way was gone.

    `later`: how much it fell still since the end, `drop`: in the last third of the rows with a high learning rate. Each
    has its standard error; NaN where there are too few rows to tell.
    """

    level: float
    fall: tuple[float, float]
    above: tuple[float, float]
    drop: tuple[float, float]
    later: tuple[float, float]


def loss_along(stream: Stream, way: Way, rows: int) -> Along | None:
    """The losses of the newest course along a way; None where fewer than `rows` are known since its end."""
    loss, courses = stream.loss, stream.optimizers[0].scalars["course"]
    known = np.isfinite(loss) & (courses == courses[-1])
    after = loss[way.at :][known[way.at :]]
    before, path, rate = (column[: way.at][known[: way.at]] for column in (loss, way.path, way.rate))
    if len(after) < rows or not len(before):
        return None
    level, error, spread = float(after.mean()), standard_error(after), float(after.std())
    few = max(1, min(5, len(before) // 4))
    middle, high, quarter = before[(path >= 0.4) & (path < 0.7)], before[rate >= 0.5], len(after) // 4
    half = float(middle.mean()) if len(middle) >= 3 else np.nan
    noise = spread * max(1.0, abs(half) / max(abs(level), 1e-12))
    third = len(high) // 3
    drop = float(high[third : 2 * third].mean() - high[-third:].mean()) if third >= 4 else np.nan
    return Along(
        level,
        (float(before[:few].mean()) - level, spread / float(np.sqrt(few)) + error),
        (half - level, noise / float(np.sqrt(max(1, len(middle)))) + error),
        (drop, noise / float(np.sqrt(max(1, third)))),
        (float(after[:quarter].mean() - after[-quarter:].mean()), 2 * error),
    )


def standard_error(losses: Array) -> float:
    """Of their mean, from up to 16 neighbouring parts: they may hang together."""
    parts = np.array([part.mean() for part in np.array_split(losses, min(16, len(losses)))])
    return float(parts.std(ddof=1) / np.sqrt(len(parts)))
