"""`gradscope try`, composed: the script as it is, its findings, each treatment in a run of its own, the receipt."""
from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from gradscope.findings import shorten
from gradscope.plain import sentence
from gradscope.reporters import chart, terminal
from gradscope.reporters.report import plural
from gradscope.saying import put
from gradscope.trying import children
from gradscope.trying.call import Options, in_scratch
from gradscope.trying.judging import judge, loss_at_end
from gradscope.trying.plan import Plan
from gradscope.trying.receipt import Receipt, Trial
from gradscope.trying.setting import Setting
from gradscope.trying.treatments import Treatment, choose
from gradscope.trying.workplace import environment

WIDTH = 70  # of a chart


class Attempt:
    """One call of `gradscope try`."""

    def __init__(self, target: str, arguments: tuple[str, ...], as_module: bool, options: Options) -> None:
        self._target, self._arguments, self._as_module, self._options = target, arguments, as_module, options
        self._base = Path.cwd()
        self._live = _is_terminal() and not options.show_output

    def run(self) -> int:
        """Run everything and print the receipt; returns the exit code. Nothing is left behind, however it ends."""
        told = "stopped" if self._options.in_place else "stopped; the copies are removed"
        return in_scratch("try", self._run, lambda: _say(told))

    def _run(self, scratch: Path) -> int:
        setting = Setting(self._target, self._as_module, scratch, self._options.in_place)
        for notice in setting.notices():
            _say(notice)
        baseline = self._child(setting, scratch, "as it is")
        if not baseline.steps and not choose(baseline.findings):
            return self._nothing_seen(baseline, setting)
        receipt = Receipt(
            self._target,
            self._arguments,
            baseline,
            loss_at_end(baseline.record),
            lambda file: shorten(os.path.normpath(setting.real(file)), self._base),
        )
        if baseline.status == "crashed":
            self._crashed("as it is", baseline, setting)
        trials: list[Trial] = []
        for number, treatment in enumerate(choose(baseline.findings), 1):
            ran = self._child(setting, scratch, f"with {treatment.label}", number, treatment)
            trial = judge(treatment, baseline, ran)
            if ran.status == "crashed":
                self._crashed(f"with {treatment.label}", ran, setting)
            trials.append(trial)
            _put(f"\n{_shown(receipt, trial)}\n")
        receipt = Receipt(receipt.script, receipt.argv, baseline, receipt.loss, receipt.real, trials)
        self._close(receipt)
        return receipt.exit_code

    def _child(
        self, setting: Setting, scratch: Path, label: str, number: int = 0, treatment: Treatment | None = None
    ) -> children.Ran:
        """One run of the script, from the same start as every other."""
        folder = scratch / f"run-{number}"
        folder.mkdir()
        setting.prepare()
        options = self._options
        plan = Plan(
            setting.target,
            list(self._arguments),
            self._as_module,
            str(folder),
            options.steps,
            select=options.select,
            ignore=options.ignore,
            treatment=[] if treatment is None else treatment.steps,
            linked=setting.linked,
        )
        env = environment(os.environ, folder, self._base)
        if options.show_output:
            _say(f"{label}:")
        progress = self._progress(label)
        try:
            ran = children.run(plan, setting.place, env, options.rules, progress, options.show_output)
        finally:
            progress(None)
        shutil.rmtree(folder, ignore_errors=True)
        if ran.steps:
            _say(f"{label}: {plural(ran.steps, 'step')} in {ran.seconds:.3g} s")
        return ran

    def _progress(self, label: str) -> Callable[[str | None], None]:
        """A line on a terminal's stderr; None clears it."""
        shown: list[str | None] = [None]

        def show(status: str | None) -> None:
            if self._live and status != shown[0]:
                shown[0] = status
                line = "" if status is None else f"\x1b[2m{label}: {status or 'starting'}\x1b[0m\r"
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write("\x1b[2K\r" + line)
                    sys.stderr.flush()

        return show

    def _nothing_seen(self, ran: children.Ran, setting: Setting) -> int:
        if ran.exit_code:
            self._crashed("as it is", ran, setting)
        else:
            _put("No optimizer step was seen: there is nothing to try.\n")
        self._write(Receipt(self._target, self._arguments, ran, math.nan, setting.real))
        return ran.exit_code

    def _crashed(self, label: str, ran: children.Ran, setting: Setting) -> None:
        if ran.stderr:
            sys.stderr.write(setting.real(ran.stderr).rstrip("\n") + "\n")
        if ran.steps or ran.exit_code != 2:  # 2: the sentence has been said
            _say(f"{label}: the script ended with exit code {ran.exit_code} after {plural(ran.steps, 'step')}")

    def _close(self, receipt: Receipt) -> None:
        untried = receipt.untried()
        if not receipt.trials and not untried:
            _put(f"Nothing to try: no error and no warning in {plural(receipt.baseline.steps, 'step')}.\n")
        for finding, why in untried:
            advice = "; ".join(sentence(one.text) for one in finding.advice)
            _put(f"\n{receipt.heading(finding)}\n  help: {advice}\n  (not tried: {why})\n")
        self._write(receipt)

    def _write(self, receipt: Receipt) -> None:
        if self._options.json_file is not None:
            file = self._base / self._options.json_file
            try:
                file.write_text(receipt.to_json(), encoding="utf-8")
            except OSError as error:
                _say(f"{file} cannot be written ({error.strerror})")


def _shown(receipt: Receipt, trial: Trial) -> str:
    """A trial as it is printed."""
    columns, color = terminal.size(sys.stdout)
    width = max(20, min(WIDTH, columns - 12))
    help_ = "\n".join(f"  help: {sentence(advice.text)}" for advice in trial.treatment.advice)
    drawn = trial.chart(width, chart.marks_for(getattr(sys.stdout, "encoding", None)), color)
    notes = "".join(f"\n  note: {sentence(note)}" for note in trial.notes)
    told = sentence(trial.sentence())
    parts = [receipt.heading(trial.treatment.finding), help_, "", *([drawn, ""] if drawn else []), told]
    return "\n".join(parts) + notes


def _put(text: str) -> None:
    put(text, sys.stdout)


def _say(told: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"gradscope: {sentence(told)}\n")
        sys.stderr.flush()


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (OSError, ValueError):
        return False
