"""Damage of bytes, of lines, and of values in JSON; each function takes what was there and a die, and gives another."""
from __future__ import annotations

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

DEEP = 100_000  # brackets
LONG = 1_000_000  # signs
CANARY = "gradscope-canary"  # a file of this name appears where something planted is executed
COMMAND = f"open({CANARY!r}, 'w').close()"
PICKLE = b"cbuiltins\nexec\n(V" + COMMAND.encode() + b"\ntR."  # loading it executes the command
PLANTED = (
    f"__import__('os').system('touch {CANARY}')",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
    f"$(touch {CANARY})`touch {CANARY}`; touch {CANARY}",
    "{0.__class__.__init__.__globals__}{evidence}%(x)s%s%n",
    f"</script><script>{CANARY}()</script><img src=x onerror={CANARY}()><!--<script>",
    f"\"'><svg/onload={CANARY}()>]]>",
    "../../../../../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/etc/passwd\0.py",
    f"\x1b]0;{CANARY}\x07\x1b[2J\x9b31m\r\n\u202e\u2028",
    "\ud800\udfff\udcff",
    "file:///etc/passwd",
    "rank0",
    "con\u0000trol",
)
NUMBERS = (
    0, 1, -1, 2, 3, 5, 7, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64,
    10**9, 10**12, 10**18, 10**30, 10**400, -(10**400), 0.5, -0.0, 1e-320, 1e38, 1e39, 1e308, math.inf, -math.inf,
    math.nan,
)  # fmt: skip
_MARK = '"\u0001mark'  # in JSON: "\"\u0001mark..."
_RAW = {  # what json.dumps would not write
    "digits": "9" * 5000,
    "negative digits": "-" + "9" * 5000,
    "many digits": "1" * LONG,
    "exponent": "1e999999999",
    "brackets": "[" * DEEP + "]" * DEEP,
    "open brackets": "[" * DEEP,
    "braces": '{"a":' * DEEP + "1" + "}" * DEEP,
    "lone escape": '"\\ud800"',
    "twice": '{"file":"a","file":3}',
    "control": '"\x00\x1b[2J\n"',
}

Change = Callable[[bytes, Random], bytes]


# -- bytes ----------------------------------------------------------------------------------------------------------


def flipped(data: bytes, die: Random) -> bytes:
    """Some bits."""
    changed = bytearray(data or b"\0")
    for _ in range(die.choice((1, 1, 2, 8, 100))):
        changed[die.randrange(len(changed))] ^= 1 << die.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, die: Random) -> bytes:
    """Some bytes in a row."""
    at, stuff = die.randrange(len(data) + 1), _stuff(die)
    return data[:at] + stuff + data[at + len(stuff) :]


def inserted(data: bytes, die: Random) -> bytes:
    at = die.randrange(len(data) + 1)
    return data[:at] + _stuff(die) + data[at:]


def truncated(data: bytes, die: Random) -> bytes:
    return data[: die.randrange(len(data) + 1)]


def cut(data: bytes, die: Random) -> bytes:
    """A piece is missing."""
    first, last = sorted(die.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:]


def doubled(data: bytes, die: Random) -> bytes:
    """A piece stands there twice, or a thousand times."""
    first, last = sorted(die.randrange(len(data) + 1) for _ in range(2))
    times = die.choice((2, 2, 3, max(2, min(1000, LONG // max(1, last - first)))))
    return data[:first] + data[first:last] * times + data[last:]


def swapped(data: bytes, die: Random) -> bytes:
    """Two pieces have changed places."""
    a, b, c = sorted(die.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def replaced(data: bytes, die: Random) -> bytes:
    """All of it."""
    return die.choice((b"", b"\0" * 4096, b"{}", b"[]", b"null", b"\n" * 5000, _stuff(die), PICKLE, b"[" * DEEP))


_NOT_UTF8 = (b"\xff\xfe", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\r\n", b"\n")
_MARKS = (b"[", b"{", b'"', b"\\", b"\\u", b"'", b"]", b"}", b",", b"-", b"e9999")


def _stuff(die: Random) -> bytes:
    return die.choice(
        (
            die.randbytes(die.choice((1, 2, 8, 64, 4096))),
            b"\0" * die.choice((1, 100, LONG)),
            die.choice(_NOT_UTF8),
            die.choice(_MARKS) * die.choice((1, 2, DEEP)),
            die.choice(PLANTED).encode("utf-8", "surrogatepass"),
            PICKLE,
            b"A" * LONG,
        )
    )


BYTES: tuple[Change, ...] = (flipped, overwritten, inserted, truncated, cut, doubled, swapped, replaced)


# -- lines ----------------------------------------------------------------------------------------------------------


def lines(data: bytes, die: Random) -> bytes:
    """Lines are missing, doubled, in another order, joined, torn."""
    parts = data.split(b"\n")
    at, other = die.randrange(len(parts)), die.randrange(len(parts))
    line = parts[at]
    kind = die.randrange(9)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts.insert(other, line)
    elif kind == 2:
        parts[at], parts[other] = parts[other], line
    elif kind == 3:
        die.shuffle(parts)
    elif kind == 4:
        parts[at] = line[: die.randrange(len(line) + 1)]
    elif kind == 5:
        parts[at : at + 2] = [b"".join(parts[at : at + 2])]
    elif kind == 6:
        parts[at:at] = [line] * die.choice((2, 100, max(1, min(5000, LONG // max(1, len(line))))))
    elif kind == 7:
        parts.reverse()
    else:
        parts[at] = line + die.choice((b" ", b"\r", b"\0", b",", line))
    return b"\n".join(parts)


# -- values ---------------------------------------------------------------------------------------------------------


def values(data: bytes, die: Random) -> bytes:
    """Some values in a line of JSON are others; in one object where the whole text is one."""
    texts = [data] if data.startswith(b"{\n") else data.split(b"\n")
    for _ in range(die.choice((1, 1, 1, 2, 5))):
        at = die.randrange(len(texts))
        try:
            line = json.loads(texts[at])
        except (ValueError, RecursionError):
            continue
        texts[at] = _text(_changed(line, die))
    return b"\n".join(texts)


def _changed(value: Any, die: Random) -> Any:
    """Somewhere in it, anything but evenly: inner places and outer ones alike."""
    if isinstance(value, dict) and value and die.random() < 0.9:
        key = die.choice(list(value))
        kind = die.random()
        if kind < 0.05:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.1:
            return {**value, die.choice(("", "x" * 1000, key.upper(), *PLANTED)): value[key]}
        if kind < 0.15:
            other = die.choice(list(value))
            return {**value, key: value[other], other: value[key]}
        return {**value, key: _changed(value[key], die)}
    if isinstance(value, list) and value and die.random() < 0.85:
        at = die.randrange(len(value))
        if die.random() < 0.1:
            many = max(1, min(3000, LONG // 20 // len(value)))
            return die.choice((value[:at], value + value, value[::-1], value * many))
        return [*value[:at], _changed(value[at], die), *value[at + 1 :]]
    return hostile(value, die)


def hostile(value: Any, die: Random) -> Any:
    """Something else in place of a value: near it, or far from it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and die.random() < 0.6:
        near = (value + 1, value - 1, -value, value * 2, value * 1000, float(value), str(value), value + 0.5)
        return die.choice((*near, *NUMBERS))
    if isinstance(value, str) and die.random() < 0.6:
        other = (value + "x", value[:-1], value * 1000, "", "x" * LONG, value.upper(), "\0" + value)
        return die.choice((*PLANTED, *other))
    junk = (None, True, False, "", [], {}, [[]], [{}], {"a": 1}, [None] * 3, [0] * 20_000)
    many = dict.fromkeys(map(str, range(5000)))
    raw = tuple(_MARK + name for name in _RAW)
    return die.choice((*junk, many, die.choice(NUMBERS), die.choice(PLANTED), die.choice(raw)))


def _text(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"))
    for name, raw in _RAW.items():
        text = text.replace(json.dumps(_MARK + name), raw)
    return text.encode("utf-8", "surrogatepass")
