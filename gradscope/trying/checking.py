"""`gradscope check`, composed: the first steps of a script in a copy of its directory, and verdicts on them."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from gradscope.findings import Finding, shorten
from gradscope.plain import printable, sentence
from gradscope.reporters.json import sound
from gradscope.reporters.report import plural
from gradscope.saying import put
from gradscope.trying import children
from gradscope.trying.call import Options, in_scratch
from gradscope.trying.plan import Plan
from gradscope.trying.setting import Setting
from gradscope.trying.treatments import roots
from gradscope.trying.verdicts import Verdict, verdicts
from gradscope.trying.workplace import environment

SCHEMA = 1
_MARKS = {True: "ok", False: "FAILED", None: "-"}


class Check:
    """One call of `gradscope check`."""

    def __init__(self, target: str, arguments: tuple[str, ...], as_module: bool, options: Options) -> None:
        self._target, self._arguments, self._as_module, self._options = target, arguments, as_module, options
        self._base = Path.cwd()

    def run(self) -> int:
        """Run it and print the verdicts; returns the exit code. Nothing is left behind, however it ends."""
        return in_scratch("check", self._run, lambda: None)

    def _run(self, scratch: Path) -> int:
        options = self._options
        setting = Setting(self._target, self._as_module, scratch, options.in_place)
        folder = scratch / "run"
        folder.mkdir()
        setting.prepare()
        plan = Plan(
            setting.target,
            list(self._arguments),
            self._as_module,
            str(folder),
            options.steps,
            select=options.select,
            ignore=options.ignore,
            linked=setting.linked,
            every=1,
        )
        env = environment(os.environ, folder, self._base)
        ran = children.run(plan, setting.place, env, options.rules, lambda status: None, options.show_output)
        if ran.exit_code and ran.stderr:
            sys.stderr.write(setting.real(ran.stderr).rstrip("\n") + "\n")
        found = _verdicts(ran)
        code = 2 if ran.exit_code and not ran.steps else int(any(verdict.good is False for verdict in found))
        self._print(ran, found, setting)
        if options.json_file is not None:
            self._write(ran, found, setting, code, self._base / options.json_file)
        return code

    def _print(self, ran: children.Ran, found: tuple[Verdict, ...], setting: Setting) -> None:
        lines = [f"{self._target}: {plural(ran.steps, 'step')} in {ran.seconds:.3g} s"]
        width = max(len(verdict.name) for verdict in found)
        lines += [f"  {_MARKS[v.good]:<6}  {v.name:<{width}}  {v.why}" for v in found]
        for finding in roots(ran.findings):
            lines += ["", f"{self._place(finding, setting)}{finding.severity} {sentence(finding.line)}"]
        put("\n".join(printable(line) for line in lines) + "\n", sys.stdout)

    def _place(self, finding: Finding, setting: Setting) -> str:
        if finding.where is None:
            return ""
        return f"{shorten(os.path.normpath(setting.real(finding.where.file)), self._base)}:{finding.where.line}: "

    def _write(
        self, ran: children.Ran, found: tuple[Verdict, ...], setting: Setting, code: int, file: Path
    ) -> None:
        """The same as JSON: plain values, the strings "nan", "inf", "-inf" for what is not finite."""
        told: list[dict[str, Any]] = []
        for finding in ran.findings:
            one = finding.to_json()
            if isinstance(one.get("where"), dict) and finding.where is not None:
                real = os.path.normpath(setting.real(finding.where.file))
                one["where"] = {**one["where"], "file": shorten(real, self._base)}
            told.append(one)
        document = {
            "schema": SCHEMA,
            "script": self._target,
            "argv": list(self._arguments),
            "exit_code": code,
            "steps": ran.steps,
            "status": ran.status,
            "script_exit_code": ran.exit_code,
            "verdicts": [{"name": v.name, "good": v.good, "why": v.why} for v in found],
            "findings": told,
        }
        try:
            file.write_text(json.dumps(sound(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"gradscope: {sentence(f'{file} cannot be written ({error.strerror})')}\n")


def _verdicts(ran: children.Ran) -> tuple[Verdict, ...]:
    name = "the script trains"
    after = f"after {plural(ran.steps, 'step')}"
    if ran.exit_code:
        ended = Verdict(name, False, f"it ended with exit code {ran.exit_code} {after}")
    elif ran.record is None or not ran.steps:
        return (Verdict(name, False, "no optimizer step was seen"),)
    else:
        ended = Verdict(name, True, f"it was ended {after}" if ran.status == "stopped" else f"it ended {after}")
    if ran.record is None or not ran.steps:
        return (ended,)
    return (ended, *verdicts(ran.record, ran.findings))
