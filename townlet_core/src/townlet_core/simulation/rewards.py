"""Rewards: what each agent earns in a tick, term by term, clipped by tick and by life.

Legend: N worlds, A agent slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.simulation.events import EVICTION, FAINT

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.town import RewardsConfig
    from townlet_core.simulation.state import TownState
    from townlet_core.simulation.tick import Tick

TERMS = ("survival", "wages", "punctuality", "needs", "social", "avoidance", "shaping", "terminal", "clipping")
"""Names of the terms; they add up to the reward."""


def unmet_needs(state: TownState, constants: RewardsConfig) -> Array:
    """Return (N, A) float32: the weighted sum of the squared deficits."""
    total = np.zeros(state.hunger.shape, np.float32)
    for need, weight in (
        (state.hunger, constants.hunger_weight),
        (state.hygiene, constants.hygiene_weight),
        (state.energy, constants.energy_weight),
    ):
        deficit = 1 - need
        deficit *= deficit
        deficit *= np.float32(weight)
        total += deficit
    return total


def reward(tick: Tick, acted: Array, potential: Array | None) -> tuple[Array, dict[str, Array]]:
    """Return the rewards (N, A) float32 and their terms, by name.

    A life's end is never clipped by the tick; no positive reward is given in a newcomer's first ticks. The shaping
    term is ``gamma * potential after - potential before`` (Ng, Harada and Russell 1999), where the potential is minus
    the unmet needs, and 0 after a life's end.

    Args:
        tick: the tick, after everything but the burials.
        acted: (N, A) bool, who was there when it began.
        potential: (N, A) float32, the potential before it; None where there is no shaping.
    """
    state, constants = tick.state, tick.config.rewards
    unmet = unmet_needs(state, constants)
    terms = dict.fromkeys(TERMS, np.zeros(unmet.shape, np.float32))
    terms["survival"] = acted * np.float32(constants.survival)
    terms["needs"] = unmet * np.float32(-constants.need_scale) * acted
    terms["wages"], terms["punctuality"] = tick.wages, tick.punctuality
    terms["social"], terms["avoidance"] = tick.social, tick.avoidance
    if potential is not None:
        after = np.where(tick.exits > 0, 0, -unmet)
        change = np.float32(constants.shaping_gamma) * after - potential
        terms["shaping"] = change * acted * np.float32(constants.shaping)
    total = terms["survival"] + terms["needs"]
    for name in ("wages", "punctuality", "social", "avoidance", "shaping"):
        total += terms[name]
    plain = total.copy()
    limit = np.float32(constants.tick_limit)
    np.clip(total, -limit, limit, out=total)
    is_quiet = (state.life > 0) & (state.age < constants.quiet_ticks)
    np.minimum(total, 0, out=total, where=is_quiet)
    if tick.exits.any():
        ends = np.zeros(unmet.shape, np.float32)
        ends[tick.exits == FAINT] = constants.faint
        ends[tick.exits == EVICTION] = constants.eviction
        terms["terminal"] = ends
        total += ends
        plain += ends
    before = state.life_return
    after_life = np.clip(before + total, -constants.life_limit, constants.life_limit)
    total = np.where(acted, after_life - before, 0).astype(np.float32)
    state.life_return += total
    terms["clipping"] = total - np.where(acted, plain, 0)
    return total, terms


def potential(state: TownState, constants: RewardsConfig) -> Array | None:
    """Return (N, A) float32, minus the unmet needs; None where there is no shaping."""
    return None if constants.shaping == 0 else -unmet_needs(state, constants)
