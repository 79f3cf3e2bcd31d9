"""The recorder, against an environment whose every number is known."""

from itertools import pairwise

import numpy as np
import pytest
from lives import LivesEnvironment, StepPolicy

from townlet_core.environments.vector import AutoresetMode
from townlet_core.errors import EnvironmentFault
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.recording import TrajectoryRecorder

SERVICE = RolloutCaptureService()
MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
SEEDS = [3, 4, 8]  # episodes of 6, 7 and 8 steps


def record(num_steps, *, environment=None, seeds=SEEDS, cut=False, **options):
    environment = environment or LivesEnvironment(len(seeds))
    rollout = SERVICE.start(environment, StepPolicy(), seeds=seeds, deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append, **options)
    for _ in range(num_steps):
        rollout.step()
    if cut:
        rollout.recorder.cut_all()
    return episodes, rollout.recorder


def lives(episodes):
    return {
        (episode.world, episode.number, one.agent, one.life, one.start_step): one
        for episode in episodes
        for one in episode.trajectories
    }


def table(trajectory):
    """Everything that a trajectory says, as bytes."""
    arrays = {**trajectory.steps, **trajectory.final}
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


def expected(seed, episode, slot, steps, ending):
    """The rows of a life by the rules of the environment and of the policy."""
    now = np.array(steps)
    actions = (now + slot) % 4
    actions[(now % 2 == 1) & (actions == 0)] = 1
    ends = np.zeros(len(now), bool)
    ends[-1] = True
    none = np.zeros(len(now), bool)
    seen = np.stack([np.full(len(now), number) for number in (seed, episode, 0, slot)], axis=1).astype(np.float32)
    seen[:, 2] = now
    mask = np.ones((len(now), 4), bool)
    mask[:, 0] = now % 2 == 0
    return {
        "observation": seen,
        "actions": actions,
        "action_mask": mask,
        "rewards": (now + slot / 4 + actions / 8).astype(np.float32),
        "terminations": ends if ending == "terminated" else none,
        "truncations": ends if ending == "truncated" else none,
        "log_probs": (-now / 16).astype(np.float32),
        "values": (1000 * seed + 100 * episode + now + slot / 2).astype(np.float32),
    }


@pytest.mark.parametrize("mode", MODES)
def test_each_life_of_an_agent_is_one_trajectory_with_its_own_rows(mode):
    episodes, _ = record(30, environment=LivesEnvironment(3, autoreset=mode))
    found = lives(episodes)
    for world, (seed, length) in enumerate(zip(SEEDS, (6, 7, 8), strict=True)):
        for episode in range(3):
            for slot, life, steps, ending in (
                (0, 0, [0, 1], "terminated"),
                (0, 1, range(3, length), "truncated"),
                (1, 0, range(length), "truncated"),
            ):
                one = found.pop((world, episode, slot, life, steps[0]))
                assert one.ending == ending
                wanted = expected(seed, episode, slot, steps, ending)
                assert one.steps.keys() == wanted.keys()
                for name, rows in wanted.items():
                    np.testing.assert_array_equal(one.steps[name], rows, err_msg=name)
                    assert one.steps[name].dtype == rows.dtype
    assert {key[1] for key in found} <= {3, 4}


@pytest.mark.parametrize("mode", MODES)
def test_the_final_observation_bootstraps_where_a_time_limit_cut_and_nowhere_else(mode):
    found = lives(record(20, environment=LivesEnvironment(3, autoreset=mode))[0])
    for (world, episode, slot, _, start), one in found.items():
        last = start + one.num_steps
        final = one.final["final.observation"]
        assert final.tolist() == [SEEDS[world], episode, last, slot]
        value = 1000 * SEEDS[world] + 100 * episode + last + slot / 2
        assert one.final["bootstrap_values"] == (value if one.ending == "truncated" else 0)
        assert one.final["bootstrap_values"].dtype == np.float32


def test_what_a_cut_leaves_running_bootstraps_from_what_is_seen_now():
    episodes, _ = record(5, cut=True)
    assert [episode.is_over for episode in episodes] == [False] * 3
    found = lives(episodes)
    assert len(found) == 9
    for (world, _, slot, life, start), one in found.items():
        if (slot, life) == (0, 0):
            assert one.ending == "terminated"
            continue
        assert (one.ending, start + one.num_steps) == ("cut", 5)
        assert not one.steps["truncations"].any()
        assert one.final["final.observation"].tolist() == [SEEDS[world], 0, 5, slot]
        assert one.final["bootstrap_values"] == 1000 * SEEDS[world] + 5 + slot / 2


def test_an_episode_is_handed_over_when_the_world_says_so_and_not_before():
    episodes, recorder = record(7)
    assert [(episode.world, episode.is_over) for episode in episodes] == [(0, True), (1, True)]
    assert [(one.agent, one.life) for one in episodes[0].trajectories] == [(0, 0), (0, 1), (1, 0)]
    assert [episode.agent_steps for episode in episodes] == [11, 13]
    assert [recorder.agent_steps(world) for world in range(3)] == [2, 0, 13]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 100])
def test_the_stretches_of_a_long_life_are_that_life_and_memory_is_bounded(rows):
    whole, recorder = record(60)
    row_bytes = sum(column[0, 0].nbytes for column in recorder._block.columns.values())
    parts, recorder = record(60, fragment_bytes=rows * row_bytes)
    assert recorder.fragment_steps == rows
    assert recorder._block.num_rows <= max(2 * rows, 1)
    stretches = {}
    for (world, episode, slot, life, start), one in sorted(lives(parts).items()):
        stretches.setdefault((world, episode, slot, life), []).append((start, one))
    for (world, episode, slot, life, start), one in lives(whole).items():
        mine = stretches[world, episode, slot, life]
        assert mine[0][0] == start
        assert all(before[0] + before[1].num_steps == after[0] for before, after in pairwise(mine))
        assert [part.ending for _, part in mine] == ["cut"] * (len(mine) - 1) + [one.ending]
        for _, part in mine[:-1]:
            assert part.final["bootstrap_values"] == (part.final["final.observation"] @ [1000, 100, 1, 0.5])
        for name, column in one.steps.items():
            np.testing.assert_array_equal(np.concatenate([part.steps[name] for _, part in mine]), column)
        assert {name: np.asarray(row).tobytes() for name, row in mine[-1][1].final.items()} == {
            name: np.asarray(row).tobytes() for name, row in one.final.items()
        }
    assert all(one.num_steps <= rows for one in lives(parts).values())


def test_a_block_that_moves_and_grows_changes_nothing():
    """Long lives beside short ones: the block is shifted and doubled while both wait."""
    small = LivesEnvironment(2)
    small.reset([3, 3])
    episodes, recorder = record(400, environment=LivesEnvironment(2), seeds=[3, 8])
    assert recorder._block.num_rows == 64
    assert {episode.number for episode in episodes if episode.world == 0} == set(range(66))
    for (world, episode, slot, _, start), one in lives(episodes).items():
        steps = range(start, start + one.num_steps)
        np.testing.assert_array_equal(
            one.steps["observation"], expected([3, 8][world], episode, slot, steps, one.ending)["observation"]
        )
    endless, recorder = record(200, environment=LivesEnvironment(2, endless=True), seeds=[3, 8], cut=True)
    assert recorder._block.num_rows == 256
    assert [one.steps["observation"][:, 2].tolist() for one in endless[0].trajectories][2] == list(range(200))


def test_what_was_handed_over_is_never_changed_again():
    environment = LivesEnvironment(1)
    rollout = SERVICE.start(environment, StepPolicy(), seeds=[3], deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append)
    for _ in range(6):
        rollout.step()
    before = [table(one) for one in episodes[0].trajectories]
    for _ in range(100):
        rollout.step()
    assert [table(one) for one in episodes[0].trajectories] == before


def test_a_stopped_world_is_recorded_no_more():
    environment = LivesEnvironment(3)
    rollout = SERVICE.start(environment, StepPolicy(), seeds=SEEDS, deterministic=True)
    episodes = []
    recorder = rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append, num_active=2)
    rollout.step()
    rollout.step()  # a life of each world has ended, and waits
    recorder.stop(0)
    recorder.cut(0)
    for _ in range(20):
        rollout.step()
    recorder.cut_all()
    assert {episode.world for episode in episodes} == {1}


def test_counts_become_events_of_their_step_and_zeros_do_not():
    episodes, recorder = record(8)
    assert recorder.event_kinds == ("steps_made", "thirds")
    for episode in episodes:
        events = episode.events
        thirds = events["event.kind"] == 1
        assert events["event.step"][thirds].tolist() == [3]  # the count is shown after step 3
        assert events["event.value"][thirds].tolist() == [2.5]
        assert events["event.step"][~thirds].tolist() == list(range(6 + SEEDS[episode.world] % 3))
        assert set(events["event.actor"]) == set(events["event.target"]) == {-1}
        assert {name: column.dtype.str for name, column in events.items()}["event.kind"] == "<u2"


def test_events_of_reset_steps_are_left_out():
    def events(mode):
        episodes, _ = record(30, environment=LivesEnvironment(3, autoreset=mode))
        return {(one.world, one.number): {k: v.tolist() for k, v in one.events.items()} for one in episodes}

    later, same = events(AutoresetMode.NEXT_STEP), events(AutoresetMode.SAME_STEP)
    assert len(later) > 9
    assert later == {key: same[key] for key in later}


def test_a_step_that_a_buffer_takes_is_recorded_from_there():
    alone, _ = record(12)
    rollout = SERVICE.start(LivesEnvironment(3), StepPolicy(), seeds=SEEDS, deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append)
    buffer = SERVICE.allocate(rollout, 4)
    for _ in range(3):
        rollout.fill(buffer)
    assert {key: table(one) for key, one in lives(episodes).items()} == {
        key: table(one) for key, one in lives(alone).items()
    }


def test_after_a_rollout_the_recording_can_be_cut_without_the_environment():
    alone, _ = record(12, cut=True)
    environment = LivesEnvironment(3)
    rollout = SERVICE.start(environment, StepPolicy(), seeds=SEEDS, deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append)
    rollout.fill(SERVICE.allocate(rollout, 12))
    environment.seen["observation"][:] = np.nan
    rollout.recorder.cut_all()
    assert {key: table(one) for key, one in lives(episodes).items()} == {
        key: table(one) for key, one in lives(alone).items()
    }


def test_a_cut_between_two_rollouts_sees_what_is_shown_then():
    alone, _ = record(12, cut=True)
    rollout = SERVICE.start(LivesEnvironment(3), StepPolicy(), seeds=SEEDS, deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append)
    rollout.fill(SERVICE.allocate(rollout, 8))
    for _ in range(4):
        rollout.step()
    rollout.recorder.cut_all()
    assert {key: table(one) for key, one in lives(episodes).items()} == {
        key: table(one) for key, one in lives(alone).items()
    }


def test_steps_in_which_an_agent_pauses_are_no_rows():
    environment = LivesEnvironment(1)
    rollout = SERVICE.start(environment, StepPolicy(), seeds=[3], deterministic=True)
    episodes = []
    rollout.recorder = TrajectoryRecorder(rollout, sink=episodes.append)
    for step in range(6):
        environment.is_absent[0, 1] = step in (1, 2)  # seen before steps 2 and 3
        rollout.step()
    (one,) = [one for one in episodes[0].trajectories if one.agent == 1]
    assert one.steps["observation"][:, 2].tolist() == [0, 1, 4, 5]
    assert one.steps["rewards"].shape == (4,)


def test_an_agent_that_no_episode_end_has_ended_is_a_fault():
    class Forgets(LivesEnvironment):
        def shown(self, rewards, terminations, truncations, finals, starts):
            truncations[:, 1] = False
            return super().shown(rewards, terminations, truncations, finals, starts)

    with pytest.raises(EnvironmentFault, match="next episode of world 0 begins, and that of its agent 1 has not ended"):
        record(8, environment=Forgets(3))


def test_an_end_without_a_final_observation_is_a_fault():
    class Hides(LivesEnvironment):
        def shown(self, rewards, terminations, truncations, finals, starts):
            return super().shown(rewards, terminations, truncations, None, starts)

    with pytest.raises(EnvironmentFault, match="world 0, agent 0 ended, but the step has no final_observations"):
        record(3, environment=Hides(3))


def test_an_event_that_was_not_named_after_the_reset_is_a_fault():
    environment = LivesEnvironment(1)
    rollout = SERVICE.start(environment, StepPolicy(), seeds=[3], deterministic=True)
    rollout.recorder = TrajectoryRecorder(rollout, sink=lambda _: None)
    environment.extra = {"surprise": np.ones(1)}
    with pytest.raises(EnvironmentFault, match="counts 'surprise', and did not after the reset"):
        rollout.step()


class Absence(LivesEnvironment):
    """Slot 1 is absent from step 4 to step 17, and its life goes on; unless `accompanied`, slot 0 is never there."""

    accompanied = False

    def shown(self, *arguments):
        self.is_absent[:, 0] = not self.accompanied
        self.is_absent[:, 1] = (self.now >= 4) & (self.now < 18)
        return super().shown(*arguments)


@pytest.mark.parametrize("accompanied", [False, True])
def test_stretches_in_which_an_agent_is_absent_have_no_rows_and_are_no_trajectories(accompanied):
    environment = Absence(1, endless=True)
    environment.accompanied = accompanied
    episodes, recorder = record(29, environment=environment, seeds=[3], cut=True, fragment_bytes=500)
    assert recorder.fragment_steps < 7
    found = [one for episode in episodes for one in episode.trajectories if one.agent == 1]
    seen = np.concatenate([one.steps["observation"][:, 2] for one in found])
    assert seen.tolist() == [*range(4), *range(18, 29)]
    for one in found:
        assert one.steps["observation"][:, 2].tolist() == [one.start_step + step for step in range(one.num_steps)]
