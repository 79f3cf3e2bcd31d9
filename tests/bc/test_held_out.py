"""What is held out is whole world-episodes, by the dataset's own labels or by numbers that depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from bc_data import demonstrations, episode

from townlet_core.errors import DatasetError
from townlet_strategies_bc.held_out import count_known, split_episodes


def world_episodes(count, *, agents=2, labels=None, **fields):
    rng = np.random.default_rng(0)
    return [
        episode(rng, num_steps=3, group=group, agent=agent, split="" if labels is None else labels[group], **fields)
        for group in range(count)
        for agent in range(agents)
    ]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_no_world_episode_is_on_both_sides_and_every_episode_is_on_one(tmp_path, fraction, seed):
    dataset = demonstrations(tmp_path / "d", world_episodes(20))
    split = split_episodes(dataset, fraction=fraction, seed=seed)
    assert np.array_equal(split.train, ~split.held_out)
    groups = dataset.episodes.group
    assert not set(groups[split.train]) & set(groups[split.held_out])
    assert split.num_held_out_groups == round(fraction * 20) == len(set(groups[split.held_out]))
    assert split.num_train_groups == 20 - split.num_held_out_groups
    assert split.by == "fraction"


def test_another_seed_holds_out_others_and_the_same_seed_the_same(tmp_path):
    dataset = demonstrations(tmp_path / "d", world_episodes(30))
    splits = [split_episodes(dataset, fraction=0.3, seed=seed).held_out for seed in (0, 0, 1)]
    assert np.array_equal(splits[0], splits[1])
    assert not np.array_equal(splits[0], splits[2])


def test_where_an_episode_lies_decides_nothing(tmp_path):
    episodes = world_episodes(20)
    here = demonstrations(tmp_path / "a", episodes)
    there = demonstrations(tmp_path / "b", episodes[::-1])
    held_out = [set(d.episodes.group[split_episodes(d, fraction=0.3, seed=0).held_out]) for d in (here, there)]
    assert held_out[0] == held_out[1]


@pytest.mark.parametrize("fraction", [0.01, 0.89])
def test_at_least_one_world_episode_is_on_each_side(tmp_path, fraction):
    split = split_episodes(demonstrations(tmp_path / "d", world_episodes(2)), fraction=fraction, seed=0)
    assert (split.num_train_groups, split.num_held_out_groups) == (1, 1)


def test_one_world_episode_cannot_be_split_and_the_error_says_what_to_do(tmp_path):
    dataset = demonstrations(tmp_path / "d", world_episodes(1))
    with pytest.raises(DatasetError, match=r"one world-episode.*townlet capture.*held_out_fraction to 0"):
        split_episodes(dataset, fraction=0.1, seed=0)
    split = split_episodes(dataset, fraction=0, seed=0)
    assert (split.by, split.train.all(), split.held_out.any()) == ("nothing", True, False)


def test_what_a_curator_rejected_is_on_no_side(tmp_path):
    episodes = world_episodes(10) + world_episodes(10, accepted=False)
    split = split_episodes(demonstrations(tmp_path / "d", episodes), fraction=0.5, seed=0)
    assert not (split.train | split.held_out)[20:].any()
    assert (split.train | split.held_out)[:20].all()
    rejected = demonstrations(tmp_path / "e", world_episodes(3, accepted=False))
    with pytest.raises(DatasetError, match="no episode is accepted"):
        split_episodes(rejected, fraction=0.5, seed=0)


@pytest.mark.parametrize(
    ("labels", "held_out"),
    [
        (("train", "train", "validation", "test"), {2}),
        (("train", "", "test", "test"), {2, 3}),
        (("train", "spare", "val", "test"), {2}),
    ],
)
def test_the_datasets_own_labels_hold(tmp_path, labels, held_out):
    dataset = demonstrations(tmp_path / "d", world_episodes(4, labels=labels))
    split = split_episodes(dataset, fraction=0.1, seed=0)
    assert split.by == "labels"
    assert set(dataset.episodes.group[split.held_out]) == held_out
    expected = {group for group, label in enumerate(labels) if label in ("", "train")}
    assert set(dataset.episodes.group[split.train]) == expected
    without = split_episodes(dataset, fraction=0, seed=0)
    assert set(dataset.episodes.group[without.train]) == expected
    assert not without.held_out.any()


def test_labels_that_split_a_world_episode_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    episodes = [episode(rng, group=0, agent=agent, split=("train", "test")[agent]) for agent in (0, 1)]
    episodes.append(episode(rng, group=1, split="train"))
    with pytest.raises(DatasetError, match="world-episode 0 is both trained on and measured on"):
        split_episodes(demonstrations(tmp_path / "d", episodes), fraction=0.1, seed=0)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("train", "mine"), "has the splits 'mine', 'train', and none to measure on"),
        (
            ("test", "spare"),
            "no accepted episode is labelled 'train', 'training', or not at all; the labels are 'spare', 'test'",
        ),
    ],
)
def test_labels_that_leave_a_side_empty_are_refused(tmp_path, labels, told):
    with pytest.raises(DatasetError, match=told):
        split_episodes(demonstrations(tmp_path / "d", world_episodes(2, labels=labels)), fraction=0.1, seed=0)


def test_held_out_episodes_that_are_trained_on_as_well_are_counted(tmp_path):
    def recorded(seed, **fields):
        return episode(np.random.default_rng(seed), num_steps=3, **fields)

    episodes = [recorded(0, group=0), recorded(1, group=0), recorded(2, group=1), recorded(0, group=2, split="test")]
    episodes += [recorded(0, group=2, agent=1, split="test"), recorded(7, group=2, agent=2, split="test")]
    episodes += [recorded(8, group=3, split="spare"), recorded(9, group=4, accepted=False)]
    dataset = demonstrations(tmp_path / "d", episodes)
    split = split_episodes(dataset, fraction=0.1, seed=0)
    assert count_known(dataset, split) == 2
    distinct = demonstrations(tmp_path / "e", world_episodes(4))
    assert count_known(distinct, split_episodes(distinct, fraction=0.5, seed=0)) == 0


def test_a_dataset_without_digests_has_no_known_episodes(tmp_path):
    dataset = demonstrations(tmp_path / "d", world_episodes(4))
    split = split_episodes(dataset, fraction=0.5, seed=0)
    dataset.episodes.content[:] = 0
    assert count_known(dataset, split) == 0
