"""Where the first NaN was born: of losses, and of gradients whose loss was a number."""
from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from gradscope.events import Site
from gradscope.facts.not_finite import GradientOrigin, LossOrigin
from gradscope.hooks import blame
from gradscope.hooks.batch import Part, inputs
from gradscope.hooks.birth import Birth, birth
from gradscope.hooks.gradient_birth import suspects
from gradscope.hooks.lineage import leaf
from gradscope.hooks.operations import adds, base_name, written
from gradscope.hooks.saved import Saved
from gradscope.hooks.sites import users_frames, variables
from gradscope.hooks.values import Values, condition
from gradscope.probes.base import Probe, Scene
from gradscope.recording.stats import on_host
from gradscope.recording.track import Track

_LOOKS = 4  # at losses that are not finite, in a run
_NAMES = 20
_ROOTS = 8
_INPUTS = 16  # of the backwards of a row
_SEARCHED = 1 << 26  # values of a loop's variable that is searched for NaNs, at most


class LossOriginProbe(Probe):
    """Reads, before the backward of a loss that is not finite, what the operations of its graph have saved."""

    cost = "nothing; on a loss that is not finite, a look at the tensors its graph has saved (at most four times a run)"

    def __init__(self) -> None:
        self._looks = 0
        self._newest = -2

    def loss_not_finite(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        follows, self._newest = scene.row <= self._newest + 1, scene.row
        if follows or self._looks >= _LOOKS:
            return
        self._looks += 1
        values = Values(roots)
        reached = {id(v) for v in map(leaf, values.nodes) if v is not None}
        tracks = [track for track in scene.tracks if not reached.isdisjoint(track.parameter_ids)]
        numbers = tuple(track.number for track in tracks if track.number >= 0)
        born = birth(values, roots)
        if born.kind == "leaf" and _are_inputs(scene, born.leaves):
            [node] = [node for node in values.nodes if leaf(node) is born.leaves[0]]
            saved = Saved("self", born.leaves[0].detach())
            scene.emit(told(scene, values, Birth("constant", values.consumers[node][0], constant=saved), numbers))
        elif born.kind == "leaf":
            self._of_parameters(scene, values, born.leaves, tracks, numbers)
        else:
            scene.emit(told(scene, values, born, numbers))

    @staticmethod
    def _of_parameters(
        scene: Scene, values: Values, broken: list[torch.Tensor], tracks: Sequence[Track], numbers: tuple[int, ...]
    ) -> None:
        names = named(scene, broken)
        of = sum(leaf(node) is not None for node in values.nodes)
        cause, detail = _cause(broken, tracks)
        common: dict[str, Any] = {"parameters": names, "count": len(broken), "of": of, "optimizers": numbers}
        scene.emit(LossOrigin(scene.row, "parameter", cause=cause, detail=detail, **common))
        if cause == "gradient":
            ids = {id(parameter) for parameter in broken}
            scene.emit(_gradients(scene, values, ids, late=True, **common))


class GradientOriginProbe(Probe):
    """Looks at the norms of rows that are measured anyway, before the step uses the gradients; on the CPU only.

    An input may be infinite and the loss a number (tanh of it is 1): the gradient of the layer that took it is none.
    Backward frees what the graph has saved, so the inputs of rows looked at closely are held until the step.
    """

    cost = "2 us a measured row; where a gradient is not finite, a walk over the graph of the loss (once a run)"

    def __init__(self) -> None:
        self._row = -1
        self._inputs: list[Part] = []
        self._roots: list[weakref.ref[torch.Tensor]] = []
        self._told = False

    def before_backward(self, scene: Scene, roots: Sequence[torch.Tensor], site: Site) -> None:
        if scene.row != self._row:
            self._row, self._roots, self._inputs = scene.row, [], []
        if len(self._roots) < _ROOTS and not self._told:
            self._roots += [weakref.ref(root) for root in roots if root.grad_fn is not None]
            survey = scene.survey()
            if survey is not None and len(self._inputs) < _INPUTS:
                self._inputs += [part for part in inputs(survey.nodes) if on_host(part.tensor)]

    def after_step(self, scene: Scene, track: Track) -> None:
        self._inputs = []

    def ended(self, scene: Scene, finished: bool) -> None:
        self._inputs = []

    def before_step(self, scene: Scene, track: Track) -> None:
        look = track.before_step
        norms = None if look is None or self._told else look.norms
        if norms is None or norms.tensor is None or not on_host(norms.tensor):
            return
        if math.isfinite(float(norms.tensor.sum())) or _skips(track.optimizer()):
            return
        finite = torch.isfinite(norms.tensor).tolist()
        where = norms.where or range(len(finite))
        broken = [track.parameters[i] for i, fine in zip(where, finite) if not fine]
        roots = [root for ref in self._roots if (root := ref()) is not None]
        if any(condition(root.detach())[0] is not None for root in roots) or _overflown(broken):
            return
        self._told = True
        ids = {id(parameter) for parameter in broken}
        values = Values(roots)
        count, of = len(broken), len(finite)
        scene.emit(_gradients(scene, values, ids, named(scene, broken), count, of, (track.number,)))
        for part in self._inputs:
            owned = any(id(parameter) in ids for parameter in blame.own_parameters(part.node))
            if owned and condition(part.tensor)[0] is not None:
                born = Birth("constant", part.node, constant=Saved("self", part.tensor))
                scene.emit(replace(told(scene, values, born, (track.number,)), of_gradient=True))
                break
        scene.trigger("gradient-not-finite")


def told(scene: Scene, values: Values, born: Birth, numbers: tuple[int, ...]) -> LossOrigin:
    """A birth in words."""
    if born.kind == "unknown":
        return LossOrigin(scene.row, "unknown", optimizers=numbers, why="" if values.complete else "size")
    node = born.node
    places = {"optimizers": numbers, "why": born.why, **_around(scene, values, node)}
    if born.kind == "constant":
        return LossOrigin(
            scene.row, "constant", operations=(written(node),), **places, **_constant(scene, values, born)
        )
    line = blame.users_line(node)
    site = None if line is None else Site(*line)
    if born.kind == "between":
        places["before"] = _name(scene, blame.before(born.span[0])) or places["before"]
        operations = tuple(dict.fromkeys(written(one) for one in born.span))
        return LossOrigin(scene.row, "between", operations=operations, site=site, **places)
    what = blame.special(values, born)
    return LossOrigin(scene.row, "operation", what, (written(node),), site=site, **places)


def named(scene: Scene, parameters: Iterable[torch.Tensor]) -> tuple[str, ...]:
    """Their names, as far as they have any: at most 20."""
    return tuple(name for p in list(parameters)[:_NAMES] if (name := _name(scene, p)))


def _are_inputs(scene: Scene, leaves: Sequence[torch.Tensor]) -> bool:
    """Leaves that are no parameters: a batch whose own gradient is asked for."""
    owned = scene.owned()
    return not any(id(v) in owned or isinstance(v, torch.nn.Parameter) or scene.names.place(v) for v in leaves)


def _name(scene: Scene, parameter: torch.Tensor | None) -> str:
    return "" if parameter is None else scene.names.name(parameter) or ""


def _around(scene: Scene, values: Values, node: Any) -> dict[str, Any]:
    own = blame.own_parameters(node)
    inside = _name(scene, max(own, key=lambda p: p.dim())) if own else ""
    if inside:
        return {"inside": inside, "before": "", "after": ""}
    return {
        "inside": "",
        "before": _name(scene, blame.before(node)),
        "after": _name(scene, blame.after(values, node)),
    }


# -- what came without gradient ---------------------------------------------------------------------------------------


def _constant(scene: Scene, values: Values, born: Birth) -> dict[str, Any]:
    """Which tensor it is, and how much of it is broken."""
    saved = born.constant
    tensor = None if saved is None else saved.tensor
    variable, tensor = _variable(scene, tensor)
    role = "tensor"
    if saved is not None and saved.name.startswith("running_"):
        role = "statistics"
    elif saved is not None and "mask" in saved.name:
        role = "mask"
    elif saved is not None and saved.name in ("target", "labels"):
        role = "target"
    elif blame.own_parameters(born.node) or blame.after(values, born.node) is not None:
        role = "input"
    elif adds(base_name(born.node)) or base_name(born.node) == "mul":
        role = "target"
    found: dict[str, Any] = {"role": role, "variable": variable}
    if tensor is not None and tensor.numel() <= _SEARCHED:
        bad = ~torch.isfinite(tensor.detach())
        found["broken"] = blame.broken(tensor.detach())
        if bad.dim() > 0 and role != "statistics":
            rows = bad.reshape(len(bad), -1)
            found["samples"], found["batch"] = int(rows.any(dim=1).sum()), len(bad)
            every = rows.all(dim=0).nonzero().flatten().tolist()
            if len(bad) > 1 and len(every) < rows.shape[1]:
                found["features"] = tuple(every[:_NAMES])
    return found


def _variable(scene: Scene, tensor: torch.Tensor | None) -> tuple[str, torch.Tensor | None]:
    """What the loop calls a tensor, by its memory; of one that is not known, the only one there that is broken."""
    there: dict[str, torch.Tensor] = {}
    for frame in users_frames(scene.frame()):
        for name, value in variables(frame):
            if issubclass(type(value), torch.Tensor) and not value.requires_grad and not name.startswith("_"):
                there.setdefault(name, value)
    if tensor is not None:
        for name, value in there.items():
            if value.is_floating_point() and value.layout == torch.strided and value.numel() == tensor.numel():
                if value.data_ptr() == tensor.data_ptr():
                    return name, value
        return "", tensor
    found = [
        (name, value)
        for name, value in there.items()
        if value.is_floating_point() and value.is_cpu and value.numel() <= _SEARCHED and condition(value)[0] is not None
    ]
    return found[0] if len(found) == 1 else ("", None)


# -- parameters that are no numbers any more --------------------------------------------------------------------------


def _cause(broken: Sequence[torch.Tensor], tracks: Sequence[Track]) -> tuple[str, str]:
    """What has made these parameters so, and the evidence."""
    for track in tracks:
        mine = [parameter for parameter in broken if id(parameter) in track.parameter_ids]
        optimizer = track.optimizer()
        if not mine or optimizer is None:
            continue
        if track.steps == 0:
            return "start", ""
        for group in optimizer.param_groups:
            if any(p is mine[0] for p in group["params"]):
                for key, value in group.items():
                    if isinstance(value, (float, torch.Tensor)) and _is_bad_number(value):
                        return ("lr" if key == "lr" else "setting"), f"{key} {float(value):g}"
        if all(condition(parameter.detach())[0] is False for parameter in mine):
            return "update", "infinite, none NaN"
        for name, value in optimizer.state.get(mine[0], {}).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and condition(value)[0] is not None:
                return "gradient", f"{name} of the optimizer"
        state = optimizer.state.get(mine[0], {})
        if any(isinstance(v, torch.Tensor) and v.dim() and v.is_floating_point() for v in state.values()):
            return "elsewhere", ""  # its moments are finite, so its gradients were
        return "gradient", ""
    return "elsewhere", ""


def _is_bad_number(value: Any) -> bool:
    return not math.isfinite(float(value)) if not isinstance(value, torch.Tensor) or value.numel() == 1 else False


def _skips(optimizer: Any) -> bool:
    """A fused optimizer is told by GradScaler to leave the step out."""
    found = getattr(optimizer, "found_inf", None)
    return isinstance(found, torch.Tensor) and bool(found.item())


def _overflown(broken: Sequence[torch.Tensor]) -> bool:
    """Only the squares in the norms are infinite: the gradients are finite, if huge."""
    return all(p.grad is None or condition(p.grad.detach())[0] is None for p in broken)


def _gradients(
    scene: Scene,
    values: Values,
    ids: set[int],
    parameters: tuple[str, ...],
    count: int,
    of: int,
    optimizers: tuple[int, ...],
    late: bool = False,
) -> GradientOrigin:
    seen = suspects(values, lambda variable: id(variable) in ids)
    before = after = ""
    if seen.nodes:
        before, after = _name(scene, blame.before(seen.nodes[-1])), _name(scene, blame.after(values, seen.nodes[0]))
    else:
        healthy = [v for v in map(leaf, values.nodes) if v is not None and id(v) not in ids]
        after = _name(scene, healthy[0]) if len(healthy) == 1 else ""
    operations = tuple(dict.fromkeys(written(node) for node in seen.nodes))
    return GradientOrigin(
        scene.row, optimizers, parameters, count, of, operations, tuple(seen.words), before, after, late,
        masked=seen.masked and not seen.certain,
    )  # fmt: skip
