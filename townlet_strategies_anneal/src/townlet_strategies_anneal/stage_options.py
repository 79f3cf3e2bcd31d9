"""The settings that a stage is run with: what its entry says, and what follows from its weight and its attempt.

A setting is given to every strategy that has one of that name, whoever wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townlet_core.config.base import settings_from
from townlet_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.config.base import Settings
    from townlet_core.context import TrainingContext
    from townlet_strategies_anneal.settings import AnnealSettings, ScheduleEntry

COUNTED = "num_updates"
"""Setting that says how long a stage is, together with those that it goes on from."""

LENGTHS = (COUNTED, "num_epochs")
"""Settings that say how long a stage is; the first one that a strategy has is given the entry's epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A strategy, as a stage.

    Attributes:
        name: its name.
        model: its settings.
        section: its section of the configuration.
    """

    name: str
    model: type[Settings]
    section: Mapping[str, Any]

    @classmethod
    def of(cls, context: TrainingContext, name: str) -> Mode:
        """Return the strategy of that name; raises `PluginError` where it is not installed."""
        section = context.config.strategies.get(name, {})
        return cls(name=name, model=context.resolver.strategy_settings(name), section=section)

    def has(self, setting: str) -> bool:
        """Return whether it has a setting of that name."""
        return setting in self.model.model_fields

    @property
    def is_clone(self) -> bool:
        """Whether it clones: it asks for an accuracy, and its result says whether that was reached."""
        return self.has("accuracy_threshold")

    @property
    def blends(self) -> bool:
        """Whether a script can act in its policy's place."""
        return self.has("blend_share") and self.has("blend_policy")

    def value(self, entry: ScheduleEntry, setting: str) -> Any:
        """Return a setting as the entry, the section or the default has it; None where there is none."""
        if not self.has(setting):
            return None
        settings = settings_from(self.model, self.section, entry.options, path=f"strategies.{self.name}")
        return getattr(settings, setting)


def check_entry(mode: Mode, entry: ScheduleEntry, path: str) -> None:
    """Check the options of an entry before anything is run; `path` is its place in the configuration.

    Raises:
        ConfigError: the strategy refuses one, cannot be told how long to run, or cannot let a script act.
    """
    settings_from(mode.model, mode.section, entry.options, path=f"{path}.options")
    for where, given in ((f"{path}.options", entry.options), (f"strategies.{mode.name}", mode.section)):
        if given.get(COUNTED) is not None:
            raise ConfigError(
                f"{where}.{COUNTED}: how long a stage is, its entry says, and stages that go on from each other count "
                "on: use epochs"
            )
    if not any(mode.has(name) for name in LENGTHS):
        raise ConfigError(
            f"{path}.mode: strategy '{mode.name}' has neither of the settings "
            f"{' and '.join(LENGTHS)}, so nobody can tell it how long a stage is"
        )
    if entry.blend is not None and not mode.blends:
        raise ConfigError(
            f"{path}.blend: strategy '{mode.name}' blends nothing, since it has no "
            "settings blend_share and blend_policy: leave it out"
        )
    if entry.blend and mode.value(entry, "data_mode") == "replay":
        raise ConfigError(
            f"{path}.blend: with data_mode 'replay' nobody acts, and no script can: "
            "leave it out, or choose another data_mode"
        )


def stage_options(
    mode: Mode,
    entry: ScheduleEntry,
    settings: AnnealSettings,
    *,
    attempt: int,
    updates: int,
    is_protected: bool,
    demonstrations: Path | None,
) -> dict[str, Any]:
    """Return the options of a stage.

    Args:
        mode: its strategy.
        entry: its entry; what that says itself is left as it is, but for what a new attempt is gentler with.
        settings: of the run.
        attempt: how often the run has gone back.
        updates: that the stages which it goes on from have made.
        is_protected: whether it takes over a policy, or goes on from a stage that did.
        demonstrations: what the policy was cloned from; None for nothing.
    """
    given: dict[str, Any] = {}
    length = next(name for name in LENGTHS if mode.has(name))
    given[length] = entry.epochs + (updates if length == COUNTED else 0)
    if mode.is_clone:
        given |= {"accuracy_threshold": settings.accuracy_threshold, "evaluate_episodes": 0}
    elif is_protected:
        given |= _protections(mode, entry, settings, updates, demonstrations)
    if not mode.is_clone:
        given = _blending(mode, entry, settings, demonstrations) | given
    options = {name: value for name, value in given.items() if mode.has(name)} | entry.options
    rate = mode.value(entry, "learning_rate")
    if attempt > 0 and rate is not None and not mode.is_clone:
        options["learning_rate"] = rate * settings.retry_learning_rate**attempt
    if attempt > 0 and "reference_kl_coef" in options:
        options["reference_kl_coef"] *= settings.retry_kl_coef**attempt
    return options


def _protections(
    mode: Mode, entry: ScheduleEntry, settings: AnnealSettings, updates: int, demonstrations: Path | None
) -> dict[str, Any]:
    """Return what keeps a policy that is taken over from being lost."""
    weight = entry.bc_weight
    given = {
        "critic_warmup_updates": settings.critic_warmup_updates,
        "actor_ramp_updates": settings.actor_ramp_updates,
        "reference_kl_coef": settings.reference_kl_coef * weight,
        "protection_schedule": "constant",
    }
    if weight == 1.0:  # nothing but the demonstrations counts: the critic alone learns
        given |= {"critic_warmup_updates": updates + entry.epochs, "critic_warmup_variance": 1.0}
    coefficient = settings.demonstration_coef * weight
    is_acting = mode.value(entry, "data_mode") in (None, "rollout")
    if coefficient > 0 and demonstrations is not None and is_acting:
        given["demonstration_coef"] = coefficient
        if mode.value(entry, "dataset") is None:
            given["dataset"] = demonstrations
    return given


def _blending(
    mode: Mode, entry: ScheduleEntry, settings: AnnealSettings, demonstrations: Path | None
) -> dict[str, Any]:
    """Return what lets a script act; where nothing was cloned, what it does is what the weight holds on to."""
    share, coefficient = blend_share(mode, entry, settings), settings.demonstration_coef * entry.bc_weight
    if share is None:
        return {}
    given = {"blend_share": share, "blend_schedule": "constant"}
    if share * coefficient > 0 and demonstrations is None and mode.value(entry, "dataset") is None:
        given |= {"demonstration_coef": coefficient, "protection_schedule": "constant"}
    return given


def blend_share(mode: Mode, entry: ScheduleEntry, settings: AnnealSettings) -> float | None:
    """Return the share of a stage's steps in which a script acts; None where that is left to its strategy's section."""
    if entry.blend is not None:
        return entry.blend
    if settings.blend_share == 0 or not mode.blends or mode.value(entry, "data_mode") == "replay":
        return None
    return settings.blend_share * entry.bc_weight


def demonstrations_of(entries: Sequence[ScheduleEntry], modes: Mapping[str, Mode]) -> tuple[Path | None, str]:
    """Return what the last cloning entry of `entries` clones, and the label of what the last of all learns from.

    Args:
        entries: of the schedule, up to the one that runs.
        modes: their strategies, by name.
    """
    cloned = next((entry for entry in reversed(entries) if modes[entry.mode].is_clone), None)
    demonstrations = None if cloned is None else modes[cloned.mode].value(cloned, "dataset")
    own = modes[entries[-1].mode].value(entries[-1], "dataset")
    label = own if own is not None else demonstrations
    return demonstrations, "" if label is None else Path(label).name
