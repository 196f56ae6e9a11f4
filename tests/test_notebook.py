"""In a notebook: cells run again pile nothing up, the report is shown, and nothing in it can act."""
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import gradscope
from gradscope.events import Site
from gradscope.findings import Advice, Finding
from gradscope.record.record import Meta
from gradscope.reporters.notebook import render
from gradscope.reporters.report import Report

CELLS = [
    """
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks as hooks
import gradscope
seen = set()
""",
    """
torch.manual_seed(0)
net = nn.Linear(4, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
scope = gradscope.watch(net, optimizer)
scope = gradscope.watch(net, optimizer)
""",
    """
scope = gradscope.watch(net, optimizer)
seen.add(id(scope))
for _ in range(8):
    net(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
""",
    "print(len(hooks), len(seen), scope.record.meta.rows, [f.code for f in scope.findings if f.severity == 'error'])",
    "scope",
    "scope.report()",
    "print(scope.report())\nprint(scope.timeline(0))",
    "gradscope.unwatch()\nprint(len(hooks))",
]
ORDER = (0, 1, 2, 2, 1, 1, 2, 2, 3, 4, 5, 6, 7)  # as people run cells


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_real_kernel() -> None:
    """Cells run again and again: one hook, one scope for one model; the report is not empty, and is HTML, too."""
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS[number]) for number in ORDER])
    client.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    told = [cell.outputs for cell in notebook.cells]

    def printed(at: int) -> str:
        return "".join(o.get("text", "") for o in told[ORDER.index(at)] if o.get("name") == "stdout")

    hooks, scopes, rows, codes = printed(3).split(maxsplit=3)
    assert ("1", "['GS101']") == (hooks, codes.strip())
    assert int(scopes) <= 2 and int(rows) >= 15
    for at in (4, 5):
        (shown,) = (o.data for o in told[ORDER.index(at)] if o.output_type == "execute_result")
        assert "missing-zero-grad" in shown["text/html"] and "net(torch.randn(8, 4))" in shown["text/html"]
    assert "error GS101 missing-zero-grad" in printed(6) and "0.weight" not in printed(6)
    assert "the gradient's norm" in printed(6)
    assert "0" == printed(7).strip()


def test_what_is_shown_is_escaped() -> None:
    """Names, paths, lines and messages are text: no tag of theirs, no script and no link is in the HTML."""
    evil = "<script>alert(1)</script><img src=x onerror=y>"
    finding = Finding(
        "GS101",
        evil,
        "error",
        message="says {what}",
        evidence={"what": evil},
        stream=0,
        step=1,
        steps=(0, 3),
        where=Site(f"/tmp/{evil}.py", 3, evil),
        advice=(Advice(evil),),
        label=evil,
        source=((2, "  a"), (3, f"  {evil}")),
    )
    page = render(Report(Meta(rows=4, optimizers=[evil], notes=[evil]), (finding,), {"GS999": evil}, notes=(evil,)))
    assert "<script" not in page and "<img" not in page and "http" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_the_report_is_text_everywhere_else() -> None:
    """A str, the same as it is printed; before any step it says that there was none."""
    net = nn.Linear(2, 1)
    with gradscope.watch(net, torch.optim.SGD(net.parameters(), lr=0.1)) as scope:
        report: Any = scope.report()
        assert isinstance(report, str) and "no optimizer step was seen" in report
        assert "no optimizer step was seen so far" in scope._repr_html_() == report._repr_html_()
