"""A clone whose actions are numbers has no accuracy: what it does in the environment decides alone."""

import gymnasium
import numpy as np
import pytest
from annealing import CLONE, anneal, ppo
from datasets import write_dataset

from townlet_core.replay.trajectory import Trajectory

NUM_STEPS = 10
SPACE = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


class Follow(gymnasium.Env):
    """Asks for the number that it shows."""

    observation_space = action_space = SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._shown(), {}

    def step(self, action):
        reward = -abs(float(action[0] - self.shown[0]))
        self.steps += 1
        return self._shown(), reward, False, self.steps == NUM_STEPS, {}

    def _shown(self):
        self.shown = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.shown


gymnasium.register("Follow-v0", entry_point=Follow)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Episodes of somebody who always gives the number."""
    episodes = []
    for group in range(40):
        shown = np.random.default_rng(group).uniform(-1, 1, (NUM_STEPS, 1)).astype(np.float32)
        steps = {"observation": shown, "actions": shown.copy(), "rewards": np.zeros(NUM_STEPS, np.float32)}
        final = {"bootstrap_values": np.float32(0.0)}
        episodes.append(Trajectory(steps=steps, final=final, ending="truncated", group=group))
    path = tmp_path_factory.mktemp("followed") / "data"
    spaces = {"observation_spaces": {"observation": SPACE}, "action_space": SPACE}
    write_dataset(path, episodes, **spaces, action_names=(), feature_names={}, event_kinds=())
    return path


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "PASS"), (1.0, "FAIL")])
def test_its_return_decides(tmp_path, followed, share, verdict):
    schedule = [{**CLONE, "epochs": 20}, ppo(1, 2, 0.5)]
    world = {"environment.name": "gymnasium:Follow-v0", "environment.max_episode_steps": NUM_STEPS}
    result, _ = anneal(tmp_path, schedule, dataset=followed, return_share=share, margin=5.0, **world)
    clone = result.stages[0]
    assert (clone.verdict, [check.name for check in clone.checks]) == (verdict, ["score of the clone"])
    assert clone.score.num_episodes == 8
    assert [stage.verdict for stage in result.stages[1:]] == (["PASS"] if verdict == "PASS" else [])


def test_where_no_return_is_asked_for_nothing_can_tell(tmp_path, followed):
    world = {"environment.name": "gymnasium:Follow-v0", "environment.max_episode_steps": NUM_STEPS}
    result, _ = anneal(tmp_path, [CLONE], dataset=followed, return_share=None, **world)
    assert (result.status, [check.name for check in result.stages[0].checks]) == ("HOLD", ["gate"])
    assert "continuous actions have no accuracy" in result.reason
