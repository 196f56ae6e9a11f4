"""Losses divided before backward, as several make a step: the record holds them as they were."""
from __future__ import annotations

import pytest
import torch
from torch import nn

import gradscope
from gradscope.recording.divisions import divided

X, Y = torch.linspace(-1, 1, 48).reshape(16, 3), torch.linspace(0, 1, 16).reshape(16, 1)


def recorded(backwards: list[int], share: float, scaled: bool = False, reduction: str = "mean") -> list[float]:
    """The losses of rows made of so many backwards each, of a loss that starts at the same weights in each row."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    with gradscope.watch(model, optimizer) as scope:
        for count in backwards:
            for _ in range(count):
                loss = nn.functional.mse_loss(model(X), Y, reduction=reduction)
                scaler.scale(loss / share if share >= 1 else loss * share).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    return [float(loss) for loss in scope.record.optimizers[0].scalars["loss"]]


def plain() -> float:
    torch.manual_seed(0)
    return float(nn.functional.mse_loss(nn.Linear(3, 1)(X), Y).detach())


@pytest.mark.parametrize("share, scaled", [(4, False), (0.25, False), (4, True)])
def test_divided_losses_are_told_as_they_were(share: float, scaled: bool) -> None:
    """Also where an epoch's last step is made of fewer backwards, and where GradScaler has multiplied them."""
    assert pytest.approx([plain()] * 20, rel=1e-3) == recorded([4, 4, 2, 4, 1] * 4, share, scaled)


def test_what_is_divided_for_another_reason_stays() -> None:
    """A sum of losses over the number of samples; a loss halved, with one backward a step."""
    assert pytest.approx([plain()] * 8) == recorded([1] * 8, 16, reduction="sum")
    assert pytest.approx([plain() / 2] * 8) == recorded([1] * 8, 2)


def test_the_number_is_read_off_the_graph() -> None:
    """Whole numbers alone, through several divisions; not what a tensor divides by. Other numbers only scale."""
    loss = torch.ones(3, requires_grad=True).sum()
    made = loss.grad_fn
    assert (made, 8) == divided((loss / 4 / 1.0 * 0.5).grad_fn)
    for scaled in (loss / 2.5, loss * 4, loss / 0, loss * 0):
        assert (made, 1) == divided(scaled.grad_fn)
    for other in (loss / torch.tensor(4.0), loss / loss, loss + 4):
        assert (other.grad_fn, 1) == divided(other.grad_fn)
