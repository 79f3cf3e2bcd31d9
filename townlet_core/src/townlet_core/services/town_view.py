"""What a policy wants to see of the town: the same worlds are shown with or without a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.environments.town import town_spaces
from townlet_core.policy.spec import PolicySpec
from townlet_core.spaces import flatten_space

if TYPE_CHECKING:
    from townlet_core.config.town import TownConfig

VIEWS = (
    ("hybrid", "uint8"),
    ("hybrid", "float32"),
    ("full", "uint8"),
    ("full", "float32"),
    ("compact", "uint8"),
)
"""Variants of the observations and types of the map; `compact` has no map, so its type makes no difference."""


def seen_by(spec: PolicySpec, config: TownConfig) -> TownConfig:
    """Return the constants of a town with the observations that a policy was trained on.

    They change nothing of what happens. Where none of them fits, the town is returned as it is.
    """
    views = [config.model_copy(update={"variant": variant, "map_dtype": map_dtype}) for variant, map_dtype in VIEWS]
    for view in (config, *views):
        observation_space, action_space = town_spaces(view)
        if PolicySpec.for_spaces(flatten_space(observation_space), action_space).observations == spec.observations:
            return view
    return config
