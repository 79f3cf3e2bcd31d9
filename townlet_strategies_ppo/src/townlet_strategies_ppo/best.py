"""The best policy so far: every so many updates, the policy is evaluated on seeds that never change."""

from __future__ import annotations

import warnings
from contextlib import closing
from typing import TYPE_CHECKING

from townlet_core.errors import (
    ArtefactError,
    CheckpointError,
    ConfigError,
    EnvironmentFault,
    MissingInputError,
    RunWarning,
)
from townlet_core.policy.spec import PolicySpec
from townlet_core.services.evaluation import episode_seeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.checkpoint.store import CheckpointStore
    from townlet_core.context import TrainingContext
    from townlet_core.dto.evaluation import EvaluationResultDTO
    from townlet_core.dto.ppo import PPOTelemetry
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_strategies_ppo.learner import Learner

MOST_WORLDS = 64


class Evaluations:
    """The evaluations of a run, each in a new environment of its own, so that learning is the same without them."""

    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self._every = context.config.training.evaluate_every
        self._seeds = episode_seeds(context.seed, context.config.training.evaluate_episodes, purpose="selection")

    def require_fit(self, spec: PolicySpec) -> None:
        """Check that the policy can act in the configured environment: what is learned from may be recordings.

        Raises:
            ConfigError: it sees or decides something else, and the text lists both; or no environment is configured.
        """
        if self._every == 0:
            return
        with closing(self._environment()) as environment:
            shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
            try:
                spec.require_fit(shown, subject="what is learned", environment=environment.name)
            except ArtefactError as error:
                raise ConfigError(f"training.evaluate_every: {error}, or training.evaluate_every=0") from error

    def after(
        self, record: PPOTelemetry, before: PPOTelemetry | None, policy: Callable[[], PolicyArtefact], *, is_last: bool
    ) -> PPOTelemetry:
        """Evaluate the policy after an update, if that is due, and return the update's record with what came of it.

        Args:
            record: the record of the update.
            before: that of the update before it, with the best until then.
            policy: returns the policy as it is now.
            is_last: whether no update follows.

        Where the evaluation fails, such as with an episode that does not end, there is a warning, and the best stays.
        """
        fields = {name: None if before is None else getattr(before, name) for name in ("best_update", "best_score")}
        if self._every == 0 or not (is_last or record.epoch % self._every == 0):
            return record.model_copy(update=fields)
        context = self._context
        try:
            with closing(self._environment()) as environment:
                result = context.services.evaluation.evaluate(
                    policy().policy(encoders=context.resolver.encoder), environment, self._seeds, deterministic=False
                )
        except EnvironmentFault as error:  # what is learned does not depend on it
            warnings.warn(f"the evaluation after update {record.epoch} failed: {error}", RunWarning, stacklevel=2)
            return record.model_copy(update=fields)
        score = _score(result)
        if fields["best_score"] is None or score >= fields["best_score"]:
            fields = {"best_update": record.epoch, "best_score": score}
        return record.model_copy(
            update={
                **fields,
                "evaluation_return_mean": result.return_mean,
                "evaluation_return_std": result.return_std,
                "evaluation_reward_mean": result.reward_mean,
            }
        )

    def _environment(self) -> VectorEnvironment:
        config = self._context.config.environment
        if config.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
            config = config.model_copy(update={"vectorization": "sync"})
        return self._context.resolver.environment(config, num_worlds=min(len(self._seeds), MOST_WORLDS))


def best_policy(
    record: PPOTelemetry, learner: Learner, latest: PolicyArtefact, checkpoints: CheckpointStore
) -> PolicyArtefact | None:
    """Return the best policy of a run, from the checkpoint that was kept for it.

    None where nothing was evaluated; where the checkpoint is not there any more, too, with a warning.

    Args:
        record: of the last update.
        learner: of the run.
        latest: the policy after the last update.
        checkpoints: of the run.
    """
    step = record.best_update
    if step is None or step == record.epoch:
        return None if step is None else latest
    try:
        kept = checkpoints.load(step)
        return learner.earlier_artefact(kept.files, latest, where=str(kept.path))
    except (CheckpointError, MissingInputError) as error:
        text = f"the best policy, of update {step}, is lost, and the last one takes its place: {error}"
        warnings.warn(text, RunWarning, stacklevel=2)
        return None


def _score(result: EvaluationResultDTO) -> float:
    """Return what policies are compared by, the same as in `townlet evaluate`."""
    return result.reward_mean if result.score_name == "reward_mean" else result.return_mean
