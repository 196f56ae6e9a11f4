"""The colours of tab and page can be read by everybody: the contrasts that WCAG 2.2 AA asks for, light and dark."""
from __future__ import annotations

import re

import pytest

from gradscope.board import files

STYLE, THEME = files.read("style.css").decode(), files.read("theme.js").decode()
TEXT, SIGN = 4.5, 3.0  # least contrasts: criteria 1.4.3 and 1.4.11
GROUNDS = ("ground", "panel", "raised", "sunk", "code")
ON = {
    **{text: GROUNDS for text in ("text", "muted")},
    "accent": ("panel", "raised", "sunk", "code", "accent-soft"),
    "error": ("panel", "raised", "error-soft"),
    "warning": ("panel", "warning-soft"),
    "info": ("panel", "info-soft"),
    "good": ("panel", "info-soft"),
}
SIGNS = ("warning-sign", "loss", "norm", "weight", "update", "metric", "bad", *(f"series-{i}" for i in range(6)))


def colors(theme: str) -> dict[str, str]:
    """By name; the dark theme has those of the light one where it has none of its own."""
    blocks = [STYLE.partition(":root {")[2], STYLE.partition(':root[data-theme="dark"] {')[2]]
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block.partition("}")[0])) for block in blocks]
    return found[0] if theme == "light" else {**found[0], **found[1]}


def contrast(one: str, other: str) -> float:
    """As WCAG defines it, 1 to 21."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    shares = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast() -> None:
    """The formula: the values that WCAG's own examples have."""
    assert (21.0, 4.54) == (contrast("#000000", "#ffffff"), round(contrast("#767676", "#ffffff"), 2))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_and_signs(theme: str) -> None:
    known = colors(theme)
    weak = [(text, on) for text, grounds in ON.items() for on in grounds if contrast(known[text], known[on]) < TEXT]
    weak += [(sign, "panel") for sign in SIGNS if contrast(known[sign], known["panel"]) < SIGN]
    assert [] == weak


def test_letters_of_states() -> None:
    states = re.findall(r"color: '(#[0-9a-f]{6})', ink: '(#[0-9a-f]{6})'", THEME)
    assert 4 == len(states)
    assert [] == [state for state in states if contrast(*state) < TEXT]
