"""A log that is watched: what it amounts to, which limits it leaves, how it is followed while it grows and shrinks."""

import contextlib
import json
import math
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telemetry_logs import LINES

from townlet_core.errors import DataError, MissingInputError, UsageError
from townlet_core.runs.status import RunRecord, timestamp
from townlet_core.tracking.log_watch import LogWatch
from townlet_core.tracking.telemetry_summary import MAX_FIELDS, MAX_POINTS, FieldSeries
from townlet_core.tracking.thresholds import Threshold

PPO = LINES["ppo"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.jsonl"


def limit(text):
    """Return the threshold that `name<1` (at most) or `name>1` (at least) means."""
    bound = "max" if "<" in text else "min"
    name, number = text.replace(">", "<").split("<")
    return Threshold(name=name, bound=bound, limit=float(number))


def watched(path, *lines, limits=(), **options):
    path.write_bytes(b"".join(lines))
    watch = LogWatch(path, thresholds=[limit(text) for text in limits], **options)
    watch.look(is_final=True)
    return watch


def test_the_report_says_what_stands_out_and_where(path):
    lines = [PPO(epoch, episode_return_mean=value) for epoch, value in enumerate((1.0, 7.0, None, 3.0), 1)]
    lines[2] = PPO(3, kl_divergence_max=0.5, loss_value=math.nan, episode_return_mean=math.inf)
    report = watched(path, *lines).report()
    assert (report.updates, report.kinds) == (4, {"ppo 2.0": 4})
    assert (report.best_return.value, report.best_return.epoch, report.best_return.line) == (7.0, 2, 2)
    assert (report.largest_kl.value, report.largest_kl.epoch) == (0.5, 3)
    assert report.zero_std_batches == 4
    assert (report.non_finite_values, report.first_non_finite) == (1, "loss_value, line 3")
    assert report.fields["episode_return_mean"].model_dump() == {
        "count": 3,
        "first": 1.0,
        "last": 3.0,
        "min": 1.0,
        "max": 7.0,
        "mean": pytest.approx(11 / 3),
        "trend": (1.0, 7.0, 3.0),
    }
    assert (report.epochs_repeated, report.unfinished_line, report.verdict) == (0, False, "exceeded")
    assert report.path == str(path)


def test_epochs_that_go_back_are_counted_apart_for_each_algorithm(path):
    lines = [LINES["bc"](1), LINES["bc"](2), PPO(1), PPO(2), PPO(2), LINES["bc"](3), PPO(3)]
    report = watched(path, *lines).report()
    assert report.epochs_repeated == 1
    assert report.kinds == {"bc 2.0": 3, "ppo 2.0": 4}


def test_half_a_line_is_reported_and_a_whole_one_without_newline_is_counted(path):
    assert watched(path, PPO(1), PPO(2)[:50]).report().unfinished_line
    report = watched(path, PPO(1), PPO(2).rstrip()).report()
    assert (report.updates, report.unfinished_line) == (2, False)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=200))
def test_statistics_never_overflow_and_keep_every_value_in_their_bounds(values):
    series = FieldSeries()
    for value in values:
        series.add(value)
    found = series.statistics()
    assert (found.count, found.first, found.last, found.min, found.max) == (
        len(values),
        values[0],
        values[-1],
        min(values),
        max(values),
    )
    assert 1 <= len(found.trend) <= MAX_POINTS
    assert math.isfinite(found.mean)
    slack = 1e-9 * max(abs(found.min), abs(found.max), 1e-300)
    assert all(found.min - slack <= mean <= found.max + slack for mean in (*found.trend, found.mean))


@pytest.mark.parametrize("length", [1, 23, 24, 25, 48, 49, 100, 1000])
def test_a_trend_is_the_means_of_equal_stretches_in_order(length):
    series = FieldSeries()
    for value in range(length):
        series.add(float(value))
    points = series.statistics().trend
    stretch = 1
    while math.ceil(length / stretch) > MAX_POINTS:
        stretch *= 2
    pieces = [range(length)[start : start + stretch] for start in range(0, length, stretch)]
    assert points == pytest.approx([sum(piece) / len(piece) for piece in pieces])


def test_fields_beyond_a_number_are_counted_and_not_kept(path):
    lines = [json.dumps({f"{line}-{number}": 1 for number in range(MAX_FIELDS // 2)}) + "\n" for line in range(3)]
    report = watched(path, *(line.encode() for line in lines)).report()
    assert (len(report.fields), report.fields_left_out) == (MAX_FIELDS, MAX_FIELDS // 2)


@pytest.mark.parametrize(
    ("limits", "changes", "verdict"),
    [
        ((), {}, "within"),
        (["kl_divergence<0.01"], {}, "within"),
        (["kl_divergence<0.0099"], {}, "exceeded"),
        (["kl_divergence<0.01"], {"kl_divergence": -5.0}, "within"),
        (["entropy>1.25"], {}, "within"),
        (["entropy>1.26"], {}, "exceeded"),
        (["kl_divergence<1"], {"kl_divergence": math.nan}, "exceeded"),
        (["kl_divergence>-1"], {"kl_divergence": math.nan}, "exceeded"),
        ((), {"grad_norm": math.nan}, "exceeded"),
        (["queue_conflicts_per_tick<0.5"], {}, "within"),
        (["queue_conflicts_per_tick<0.49"], {}, "exceeded"),
        (["environment.faint_events<2"], {}, "exceeded"),
        (["environment.never_events<2"], {}, "unknown"),
        (["baseline_reward_sum<2"], {}, "unknown"),
        (["baseline_reward_sum<2", "entropy>9"], {}, "exceeded"),
        (["explained_variance>0"], {"explained_variance": None}, "unknown"),
    ],
)
def test_each_limit_has_its_verdict(path, limits, changes, verdict):
    assert watched(path, PPO(1, **changes), limits=limits).verdict == verdict


@pytest.mark.parametrize(("version", "verdict"), [("1.0", "unknown"), ("1.1", "unknown"), ("ppo", "within")])
def test_a_limit_on_what_a_version_lacks_cannot_be_told(path, version, verdict):
    watch = watched(path, LINES[version](1), limits=["kl_k3<0.1"])
    assert watch.verdict == verdict
    assert list(watch.report().unmeasured) == ([] if verdict == "within" else ["kl_k3"])


def test_without_a_record_nothing_can_be_told(path):
    assert watched(path).verdict == "unknown"
    assert watched(path, PPO(1), after=1).verdict == "unknown"


def test_infinity_leaves_a_minimum_too(path):
    report = watched(path, LINES["1.1"](1, batch_entropy_mean=math.inf), limits=["entropy>0"]).report()
    assert [found.name for found in report.exceeded if found.bound == "min"] == ["entropy"]
    assert report.verdict == "exceeded"


def test_a_limit_that_was_left_is_reported_first_and_at_worst(path):
    values = (0.01, 0.06, 0.02, 0.09, 0.07)
    lines = [PPO(epoch, kl_divergence=value) for epoch, value in enumerate(values, 1)]
    (found,) = watched(path, *lines, limits=["kl_divergence<0.05"]).report().exceeded
    assert found.model_dump() == {
        "name": "kl_divergence",
        "bound": "max",
        "limit": 0.05,
        "value": 0.06,
        "epoch": 2,
        "line": 2,
        "count": 3,
        "worst_value": 0.09,
        "worst_epoch": 4,
        "worst_line": 4,
    }


def test_what_is_not_finite_is_reported_once_for_a_field_with_a_limit_and_is_the_worst(path):
    lines = [PPO(1, kl_divergence=0.9), PPO(2, kl_divergence=math.nan, grad_norm=math.nan), PPO(3, kl_divergence=2.0)]
    kl, grad = watched(path, *lines, limits=["kl_divergence<0.05"]).report().exceeded
    assert (kl.count, kl.value, kl.worst_value, kl.worst_line) == (3, 0.9, None, 2)
    assert (grad.name, grad.bound, grad.limit, grad.value, grad.line) == ("grad_norm", "finite", None, None, 2)


def test_only_updates_after_an_epoch_or_the_last_of_them_are_judged(path):
    lines = [PPO(epoch) for epoch in range(1, 6)]  # the return is 10 x epoch
    verdicts = {
        (after, judge_last): watched(
            path, *lines, limits=["episode_return_mean>35"], after=after, judge_last=judge_last
        )
        for after, judge_last in ((0, None), (2, None), (3, None), (0, 3), (0, 2), (0, 9))
    }
    assert [watch.verdict for watch in verdicts.values()] == [
        *("exceeded", "exceeded", "within"),
        *("exceeded", "within", "exceeded"),
    ]
    assert [watch.check.num_judged for watch in verdicts.values()] == [5, 3, 2, 3, 2, 5]
    assert {watch.summary.updates for watch in verdicts.values()} == {5}


def test_what_follows_the_last_is_judged_whole(path):
    watch = watched(path, *(PPO(epoch) for epoch in range(1, 6)), limits=["episode_return_mean>35"], judge_last=1)
    with path.open("ab") as file:
        file.write(PPO(6, episode_return_mean=0.0) + PPO(7))
    watch.look()
    assert (watch.check.num_judged, watch.verdict) == (3, "exceeded")


@pytest.mark.parametrize(("name", "hint"), [("kl_divergance", "kl_divergence"), ("data_mode", "json"), ("zzz", "json")])
def test_a_limit_for_no_number_is_an_error_with_the_closest_name(path, name, hint):
    with pytest.raises(UsageError, match=f"no number '{name}'.*{hint}"):
        watched(path, PPO(1), limits=[f"{name}<1"])


def test_a_limit_for_a_field_of_the_log_itself_is_taken(path):
    assert watched(path, b'{"epoch": 1, "pulse": 3}\n', limits=["pulse<2"]).verdict == "exceeded"
    assert watched(path, b'{"epoch": 1, "pulse": NaN}\n', limits=["pulse<2"]).verdict == "exceeded"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_limit_is_finite(value):
    with pytest.raises(UsageError, match="finite number"):
        Threshold(name="lr", bound="max", limit=value)


@pytest.mark.parametrize("options", [{"last": 0}, {"judge_last": 0}])
def test_no_records_cannot_be_asked_for(path, options):
    with pytest.raises(UsageError, match="at least 1"):
        LogWatch(path, **options)


def test_a_missing_log_is_said_before_it_is_read(tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(MissingInputError):
            LogWatch(place).require()


class World:
    """Time that passes only in `sleep`, which first does what is to happen next; what is to happen last ends it."""

    def __init__(self, *steps):
        self.now = 0.0
        self.steps = list(steps)

    def sleep(self, seconds):
        self.now += seconds
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()

    def follow(self, watch, **options):
        """Return the epochs that each piece of news brought, until the end or the interrupt."""
        seen = []
        with contextlib.suppress(KeyboardInterrupt):
            for news in watch.follow(sleep=self.sleep, clock=lambda: self.now, **options):
                seen += [([record.epoch for record in news.records], news.num_new, news.begun_again)]
            return seen
        return [*seen, "interrupted"]


def append(path, *lines):
    def step():
        with path.open("ab") as file:
            file.write(b"".join(lines))

    return step


def put(path, *lines):
    return lambda: path.write_bytes(b"".join(lines))


def nothing():
    pass


def record(directory, status):
    def step():
        time = timestamp(0.0)
        RunRecord(
            id="run",
            status=status,
            strategy="ppo",
            environment="town",
            seed=0,
            num_threads=1,
            versions={},
            config_digest="d",
            created=time,
            updated=time,
        ).write(directory / "run.json")

    return step


def test_following_brings_each_line_once_when_it_is_complete(path):
    world = World(append(path, PPO(1), PPO(2)[:40]), nothing, append(path, PPO(2)[40:]), append(path, PPO(3), PPO(4)))
    watch = LogWatch(path)
    assert world.follow(watch) == [([1], 1, False), ([2], 1, False), ([3, 4], 2, False), "interrupted"]
    assert watch.report().updates == 4
    assert world.now == 5.0


def test_a_whole_line_without_its_newline_is_counted_once_and_when_that_has_come(path):
    world = World(append(path, PPO(1).rstrip()), nothing, append(path, b"\n", PPO(2)))
    assert world.follow(LogWatch(path)) == [([1, 2], 2, False), "interrupted"]


def test_a_run_directory_that_vanishes_leaves_what_is_known(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "telemetry.jsonl").write_bytes(PPO(1))
    watch = LogWatch(run)
    assert World(lambda: shutil.rmtree(run)).follow(watch) == [([1], 1, False), "interrupted"]
    assert watch.report().updates == 1


def test_of_equal_returns_the_first_is_the_best(path):
    lines = [PPO(epoch, episode_return_mean=2.0) for epoch in (1, 2)]
    assert watched(path, *lines).report().best_return.epoch == 1


def test_a_run_directory_that_is_not_there_yet_is_waited_for(tmp_path):
    run = tmp_path / "run"
    world = World(nothing, run.mkdir, append(run / "telemetry.jsonl", PPO(1)))
    watch = LogWatch(run)
    assert world.follow(watch) == [([1], 1, False), "interrupted"]
    assert watch.report().path == str(run / "telemetry.jsonl")


def test_the_first_look_brings_the_last_records_and_later_ones_all(path):
    path.write_bytes(b"".join(PPO(epoch) for epoch in range(1, 8)))
    world = World(append(path, PPO(8), PPO(9), PPO(10)))
    assert world.follow(LogWatch(path, last=2)) == [([6, 7], 7, False), ([8, 9, 10], 3, False), "interrupted"]


def test_a_log_that_a_resume_shortens_is_summed_up_anew(path):
    first = [PPO(1), PPO(2), PPO(3, kl_divergence=9.0)]
    again = PPO(3, epoch_duration_sec=7.0)
    path.write_bytes(b"".join(first))
    world = World(
        put(path, *first[:2]), append(path, again), put(path, *first[:2], again, PPO(4)), append(path, PPO(5))
    )
    watch = LogWatch(path, thresholds=[limit("kl_divergence<1")])
    assert world.follow(watch) == [
        ([1, 2, 3], 3, False),
        ([1, 2], 2, True),
        ([3], 1, False),
        ([4], 1, False),
        ([5], 1, False),
        "interrupted",
    ]
    report = watch.report()
    assert (report.updates, report.epochs_repeated, report.verdict) == (5, 0, "within")


def test_a_log_that_was_shortened_and_grew_between_two_looks_is_read_again(path):
    path.write_bytes(PPO(1) + PPO(2) + PPO(3))
    world = World(put(path, PPO(1), *(PPO(epoch, epoch_duration_sec=7.0) for epoch in (2, 3, 4))))
    assert world.follow(LogWatch(path)) == [([1, 2, 3], 3, False), ([1, 2, 3, 4], 4, True), "interrupted"]


def test_a_log_that_is_replaced_vanishes_or_is_emptied_is_followed_on(path):
    path.write_bytes(PPO(1) + PPO(2))
    world = World(path.unlink, nothing, put(path, LINES["bc"](1)), put(path), append(path, PPO(9)))
    watch = LogWatch(path)
    assert world.follow(watch) == [
        ([1, 2], 2, False),
        ([1], 1, True),
        ([], 0, True),
        ([9], 1, False),
        "interrupted",
    ]
    assert watch.report().kinds == {"ppo 2.0": 1}


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_following_ends_with_the_run_and_misses_nothing_that_it_wrote_last(path, status):
    end = record(path.parent, status)

    def last_words():
        append(path, PPO(2), PPO(3).rstrip())()
        end()

    record(path.parent, "running")()
    path.write_bytes(PPO(1))
    watch = LogWatch(path.parent)
    assert World(last_words).follow(watch) == [([1], 1, False), ([2, 3], 2, False)]
    assert watch.report().run_status == status


def test_following_goes_on_over_an_interruption_and_a_damaged_record(path):
    world = World(
        record(path.parent, "interrupted"), append(path, PPO(1)), put(path.with_name("run.json"), b"{"), nothing
    )
    assert world.follow(LogWatch(path)) == [([1], 1, False), "interrupted"]


def test_the_run_of_another_file_ends_nothing(tmp_path):
    record(tmp_path, "finished")()
    (tmp_path / "copy.jsonl").write_bytes(PPO(1))
    assert World().follow(LogWatch(tmp_path / "copy.jsonl"))[-1] == "interrupted"


def test_following_ends_at_once_when_a_limit_is_left_if_that_is_asked_for(path):
    steps = [append(path, PPO(1)), append(path, PPO(2, kl_divergence=9.0)), append(path, PPO(3))]
    limits = [limit("kl_divergence<1")]
    watch = LogWatch(path, thresholds=limits)
    assert World(*steps).follow(watch, until_exceeded=True) == [([1], 1, False), ([2], 1, False)]
    assert watch.verdict == "exceeded"
    path.unlink()
    watch = LogWatch(path, thresholds=limits)
    assert World(*steps).follow(watch)[-2:] == [([3], 1, False), "interrupted"]
    assert watch.verdict == "exceeded"


def test_silence_is_told_once_until_a_line_comes(path):
    world = World(*[nothing] * 4, append(path, PPO(1)), *[nothing] * 4)
    watch, told = LogWatch(path), []
    with contextlib.suppress(KeyboardInterrupt):
        for _ in watch.follow(sleep=world.sleep, clock=lambda: world.now, interval_sec=2.0, stale_sec=5.0):
            told += [(world.now, watch.stale_sec, watch.verdict)]
    assert told == [(6.0, 6.0, "exceeded"), (10.0, None, "within"), (16.0, 6.0, "exceeded")]
    assert watch.report().stale_sec == 6.0


def test_silence_ends_the_following_if_limits_do(path):
    watch = LogWatch(path)
    world = World(*[nothing] * 9)
    assert world.follow(watch, stale_sec=3.0, until_exceeded=True) == [([], 0, False)]
    assert world.now == 4.0


def test_a_run_that_has_ended_is_not_silent(path):
    watch = LogWatch(path)
    path.write_bytes(PPO(1))
    world = World(record(path.parent, "finished"))
    assert world.follow(watch, stale_sec=3.0, interval_sec=5.0) == [([1], 1, False)]
    assert (watch.stale_sec, watch.verdict) == (None, "within")


def test_a_damaged_line_ends_the_following(path):
    path.write_bytes(PPO(1))
    with pytest.raises(DataError, match=r"telemetry\.jsonl:2"):
        World(append(path, b"{\n")).follow(LogWatch(path))


def test_a_limit_for_nothing_is_told_with_the_first_record(path):
    with pytest.raises(UsageError, match="did you mean 'lr'"):
        World(nothing, append(path, PPO(1))).follow(LogWatch(path, thresholds=[limit("lrr<1")]))
