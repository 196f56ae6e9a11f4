"""The command line: `gradscope run | try | check | report | timeline | demo | explain | rules`."""
from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from gradscope.config import codes, here, read_config
from gradscope.errors import GradscopeError, UsageError
from gradscope.findings import SEVERITIES
from gradscope.plain import sentence
from gradscope.saying import put
from gradscope.version import __version__

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors become one sentence on stderr."""
    try:
        result = commands.main(args=arguments, prog_name="gradscope", standalone_mode=False)
    except GradscopeError as error:
        click.echo(f"gradscope: error: {sentence(str(error))}", err=True)
        return error.exit_code
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        if arguments if arguments is not None else sys.argv[1:]:  # without any, the message is the whole help
            vars(error)["message"] = sentence(error.message)
        error.show()
        return 2
    except click.Abort:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    if callable(result):  # the program that was run ends this process in its own way
        result = result()
    return result if isinstance(result, int) else 0


class _InOrder(click.Group):
    """Lists its commands as they stand in this file, not by their names: `run` comes first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gradscope")
def commands() -> None:
    """A linter for PyTorch training runs: says what is wired wrong, where, and what to change."""


@commands.command(short_help="Watch a script as it trains, and report.",
                  context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})  # fmt: skip
@click.option("-m", "as_module", is_flag=True, help="Run a module, as `python -m` does.")
@click.option("--log-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where the run folder is made.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the report as JSON, too.")
@click.option("--select", "selected", default="", metavar="CODES", help="Run these rules only (GS101,GS2).")
@click.option("--ignore", "ignored", default="", metavar="CODES", help="Do not run these rules.")
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit with 1 if something as bad is found.")
@click.option("--budget", type=float, metavar="PERCENT",
              help="Of the loop's time, for statistics, rules and writing (default: 2; 0: none).")  # fmt: skip
@click.option("--memory", type=float, metavar="MB", help="Bound of the record in memory (default: 64).")
@click.option("--disk", type=float, metavar="MB", help="Bound of the run folder (default: 512).")
@click.option("--every", type=click.IntRange(min=1), help="Measure norms at every k-th step (default: by cost).")
@click.option("--replay", is_flag=True, default=None,
              help="Run a step that makes a NaN once more and name the operation and its line. Costs 0.2 ms a step "
              "(0.5 with ten BatchNorms), and on a GPU waits for each loss.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print no report where nothing was found.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(
    as_module: bool,
    log_dir: Path,
    json_file: Path | None,
    selected: str,
    ignored: str,
    fail_on: str | None,
    budget: float | None,
    memory: float | None,
    disk: float | None,
    every: int | None,
    replay: bool | None,
    quiet: bool,
    script: str,
    arguments: tuple[str, ...],
) -> Callable[[], int]:
    """Run SCRIPT (or -m MODULE) unmodified, watch its training, and report on stderr."""
    from gradscope.launch import Launch, Options
    from gradscope.rules.catalogue import select

    config = read_config(here())
    rules = select(codes(selected) or config.select, (*codes(ignored), *config.ignore))
    limits = config.limits(budget, every, memory, disk, replay)
    options = Options(rules, log_dir, json_file, fail_on, limits, quiet)
    return Launch(script, arguments, as_module, options).run()


def _in_a_copy(command: _Command) -> _Command:
    """What commands take that run a script in a copy of its directory."""
    for take in (
        click.argument("arguments", nargs=-1, type=click.UNPROCESSED),
        click.argument("script"),
        click.option("--show-output", is_flag=True, help="Show what the script prints."),
        click.option("--in-place", is_flag=True, help="Run in this directory itself, not in a copy of it."),
        click.option("-m", "as_module", is_flag=True, help="Run a module, as `python -m` does."),
    ):
        command = take(command)
    return command


@commands.command("try", short_help="Run it again with each advice applied, and compare.",
                  context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})  # fmt: skip
@_in_a_copy
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="End each run after N steps.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the receipt as JSON, too.")
@click.option("--select", "selected", default="", metavar="CODES", help="Try what these rules say only (GS101,GS2).")
@click.option("--ignore", "ignored", default="", metavar="CODES", help="Do not try what these rules say.")
def try_(
    as_module: bool,
    steps: int | None,
    in_place: bool,
    json_file: Path | None,
    selected: str,
    ignored: str,
    show_output: bool,
    script: str,
    arguments: tuple[str, ...],
) -> int:
    """Run SCRIPT (or -m MODULE) as it is, and again with each advice applied from outside; compare the losses.

    The script is not touched: a learning rate, a clipped gradient, a cleared one are put in between its own calls. Each
    run has the same seed and a fresh copy of this directory.
    """
    from gradscope.rules.catalogue import select
    from gradscope.trying.attempt import Attempt
    from gradscope.trying.call import Options, check_target

    config = read_config(_start())
    rules = select(codes(selected) or config.select, (*codes(ignored), *config.ignore))
    check_target(script, as_module)
    options = Options(rules, selected, ignored, steps, in_place, show_output, json_file)
    return Attempt(script, arguments, as_module, options).run()


@commands.command("check", short_help="Whether a script trains: its first steps, an exit code.",
                  context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})  # fmt: skip
@_in_a_copy
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many steps.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the verdicts as JSON, too.")
@click.option("--select", "selected", default="", metavar="CODES", help="Run these rules only (GS101,GS2).")
@click.option("--ignore", "ignored", default="", metavar="CODES", help="Do not run these rules.")
def check(
    as_module: bool,
    steps: int,
    in_place: bool,
    json_file: Path | None,
    selected: str,
    ignored: str,
    show_output: bool,
    script: str,
    arguments: tuple[str, ...],
) -> int:
    """Run the first steps of SCRIPT (or -m MODULE) and say whether it trains: for a job before each merge.

    Every parameter gets a gradient and is updated, the loss is finite and starts where a blind guess would, and no rule
    finds an error. Exit code 0: all of that; 1: not; 2: the script ended before its first step.
    """
    from gradscope.rules.catalogue import select
    from gradscope.trying.call import Options, check_target
    from gradscope.trying.checking import Check

    config = read_config(_start())
    rules = select(codes(selected) or config.select, (*codes(ignored), *config.ignore))
    check_target(script, as_module)
    options = Options(rules, selected, ignored, steps, in_place, show_output, json_file)
    return Check(script, arguments, as_module, options).run()


@commands.command(short_help="The report of a recorded run, with pictures by --html.")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the report as JSON, too.")
@click.option("--html", "html_file", type=click.Path(path_type=Path),
              help="Write a page with pictures, too: one file for any browser, which needs no network.")  # fmt: skip
@click.option("--rediagnose", is_flag=True, help="Run the rules again over what the record still holds.")
@click.option("--rank", type=click.IntRange(min=0), metavar="K", help="Of many processes this one only.")
def report(
    run_folder: Path, json_file: Path | None, html_file: Path | None, rediagnose: bool, rank: int | None
) -> int:
    """Print the report of a recorded run (RUN: a run folder, or one with runs below it: the newest)."""
    from gradscope.diagnosis import diagnose, fold
    from gradscope.ranks.gathering import chosen, read_report
    from gradscope.record.reader import find_run, read_record
    from gradscope.reporters import terminal
    from gradscope.rules.catalogue import RULES

    folder = find_run(run_folder)
    if rediagnose:
        folder = chosen(folder, rank)
        record = read_record(folder)
        diagnosis = diagnose(record, RULES)
        again = tuple(f.detected(f.steps[0]) for f in diagnosis.findings)
        held = [
            f"optimizer {o.number}: the record holds {len(o.measured)} of {int(o.counters['steps'].max(initial=0))} "
            "steps whole"
            for o in record.optimizers
        ]
        shown = read_report(folder, None, lambda _: (), here())
        notes, skipped = (*shown.notes, *held), dict(diagnosis.skipped)
        shown = replace(shown, meta=record.meta, findings=again, skipped=skipped, notes=notes)
    else:
        shown = read_report(folder, rank, lambda findings: fold(findings, RULES), here())
    size = None if html_file is None else _write_page(html_file, chosen(folder, rank), shown)
    if json_file is not None:
        _write_json(json_file, shown)
    terminal.write(shown, sys.stdout)
    if size is not None:
        told = f"gradscope: {html_file} is written ({size / 1e6:.1f} MB): open it in a browser"
        put(sentence(told) + "\n", sys.stdout)
    return 0


@commands.command(short_help="The gradients of one step, before and after each call.")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--step", type=int, metavar="N", help="Which step (default: the newest that was measured).")
@click.option("--all", "every_parameter", is_flag=True, help="One line a parameter, however many there are.")
@click.option("--rank", type=click.IntRange(min=0), metavar="K", help="Of which process of many (default: the first).")
def timeline(run_folder: Path, step: int | None, every_parameter: bool, rank: int | None) -> int:
    """Show the gradients of one step: None, zero or their norms, before and after each call of the loop.

    RUN: a run folder, or one with runs below it: the newest.
    """
    from gradscope.ranks.gathering import chosen
    from gradscope.record.reader import find_run, read_record
    from gradscope.reporters import terminal, timeline

    columns, color = terminal.size(sys.stdout)
    record = read_record(chosen(find_run(run_folder), rank))
    text = timeline.render(record, step, columns, color, here(), every_parameter, "--all shows each")
    put(text, sys.stdout)
    return 0


@commands.command(short_help="A tutorial's network, well and with six mistakes.")
@click.option("--log-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where the demo's folder is made.")  # fmt: skip
def demo(log_dir: Path) -> int:
    """Train a tutorial's network on real images, well and with six mistakes, and say what is wrong."""
    from gradscope.demo.show import show

    return show(log_dir, lambda line: click.echo(line, nl=True))


@commands.command()
@click.argument("code")
def explain(code: str) -> int:
    """Show a rule's page. CODE: GS101, or its name."""
    from gradscope.rules.catalogue import find_rule

    rule = find_rule(code)
    click.echo(f"{rule.code} {rule.name} ({rule.severity})\n\n{rule.page()}")
    return 0


@commands.command()
def rules() -> int:
    """List all rules."""
    from gradscope.rules.catalogue import RULES

    width = max(len(rule.name) for rule in RULES)
    for rule in RULES:
        click.echo(f"{rule.code}  {rule.severity:<8} {rule.name:<{width}} {rule.page().splitlines()[0]}")
    return 0


def _start() -> Path:
    """The directory that is to be copied. UsageError."""
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("the current directory has been removed: there is nothing to copy") from None


def _write_page(file: Path, folder: Path, shown: Any) -> int:
    """Returns its size in bytes."""
    from gradscope.board import page
    from gradscope.board.documents import Page
    from gradscope.reporters import terminal
    from gradscope.rules.catalogue import find_rule

    def page_of(code: str) -> Page | None:
        try:
            rule = find_rule(code)
        except GradscopeError:
            return None
        return Page(rule.code, rule.name, rule.severity, rule.page())

    return page.write(file, page.render(folder, shown, page_of, terminal.render(shown)))


def _write_json(file: Path, shown: Any) -> None:
    from gradscope.reporters import json

    try:
        file.write_text(json.render(shown), encoding="utf-8")
    except OSError as error:
        _say(f"{file} cannot be written ({error.strerror})")


def _say(told: str) -> None:
    try:
        click.echo(f"gradscope: {sentence(told)}", err=True)
    except (OSError, ValueError):
        pass
