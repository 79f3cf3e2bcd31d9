"""What every stage will be given, and whether it can work with that: checked before anything is run."""

from __future__ import annotations

import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.config.base import settings_from
from townlet_core.config.network import NetworkSettings
from townlet_core.errors import ConfigError, DataError, DatasetError, MissingInputError, RunWarning
from townlet_core.policy.beginning import require_network, spec_of_settings
from townlet_core.policy.spec import PolicySpec
from townlet_core.replay.dataset import is_dataset, read_manifest
from townlet_core.replay.legacy import is_legacy
from townlet_core.services.blend import blend_script
from townlet_core.services.dataset_fit import fitting_options, space_differences
from townlet_strategies_anneal.stage_options import demonstrations_of, stage_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from townlet_core.config.base import Settings
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.context import TrainingContext
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.replay.schema import DatasetManifest
    from townlet_strategies_anneal.settings import AnnealSettings, ScheduleEntry
    from townlet_strategies_anneal.stage_options import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A stage as it is run where nothing is held and nothing fails.

    Attributes:
        path: of its entry, in messages.
        entry: its entry.
        mode: its strategy.
        settings: all that the strategy is given.
        is_protected: whether it takes over a policy, or goes on from a stage that did.
    """

    path: str
    entry: ScheduleEntry
    mode: Mode
    settings: Settings
    is_protected: bool

    def origin(self, setting: str) -> str:
        """Return the path at which a setting of the strategy was given."""
        return f"{self.path}.options.{setting}" if setting in self.entry.options else self.named(setting)

    def named(self, setting: str) -> str:
        """Return the path of a setting in the strategy's own section."""
        return f"strategies.{self.mode.name}.{setting}"

    def value(self, setting: str) -> object:
        """Return a setting; None where the strategy has none of that name."""
        return getattr(self.settings, setting, None)


def require_stages(
    context: TrainingContext,
    settings: AnnealSettings,
    entries: Sequence[ScheduleEntry],
    modes: Mapping[str, Mode],
    environment: EnvironmentConfig,
) -> None:
    """Check what every stage of a schedule is given; of a dataset only the manifest is read.

    Args:
        context: of the run.
        settings: of the run.
        entries: of the schedule, in their order.
        modes: their strategies, by name.
        environment: in which stages act, or policies are judged.

    Raises:
        ConfigError: a setting of a stage is not allowed, missing, or contradicts the policy that it takes over; or the
            environment has no such script as is to act.
        MissingInputError: there is no such dataset.
        DatasetError: it is damaged, empty, or of another environment.
    """
    planned = list(_planned(settings, entries, modes, has_start=context.initial_policy is not None))
    found: dict[Path, DatasetManifest | None] = {}
    with closing(context.resolver.environment(environment, num_worlds=1)) as made:
        for stage in planned:
            if stage.mode.blends and stage.value("blend_share"):
                blend_script(str(stage.value("blend_policy")), made, setting=stage.origin("blend_policy"))
            path = _dataset(stage)
            if path is not None:
                if path not in found:
                    found[path] = _manifest(path, stage)
                if (manifest := found[path]) is not None:
                    _require_fit(stage, path, manifest, made, environment)
        _require_networks(context, planned, made)
    for stage in planned:
        _warn_of_nothing_to_hold_on_to(stage)


def _planned(
    settings: AnnealSettings, entries: Sequence[ScheduleEntry], modes: Mapping[str, Mode], *, has_start: bool
) -> Iterator[_Planned]:
    before, is_protected = "", has_start
    for number, entry in enumerate(entries):
        mode, path = modes[entry.mode], entry_path(settings, entry)
        if number > 0 and entry.mode != before:
            is_protected = True
        demonstrations, _ = demonstrations_of(entries[: number + 1], modes)
        options = stage_options(
            mode, entry, settings, attempt=0, updates=0, is_protected=is_protected, demonstrations=demonstrations
        )
        resolved = settings_from(mode.model, mode.section, options, path=f"{path}.options")
        yield _Planned(path=path, entry=entry, mode=mode, settings=resolved, is_protected=is_protected)
        before = entry.mode


def entry_path(settings: AnnealSettings, entry: ScheduleEntry) -> str:
    """Return the path of an entry in the configuration, where entries stand in any order."""
    place = next(place for place, one in enumerate(settings.schedule) if one is entry)
    return f"strategies.anneal.schedule[{place}]"


def _dataset(stage: _Planned) -> Path | None:
    """Return the dataset that a stage will read; None for none.

    Raises:
        ConfigError: it needs one, and none is named; or one is named that it does not need.
    """
    named = stage.value("dataset")
    path = None if named is None else Path(str(named))
    acting, coefficient = stage.value("data_mode"), stage.value("demonstration_coef")
    is_read = stage.mode.is_clone or acting in ("replay", "mixed")
    if path is None and stage.mode.has("dataset"):
        given = f"set {stage.named('dataset')}, or dataset in its options ('townlet capture' records some)"
        if is_read:
            what = "a stage that clones" if stage.mode.is_clone else f"data_mode '{acting}'"
            raise ConfigError(f"{stage.path}: {what} learns from recordings, and none are named: {given}")
        if coefficient and not stage.value("blend_share"):
            raise ConfigError(
                f"{stage.origin('demonstration_coef')} is {coefficient:g}, and there are no demonstrations: {given}"
            )
    if path is not None and acting == "rollout" and coefficient == 0:
        raise ConfigError(
            f"{stage.origin('dataset')} is {path}, and {stage.path}, of bc_weight {stage.entry.bc_weight:g}, learns "
            "from no dataset: leave it out (stages that a weight pulls to what was cloned are given that), or choose "
            "data_mode replay or mixed"
        )
    return path


def _manifest(path: Path, stage: _Planned) -> DatasetManifest | None:
    """Return what a dataset says about itself; None for the earlier format, which does not.

    Raises:
        MissingInputError: there is none.
        DatasetError: it is damaged, or nothing was recorded.
    """
    if not is_dataset(path) and is_legacy(path):
        return None
    try:
        manifest = read_manifest(path)
    except (MissingInputError, DataError) as error:
        raise type(error)(f"{stage.origin('dataset')}: {error}") from error
    if not manifest.shards:
        raise DatasetError(f"{stage.origin('dataset')}: {path} has no shard: nothing was recorded")
    return manifest


def _require_fit(
    stage: _Planned, path: Path, manifest: DatasetManifest, made: VectorEnvironment, environment: EnvironmentConfig
) -> None:
    """Check that a dataset is of the environment; what is learned from both has to be equal in all.

    Raises:
        DatasetError: it is not; the text lists what differs, and what to set.
    """
    shown = PolicySpec.for_spaces(made.observation_spaces, made.action_space)
    recorded = PolicySpec.for_spaces(manifest.observation_spaces, manifest.action_space)
    is_mixed = stage.value("data_mode") == "mixed"
    if not is_mixed and (recorded.observations, recorded.action) == (shown.observations, shown.action):
        return
    lines = space_differences(manifest, made)
    if lines:
        options = fitting_options(environment, manifest.sources)
        text = "".join(f"\n  {line}" for line in lines)
        advice = f"try {options}" if options else "name the environment that was recorded with --env and --set"
        raise DatasetError(
            f"{stage.origin('dataset')}: {path} does not fit environment '{made.name}':{text}\n"
            f"  {advice}, or name other recordings"
        )


def _require_networks(context: TrainingContext, planned: Sequence[_Planned], made: VectorEnvironment) -> None:
    """Check that no stage asks for another network than that of the policy that it takes over.

    Raises:
        ConfigError: one does; the text lists the differences.
    """
    spec = None if context.initial_policy is None else context.initial_policy.spec
    for stage in planned:
        if not isinstance(stage.settings, NetworkSettings):
            return  # nobody knows what it makes of a policy
        if spec is None:
            spec = spec_of_settings(made.observation_spaces, made.action_space, stage.settings)
            continue
        try:
            require_network(spec, stage.settings)
        except ConfigError as error:
            raise ConfigError(f"{stage.path}, with strategies.{stage.mode.name}: {error}") from error


def _warn_of_nothing_to_hold_on_to(stage: _Planned) -> None:
    """Say that a weight does nothing where nothing is taken over, and nothing is shown."""
    if stage.mode.is_clone or stage.entry.bc_weight == 0 or stage.is_protected:
        return
    if not any(stage.value(name) for name in ("blend_share", "demonstration_coef", "reference_kl_coef")):
        warnings.warn(
            f"{stage.path}.bc_weight is {stage.entry.bc_weight:g} and pulls towards nothing: no stage before it "
            "clones, no policy is given with --from, and no script acts (blend)",
            RunWarning,
            stacklevel=2,
        )
