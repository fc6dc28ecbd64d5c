"""Send mmpipe what strangers could send, and count what must not come of it.

    python tests/fuzz/run.py pictures --count 100000
    python tests/fuzz/run.py all --seconds 60

A failure is printed with the command that shows it again. The exit status says whether there was one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fuzzing import campaign, decoding
from fuzzing.outcome import TOLERATED, Tally
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "fuzz"
#: What is counted, and how much of it by default.
KINDS = {
    "pictures": ("cases", 10_000),
    "media": ("cases", 2_000),
    "protocol": ("messages", 5_000),
    "http": ("requests", 5_000),
}
FAILURES = ("crash", "hang", "foreign exception", "internal error", "memory", "leak", TOLERATED)
#: Over an idle process: of a server, and of one that decodes by itself.
MEMORY_MB, MEMORY_IN_PROCESS_MB = 300.0, 1_500.0


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    console = Console()
    tallies = {}
    for kind in KINDS if given.what == "all" else (given.what,):
        unit, count = KINDS[kind]
        direct = given.in_process and kind in decoding.KINDS
        plan = campaign.Plan(
            kind,
            given.count or count,
            given.seed,
            given.first,
            given.jobs,
            given.seconds,
            direct,
            given.memory_mb or (MEMORY_IN_PROCESS_MB if direct else MEMORY_MB),
            unit,
        )
        tallies[kind] = _run(plan, console)
    console.print(_table(tallies))
    for kind, tally in tallies.items():
        _print_failures(console, kind, tally, given)
    return int(any(tally.failed for tally in tallies.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*KINDS, "all"))
    parser.add_argument("--count", type=int, help="pictures, media files, messages or requests")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop each kind after so long")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases")
    parser.add_argument("--first", type=int, default=0, help="begin with this case of the seed")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes at a time")
    parser.add_argument("--memory-mb", type=float, help="over an idle process, at most")
    parser.add_argument("--in-process", action="store_true", help="decode in the worker, not in a limited child of it")
    return parser


def _run(plan: campaign.Plan, console: Console) -> Tally:
    began_s = time.monotonic()
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def report(tally: Tally) -> None:
            done, seconds = tally.counts[plan.unit], time.monotonic() - began_s
            left_s = min(seconds / max(done, 1) * (plan.count - done), plan.seconds - seconds)
            live.update(
                Text(
                    f"{plan.kind}: {done:,} of {plan.count:,} {plan.unit}, {done / seconds:,.0f} a second, "
                    f"{tally.failed:,} failures, {max(left_s, 0) / 60:.1f} min left"
                )
            )

        tally = campaign.run(plan, report, OUT)
    seconds = time.monotonic() - began_s
    console.print(f"{plan.kind}: {tally.counts[plan.unit]:,} {plan.unit} in {seconds:.0f} s", highlight=False)
    return tally


def _table(tallies: dict[str, Tally]) -> Table:
    table = Table("", *tallies)
    counted = {what: None for tally in tallies.values() for what, _ in tally.counts.most_common()}
    for what in counted:
        table.add_row(what, *(f"{tally.counts[what]:,}" for tally in tallies.values()))
    table.add_section()
    for kind in FAILURES:
        table.add_row(kind, *(f"{tally.of(kind):,}" for tally in tallies.values()))
    table.add_section()
    table.add_row("slowest", *(f"{tally.slowest_s:.1f} s (case {tally.slowest})" for tally in tallies.values()))
    table.add_row("peak over idle", *(f"{tally.peak_mb:,.0f} MB (case {tally.largest})" for tally in tallies.values()))
    table.add_row("peak of children", *(f"{tally.children_mb:,.0f} MB" for tally in tallies.values()))
    return table


def _print_failures(console: Console, kind: str, tally: Tally, given: argparse.Namespace) -> None:
    direct = " --in-process" if given.in_process and kind in decoding.KINDS else ""
    for key, count in tally.found.most_common():
        n, failure = tally.first[key]
        again = f"python tests/fuzz/run.py {kind} --seed {given.seed} --first {n} --count 1 --jobs 1{direct}"
        console.print(f"\n{kind}, {failure.kind}, {count:,} times: {failure.what}", style="bold", markup=False)
        console.print(f"  {again}\n{failure.detail}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
