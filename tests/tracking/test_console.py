"""Progress goes to the error stream, in a form that fits it, and never too often."""

from __future__ import annotations

import io

import pytest

from townlet_core.tracking.console import PlainConsole, RichConsole, SilentConsole, describe_progress, make_console


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def record(steps, **fields):
    return {"agent_steps": steps, "total_steps": 100_000, **fields}


@pytest.mark.parametrize(
    ("mode", "stream", "expected"),
    [
        ("auto", Terminal(), RichConsole),
        ("auto", io.StringIO(), PlainConsole),
        ("rich", io.StringIO(), RichConsole),
        ("plain", Terminal(), PlainConsole),
        ("off", Terminal(), SilentConsole),
    ],
)
def test_the_mode_or_the_stream_chooses_the_form(mode, stream, expected):
    assert type(make_console(mode, stream=stream, clock=Clock())) is expected


def test_a_line_says_what_there_is_to_say():
    fields = {"steps_per_sec": 8000.4, "episode_return_mean": 123.456, "explained_variance": 0.5, "kl_k3": 0.01}
    assert describe_progress(record(25_000, **fields)) == (
        "25,000/100,000 25% | return 123.5 | 0:09 left | 8,000 steps/s | explained variance 0.50 | KL 0.0100"
    )


def test_a_pass_over_demonstrations_is_described_by_what_matters_there():
    fields = {"samples_per_sec": 5000.0, "epoch": 3, "num_epochs": 12, "accuracy": 0.91234, "loss": 0.25}
    assert describe_progress(record(25_000, **fields)) == (
        "25,000/100,000 25% | pass 3 | acc 0.912 | loss 0.25 | 0:15 left | 5,000 samples/s"
    )


def test_the_best_policy_so_far_is_told_with_the_update_that_it_is_of():
    known = {"best_score": -0.0345, "best_update": 12, "explained_variance": None, "kl_k3": None}
    assert " | best -0.0345 at update 12" in describe_progress(record(25_000, **known))
    assert "best" not in describe_progress(record(25_000, **known | {"best_score": None}))


def test_what_is_unknown_is_left_out():
    nothing = {
        "steps_per_sec": None,
        "episode_return_mean": float("nan"),
        "explained_variance": float("inf"),
        "kl_k3": "x",
    }
    assert describe_progress(record(100_000, **nothing)) == "100,000/100,000 100%"
    assert describe_progress(record(100_480, **nothing)) == "100,480 100%", "not more than all"
    assert describe_progress({"agent_steps": 7}) == "7"
    assert describe_progress({}) == ""


@pytest.mark.parametrize(
    ("seconds", "expected"), [(59, "0:59"), (60, "1:00"), (3599.6, "1:00:00"), (90_061, "25:01:01")]
)
def test_the_time_left_is_written_as_a_clock(seconds, expected):
    line = describe_progress({"agent_steps": 0, "total_steps": seconds, "steps_per_sec": 1.0})
    assert f"| {expected} left |" in line


def test_a_short_run_writes_a_line_for_each_tenth_and_the_last():
    stream = io.StringIO()
    console = PlainConsole(stream, clock=Clock())
    for steps in range(1000, 99_001, 1000):
        console.log(record(steps))
    console.close()
    console.close()
    shown = [line.split("/")[0] for line in stream.getvalue().splitlines()]
    assert shown == [*(f"{steps},000" for steps in range(1, 100, 10)), "99,000"]


def test_a_long_run_writes_a_line_every_half_minute():
    stream, clock = io.StringIO(), Clock()
    console = PlainConsole(stream, clock=clock)
    for second in range(601):
        clock.now = float(second)
        console.log({"agent_steps": second})
    console.close()
    assert stream.getvalue().splitlines() == [str(second) for second in range(0, 601, 30)]


def test_a_terminal_gets_one_live_line_and_messages_above_it():
    stream, clock = Terminal(), Clock()
    console = RichConsole(stream, clock=clock)
    console.log(record(1000, steps_per_sec=10.0))
    console.message("checkpoint [bold]saved[/bold]")
    clock.now = 1.0
    console.log(record(2000))
    console.close()
    console.close()
    text = stream.getvalue()
    assert "1,000/100,000" in text
    assert "checkpoint [bold]saved[/bold]\n" in text.replace("\x1b[2K", "")
    assert text.rstrip().count("\n") < 4


def test_a_terminal_of_80_columns_shows_accuracy_loss_and_the_time_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    console = RichConsole(stream, clock=Clock())
    fields = {"samples_per_sec": 512_345.0, "epoch": 18, "num_epochs": 60, "accuracy": 0.8942, "loss": 0.15512}
    console.log({"agent_steps": 428_544, "total_steps": 1_428_480, **fields})
    console.close()
    assert "pass 18 | acc 0.894 | loss 0.155 | 0:02 left" in stream.getvalue()


def test_a_live_line_is_not_redrawn_more_than_ten_times_a_second():
    stream, clock = Terminal(), Clock()
    console = RichConsole(stream, clock=clock)
    console.log(record(1))
    before = len(stream.getvalue())
    for steps in range(2, 100):
        clock.now += 0.001
        console.log(record(steps))
    assert len(stream.getvalue()) == before
    clock.now += 0.1
    console.log(record(100))
    assert len(stream.getvalue()) > before
    console.close()


@pytest.mark.parametrize("mode", ["rich", "plain", "off"])
def test_nothing_is_written_to_standard_output(mode, capsys):
    stream = io.StringIO()
    console = make_console(mode, stream=stream, clock=Clock())
    console.log(record(1))
    console.message("hello")
    console.close()
    assert capsys.readouterr() == ("", "")
    assert "hello" in stream.getvalue()
    assert ("100,000" in stream.getvalue()) == (mode != "off")


def test_closing_a_console_that_showed_nothing_writes_nothing():
    for mode in ("rich", "plain", "off"):
        stream = Terminal()
        make_console(mode, stream=stream, clock=Clock()).close()
        assert stream.getvalue() == ""


class Closed(Terminal):
    """A terminal or pipe that nobody reads any more, from the second write on."""

    writes = 0

    def write(self, text):
        self.writes += 1
        if self.writes > 1:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)

    def flush(self):
        if self.writes > 1:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("mode", ["rich", "plain", "off"])
def test_a_stream_that_fails_silences_the_console_and_nothing_else(mode):
    stream = Closed()
    console = make_console(mode, stream=stream, clock=Clock())
    console.log(record(1_000))
    for steps in range(2_000, 100_001, 1_000):
        console.log(record(steps))
        console.message("something")
    console.close()
    assert stream.writes == 2


def test_a_stage_of_a_schedule_is_no_progress_and_the_next_one_begins_anew():
    stream, now = io.StringIO(), [0.0]
    console = PlainConsole(stream, clock=lambda: now[0])
    console.log(record(100_000))
    console.log({"verdict": "PASS", "agent_steps": 7})
    console.log(record(1_000))
    console.log(record(2_000))
    console.message("stage 2: PASS")
    console.close()
    begins = [line.partition(" ")[0] for line in stream.getvalue().splitlines()]
    assert begins == ["100,000/100,000", "1,000/100,000", "2,000/100,000", "stage"]
