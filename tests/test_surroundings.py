"""Scripts of any name, in any place, in a process that lacks what others have: the script does what it does without us,
and what was found is told where there is somebody to tell it to."""
from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gradscope.cli import main
from tests import forks
from tests.shell import SICK, Outcome

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="file names of any bytes, and forks")


@dataclass(frozen=True)
class Case:
    """`setup` is executed in the starting directory before the script begins; `body` is the script.

    `kept`: whether a run folder is made; `json`: whether the report can be written. `said`: what stands on stderr.
    """

    script: str = "train.py"
    setup: str = ""
    body: str = SICK
    kept: bool = True
    json: bool = True
    said: str = "error GS101"


LONGEST = 255  # bytes of a name
NAMES = {
    "what a shell or a format obeys": " it's \"quoted\" `too` $HOME 100%s %(x)d {0.__class__} {{.py",
    "lines and escapes": "one\ntwo\x1b[31m\x1b[2J\x1b]0;x\x07.py",
    "a dash": "-m.py",
    "no letters": os.fsdecode(b"tr\xff\xfe\x80ain.py"),
    "long": "x" * (LONGEST - 3) + ".py",
    "long and wide": "型" * 84 + ".py",
    "a folder of all": "模型 b/%s{}'\n\x1b[1m" + os.fsdecode(b"\xff") + "/" + "y" * LONGEST + "/no suffix",
}
OF_NAMES = "for name in (chr(27) + '[2J' + chr(10), 'x' * 1_000_000, '<b>%s{0}'):\n    "
MODEL = "model = nn.Linear(4, 2)\n"
NAMED = SICK.replace(MODEL, f"{MODEL}{OF_NAMES}model.register_parameter(name, nn.Parameter(torch.ones(1)))\n")
# without the right of root to write everywhere: the header of capset, and three words for 64 bits
NO_ROOT = """
import ctypes
os.chmod(".", 0o555)
libc = ctypes.CDLL(None)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, data)
data[0] &= ~6
data[1] &= ~6
libc.capset(header, data)
assert not os.access(".", os.W_OK) or os.geteuid()
"""
SURROUNDINGS = {
    "no home": Case(setup="os.environ.pop('HOME', None)"),
    "no place for temporary files": Case(setup="os.environ['TMPDIR'] = os.environ['TEMP'] = '/no/such'"),
    "stdout is closed": Case(setup="os.close(1); sys.stdout = None"),
    "stderr is closed": Case(setup="os.close(2); sys.stderr = None", said=""),
    "all are closed": Case(setup="os.closerange(0, 3); sys.stdin = sys.stdout = sys.stderr = None", said=""),
    "nobody reads stdout": Case(setup="r, w = os.pipe(); os.close(r); os.dup2(w, 1)"),
    "nobody reads stderr": Case(setup="r, w = os.pipe(); os.close(r); os.dup2(w, 2)", said=""),
    "stderr is ASCII": Case(setup="sys.stderr.reconfigure(encoding='ascii', errors='strict')", script="模型.py"),
    "the folder is gone": Case(setup="os.mkdir('d'); os.chdir('d'); os.rmdir('../d')", kept=False),
    "runs is a circle": Case(setup="os.symlink('runs', 'runs')", kept=False, said="cannot be written"),
    "runs is a file": Case(setup="open('runs', 'w').close()", kept=False, said="cannot be written"),
    "a folder that is read only": Case(setup=NO_ROOT, kept=False, said="cannot be written"),
    "numpy raises": Case(setup="import numpy; numpy.seterr(all='raise')"),
    "warnings raise": Case(setup="import warnings; warnings.simplefilter('error')"),
    "no more files": Case(
        body=SICK.replace("def step", "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\ndef step"),
        json=False,
    ),
    "parameters of any name": Case(body=NAMED),
    **{f"named: {name}": Case(script) for name, script in NAMES.items()},
}
DRIVER = """
import os, runpy, sys
{setup}
if {watched}:
    sys.argv = ["gradscope", "run", "--json", {json!a}, "--", {script!a}]
    runpy.run_module("gradscope", run_name="__main__", alter_sys=True)
else:
    sys.argv = [{script!a}]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the script does where nothing is unusual."""
    return ran(Case(), False, tmp_path_factory.mktemp("usual"))


def ran(case: Case, watched: bool, place: Path) -> Outcome:
    """What the script does: in a directory of its own, by its path from the starting directory, or from the root."""
    start = place / "start"
    script = start / case.script
    script.parent.mkdir(parents=True)
    script.write_text(case.body, encoding="utf-8")
    name = str(script) if "chdir" in case.setup else case.script
    told = DRIVER.format(setup=case.setup, watched=watched, json=str(place / "r.json"), script=name)
    (place / "driver.py").write_text(told, encoding="utf-8")
    return forks.run([str(place / "driver.py")], start)


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_any_surroundings(
    name: str, usual: Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same exit code, same output; the finding is in the report, in JSON, and in the run folder, which can be read."""
    case = SURROUNDINGS[name]
    (tmp_path / "plain").mkdir()
    (tmp_path / "watched").mkdir()
    expected = ran(case, False, tmp_path / "plain") if case.setup or case.body != SICK else usual
    outcome = ran(case, True, tmp_path / "watched")
    assert (expected.code, expected.stdout) == (outcome.code, outcome.stdout), outcome.stderr
    assert case.said in outcome.stderr and outcome.stderr.count("Traceback") == expected.stderr.count("Traceback")
    assert all(line.isprintable() for line in outcome.stderr.removesuffix(expected.stderr).split("\n"))
    if case.json:
        report = json.loads((tmp_path / "watched" / "r.json").read_text(encoding="utf-8"))
        assert "GS101" in [finding["code"] for finding in report["findings"]]
    runs = tmp_path / "watched" / "start" / "runs"
    assert case.kept == any(runs.rglob("meta.json"))
    if case.kept:
        assert 0 == main(["report", str(runs)])
        said = capsys.readouterr()
        assert "error GS101" in said.out and "" == said.err
        assert all(line.isprintable() for line in said.out.split("\n"))
