"""Progress for people, on the error stream: a live line in a terminal, now and then a plain line elsewhere, or nothing.

Results go to standard output; nothing here does.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

Mode = Literal["auto", "rich", "plain", "off"]

_LINE_EVERY_SEC = 30.0
_LINE_EVERY_SHARE = 0.0999  # a tenth, less what is lost in rounding
_REDRAW_EVERY_SEC = 0.1


class Console(Protocol):
    """A tracker that can also say something."""

    def log(self, record: Mapping[str, Any]) -> None:
        """Show one record; fields that it lacks, or that are None, are left out."""
        ...

    def message(self, text: str) -> None:
        """Say one line, whatever the progress looks like; also when progress is off."""
        ...

    def close(self) -> None:
        """Finish the line; closing twice does nothing."""
        ...


def make_console(mode: Mode, *, stream: TextIO, clock: Callable[[], float]) -> Console:
    """Return the console for `mode`.

    Args:
        mode: `auto` is `rich` where `stream` is a terminal, and `plain` elsewhere.
        stream: the error stream.
        clock: seconds that never go back, such as `time.monotonic`.
    """
    if mode == "off":
        return SilentConsole(stream)
    if mode == "rich" or (mode == "auto" and stream.isatty()):
        return RichConsole(stream, clock=clock)
    return PlainConsole(stream, clock=clock)


class _Forgiving:
    """A stream that falls silent for good where writing to it fails: what people see must never end a run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self.isatty = stream.isatty
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write `text`, or lose it."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except OSError:
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or lose it."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError:
                self._stream = None


class SilentConsole:
    """No progress; messages only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = _Forgiving(stream)

    def log(self, record: Mapping[str, Any]) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Write one line."""
        print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing."""


class PlainConsole(SilentConsole):
    """A line for the first record, for every tenth of the run, for every half minute, and for the last.

    Args:
        stream: where lines go.
        clock: monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self._clock = clock
        self._shown_at: tuple[float, float] | None = None
        self._pending: Mapping[str, Any] | None = None

    def log(self, record: Mapping[str, Any]) -> None:
        """Write a line if it is time for one."""
        if _is_told(record):
            return
        now, share = self._clock(), _share(record)
        if self._shown_at is not None:
            seconds, before = self._shown_at
            if now - seconds < _LINE_EVERY_SEC and 0.0 <= share - before < _LINE_EVERY_SHARE:
                self._pending = record
                return
        self._shown_at, self._pending = (now, share), None
        self.message(describe_progress(record))

    def message(self, text: str) -> None:
        """Write one line, after the last record, if that was left out."""
        self.close()
        super().message(text)

    def close(self) -> None:
        """Write the last record, if it was left out."""
        pending, self._pending = self._pending, None
        if pending is not None:
            super().message(describe_progress(pending))


class RichConsole:
    """A live line with a bar, drawn when a record arrives and by no thread of its own.

    Args:
        stream: a terminal, or something that takes its escape sequences.
        clock: monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float]) -> None:
        from rich.console import Console as RichOutput
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar: RichBar = Progress(
            BarColumn(bar_width=10),
            TextColumn("{task.description}", markup=False),
            console=RichOutput(file=cast("TextIO", _Forgiving(stream)), highlight=False),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._clock = clock
        self._task: TaskID | None = None
        self._drawn_at = 0.0

    def log(self, record: Mapping[str, Any]) -> None:
        """Redraw the line, if it is time for that."""
        if _is_told(record):
            return
        now, total = self._clock(), _number(record, "total_steps")
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
            self._drawn_at = now - _REDRAW_EVERY_SEC
        steps = _number(record, "agent_steps") or 0.0
        self._bar.update(self._task, total=total, completed=steps, description=describe_progress(record))
        if now - self._drawn_at >= _REDRAW_EVERY_SEC:
            self._bar.refresh()
            self._drawn_at = now

    def message(self, text: str) -> None:
        """Write one line above the live one."""
        self._bar.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last state of the line standing."""
        if self._task is not None:
            self._bar.stop()


def _is_told(record: Mapping[str, Any]) -> bool:
    """Return whether a record is about a whole stage of a schedule, of which the strategy says what there is to say."""
    return "verdict" in record


def describe_progress(record: Mapping[str, Any]) -> str:
    """Return one line about a record, what matters most in front: narrow terminals cut its end.

    Args:
        record: `agent_steps`, `total_steps`, `steps_per_sec` or `samples_per_sec`, `epoch` of `num_epochs`,
            `episode_return_mean`, `best_score` at `best_update`, held-out `accuracy`, `loss`, `explained_variance`,
            `kl_k3`; what it lacks, or what is not finite, is left out.
    """
    steps, total = (_number(record, name) for name in ("agent_steps", "total_steps"))
    speed = _number(record, "steps_per_sec") or _number(record, "samples_per_sec")
    parts = []
    if steps is not None:
        parts.append(_share_of(steps, total))
    if _number(record, "num_epochs") is not None:
        parts += _named(record, epoch="pass {:.0f}")
    parts += _named(record, episode_return_mean="return {:.4g}")
    best, update = (_number(record, name) for name in ("best_score", "best_update"))
    if best is not None and update is not None:
        parts.append(f"best {best:.4g} at update {update:.0f}")
    parts += _named(record, accuracy="acc {:.3f}", loss="loss {:.3g}")
    if steps is not None and total and speed and total > steps:
        parts.append(f"{_duration((total - steps) / speed)} left")
    parts += _named(record, steps_per_sec="{:,.0f} steps/s", samples_per_sec="{:,.0f} samples/s")
    parts += _named(record, explained_variance="explained variance {:.2f}", kl_k3="KL {:.4f}")
    return " | ".join(parts)


def _share_of(steps: float, total: float | None) -> str:
    """Return how far a run is; the last update is finished, so it may make more steps than it was to make."""
    if not total:
        return f"{steps:,.0f}"
    return f"{steps:,.0f}/{total:,.0f} {steps / total:.0%}" if steps <= total else f"{steps:,.0f} 100%"


def _named(record: Mapping[str, Any], **forms: str) -> list[str]:
    numbers = ((form, _number(record, name)) for name, form in forms.items())
    return [form.format(number) for form, number in numbers if number is not None]


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def _share(record: Mapping[str, Any]) -> float:
    steps, total = _number(record, "agent_steps"), _number(record, "total_steps")
    return steps / total if steps is not None and total else 0.0


def _duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
