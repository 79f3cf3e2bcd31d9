"""Telemetry in the names of version 1.2: exactly those, numbers as floats, and nothing of other strategies changed."""

import json

import pytest
from telemetry_logs import LINES

from townlet_core.tracking.earlier_telemetry import EarlierTelemetry, as_1_2, in_version
from townlet_core.tracking.jsonl import encode_record
from townlet_core.tracking.telemetry_record import parse_record

NAMES_1_0 = """
    epoch updates transitions loss_policy loss_value loss_entropy loss_total clip_fraction adv_mean adv_std grad_norm
    kl_divergence lr steps adv_zero_std_batches adv_min_std clip_triggered_minibatches clip_fraction_max
    baseline_sample_count baseline_reward_mean baseline_reward_sum baseline_reward_sum_mean baseline_log_prob_mean
"""
NAMES_1_1 = """
    epoch_duration_sec data_mode cycle_id batch_entropy_mean batch_entropy_std grad_norm_max kl_divergence_max
    reward_advantage_corr rollout_ticks log_stream_offset queue_conflict_events queue_conflict_intensity_sum
    shared_meal_events late_help_events shift_takeover_events chat_success_events chat_failure_events chat_quality_mean
"""
NAMES_1_2 = """
    anneal_cycle anneal_stage anneal_dataset anneal_bc_accuracy anneal_bc_threshold anneal_bc_passed
    anneal_loss_baseline anneal_queue_baseline anneal_intensity_baseline anneal_loss_flag anneal_queue_flag
    anneal_intensity_flag
"""
NAMES = {*NAMES_1_0.split(), *NAMES_1_1.split(), *NAMES_1_2.split()}


class Lines(list):
    closed = False

    def log(self, record):
        self.append(encode_record(record))

    def close(self):
        self.closed = True


def record(name, **changes):
    return json.loads(LINES[name](3, **changes))


def test_a_line_has_the_names_of_1_2_and_no_others():
    names = set(as_1_2(record("ppo")))
    assert names == NAMES | {"telemetry_version", "conflict.rivalry_max_avg"}


def test_every_number_is_a_float_and_texts_and_flags_stay_what_they_are():
    line = as_1_2(record("ppo", anneal_cycle=2, anneal_stage="ppo", anneal_bc_passed=True, baseline_sample_count=7))
    texts = {"telemetry_version": "1.2", "data_mode": "rollout", "anneal_stage": "ppo", "anneal_bc_passed": True}
    assert {name: line[name] for name in texts} == texts
    numbers = {name: value for name, value in line.items() if name not in texts and value is not None}
    assert {type(value) for value in numbers.values()} == {float}
    assert (line["epoch"], line["updates"], line["anneal_cycle"], line["baseline_sample_count"]) == (3.0, 8.0, 2.0, 7.0)
    assert line["anneal_dataset"] is None


def test_the_reader_takes_it_for_1_2_and_finds_the_same_numbers():
    given = record("ppo")
    read = parse_record(encode_record(as_1_2(given)), source="log", line=1)
    assert (read.model.title, read.epoch) == ("ppo 1.2", 3)
    shared = [name for name in NAMES if isinstance(given[name], int | float)]
    assert {name: read.number(name) for name in shared} == {name: given[name] for name in shared}


@pytest.mark.parametrize("other", [record("bc"), {"step": 3, "anything": [1, 2]}])
def test_what_1_2_has_no_names_for_passes_as_it_is(other):
    lines = Lines()
    EarlierTelemetry(lines).log(other)
    assert lines == [encode_record(other)]


def test_the_version_of_today_needs_nobody_between():
    lines = Lines()
    assert in_version(lines, "2.0") is lines
    earlier = in_version(lines, "1.2")
    earlier.log(record("ppo"))
    earlier.close()
    assert (json.loads(lines[0])["telemetry_version"], lines.closed) == ("1.2", True)
