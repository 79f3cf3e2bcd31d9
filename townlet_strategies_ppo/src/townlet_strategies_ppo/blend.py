"""Which script acts in the policy's place, and how often: the blend of a run's own rollouts.

What the script did teaches the critic like everything else. The surrogate, its statistics and the advantages'
normalisation leave it out, because the policy did not draw it: in the rows that are left, the policy's own
log-probabilities are those of what acted (`docs/adr/0014-a-blend-learns-from-its-own-draws.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.errors import ConfigError
from townlet_core.services.blend import BlendedPolicy, blend_script
from townlet_strategies_ppo.progress import blend_share

if TYPE_CHECKING:
    from townlet_core.context import PPOState
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.numpy_policy import NumpyPolicy
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_strategies_ppo.settings import PPOSettings


class Blend:
    """The blend of a run.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: PPOSettings) -> None:
        self._settings = settings
        self._policy: BlendedPolicy | None = None

    def of(self, learner: NumpyPolicy, environment: VectorEnvironment) -> BlendedPolicy:
        """Return the policy that acts in `environment` from now on.

        Raises:
            ConfigError: there is no such script, or none can be blended.
        """
        name = self._settings.blend_policy
        script = blend_script(name, environment, setting="strategies.ppo.blend_policy")
        self._policy = BlendedPolicy(learner, script)
        return self._policy

    def prepare(self, state: PPOState) -> None:
        """Set the share of the next rollout."""
        assert self._policy is not None
        self._policy.share = blend_share(self._settings, state)


def make_blend(settings: PPOSettings) -> Blend | None:
    """Return the blend that `settings` ask for, None for none.

    Raises:
        ConfigError: nobody acts, so that there is nothing to blend.
    """
    if settings.blend_share == 0:
        return None
    if settings.data_mode == "replay":
        raise ConfigError(
            f"strategies.ppo.blend_share is {settings.blend_share:g}, and strategies.ppo.data_mode 'replay' makes no "
            "rollouts in which a script could act: choose data_mode rollout or mixed, or set blend_share to 0"
        )
    return Blend(settings)


def scripted_share(buffer: RolloutBuffer) -> float | None:
    """Return the share of agent-steps of a rollout in which the script acted, None without a blend."""
    if buffer.blend is None:
        return None
    return float(np.count_nonzero(buffer.blend.is_scripted & buffer.agent_mask) / np.count_nonzero(buffer.agent_mask))
