"""The lines below the table of `townlet watch`: trends of the whole log, what stands out, and limits that were left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.cli.tables import clipped, count, printable, short_number, trend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.dto.watch import Exceedance, Extreme, WatchReport

_TRENDS = (
    *("episode_return_mean", "loss_total", "loss", "loss_policy", "loss_value", "accuracy", "nll", "kl_divergence"),
    *("clip_fraction", "entropy", "batch_entropy_mean", "explained_variance", "grad_norm", "queue_conflict_events"),
)
_MOST_OF_OTHERS = 8


def summary_lines(report: WatchReport) -> Iterator[str]:
    """Yield the lines of the summary."""
    if not report.updates:
        yield f"no records in {printable(report.path)}"
    else:
        yield from _trend_lines(report)
        yield ""
        for name, text in _facts(report):
            yield f"{name:<12} {text}"
    if report.unfinished_line:
        yield f"{'note':<12} the file ends in half a line, which was left out"


def verdict_lines(report: WatchReport) -> Iterator[str]:
    """Yield a line for every limit that was left or could not be judged."""
    for exceedance in report.exceeded:
        yield f"{'exceeded':<12} {printable(describe_exceedance(exceedance))}"
    if report.stale_sec is not None:
        yield f"{'exceeded':<12} no new line for {report.stale_sec:.0f} s"
    for name in report.unmeasured:
        yield f"{'cannot tell':<12} {printable(name)}: no record that was judged has it"
    if not report.judged:
        yield f"{'cannot tell':<12} no record was judged"


def _trend_lines(report: WatchReport) -> Iterator[str]:
    names = [name for name in _TRENDS if name in report.fields]
    if not names:
        names = [name for name in report.fields if name != "epoch"][:_MOST_OF_OTHERS]
    yield f"{'WHOLE LOG':<22} {'FIRST':>7} {'':<24} {'LAST':>7} {'LEAST':>7} {'MOST':>7}"
    for name in names:
        field = report.fields[name]
        numbers = " ".join(f"{short_number(value):>7}" for value in (field.last, field.min, field.max))
        yield f"{clipped(printable(name), 22):<22} {short_number(field.first):>7} {trend(field.trend):<24} {numbers}"


def _facts(report: WatchReport) -> Iterator[tuple[str, str]]:
    kinds = ", ".join(f"{number:,} of {kind}" for kind, number in report.kinds.items())
    yield "updates", f"{report.updates:,} ({printable(kinds)})"
    if report.run_status:
        yield "run", report.run_status
    if report.best_return is not None:
        yield "best return", _extreme(report.best_return)
    if report.largest_kl is not None:
        yield "max batch KL", _extreme(report.largest_kl)
    if "adv_zero_std_batches" in report.fields:
        yield "zero std", f"{report.zero_std_batches:,} of the minibatches had advantages that did not vary"
    first = f"; the first: {printable(report.first_non_finite)}" if report.first_non_finite else ""
    yield "non-finite", f"{count(report.non_finite_values, 'value')}{first}"
    if report.epochs_repeated:
        yield "note", f"the epoch went back {count(report.epochs_repeated, 'time')}: runs that were taken up again"
    if report.fields_left_out:
        yield "note", f"{count(report.fields_left_out, 'value')} of further fields left out: the log has too many"


def _extreme(extreme: Extreme) -> str:
    return f"{short_number(extreme.value)} ({_place(extreme.epoch, extreme.line)})"


def _place(epoch: int | None, line: int) -> str:
    return f"line {line}" if epoch is None else f"epoch {epoch}, line {line}"


def describe_exceedance(found: Exceedance) -> str:
    """Return one line on a limit that was left: name, value, limit, epoch and line."""
    value = _value(found.value)
    if found.bound == "finite":
        text = f"{found.name} is not finite ({_place(found.epoch, found.line)})"
    else:
        sign = ">" if found.bound == "max" else "<"
        relation = f"{value} {sign}" if found.value is not None else "is not finite, and the limit is"
        text = f"{found.name} {relation} {found.limit:.6g} ({_place(found.epoch, found.line)})"
    if found.count == 1:
        return text
    text += f", and in {count(found.count - 1, 'more record')}"
    if found.worst_line != found.line:
        text += f", at worst {_value(found.worst_value)} ({_place(found.worst_epoch, found.worst_line)})"
    return text


def _value(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6g}"
