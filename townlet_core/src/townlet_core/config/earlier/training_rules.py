"""The rules of the sections `training`, `ppo` and `stability`: what is learned, how, and what a promotion takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.config.earlier.fate import Fate, Rule, at, left, number, or_off, same, to, truth
from townlet_core.config.problems import show
from townlet_core.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = ("replay", "rollout", "mixed", "bc", "anneal")
_STAGE_MODES = ("bc", "ppo")
_STAGE_KEYS = ("cycle", "mode", "epochs", "bc_weight")
_CHANGE_KEYS = ("cycle", "stage")
_ALARMS = "alarms of the simulation are not counted: verdicts compare evaluations (strategies.anneal.guardrails)"


def _source(value: Any, _: Mapping[str, Any]) -> Fate:
    if value not in SOURCES:
        raise ConfigError(f"training.source: {show(value)} given; must be one of {', '.join(SOURCES)}")
    if value in {"bc", "anneal"}:
        return Fate(targets={"training.strategy": value})
    return Fate(targets={"training.strategy": "ppo", "strategies.ppo.data_mode": value})


def _replay_manifest(value: Any, old: Mapping[str, Any]) -> Fate:
    source = at(old, "training.source")
    targets = {"strategies.ppo.dataset": value}
    if source is None:
        targets |= {"training.strategy": "ppo", "strategies.ppo.data_mode": "replay"}
        return Fate(targets=targets, reason="without a training.source, a manifest was replayed")
    if source == "mixed":
        return Fate(targets=targets, reason="it has to be a recording of today's town, where rollouts are made")
    if source == "replay":
        return Fate(targets=targets)
    return Fate(reason="only replay and mixed read it; in an anneal, a stage's options may name it")


def _bc_manifest(value: Any, old: Mapping[str, Any]) -> Fate:
    needed = {
        "bc": "it has to be a recording of today's town, where the clone is evaluated",
        "anneal": "it has to be a recording of today's town, where clones are judged and the stages after them act",
    }
    source = at(old, "training.source")
    reason = needed.get(source, "") if isinstance(source, str) else ""
    return Fate(targets={"strategies.bc.dataset": value}, reason=reason)


def _social_override(value: Any, _: Mapping[str, Any]) -> Fate:
    return Fate(targets={"environment.town.social_stage": value})


def _social_schedule(value: Any, old: Mapping[str, Any]) -> Fate:
    if at(old, "training.social_reward_stage_override") is not None:
        return Fate(reason="training.social_reward_stage_override stands above it")
    changes, unknown = _entries("training.social_reward_schedule", value, _CHANGE_KEYS)
    return Fate(
        targets={"environment.town.social_reward_schedule": [{"cycle": 0, **change} for change in changes]},
        reason="a cycle is an entry's own in an anneal, and else a rollout, counted from 0" if changes else "",
        unknown=unknown,
    )


def _anneal_schedule(value: Any, _: Mapping[str, Any]) -> Fate:
    stages, unknown = _entries("training.anneal_schedule", value, _STAGE_KEYS)
    if not stages:
        return Fate(reason="it is empty: the default schedule holds")
    schedule = []
    for index, stage in enumerate(stages):
        mode = stage.get("mode", "ppo")
        if mode not in _STAGE_MODES:
            raise ConfigError(
                f"training.anneal_schedule[{index}].mode: {show(mode)} given; must be one of {', '.join(_STAGE_MODES)}"
            )
        filled = {"cycle": 0, "mode": mode, "epochs": 1, "bc_weight": 1.0 if mode == "bc" else 0.0}
        schedule.append(filled | stage)
    return Fate(
        targets={"strategies.anneal.schedule": schedule},
        reason="epochs of ppo are updates; bc_weight weighs what keeps a stage near the demonstrations too, where it "
        "was the share of scripted actions alone, and 1 lets the critic alone learn",
        unknown=unknown,
    )


def _blend(value: Any, _: Mapping[str, Any]) -> Fate:
    switch = truth(number(value))
    if switch not in (0, 1):  # as true and false are
        return Fate(reason=f"{show(value)} given; must be true or false; no script acts in a stage without it")
    if not switch:
        return Fate(reason="it is off")
    return Fate(
        targets={"strategies.anneal.blend_share": 1.0},
        reason="the script acts in the share bc_weight of a stage's steps, as before, and only its own draws teach the "
        "policy",
    )


def _mini_batch_size(_: Any, old: Mapping[str, Any]) -> Fate:
    if at(old, "ppo.num_mini_batches") is not None:
        return Fate(reason="ppo.num_mini_batches says into how many the rows are cut")
    return Fate(reason="rows are cut into strategies.ppo.num_minibatches of equal size")


def _entries(path: str, value: Any, known: tuple[str, ...]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the entries of a list, numbers read, without keys that are null or unknown; and what is said of these.

    Raises:
        ConfigError: it is no list of sections.
    """
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ConfigError(f"{path}: {show(value)} given; must be a list of entries with {', '.join(known)}")
    entries = [
        {key: number(part) for key, part in entry.items() if key in known and part is not None} for entry in value
    ]
    unknown = {
        f"[{index}].{key}": f"entries have no such key{suggestion(key, known)}"
        for index, entry in enumerate(value)
        for key in entry
        if key not in known
    }
    return entries, unknown


TRAINING_RULES: dict[str, Rule] = {
    "training.source": _source,
    "training.rollout_ticks": to(
        "strategies.ppo.num_steps", "steps of each of the environment.num_worlds worlds between two updates"
    ),
    "training.rollout_auto_seed_agents": left("a scenario has its agents: environment.scenario"),
    "training.replay_manifest": _replay_manifest,
    "training.social_reward_stage_override": _social_override,
    "training.social_reward_schedule": _social_schedule,
    "training.bc.manifest": _bc_manifest,
    "training.bc.learning_rate": to("strategies.bc.learning_rate", "it falls to 0: learning_rate_schedule"),
    "training.bc.batch_size": to("strategies.bc.batch_size"),
    "training.bc.epochs": to("strategies.bc.num_epochs", "it may end earlier: patience"),
    "training.bc.weight_decay": to("strategies.bc.weight_decay"),
    "training.bc.device": to("training.device", "the device of every strategy", read=same),
    "training.anneal_schedule": _anneal_schedule,
    "training.anneal_accuracy_threshold": to("strategies.anneal.accuracy_threshold", "of held-out recordings"),
    "training.anneal_enable_policy_blend": _blend,
    "ppo.learning_rate": to("strategies.ppo.learning_rate", "it falls to 0: learning_rate_schedule"),
    "ppo.clip_param": to("strategies.ppo.clip_range"),
    "ppo.value_loss_coef": to("strategies.ppo.value_coef"),
    "ppo.entropy_coef": to("strategies.ppo.entropy_coef"),
    "ppo.num_epochs": to("strategies.ppo.num_epochs"),
    "ppo.mini_batch_size": _mini_batch_size,
    "ppo.num_mini_batches": to("strategies.ppo.num_minibatches"),
    "ppo.gae_lambda": to("strategies.ppo.gae_lambda"),
    "ppo.gamma": to("strategies.ppo.gamma"),
    "ppo.max_grad_norm": or_off("strategies.ppo.max_grad_norm"),
    "ppo.value_clip": or_off("strategies.ppo.value_clip_range"),
    "ppo.advantage_normalization": to("strategies.ppo.normalize_advantages", read=truth),
    "stability.promotion.required_passes": to(
        "promotion.required_passes", "HOLD leaves the streak as it is, but with promotion.guardrails: legacy"
    ),
    "stability.promotion.window_ticks": left(_ALARMS),
    "stability.promotion.allowed_alerts": left(_ALARMS),
    **{
        f"stability.{name}": left(_ALARMS)
        for name in (
            "affordance_fail_threshold",
            "lateness_threshold",
            "starvation",
            "reward_variance",
            "option_thrash",
        )
    },
}
