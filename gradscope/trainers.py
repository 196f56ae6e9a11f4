"""What a trainer's user can change: advices about a hand-written loop, in the words of the trainer's arguments."""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Mapping

from gradscope.events import Site
from gradscope.facts.fact import FactLog, newest_of
from gradscope.facts.trainers import TrainedBy
from gradscope.findings import Advice, Finding

_GROUP = r"(?: of group \d+)?"
_CLIP = r"clip the gradient norm at (\S+) between backward\(\) and \S+\.step\(\)"
_RAISE = r"(raise|lower) max_norm to (\S+)"
_CLEAR = "let optimizer_zero_grad call optimizer.zero_grad(): Lightning calls it before each backward()"
_LEAVE_OUT = "leave zero_grad() out: Lightning calls it by itself, before each backward()"
_WORDS = {
    "lightning": (
        (_CLIP, r"clip the gradient norm: Trainer(gradient_clip_val=\1)"),
        (_RAISE, r"\1 gradient_clip_val of the Trainer to \2"),
        (r"^(pass them to the optimizer: )(.*)$", r"\1\2, in configure_optimizers"),
        (r"^((?:lower|raise) lr.*\))$", r"\1, in configure_optimizers"),
        (r"^call \S+\.zero_grad\(\) before line \d+$", _CLEAR),
        (r"^move zero_grad\(\) before backward\(\) in line \d+$", _LEAVE_OUT),
        (r"^call scheduler\.step\(\) \(line \d+\) once per epoch, behind the loop over the batches",
         'let Lightning step it once per epoch ("interval": "epoch")'),
    ),
    "transformers": (
        (_CLIP, r"clip the gradient norm: TrainingArguments(max_grad_norm=\1)"),
        (_RAISE, r"\1 max_grad_norm of TrainingArguments to \2"),
    ),
}
_ARGUMENTS = {"set-lr": ("lr", "learning_rate"), "set-weight-decay": ("weight_decay", "weight_decay")}


def reword(findings: Iterable[Finding], facts: FactLog) -> tuple[Finding, ...]:
    """The findings, their advices in the words of the trainer, where one runs the loop."""
    trainers = [fact for fact in newest_of(facts.of(TrainedBy)) if not fact.manual]
    if not trainers:
        return tuple(findings)
    found = []
    for finding in findings:
        advice = tuple(_advice(one, trainers) for one in finding.advice)
        found.append(replace(finding, advice=advice, where=_where(finding, trainers)))
    return tuple(found)


def _where(finding: Finding, trainers: Sequence[TrainedBy]) -> Site | None:
    """The line where the learning rate is set, for what is about it and was seen in the call of the trainer."""
    where = finding.where
    if where is not None and finding.code.startswith("GS3"):
        for one in trainers:
            called = None if one.site is None else (one.site.file, one.site.line)
            if one.made is not None and called == (where.file, where.line):
                return one.made
    return where


def _advice(advice: Advice, trainers: Sequence[TrainedBy]) -> Advice:
    text = advice.text
    for pattern, words in _WORDS.get(trainers[-1].library, ()):
        text = re.sub(pattern, words, text)
    ours, theirs = _ARGUMENTS.get(str(advice.action), ("", ""))
    settings = [trainer.settings for trainer in trainers if trainer.library == "transformers"]
    if ours and any(_is_set_by(given, theirs, advice.values) for given in settings):
        text = re.sub(rf"\b{ours}{_GROUP} to", f"{theirs} of TrainingArguments to", text, count=1)
    return advice if text == advice.text else replace(advice, text=text)


def _is_set_by(settings: Mapping[str, Any], name: str, values: Mapping[str, Any]) -> bool:
    """Whether what is to be changed has the value of the trainer's argument."""
    before, given = values.get("from"), settings.get(name)
    return isinstance(before, float) and isinstance(given, (int, float)) and abs(before - given) <= 1e-6 * abs(given)
