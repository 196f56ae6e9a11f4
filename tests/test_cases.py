"""The scripts in tests/cases, each run through ``gradscope run`` as its author would run it.

A case is a complete PyTorch program that knows nothing of gradscope. Its first lines say what is expected of it:

- ``# expect: GS101``: the code of the first finding, or ``none`` (no error and no warning; info is allowed);
- ``# by-row: 2``: the latest row at which it may be detected (``end``: known only when the run is over);
- ``# line: here``: the finding points at the line that ends with the comment ``# <- here``;
- ``# then: GS402 GS201``: codes of findings that are folded under it; whatever else is told is folded, too;
- ``# reason: detached``: the reason in the evidence of GS102;
- ``# exit: 1``: the script dies by itself;
- ``# advised: max_norm=0.5``: words that the advice of the finding holds;
- ``# worse: test loss``: both this script and its twin print such a line, ``test loss: 1.23``, and the number is larger
  here, by a tenth at least;
- ``# healed-by: healthy/<twin>.py``: the same script without its sickness.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import forks
from tests.shell import Outcome

FOLDER = Path(__file__).parent / "cases"
CASES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.py"))
SICK = [case for case in CASES if case.startswith("sick/")]
COMPARED_WITH_PLAIN_PYTHON = [
    "healthy/dataloader_workers.py",
    "healthy/gan_discriminator_first.py",
    "healthy/grad_scaler_skips.py",
    "healthy/kfold.py",
    "sick/gs101_cleared_once_per_epoch.py",
    "sick/gs107_dies_of_hidden_state.py",
]


@dataclass(frozen=True)
class Expectation:
    """What the comments at the head of a case say about it."""

    code: str
    then: set[str]
    by_row: int | None
    line: int | None
    reason: str | None
    exit_code: int
    advised: str
    worse: str | None
    healed_by: str | None

    @classmethod
    def read(cls, case: str) -> "Expectation":
        """Reads the head of a case; the marked line is turned into its number, counted from 1."""
        text = (FOLDER / case).read_text(encoding="utf-8")
        head = dict(re.findall(r"^# ([a-z-]+): (.+)$", text.split('"""')[0], flags=re.MULTILINE))
        by_row = head.get("by-row", "end")
        line = None
        if "line" in head:
            [line] = [n for n, row in enumerate(text.splitlines(), 1) if row.endswith(f"# <- {head['line']}")]
        return cls(
            code=head["expect"],
            then=set(head.get("then", "").split()),
            by_row=None if by_row == "end" else int(by_row),
            line=line,
            reason=head.get("reason"),
            exit_code=int(head.get("exit", 0)),
            advised=head.get("advised", ""),
            worse=head.get("worse"),
            healed_by=head.get("healed-by"),
        )


def run_case(case: str, folder: Path) -> Outcome:
    """Runs one case under gradscope and reads its JSON report (None if none was written)."""
    report = folder / "r.json"
    options = ["--json", str(report), "--log-dir", str(folder / "runs")]
    done = forks.run(["-m", "gradscope", "run", *options, case], FOLDER)
    read = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
    return Outcome(done.code, done.stdout, done.stderr, read)


def told(outcome: Outcome) -> str:
    """The message of a failed assertion: all findings, one per line, and the end of stderr."""
    found = (outcome.report or {}).get("findings", [])
    lines = [f"{f['severity']} {f['code']} {f['name']} step {f['step']} {f['where']} {f['evidence']}" for f in found]
    return "\n".join(["", *(lines or ["no finding"]), outcome.stderr[-2000:]])


@pytest.mark.parametrize("case", CASES)
def test_case_is_judged_rightly(case: str, tmp_path: Path) -> None:
    """A healthy script gives no error and no warning; a sick one its code first, in time, at the right line,
    and nothing else that is not folded under it."""
    expected = Expectation.read(case)
    outcome = run_case(case, tmp_path)
    assert expected.exit_code == outcome.code, told(outcome)
    assert outcome.report is not None, told(outcome)
    findings = outcome.report["findings"]
    if expected.code == "none":
        assert [] == [f["code"] for f in findings if f["severity"] in ("error", "warning")], told(outcome)
        return
    assert findings, told(outcome)
    first = findings[0]
    assert expected.code == first["code"], told(outcome)
    roots = [f["code"] for f in findings if f["caused_by"] is None and f["severity"] != "info"]
    assert [expected.code] == roots, told(outcome)
    assert expected.then <= {f["code"] for f in findings if f["caused_by"] == expected.code}, told(outcome)
    if expected.by_row is not None:
        assert first["step"] <= expected.by_row, told(outcome)
    if expected.line is not None:
        assert first["where"]["file"].endswith(Path(case).name), told(outcome)
        assert expected.line == first["where"]["line"], told(outcome)
    if expected.reason is not None:
        assert expected.reason == first["evidence"]["reason"], told(outcome)
    assert any(expected.advised in advice["text"] for advice in first["advice"]) or not expected.advised, told(outcome)


@pytest.mark.parametrize("case", [case for case in SICK if Expectation.read(case).worse])
def test_sick_case_does_worse_than_its_twin(case: str) -> None:
    """By the number that both print: a loss, an error, seconds or bytes."""
    expected = Expectation.read(case)
    assert expected.worse is not None and expected.healed_by is not None
    sick, healed = (printed(expected.worse, one) for one in (case, expected.healed_by))
    print(f"{case}: {expected.worse} {sick:.4g}, healed {healed:.4g}")
    assert not sick <= 1.1 * healed + 1e-9, f"{expected.worse}: {sick} against {healed}"


def printed(what: str, case: str) -> float:
    """The number that the case prints after ``what:``, in the last such line."""
    done = forks.run([case], FOLDER)
    found = re.findall(rf"^{re.escape(what)}: (\S+)$", done.stdout, flags=re.MULTILINE)
    assert found, f"{case} printed no {what}: {done.stdout[-500:]} {done.stderr[-500:]}"
    return float(found[-1])


@pytest.mark.parametrize("case", COMPARED_WITH_PLAIN_PYTHON)
def test_output_is_that_of_plain_python(case: str, tmp_path: Path) -> None:
    """A watched script prints, to the byte, what it prints under plain python, and ends with the same exit code."""
    bare = forks.plain(FOLDER, case)
    outcome = run_case(case, tmp_path)
    assert bare.stdout == outcome.stdout, outcome.stderr
    assert bare.code == outcome.code, outcome.stderr


@pytest.mark.parametrize("case", SICK)
def test_sick_case_has_a_healthy_twin(case: str) -> None:
    """Each sick script names a sickness, the line to point at, and a twin without the sickness."""
    expected = Expectation.read(case)
    assert re.fullmatch(r"GS\d{3}", expected.code)
    assert expected.line is not None
    assert expected.healed_by in CASES
    assert "none" == Expectation.read(expected.healed_by).code
