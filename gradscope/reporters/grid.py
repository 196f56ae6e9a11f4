"""Drawing a table of cells that are a number and a word each; widths are those of a terminal (Chinese: two a sign)."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

Texts = tuple[str, str]  # the number, its point below the other points, and the word behind it; or a word alone
GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column's title and the widths of its parts."""

    title: str
    whole: int  # of a number, before its point
    fraction: int  # from its point on
    word: int
    width: int

    @classmethod
    def of(cls, title: str, cells: Sequence[Texts]) -> Column:
        numbers = [number.partition(".") for number, _ in cells if number]
        whole = max((len(before) for before, _, _ in numbers), default=0)
        fraction = max((len(point + after) for _, point, after in numbers), default=0)
        word = max((len(word) for number, word in cells if number), default=0)
        alone = max((len(word) for number, word in cells if not number), default=0)
        return cls(title, whole, fraction, word, max(len(title), alone, whole + fraction + (word and word + 1)))

    def show(self, cell: Texts) -> str:
        number, word = cell
        if not number:
            return word.rjust(self.width)
        before, point, after = number.partition(".")
        text = before.rjust(self.whole) + (point + after).ljust(self.fraction)
        return (f"{text} {word:<{self.word}}" if self.word else text).rjust(self.width)


def rows_of(
    title: str,
    names: Sequence[str],
    spans: Sequence[tuple[str, int]],
    columns: Sequence[Column],
    cells: Sequence[Sequence[Texts]],
    style: Callable[[str, str], str],
) -> Iterator[Text]:
    """The table's lines: what the columns belong to (`spans`: a title over so many columns), their titles, a rule,
    and the rows."""
    left = max(map(cell_len, (title, *names)))
    widths = []
    start = 0
    for over, number in spans:
        widths.append(sum(c.width for c in columns[start : start + number]) + len(GAP) * (number - 1))
        start += number
    yield _line([" " * left, *(f"{over:^{width}}" for (over, _), width in zip(spans, widths))], "bold")
    yield _line([title.ljust(left), *(column.title.rjust(column.width) for column in columns)], "bold")
    yield _line(["─" * left, *("─" * width for width in widths)], "dim")
    for name, row in zip(names, cells):
        text = Text(name + " " * (left - cell_len(name)))
        for column, cell in zip(columns, row):
            text.append(GAP)
            text.append(column.show(cell), style(*cell))
        text.rstrip()
        yield text


def _line(parts: Sequence[str], style: str) -> Text:
    return Text(GAP.join(parts).rstrip(), style)


def fit_name(name: str, room: int) -> str:
    """A dotted name in `room` columns: its longest parts lose their middle first, so that numbers and the end stay."""
    parts = name.split(".")
    sizes = [cell_len(part) for part in parts]
    while sum(sizes) + len(parts) - 1 > room:
        longest = max(range(len(parts) - 1), key=sizes.__getitem__, default=-1)
        if longest < 0 or sizes[longest] <= 3:
            return crop_middle(name, room)
        sizes[longest] -= 1
    return ".".join(crop_middle(part, size) for part, size in zip(parts, sizes))


def crop_middle(text: str, room: int) -> str:
    """`text`, or its beginning and end around an ellipsis, in at most `room` columns."""
    if cell_len(text) <= room:
        return text
    head, tail = "", ""
    while True:
        front = len(text) - len(tail) > len(head) and cell_len(head) <= cell_len(tail)
        longer = (head + text[len(head)], tail) if front else (head, text[len(text) - len(tail) - 1] + tail)
        if cell_len("".join(longer)) + 1 > room:
            return f"{head}…{tail}"
        head, tail = longer


def crop(text: str, room: int) -> str:
    """`text`, or its beginning and an ellipsis, in at most `room` columns."""
    if cell_len(text) <= room:
        return text
    text = text[: 4 * room]  # it may be very long; some signs have no width
    while cell_len(text) > room - 1:
        text = text[:-1]
    return f"{text}…"
