"""Which network a run has: that of the checkpoint or the policy that it begins from, else what the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.errors import CheckpointError, ConfigError
from townlet_core.policy.spec import EncoderSpec, PolicySpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gymnasium import spaces

    from townlet_core.checkpoint.store import LoadedCheckpoint
    from townlet_core.config.network import NetworkSettings
    from townlet_core.policy.artefact import PolicyArtefact

SPEC_FILE = "spec.json"
EARLIER_STAGE = "the checkpoint of the earlier stage"


def spec_of_settings(
    observation_spaces: Mapping[str, spaces.Space[Any]], action_space: spaces.Space[Any], settings: NetworkSettings
) -> PolicySpec:
    """Return the network that `settings` ask for, for these spaces."""
    return PolicySpec.for_spaces(
        observation_spaces,
        action_space,
        encoder=EncoderSpec(name=settings.encoder, options=settings.encoder_options),
        shared_hidden=settings.shared_hidden,
        actor_hidden=settings.hidden,
        critic_hidden=settings.hidden,
        activation=settings.activation,
        normalize_observations=settings.normalize_observations,
    )


def chosen_spec(
    wanted: PolicySpec,
    settings: NetworkSettings,
    *,
    checkpoint: LoadedCheckpoint | None,
    continuation: Mapping[str, bytes] | None,
    initial: PolicyArtefact | None,
    shown_by: str = "the environment",
) -> PolicySpec:
    """Return the network of the newest checkpoint, the earlier stage or the policy to start from; else `wanted`.

    Args:
        wanted: what the settings ask for, with the spaces at hand.
        settings: the settings.
        checkpoint: the newest checkpoint of this run.
        continuation: files of the last checkpoint of an earlier stage.
        initial: the policy to start from.
        shown_by: what has the spaces, in a message.

    Raises:
        ArtefactError: it sees or decides something else than `wanted`.
        CheckpointError: a checkpoint does not say what its network is.
        ConfigError: the earlier stage, the policy to start from and the settings are not of one network.
    """
    if checkpoint is not None:
        spec = _spec_of_checkpoint(checkpoint.files, where=str(checkpoint.path))
        spec.require_fit(wanted, subject=str(checkpoint.path), environment=shown_by)
        return spec
    if continuation is not None:
        spec = _spec_of_checkpoint(continuation, where=EARLIER_STAGE)
    elif initial is not None:
        spec = initial.spec
    else:
        return wanted
    spec.require_fit(wanted, subject="the policy to start from", environment=shown_by)
    if initial is not None and initial.spec != spec:
        raise ConfigError(f"the policy to start from and {EARLIER_STAGE} have different networks")
    require_network(spec, settings)
    return spec


def _spec_of_checkpoint(files: Mapping[str, bytes], *, where: str) -> PolicySpec:
    """Return the network that a checkpoint was saved with.

    Raises:
        CheckpointError: the checkpoint does not say, or not in a way that can be read.
    """
    try:
        return PolicySpec.model_validate_json(files[SPEC_FILE])
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"{where} has no readable {SPEC_FILE}: {error}") from error


def require_network(spec: PolicySpec, settings: NetworkSettings) -> None:
    """Check that `settings` ask for no other network than the one that a policy brings; defaults ask for nothing.

    Raises:
        ConfigError: they do; the text lists the differences.
    """
    brought = {
        "hidden": (spec.actor_hidden, spec.critic_hidden),
        "shared_hidden": (spec.shared_hidden,),
        "activation": (spec.activation,),
        "encoder": (spec.encoder.name,),
        "encoder_options": (spec.encoder.options,),
        "normalize_observations": (spec.normalize_observations,),
        "initial_log_std": ("its own",),
    }
    defaults = type(settings)()
    differences = [
        f"\n  {name}: {getattr(settings, name)!r} is set, and the policy has {' and '.join(map(repr, values))}"
        for name, values in brought.items()
        if getattr(settings, name) != getattr(defaults, name)
        and any(value != getattr(settings, name) for value in values)
    ]
    if differences:
        raise ConfigError(
            "a run that starts from a policy has the network of that policy; leave these settings out, "
            f"or give them as the policy has them:{''.join(differences)}"
        )
