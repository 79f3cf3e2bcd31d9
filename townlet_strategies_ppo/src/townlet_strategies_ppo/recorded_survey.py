"""What has to be true of a dataset before PPO learns from it, found in one pass over its rows; and its baseline.

Legend: B rows, E accepted episodes.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.ppo import BaselineFields
from townlet_core.errors import DatasetError
from townlet_core.policy.heads import ActionHead
from townlet_core.replay.batches import BatchReader
from townlet_core.services.dataset_fit import space_differences
from townlet_core.services.run_dataset import action_places, require_columns, require_legal

if TYPE_CHECKING:
    from collections.abc import Collection

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.replay.dataset import Dataset
    from townlet_core.replay.schema import Source

ACTIONS, ACTION_MASK, BOOTSTRAP = "actions", "action_mask", "bootstrap_values"
NUMBERS = ("rewards", "log_probs", "values")
_ROWS_AT_ONCE = 65_536


def survey(dataset: Dataset, *, allow_scripts: Collection[str]) -> BaselineFields:
    """Check the accepted episodes of `dataset`, and return what they come to; memory does not grow with the rows.

    Args:
        dataset: the recorded data.
        allow_scripts: names of scripts whose rows may be learned from.

    Raises:
        DatasetError: a column is missing or not what it has to be, nothing is accepted, a number is not finite, an
            action does not exist or its mask forbids it, or a script acted that is not allowed.
    """
    _require_recorded(dataset)
    accepted = np.flatnonzero(dataset.episodes.accepted)
    num_steps = dataset.episodes.num_steps[accepted]
    ends, done = np.cumsum(num_steps), 0
    sums = {name: np.zeros(len(accepted)) for name in NUMBERS}
    chosen = np.zeros(len(accepted), np.int64)  # rows that somebody with probabilities decided
    head = ActionHead.for_space(dataset.manifest.action_space)
    for rows in _rows(dataset, has_mask=_has_mask(dataset, head)).epoch(0):
        count = len(rows[ACTIONS])
        episode = np.searchsorted(ends, np.arange(done, done + count), side="right")
        for name in NUMBERS:
            sums[name] += np.bincount(episode, rows[name], len(accepted))
        chosen += np.bincount(episode[rows["log_probs"] != 0], minlength=len(accepted))
        if head.counts:
            places = action_places(dataset, head, rows[ACTIONS])
            if ACTION_MASK in rows:
                require_legal(dataset, places, rows[ACTION_MASK])
        elif not np.isfinite(rows[ACTIONS]).all():
            raise DatasetError(f"{dataset.path}: an action is not finite; 'townlet replay validate' says where")
        done += count
    for name, total in sums.items():
        if not np.isfinite(total).all():
            raise DatasetError(f"{dataset.path}: '{name}' is not finite; 'townlet replay validate' says where")
    _refuse_scripts(dataset, np.bincount(dataset.episodes.source[accepted], chosen), allow_scripts)
    return BaselineFields(
        baseline_sample_count=float(len(accepted)),
        baseline_reward_mean=float((sums["rewards"] / num_steps).mean()),
        baseline_reward_sum=float(sums["rewards"].sum()),
        baseline_reward_sum_mean=float(sums["rewards"].mean()),
        baseline_log_prob_mean=float((sums["log_probs"] / num_steps).mean()),
    )


def _rows(dataset: Dataset, *, has_mask: bool) -> BatchReader:
    return BatchReader(
        dataset,
        columns=[ACTIONS, *NUMBERS, *([ACTION_MASK] if has_mask else [])],
        batch_size=_ROWS_AT_ONCE,
        episodes=dataset.episodes.accepted,
        shuffle=False,
        drop_last=False,
    )


def _has_mask(dataset: Dataset, head: ActionHead) -> bool:
    return bool(head.counts) and ACTION_MASK in dataset.manifest.along("step")


def _require_recorded(dataset: Dataset) -> None:
    missing = [name for name in NUMBERS if name not in dataset.manifest.along("step")]
    if missing:
        raise DatasetError(
            f"{dataset.path} has no column {' and none '.join(map(repr, missing))}: PPO learns from the rewards, "
            "log-probabilities and values that were recorded while a policy acted, as 'townlet capture' of a trained "
            "policy and training.capture_rollouts=true do; demonstrations without them can be cloned (--strategy bc)"
        )
    require_columns(dataset, (ACTIONS, ACTION_MASK, BOOTSTRAP, *NUMBERS))
    if not dataset.episodes.accepted.any():
        raise DatasetError(f"{dataset.path} has no episode that can be trained on: a curator has rejected all of them")


def _refuse_scripts(dataset: Dataset, chosen: Array, allowed: Collection[str]) -> None:
    """Refuse what was not drawn from the probabilities that were recorded, but for the allowed.

    Those are sources none of whose rows has a log-probability other than 0, `chosen` (sources,), and those that always
    took the most likely action. A single 0 says nothing: where one action was possible, or all but certain, its
    log-probability is 0.
    """
    accepted = set(np.unique(dataset.episodes.source[dataset.episodes.accepted]).tolist())
    sources = dict(enumerate(dataset.manifest.sources))
    names = {number: _name(sources.get(number), number) for number in accepted}
    scripts = {names[number] for number in accepted if chosen[number] == 0}
    greedy = {names[number] for number in accepted if (source := sources.get(number)) and source.deterministic}
    all_names = sorted(scripts | greedy)
    setting = f"strategies.ppo.allow_scripts={json.dumps(sorted({*all_names, *allowed}), ensure_ascii=False)}"
    remedy = f"learn from it all the same with --set {shlex.quote(setting)}"
    refused = [name for name in sorted(scripts) if name not in allowed]
    if refused:
        raise DatasetError(
            f"{dataset.path}: the log-probabilities of {', '.join(map(repr, refused))} are 0 throughout, as where a "
            "script acted; PPO weighs a policy against the one that acted, and a script has no probabilities: clone it "
            f"(--strategy bc), or {remedy}"
        )
    refused = [name for name in sorted(greedy) if name not in allowed]
    if refused:
        raise DatasetError(
            f"{dataset.path}: {', '.join(map(repr, refused))} took the most likely action every time, and PPO needs "
            f"actions that were drawn: record with 'townlet capture --stochastic', or {remedy}"
        )


def _name(source: Source | None, number: int) -> str:
    """Return what a source's policy is called in messages and settings."""
    named = "" if source is None else source.policy or source.policy_digest[:12]
    return named or f"source {number}"


def require_equal_spaces(dataset: Dataset, environment: VectorEnvironment) -> None:
    """Check that the dataset is of what the environment shows and takes.

    Raises:
        DatasetError: it is not; the text lists what differs.
    """
    lines = space_differences(dataset.manifest, environment)
    if lines:
        text = "".join(f"\n  {line}" for line in lines)
        raise DatasetError(
            f"{dataset.path} does not fit environment '{environment.name}', and data_mode 'mixed' learns from both:"
            f"{text}\n"
            "  name the environment that was recorded with --env and --set, or choose data_mode=replay"
        )
