"""Whether a dataset is of what an environment shows and takes, and what to set where it is of another one."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from townlet_core.config.dump import leaves
from townlet_core.spaces import describe_space, space_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.replay.schema import DatasetManifest, Source

_NOT_SHOWN = ("num_worlds", "worlds_per_shard", "vectorization", "num_workers", "step_timeout_sec")
"""Fields of an environment's configuration that change nothing of what is seen and done."""


def space_differences(manifest: DatasetManifest, environment: VectorEnvironment) -> list[str]:
    """Return what was recorded, seen or done, and is not what the environment shows and takes; a line for each."""
    recorded, shown, lines = manifest.observation_spaces, environment.observation_spaces, []
    for name in sorted(recorded.keys() | shown.keys()):
        there, here = (describe_space(leaves[name]) if name in leaves else "nothing" for leaves in (recorded, shown))
        if name not in recorded or name not in shown or space_to_json(recorded[name]) != space_to_json(shown[name]):
            lines.append(f"{name}: {there} was recorded, and the environment shows {here}")
    if space_to_json(manifest.action_space) != space_to_json(environment.action_space):
        there, here = describe_space(manifest.action_space), describe_space(environment.action_space)
        lines.append(f"actions: {there} was recorded, and the environment takes {here}")
    elif manifest.action_names and environment.action_names and manifest.action_names != environment.action_names:
        lines.append("actions: they have other names, so they mean something else")
    return lines + [
        f"{name}: its entries have other names, so they mean something else"
        for name in sorted(manifest.feature_names.keys() & environment.feature_names.keys())
        if tuple(manifest.feature_names[name]) != tuple(environment.feature_names[name])
    ]


def fitting_options(config: EnvironmentConfig, sources: Sequence[Source]) -> str:
    """Return the options of a command with which it has the recorded environment; empty where nobody knows them.

    Args:
        config: what is configured.
        sources: of the dataset.
    """
    recorded = {source.environment for source in sources} - {""}
    if len(recorded) != 1:
        return ""
    (environment,) = recorded
    if environment != config.name:
        return f"--env {shlex.quote(environment)}"
    settings = _recorded_settings(config, [source.environment_config for source in sources if source.environment])
    return " ".join(f"--set {setting}" for setting in settings)


def _recorded_settings(config: EnvironmentConfig, recorded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return `key=value`, ready for a shell, for what all of `recorded` have and `config` has not."""
    own = dict(leaves(config.model_dump(mode="json", exclude=set(_NOT_SHOWN)), "environment."))
    there = [dict(leaves(section, "environment.")) for section in recorded]
    settings = []
    for key, value in own.items():
        values = [section.get(key, value) for section in there]
        if values and values[0] != value and all(other == values[0] for other in values):
            is_plain = isinstance(values[0], str) and values[0].isprintable()
            settings.append(shlex.quote(f"{key}={values[0] if is_plain else json.dumps(values[0])}"))
    return settings
