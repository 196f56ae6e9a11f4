"""The user's text as plain text: names, paths and messages can hold anything, and a terminal obeys some of it."""
from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control codes, line breaks, changes of direction and lone surrogates replaced: it stays in its cell,
    whatever a name is."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def lines_of(text: str) -> list[str]:
    """Text that may have several lines (another library's error message), each of them printable; tabs are blanks."""
    return [printable(line) for line in text.expandtabs(4).replace("\r\n", "\n").split("\n")]


def sentence(text: str) -> str:
    """The same in one line."""
    return " ".join(line.strip() for line in lines_of(text.strip()))


def cropped(text: str, most: int = 200) -> str:
    """Its beginning and its end where it has more signs than that."""
    return text if len(text) <= most else f"{text[: most - 43]} ... {text[-38:]}"


def encodable(text: str) -> str:
    """`text` with lone surrogates replaced (names of files that are no UTF-8): all else can be encoded."""
    return text if text.isascii() else "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
