"""What torch's graph nodes are: the name users write, and what is known of values that go through them."""
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

_WRITTEN = {
    "CompiledFunction": "a graph compiled by torch.compile",
    "div": "division", "mm": "matmul", "addmm": "linear", "bmm": "matmul", "baddbmm": "matmul", "mv": "matmul",
    "dot": "dot", "linalg_vector_norm": "norm", "native_batch_norm": "batch_norm", "cudnn_batch_norm": "batch_norm",
    "miopen_batch_norm": "batch_norm", "native_layer_norm": "layer_norm", "native_group_norm": "group_norm",
    "fused_rms_norm": "rms_norm", "nll_loss": "cross_entropy (nll_loss)", "nll_loss2d": "cross_entropy (nll_loss)",
    "nll_loss_nd": "cross_entropy (nll_loss)", "mkldnn_rnn_layer": "LSTM", "cudnn_rnn": "recurrent layer",
    "miopen_rnn": "recurrent layer", "to_copy": "conversion to another dtype", "mkldnn_convolution": "convolution",
    "cudnn_convolution": "convolution", "scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
    "scaled_dot_product_flash_attention": "scaled_dot_product_attention", "mul": "multiplication", "add": "addition",
    "scaled_dot_product_efficient_attention": "scaled_dot_product_attention", "sub": "subtraction",
    "scaled_dot_product_cudnn_attention": "scaled_dot_product_attention", "neg": "negation",
    "scaled_dot_product_fused_attention_overrideable": "scaled_dot_product_attention", "softmax_data": "softmax",
    "safe_softmax": "softmax", "mkldnn_linear": "linear", "rsub": "subtraction", "thnn_fused_lstm_cell": "LSTM",
}  # fmt: skip
_KEEPS_ALL = frozenset(
    "t transpose permute view unsafe_view reshape_alias reshape unsqueeze squeeze expand clone alias flatten movedim "
    "contiguous repeat cat stack neg flip roll lift_fresh copy_slices view_as swapaxes unflatten detach".split()
)
_PASSES = _KEEPS_ALL | frozenset(
    "select slice index index_select gather narrow split split_with_sizes unbind chunk as_strided diagonal tril triu "
    "unfold masked_select constant_pad_nd take max_pool2_d_with_indices max_pool2_dwith_indices embedding sort topk "
    "max amax min amin relu threshold native_dropout_none unsafe_split maximum minimum adaptive_max_pool2_d abs "
    "reflection_pad2_d replication_pad2_d permute pixel_shuffle".split()
)
_STRICT = _KEEPS_ALL | frozenset("add sub mul sum mean mm addmm bmm baddbmm mv dot linear cumsum abs square".split())
_MASKS = frozenset("masked_fill where masked_scatter tril triu index_put fill constant_pad_nd".split())
_ADDS = frozenset("add sub rsub baddbmm addmm addbmm addmv addcmul".split())
_BROKEN_BY_MASK = frozenset("softmax safe_softmax log_softmax softmax_data logsumexp".split())
# Finite where their derivative is not: in words that users know.
SINGULAR = {
    "sqrt": "sqrt at 0", "pow": "a fractional power at 0", "acos": "acos at 1 or -1", "asin": "asin at 1 or -1",
    "atan2": "atan2 at (0, 0)", "linalg_eigh": "eigh with equal eigenvalues",
    "linalg_svd": "svd with equal singular values", "linalg_eig": "eig with equal eigenvalues",
}  # fmt: skip
# Their derivative overflows near such values; or it is infinite where a mask has taken the result away (0 * inf).
STEEP = {
    "log": "log near 0", "log2": "log near 0", "log10": "log near 0", "log1p": "log1p near -1",
    "rsqrt": "rsqrt near 0", "reciprocal": "a division by values near 0", "div": "a division by values near 0",
    "exp": "exp of large values", "expm1": "exp of large values", "sinh": "sinh of large values",
    "cosh": "cosh of large values", "atanh": "atanh near 1", "acosh": "acosh at 1", "erfinv": "erfinv near 1",
    "logit": "logit near 0 or 1", "xlogy": "xlogy near 0", "logsumexp": "logsumexp over a row of -inf",
    "tan": "tan near pi / 2", "lgamma": "lgamma near 0", "digamma": "digamma near 0",
    "linalg_inv_ex": "the inverse of a nearly singular matrix", "linalg_solve_ex": "a nearly singular system",
    "linalg_cholesky_ex": "cholesky of a nearly singular matrix",
}  # fmt: skip


def written_in_python(node: Any) -> bool:
    """A Function of the user's own (or of a library's)."""
    return hasattr(node, "saved_tensors")


def singular(node: Any) -> str:
    """At what value its derivative is infinite though it is finite itself, in words; "" for most operations."""
    if written_in_python(node):
        return f"{base_name(node)}, an autograd Function with a backward of its own"
    name = base_name(node)
    if name == "pow":
        exponent = getattr(node, "_saved_exponent", None)
        if not isinstance(exponent, (int, float)) or exponent >= 1 or exponent == 0:
            return ""
        if exponent < 0:
            return ""
    return SINGULAR.get(name, "")


def steep(node: Any) -> str:
    """At what values its derivative overflows, in words; "" for most operations."""
    exponent = getattr(node, "_saved_exponent", None) if base_name(node) == "pow" else None
    if isinstance(exponent, (int, float)) and exponent < 0:
        return "a negative power near 0"
    return STEEP.get(base_name(node), "")


def base_name(node: Any) -> str:
    """`LinalgVectorNormBackward0` -> linalg_vector_norm. A Function of the user's own keeps its name."""
    name = re.sub(r"(Backward(Backward)*\d*|Backward)$", "", type(node).__name__)
    if written_in_python(node):
        return str(name)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return str(re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()


def written(node: Any) -> str:
    """The operation as users write it."""
    return as_written(base_name(node))


def as_written(name: str) -> str:
    """The same, of a base name."""
    return _WRITTEN.get(name, name)


def passes(name: str) -> bool:
    """It makes no new values: finite inputs give a finite result."""
    return name in _PASSES


def keeps_all(name: str) -> bool:
    """Its result holds every value of its inputs, and no other (but for a sign)."""
    return name in _KEEPS_ALL


def strict(name: str) -> bool:
    """Where its result is finite, its inputs are."""
    return name in _STRICT


def masks(name: str) -> bool:
    """It may put -inf where nothing is to be looked at."""
    return name in _MASKS


def adds(name: str) -> bool:
    """It may add a mask of -inf that the graph does not know."""
    return name in _ADDS


def normalizes(name: str) -> bool:
    """It gives NaN over a row of -inf."""
    return name in _BROKEN_BY_MASK


def dims(node: Any, name: str) -> tuple[int, ...]:
    """A saved dimension or several, torch's unsigned ones made signed."""
    value = getattr(node, f"_saved_{name}", ())
    several: Sequence[int] = value if isinstance(value, (tuple, list)) else (value,)
    return tuple(d - (1 << 64) if d >= 1 << 63 else d for d in several)


def again(node: Any, number: int, inputs: Sequence[torch.Tensor | float | None]) -> torch.Tensor | None:
    """Result `number` of an operation, once more from its inputs (as `next_functions` lists them); None: not known."""
    make = _AGAIN.get(base_name(node)) if number == 0 else _AGAIN_OF_SEVERAL.get(base_name(node))
    if make is None:
        return None
    try:
        with torch.no_grad():
            result = make(node, *inputs) if number == 0 else make(node, number, *inputs)
    except (RuntimeError, TypeError, IndexError, AttributeError, ValueError):
        return None
    return result if isinstance(result, torch.Tensor) else None


def _sum(node: Any, x: Any, of: Any = torch.sum) -> Any:
    if not hasattr(node, "_saved_dim"):
        return of(x)
    return of(x, dim=dims(node, "dim") or None, keepdim=bool(node._saved_keepdim))


def _scaled(node: Any, x: Any, name: str) -> Any:
    factor = getattr(node, f"_saved_{name}", 1)
    return x if factor == 1 else factor * x


def _shape(node: Any) -> Any:
    return tuple(node._input_metadata[0].shape)


def _parts(node: Any, x: Any) -> Any:
    size = node._saved_split_size if hasattr(node, "_saved_split_size") else dims(node, "split_sizes")
    return x.split(size, *dims(node, "dim"))


def _alike(function: Any) -> Any:
    return lambda node, x: function(x)


_AGAIN: dict[str, Any] = {
    **{name: _alike(getattr(torch, name)) for name in (
        "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "exp", "expm1", "neg", "abs", "sigmoid", "tanh", "relu",
        "reciprocal", "sin", "cos", "tan", "erf", "acos", "asin", "atan", "t", "clone", "sinh", "cosh", "square",
    )},
    "add": lambda n, a, b: a + _scaled(n, b, "alpha"),
    "sub": lambda n, a, b: a - _scaled(n, b, "alpha"),
    "mul": lambda n, a, b: a * b,
    "div": lambda n, a, b: a / b,
    "pow": lambda n, a, b=None: a.pow(n._saved_exponent if b is None else b),
    "mm": lambda n, a, b: a @ b,
    "bmm": lambda n, a, b: a @ b,
    "mv": lambda n, a, b: a @ b,
    "dot": lambda n, a, b: a @ b,
    "addmm": lambda n, c, a, b: _scaled(n, c, "beta") + _scaled(n, a @ b, "alpha"),
    "baddbmm": lambda n, c, a, b: _scaled(n, c, "beta") + _scaled(n, a @ b, "alpha"),
    "sum": _sum,
    "mean": lambda n, x: _sum(n, x, torch.mean),
    "transpose": lambda n, x: x.transpose(*dims(n, "dim0"), *dims(n, "dim1")),
    "permute": lambda n, x: x.permute(dims(n, "dims")),
    "unsqueeze": lambda n, x: x.unsqueeze(*dims(n, "dim")),
    "select": lambda n, x: x.select(*dims(n, "dim"), *dims(n, "index")),
    "softmax": lambda n, x: x.softmax(*dims(n, "dim")),
    "log_softmax": lambda n, x: x.log_softmax(*dims(n, "dim")),
    "logsumexp": lambda n, x: x.logsumexp(dims(n, "dim"), bool(n._saved_keepdim)),
    **{name: lambda n, x: x.reshape(_shape(n)) for name in (
        "view", "unsafe_view", "reshape_alias", "squeeze", "flatten", "unflatten", "contiguous",
    )},
    "expand": lambda n, x: x.expand(_shape(n)),
    "to_copy": lambda n, x: x.to(n._input_metadata[0].dtype),
    "split": lambda n, x: _parts(n, x)[0],
    "split_with_sizes": lambda n, x: _parts(n, x)[0],
    "unbind": lambda n, x: x.unbind(*dims(n, "dim"))[0],
    "slice": lambda n, x: x[
        (slice(None),) * (dims(n, "dim")[0] % x.dim()) + (slice(n._saved_start, n._saved_end, n._saved_step),)
    ],
    "softplus": lambda n, x: torch.nn.functional.softplus(x, n._saved_beta, n._saved_threshold),
}  # fmt: skip
_AGAIN_OF_SEVERAL: dict[str, Any] = {
    "split": lambda n, number, x: _parts(n, x)[number],
    "split_with_sizes": lambda n, number, x: _parts(n, x)[number],
    "unbind": lambda n, number, x: x.unbind(*dims(n, "dim"))[number],
}
