"""The class labels of a loss, and what the model makes of them, in the live graph."""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from gradscope.hooks.lineage import RESHAPING, operation
from gradscope.hooks.saved import saved_as

CROSS_ENTROPY, BINARY = "cross-entropy", "binary-cross-entropy"
_KINDS = {
    "NllLoss": CROSS_ENTROPY, "NllLoss2D": CROSS_ENTROPY, "NllLoss2d": CROSS_ENTROPY,
    "BinaryCrossEntropy": BINARY, "BinaryCrossEntropyWithLogits": BINARY,
}  # fmt: skip
_NODES = 64  # from the loss on
_MEAN, _SUM = 1, 2  # torch's numbers for reduction=
_LABELS = 4096  # read of a row
_VALUES = 1 << 18  # of the output, in a row that is looked at closely,
_FEW_VALUES = 1 << 15  # and in others
_SMOOTHED = 0.11  # how far a binary label may be from 0 or 1
_SOFT = "Mul"  # log-softmax times probabilities that are given

Way = tuple[int, ...]


class Place(NamedTuple):
    """Where in graphs like this one the labels are: the `way` from the loss to the operation `name`.

    `dense`: they are several labels of one sample (time steps, pixels). `ignored`: no class. `ids`: the model looks up
    vectors by number.
    """

    way: Way
    name: str
    function: str
    classes: int
    weighted: bool
    dense: bool
    ignored: int = -100
    ids: bool = False


def place(root: Any, nodes: Iterable[Any]) -> Place | None:
    """Of the one loss in the graph of these nodes that compares with class labels; None: there is none, or several."""
    found: dict[int, Place] = {}
    soft: list[Place] = []
    for node, way in _near(root):
        name = operation(node)
        if name not in _KINDS:
            if "Loss" in name or name == "KlDiv":
                return None
            if name == _SOFT and _is_soft(node):
                soft.append(_soft(root, node, way))
            continue
        target = saved_as(node, "target")
        given = saved_as(node, "self")
        if target is None or given is None or getattr(node, "_saved_reduction", 0) not in (_MEAN, _SUM):
            return None
        if _KINDS[name] == BINARY and (target.dim() == 0 or target.dim() == 2 and target.shape[1] > 1):
            return None  # many outputs of their own
        classes = 2 if _KINDS[name] == BINARY else int(given.shape[1 if given.dim() > 1 else 0])
        weighted = saved_as(node, "weight") is not None or saved_as(node, "pos_weight") is not None
        dense = target.dim() > 2 or name.startswith("NllLoss2") or _of_many(node)
        ignored = int(getattr(node, "_saved_ignore_index", -100))
        ignored = ignored - 2**64 if ignored >= 2**63 else ignored  # torch hands it out as an unsigned number
        found.setdefault(target.data_ptr(), Place(way, name, _KINDS[name], classes, weighted, dense, ignored))
    places = list(found.values()) or soft
    if len(places) != 1:
        return None
    return places[0]._replace(ids=any(operation(node).startswith("Embedding") for node in nodes))


def _is_soft(node: Any) -> bool:
    """Whether log-softmax is multiplied by a tensor of its shape that has no gradient."""
    following = node.next_functions
    if len(following) != 2 or following[1][0] is not None or operation(following[0][0]) != "LogSoftmax":
        return False
    given, result = saved_as(node, "other"), saved_as(following[0][0], "result")
    return given is not None and result is not None and given.dim() > 1 and given.shape == result.shape


def _soft(root: Any, node: Any, way: Way) -> Place:
    given, weighted = saved_as(node, "other"), False
    for step in way:
        other = saved_as(root, "other")
        weighted = weighted or other is not None and other.dim() > 0
        root = root.next_functions[step][0]
    assert given is not None
    return Place(way, _SOFT, CROSS_ENTROPY, int(given.shape[1]), weighted, given.dim() > 2 or _of_many(node))


def _near(root: Any) -> list[tuple[Any, Way]]:
    """The operations nearest to the loss, with the way to each."""
    queue: deque[tuple[Any, Way]] = deque([(root, ())])
    found: list[tuple[Any, Way]] = []
    seen = {root}
    while queue and len(found) < _NODES:
        node, way = queue.popleft()
        found.append((node, way))
        for at, (following, _) in enumerate(node.next_functions):
            if following is not None and following not in seen:
                seen.add(following)
                queue.append((following, (*way, at)))
    return found


def _of_many(node: Any) -> bool:
    """Whether what is compared was of more dimensions before it was laid out flat: time steps, positions."""
    for _ in range(8):
        following = node.next_functions[0][0] if node.next_functions else None
        if following is None or operation(following) not in (*RESHAPING, "LogSoftmax", "Sigmoid", "Softmax"):
            return False
        node = following
        sizes = getattr(node, "_saved_self_sym_sizes", None)
        if sizes is not None and len(sizes) > 2:
            return True
    return False


class Labels(NamedTuple):
    """Of one backward, on their device: `true` # (labels,), `predicted`, and `loss` of each by itself; copies.

    Below 0, or `Place.ignored`: no label. `fit`: see `_fit`.
    """

    true: torch.Tensor
    predicted: torch.Tensor
    loss: torch.Tensor
    fit: torch.Tensor


def read(root: Any, at: Place, closely: bool) -> Labels | None:
    """The labels in this graph, if it is like the one that `at` is from."""
    node = root
    for step in at.way:
        following = node.next_functions
        node = following[step][0] if step < len(following) else None
        if node is None:
            return None
    if operation(node) != at.name:
        return None
    if at.name == _SOFT:
        target, given = saved_as(node, "other"), saved_as(node.next_functions[0][0], "result")
    else:
        target, given = saved_as(node, "target"), saved_as(node, "self")
    if target is None or given is None or not target.numel() or not _plain(target) or not _plain(given):
        return None
    with torch.no_grad():
        if at.name == _SOFT:
            return _probabilities(target.detach(), given.detach()) if target.shape == given.shape else None
        if at.function == BINARY:
            return _binary(target.detach(), given.detach(), saved_as(node, "pos_weight"), at.name)
        return _classes(target.detach(), given.detach(), saved_as(node, "weight"), closely, at.ignored)


def _binary(target: torch.Tensor, given: torch.Tensor, weight: torch.Tensor | None, name: str) -> Labels | None:
    if target.shape != given.shape:
        return None
    step = -(-target.numel() // _LABELS)
    target, given = (t.reshape(-1)[::step].float() for t in (target, given))
    true = torch.where((target - target.round()).abs() < _SMOOTHED, target.round(), -1.0)
    if name == "BinaryCrossEntropy":
        loss = torch.nn.functional.binary_cross_entropy(given.clamp(0, 1), target.clamp(0, 1), reduction="none")
        both = torch.stack([(1 - given).log(), given.log()], 1).clamp(min=-100)
        return Labels(true, (given > 0.5).float(), loss, _fit(both, true))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(given, target, reduction="none")
    one = torch.nn.functional.logsigmoid(given)
    weighted = one if weight is None or weight.numel() > 1 else one * weight.detach()
    return Labels(true, (given > 0).float(), loss, _fit(torch.stack([one - given, weighted], 1), true))


def _classes(
    target: torch.Tensor, given: torch.Tensor, weight: torch.Tensor | None, closely: bool, ignored: int
) -> Labels | None:
    if given.dim() == 1:
        given, target = given[None], target.reshape(1)
    most = min(_LABELS, max(1, (_VALUES if closely else _FEW_VALUES) // given.shape[1]))
    if given.dim() > 2:
        step = -(-target[0].numel() // max(1, most // len(target)))
        given, target = given.flatten(2)[:, :, ::step].movedim(1, 2).flatten(0, 1), target.flatten(1)[:, ::step]
    target = target.reshape(-1)
    if len(target) > most:
        step = -(-len(target) // most)
        given, target = given[::step], target[::step]
    loss = given.gather(1, target.clamp(0, given.shape[1] - 1)[:, None])[:, 0]
    given, guess = given.float(), given.argmax(1)
    known = target.masked_fill(target == ignored, -1)
    return Labels(target.clone(), guess, -loss, _fit(given if weight is None else given * weight.detach(), known))


def _probabilities(target: torch.Tensor, given: torch.Tensor) -> Labels:
    if target.dim() > 2:
        target, given = (t.flatten(2).movedim(1, 2).flatten(0, 1) for t in (target, given))
    step = -(-target.numel() // _VALUES)
    target, given = target[::step].float(), given[::step].float()
    proper = ((target.sum(1) - 1).abs() < 1e-3) & (target >= 0).all(1)
    true = torch.where(proper, target.argmax(1), -1)
    return Labels(true, given.argmax(1), -(target * given).sum(1), _fit(given, true))


def _fit(scores: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """How much better labels fit their own sample than others of the batch; of their log-probabilities # (labels, C).

    # (4,): the number of labels; the sum of what each would cost if it were that of any sample, less what it costs, and
    of the squares of that (each label's and each sample's mean taken out, as what a permutation test adds up); and the
    sum of the former alone. Whatever the model is, the second is 0 in the mean where labels have nothing to do with
    inputs that it has not seen before.
    """
    known = (true >= 0).float()
    at, count = true.long().clamp(0, scores.shape[1] - 1), known.sum().clamp(min=1)
    shares = torch.zeros(scores.shape[1], device=scores.device).index_add_(0, at, known) / count
    anyone, means = -(scores @ shares), -(known @ scores) / count
    gain = (anyone + scores.gather(1, at[:, None])[:, 0] + means[at] - means @ shares) * known
    return torch.stack([known.sum(), gain.sum(), gain.square().sum(), (anyone * known).sum()])


def _plain(tensor: torch.Tensor) -> bool:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided:
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
