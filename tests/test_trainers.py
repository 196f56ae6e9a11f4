"""What findings say where a trainer runs the loop: its user's lines and arguments. Without any trainer installed."""
from __future__ import annotations

import pytest

from gradscope.events import Site
from gradscope.facts.catalogue import from_json, to_json
from gradscope.facts.fact import FactLog
from gradscope.facts.trainers import TrainedBy
from gradscope.findings import Advice, Finding
from gradscope.trainers import reword

FIT, RATE = Site("train.py", 40, "main"), Site("train.py", 30, "configure_optimizers")
RATES = {"learning_rate": 0.1, "weight_decay": 0.5}


def facts(library: str, manual: bool = False) -> FactLog:
    log = FactLog()
    log.add(TrainedBy(0, library, manual, RATES if library == "transformers" else {}, FIT, RATE))
    return log


def told(advice: Advice, log: FactLog) -> str:
    return reword([Finding("GS301", "name", "error", "message", (0, 1), advice=(advice,))], log)[0].advice[0].text


LR = Advice("lower lr of group 1 to 0.01 (it is 0.1)", "set-lr", {"from": 0.1, "to": 0.01})
OTHER_LR = Advice("lower lr of group 1 to 0.01 (it is 0.2)", "set-lr", {"from": 0.2, "to": 0.01})
DECAY = Advice("lower weight_decay of group 0 to 0.1 (it is 0.5)", "set-weight-decay", {"from": 0.5, "to": 0.1})
CLIP = Advice("clip the gradient norm at 2 between backward() and optimizer.step(): a spike", "clip-grad-norm")
HIGHER = Advice("raise max_norm to 5 (it is 1): most are cut", "clip-grad-norm")


@pytest.mark.parametrize(
    "library, advice, text",
    [
        ("transformers", LR, "lower learning_rate of TrainingArguments to 0.01 (it is 0.1)"),
        ("transformers", OTHER_LR, OTHER_LR.text),  # of an optimizer that the user has made
        ("transformers", DECAY, "lower weight_decay of TrainingArguments to 0.1 (it is 0.5)"),
        ("transformers", CLIP, "clip the gradient norm: TrainingArguments(max_grad_norm=2): a spike"),
        ("transformers", HIGHER, "raise max_grad_norm of TrainingArguments to 5 (it is 1): most are cut"),
        ("lightning", LR, "lower lr of group 1 to 0.01 (it is 0.1), in configure_optimizers"),
        ("lightning", CLIP, "clip the gradient norm: Trainer(gradient_clip_val=2): a spike"),
        ("lightning", HIGHER, "raise gradient_clip_val of the Trainer to 5 (it is 1): most are cut"),
        ("lightning", Advice("call opt.zero_grad() before line 7"),
         "let optimizer_zero_grad call optimizer.zero_grad(): Lightning calls it before each backward()"),
    ],
)  # fmt: skip
def test_advices_are_in_the_trainers_words(library: str, advice: Advice, text: str) -> None:
    """What is to be changed is one of its arguments; for machines the advice stays as it was."""
    assert text == told(advice, facts(library))


def test_loops_written_by_hand_keep_their_own_words() -> None:
    """Without a trainer, and in Lightning's manual optimization, where zero_grad and step are the user's."""
    for advice in (LR, DECAY, CLIP, HIGHER):
        assert advice.text == told(advice, FactLog()) == told(advice, facts("lightning", manual=True))


def test_what_is_about_the_learning_rate_cites_where_it_is_set() -> None:
    """Instead of the call of the trainer; other findings, and other lines, stay."""
    other = Site("train.py", 7)
    for code, at, expected in (("GS303", FIT, RATE), ("GS201", FIT, FIT), ("GS303", other, other)):
        finding = Finding(code, "name", "error", "message", (0, 1), where=at)
        assert expected == reword([finding], facts("lightning"))[0].where


def test_the_fact_is_kept_in_a_run_folder() -> None:
    """As JSON and back."""
    fact = TrainedBy(3, "transformers", False, RATES, FIT, RATE)
    assert fact == from_json(to_json(fact))
