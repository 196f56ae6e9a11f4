"""What operations have saved for backward is read from the live graph, and only where reading changes nothing."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradscope
from gradscope.hooks import saved as room
from gradscope.hooks.saved import saved


@pytest.fixture(autouse=True)
def no_hooks_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch 2.4 the hooks of one test would be held against the next."""
    monkeypatch.setattr(room, "_hooks_in_use", False)


def test_inputs_and_results_have_the_names_of_the_formulas() -> None:
    """exp saves what it made, log what it got; a layer its input."""
    inputs = torch.rand(4, 3) + 1
    layer = nn.Linear(3, 2)
    hidden = layer(inputs)
    [made] = saved(hidden.exp().grad_fn)
    assert made.name == "result" and made.made and torch.equal(made.tensor, hidden.exp())
    [got] = saved(hidden.log().grad_fn)
    assert got.name == "self" and not got.made and torch.equal(got.tensor, hidden)
    assert any(one.tensor is not None and torch.equal(one.tensor, inputs) for one in saved(hidden.grad_fn))


def test_checkpointed_tensors_are_not_unpacked() -> None:
    """Unpacking would run the forward again."""
    calls = []
    weight = torch.randn(3, 3, requires_grad=True)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return torch.sigmoid(inputs @ weight)

    with gradscope.watch():  # on torch 2.4 a patch tells
        output = checkpoint(forward, torch.randn(2, 3), use_reentrant=False)
        assert [(one.tensor, one.why) for one in saved(output.grad_fn)] == [(None, "hooks")]
    assert len(calls) == 1


def test_what_was_written_over_is_not_read() -> None:
    """Its values are not those of the forward any more."""
    weight = torch.randn(3, requires_grad=True)
    output = weight.exp()
    node = output.grad_fn
    output += 1
    assert [(one.tensor, one.why) for one in saved(node)] == [(None, "changed")]


def test_nothing_is_left_after_backward() -> None:
    """The graph is there, its tensors are freed."""
    weight = torch.randn(3, requires_grad=True)
    loss = weight.exp().sum()
    node = loss.grad_fn.next_functions[0][0]
    loss.backward()
    assert [(one.tensor, one.why) for one in saved(node)] == [(None, "freed")]


def test_functions_written_in_python() -> None:
    """Their saved tensors are numbered; None among them is left out."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, inputs):
            ctx.save_for_backward(inputs, None)
            return 2 * inputs

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    weight = torch.randn(3, requires_grad=True)
    output = Double.apply(weight)
    [one] = saved(output.grad_fn)
    assert one.name == "tensors0" and one.tensor is weight


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU])
def test_operations_that_save_lists(make: type) -> None:
    """Indices and recurrent layers save several tensors under one name; all are read."""
    outputs, _ = make(3, 4)(torch.randn(2, 5, 3))
    seen, queue = 0, [outputs.grad_fn]
    while queue:
        node = queue.pop()
        seen += sum(one.tensor is not None for one in saved(node))
        queue.extend(following for following, _ in node.next_functions if following is not None)
    assert seen
    weight = torch.randn(4, requires_grad=True)
    assert torch.equal(saved(weight[torch.tensor([2, 3])].grad_fn)[0].tensor, torch.tensor([2, 3]))
