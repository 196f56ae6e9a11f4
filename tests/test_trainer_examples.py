"""The examples with trainers: healthy as they are, and under `gradscope run` with a learning rate that is too high."""
from __future__ import annotations

import runpy
import sys
import warnings
from pathlib import Path

import pytest

from tests.shell import execute

EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = {  # script -> the library it needs, and the cure that is told
    "lightning_callback.py": ("lightning", "help: lower lr to 0.01 (it is 3), in configure_optimizers"),
    "transformers_trainer.py": (
        "transformers", "help: lower learning_rate of TrainingArguments to 0.003 at its peak (it is 3)"
    ),
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", CASES)
def test_the_example_is_healthy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The callback prints one report, which has nothing to say, and leaves a run folder where it was told to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(CASES[name][0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "--log-dir", str(tmp_path / "runs")])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert 1 == capsys.readouterr().err.count("gradscope: no errors, no warnings in ")
    assert 1 == len(list((tmp_path / "runs").iterdir()))


@pytest.mark.parametrize("name", CASES)
def test_the_example_is_told_of_under_run(name: str, tmp_path: Path) -> None:
    """One report, that of `run`, in the words of the trainer, at the line where the learning rate is given."""
    library, cure = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(library)
    script = EXAMPLES / name
    done = execute([sys.executable, "-m", "gradscope", "run", "--log-dir", "runs", str(script), "--lr", "3"], tmp_path)
    assert 0 == done.code, done.stderr
    assert 1 == done.stderr.count("gradscope: 0 errors, 1 warning in ")
    lines = script.read_text(encoding="utf-8").splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "lr=self.lr)" in text or "learning_rate=" in text)
    assert f"{name}:{line}: warning GS301 learning-rate-too-high" in done.stderr
    assert cure in done.stderr
