"""What is special in the inputs of an operation that made a NaN, with measured evidence, and what stands around it."""
from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradscope.hooks.birth import Birth
from gradscope.hooks.lineage import leaf
from gradscope.hooks.operations import as_written, base_name, dims, normalizes
from gradscope.hooks.sites import SiteFinder
from gradscope.hooks.values import Values

Given = list[Any]  # the inputs: tensors, numbers, None where not known
_THROUGH = ("t", "transpose", "view", "expand", "to_copy", "unsqueeze", "reshape_alias", "permute", "alias", "clone")
_NEAR = 400  # nodes
_REPLAY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "replay.py")


def special(values: Values, born: Birth) -> str:
    """What the operation met: "log of 0 (3 of 640 values, which run from 0 to 0.97)"."""
    node = born.node
    name, given, result = base_name(node), values.inputs(node), values.value(node)
    if name == "pow" and len(given) == 1:
        given.append(node._saved_exponent)
    if name == "mean" and getattr(node, "_saved_self_sym_numel", 1) == 0:
        return "the mean of nothing (an empty tensor)"
    try:
        text = _attention(values, node) if "scaled_dot_product" in name else ""
        if name.startswith("nll_loss") and float(node._saved_total_weight) == 0:
            text = "cross_entropy without a single target (each is ignore_index, or has weight 0)"
    except (RuntimeError, IndexError, AttributeError, ValueError):
        text = ""
    return text or describe(name, given, result, dims(node, "dim"))


def describe(name: str, given: Given, result: torch.Tensor | None, along: tuple[int, ...] = ()) -> str:
    """The same of any operation, by its base name, inputs and result."""
    say = _SAYS.get(name)
    try:
        text = "" if say is None or not given or given[0] is None else say(given)
        if not text and normalizes(name):
            text = _masked(as_written(name), result, along)
        return text or _plainly(as_written(name), given, result)
    except (RuntimeError, TypeError, IndexError, AttributeError, ValueError):
        return _plainly(as_written(name), [], result)


def number(value: float) -> str:
    return format(value, ".3g")


def ends(tensor: torch.Tensor) -> tuple[float, float]:
    """The smallest and the largest finite value (NaN where there is none)."""
    finite = tensor.detach()[torch.isfinite(tensor)]
    if not finite.numel():
        return math.nan, math.nan
    return tuple(float(end) for end in torch.aminmax(finite))  # type: ignore[return-value]


def share(hits: torch.Tensor, of: torch.Tensor | None = None, what: str = "values") -> str:
    """(3 of 640 values[, which run from 0 to 0.97])."""
    runs = ""
    if of is not None:
        low, high = ends(of)
        runs = f", which run from {number(low)} to {number(high)}" if low < high else ""
    return f"({int(hits.sum())} of {hits.numel()} {what}{runs})"


def broken(tensor: torch.Tensor) -> str:
    """(12 of 640 values are NaN)"""
    nan, inf = int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())
    kinds = [f"{count} {kind}" for count, kind in ((nan, "NaN"), (inf, "infinite")) if count]
    return f"{' and '.join(kinds)} of {tensor.numel()} values"


def _plainly(name: str, given: Given, result: torch.Tensor | None) -> str:
    made = "" if result is None else f" gives {broken(result)}"
    runs = [ends(x) for x in given if isinstance(x, torch.Tensor) and x.is_floating_point() and x.numel()]
    largest = max((max(abs(low), abs(high)) for low, high in runs if low == low), default=math.nan)
    if largest > 1e18 or (result is not None and result.dtype == torch.float16 and largest > 100):
        ending = "" if result is None else f"; {_dtype(result)} ends at {number(torch.finfo(result.dtype).max)}"
        return f"{name} overflows: its inputs reach {number(largest)}{ending}"
    told = "" if largest != largest else f" from finite inputs up to {number(largest)} in size"
    return f"{name}{made}{told}" if made else name


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _log(name: str, at: float = 0.0) -> Callable[[Given], str]:
    def say(given: Given) -> str:
        x = given[0]
        if bool((x < at).any()):
            below = "a negative number" if at == 0 else f"a number below {at:g}"
            return f"{name} of {below} {share(x < at, x)}"
        return f"{name} of {at:g} {share(x == at, x)}" if bool((x == at).any()) else ""

    return say


def _sqrt(given: Given) -> str:
    x = given[0]
    return f"sqrt of a negative number {share(x < 0, x)}" if bool((x < 0).any()) else ""


def _rsqrt(given: Given) -> str:
    return _sqrt(given).replace("sqrt", "rsqrt", 1) or _zero("rsqrt of 0", given[0])


def _zero(text: str, x: torch.Tensor) -> str:
    return f"{text} {share(x == 0, x)}" if bool((x == 0).any()) else ""


def _div(given: Given) -> str:
    above, below = given[0], given[1]
    if not isinstance(below, torch.Tensor):
        return ""
    zero = below == 0
    if bool(zero.any()):
        both = zero & (torch.as_tensor(0.0 if above is None else above) == 0) if above is not None else zero
        if above is not None and bool(both.any()):
            return f"0 / 0 {share(zero, below, 'divisors')}" if below.numel() > 1 else "0 / 0"
        return f"a division by 0 {share(zero, below, 'divisors')}" if below.numel() > 1 else "a division by 0"
    low = float(below.abs().min())
    return f"a division by {number(low)} overflows"


def _exp(name: str) -> Callable[[Given], str]:
    def say(given: Given) -> str:
        x, limit = given[0], math.log(torch.finfo(given[0].dtype).max)
        high = ends(x)[1]
        if high <= limit:
            return ""
        return f"{name} overflows {share(x > limit)}: its input reaches {number(high)}, {_dtype(x)} ends at {limit:.1f}"

    return say


def _pow(given: Given) -> str:
    x, exponent = given[0], given[1]
    if isinstance(exponent, (int, float)):
        if exponent < 0 and bool((x == 0).any()):
            return f"0 to the power of {exponent:g} {share(x == 0, x)}"
        if float(exponent) != int(exponent) and bool((x < 0).any()):
            return f"a negative number to the power of {exponent:g} {share(x < 0, x)}"
        largest = float(x.abs().max())
        return f"pow overflows: {number(largest)} to the power of {exponent:g}" if abs(exponent) > 1 else ""
    return ""


def _outside(name: str) -> Callable[[Given], str]:
    def say(given: Given) -> str:
        x = given[0]
        return f"{name} of values beyond 1 {share(x.abs() > 1, x)}" if bool((x.abs() > 1).any()) else ""

    return say


def _cross_entropy(given: Given) -> str:
    x = given[0]
    low = torch.isneginf(x)
    return f"cross_entropy of a class whose score is -inf {share(low)}" if bool(low.any()) else ""


def _rows(name: str) -> Callable[[Given], str]:
    def say(given: Given) -> str:
        x = given[0]
        rows = torch.isneginf(x).flatten(0, -2).all(dim=-1) if x.dim() > 1 else torch.isneginf(x).all().reshape(1)
        return f"{name} over a row that is -inf throughout {share(rows, what='rows')}" if bool(rows.any()) else ""

    return say


def _masked(name: str, result: torch.Tensor | None, along: tuple[int, ...]) -> str:
    """Its input is not known, but for the mask that was put on finite scores."""
    if result is None or result.dim() < 1:
        return ""
    rows = torch.isnan(result).all(dim=along[0]) if len(along) == 1 and name != "logsumexp" else torch.isnan(result)
    if not bool(rows.any()):
        return ""
    return f"{name} over a row that its mask leaves nothing of {share(rows, what='rows')}"


def _attention(values: Values, node: Any) -> str:
    mask = next((one.tensor for one in values.constants.get(node, ()) if "mask" in one.name), None)
    if mask is None:
        return ""
    rows = torch.isneginf(mask).all(dim=-1)
    told = "scaled_dot_product_attention over a row that is masked throughout"
    return f"{told} {share(rows, what='rows of the mask')}" if bool(rows.any()) else ""


_SAYS: dict[str, Callable[[Given], str]] = {
    **{name: _log(name) for name in ("log", "log2", "log10")},
    "log1p": _log("log1p", -1.0),
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": lambda given: _zero("a division by 0", given[0]),
    "div": _div,
    **{name: _exp(name) for name in ("exp", "expm1", "sinh", "cosh")},
    "pow": _pow,
    **{name: _outside(name) for name in ("acos", "asin", "atanh", "erfinv")},
    **{name: _rows(name) for name in ("softmax", "log_softmax", "logsumexp", "softmax_data")},
    "nll_loss": _cross_entropy,
}


# -- what stands around it --------------------------------------------------------------------------------------------


def own_parameters(node: Any) -> list[torch.Tensor]:
    """The parameters that an operation itself takes."""
    found = []
    for maker, _ in node.next_functions:
        for _ in range(4):
            if maker is None:
                break
            variable = leaf(maker)
            if variable is not None:
                found.append(variable)
                break
            if base_name(maker) not in _THROUGH or len(maker.next_functions) != 1:
                break
            maker = maker.next_functions[0][0]
    return found


def before(node: Any) -> torch.Tensor | None:
    """The nearest parameter that an operation before this one takes."""
    return _nearest(node, lambda one: (maker for maker, _ in one.next_functions if maker is not None))


def after(values: Values, node: Any) -> torch.Tensor | None:
    """The nearest parameter that an operation after this one takes."""
    return _nearest(node, lambda one: values.consumers.get(one, ()))


def _nearest(node: Any, following: Callable[[Any], Iterable[Any]]) -> torch.Tensor | None:
    queue, seen = deque(following(node)), {node}
    while queue and len(seen) < _NEAR:
        one = queue.popleft()
        if one in seen:
            continue
        seen.add(one)
        own = own_parameters(one)
        if own:
            return max(own, key=lambda parameter: parameter.dim())
        queue.extend(following(one))
    return None


def users_line(node: Any) -> tuple[str, int] | None:
    """The user's line that ran the operation, where anomaly detection has noted it."""
    for entry in reversed(list(node.metadata.get("traceback_") or ())):
        head = str(entry).strip().partition("\n")[0]
        file, _, rest = head.removeprefix('File "').partition('", line ')
        digits = rest.partition(",")[0]
        if head.startswith('File "') and digits.isdigit():
            if file == _REPLAY:
                return None  # what is further out is not what ran it
            if SiteFinder.rank(file) == 2:
                return file, int(digits)
    return None
