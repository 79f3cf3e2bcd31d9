"""The town: many worlds of one scenario, and the order of the systems in a tick.

Legend: N worlds, A agent slots, K = 8 actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.simulation import (
    affordances,
    employment,
    lives,
    masks,
    movement,
    needs,
    perturbations,
    queues,
    relationships,
    rewards,
)
from townlet_core.simulation.events import EventLog
from townlet_core.simulation.layout import Layout
from townlet_core.simulation.observations import Observer
from townlet_core.simulation.state import BORDER, NOBODY, TownState
from townlet_core.simulation.tick import Action, Tick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.config.town import SocialStage, TownConfig


class Town:
    """N worlds of one scenario.

    Attributes:
        config: the constants.
        scenario: who lives there, and among what.
        layout: its tables.
        state: everything that changes.
        events: what happened in the last tick.
        stage: the social stage.
        num_ticks: length of an episode.
        reward_terms: name -> (N, A) float32, the last tick's rewards by term; they add up to it.

    Args:
        config: the constants.
        scenario: the scenario.
        num_worlds: N.
        num_ticks: length of an episode instead of the scenario's.
    """

    def __init__(
        self, config: TownConfig, scenario: ScenarioConfig, num_worlds: int, *, num_ticks: int | None = None
    ) -> None:
        self.config, self.scenario = config, scenario
        self.num_ticks = num_ticks or scenario.ticks
        self.layout = Layout.of(scenario, config)
        self.stage: SocialStage = config.stage_at(0)
        layout = self.layout
        self.state = TownState.empty(num_worlds, layout.num_agents, layout.num_objects, layout.num_cells)
        self.events = EventLog.empty(num_worlds)
        self.reward_terms: dict[str, Array] = {}
        self._beginnings = lives.Beginnings(scenario, layout)
        self._observer = self._new_observer(num_worlds)
        self._tick: Tick | None = None
        self._things: Array | None = None
        self._mask: Array | None = None

    def _new_observer(self, num_worlds: int) -> Observer:
        return Observer(
            self.layout, self.config, num_worlds, num_ticks=self.num_ticks, start_tick=self.scenario.start_tick
        )

    def reset(self, seeds: Sequence[int] | Array, indices: Sequence[int] | Array) -> None:
        """Begin episode 0 in every world.

        Args:
            seeds: the seed of each world.
            indices: the number that each world draws its key with.
        """
        state = self.state
        state.world_key[...] = randomness.key(np.asarray(seeds, np.uint64), "town", np.asarray(indices, np.uint64))
        state.episode.fill(0)
        self.events.clear()
        self.reward_terms = {}
        self._begin_episodes(np.arange(state.num_worlds))

    def begin_next_episodes(self, worlds: Array) -> None:
        """Begin the next episode in some worlds."""
        self.state.episode[worlds] += 1
        self._begin_episodes(worlds)

    def _begin_episodes(self, worlds: Array) -> None:
        state, layout = self.state, self.layout
        state.episode_key[worlds] = randomness.fold(state.world_key[worlds], state.episode[worlds])
        slots = np.arange(layout.num_agents)
        state.agent_key[worlds] = randomness.fold(state.episode_key[worlds][:, None], slots)
        state.who[worlds] = np.where(layout.border, BORDER, NOBODY)
        for array, value in (
            (state.tick, 0),
            (state.life, 0),
            (state.trust, 0),
            (state.familiarity, 0),
            (state.rivalry, 0),
            (state.user, NOBODY),
            (state.reserved, NOBODY),
            (state.last_user, NOBODY),
            (state.perturbation, 0),
            (state.perturbation_cooldown, 0),
            (state.price_factor, 1),
            (state.evictions_today, 0),
            (state.last_eviction, -(10**9)),
            (state.since_city_event, 10**6),
        ):
            array[worlds] = value
        state.stock[worlds] = np.where(layout.kind == 0, self.config.queues.fridge_stock, 0)
        for tie in self.scenario.ties:
            one, other = tie.agents
            state.trust[worlds, one, other] = tie.trust
            state.familiarity[worlds, one, other] = tie.familiarity
            state.rivalry[worlds, one, other] = tie.rivalry
        if self.scenario.ties:
            rows, agents = np.repeat(worlds, len(slots)), np.tile(slots, len(worlds))
            relationships.keep_strongest(state, self.config.ties.most_ties, rows, agents)
        lives.people(state, layout, self._beginnings, worlds)
        employment.update_shift_state(state, layout, self.config, self._day_tick())
        self._look()

    def _day_tick(self) -> Array:
        return (self.state.tick + self.scenario.start_tick) % self.config.day_ticks

    def _look(self) -> None:
        """Prepare the next tick: who stands next to whom, what `use` means; the mask is made when it is asked for."""
        self._tick = Tick.begin(self.config, self.layout, self.state, self.events, stage=self.stage)
        self._things = affordances.target(self.state, self.layout, self._day_tick())
        self._mask = None

    def action_mask(self) -> Array:
        """Return (N, A, K) bool, what each agent can do now; not to be written to."""
        if self._mask is None:
            assert self._tick is not None, "reset comes first"
            assert self._things is not None
            self._mask = masks.action_mask(self._tick, self._things, self._day_tick())
        return self._mask

    def step(self, actions: Array) -> tuple[Array, Array]:
        """Make one tick; see `advance` and `settle`.

        Returns:
            rewards (N, A) float32, and exits (N, A) int8: why a life ended in this tick, or 0.
        """
        earned, exits = self.advance(actions)
        self.settle()
        return earned, exits

    def advance(self, actions: Array) -> tuple[Array, Array]:
        """Make one tick, up to the end of lives: who has died is still to be seen as it was.

        The order of the systems is the order of the calls below, and stands nowhere else.

        Args:
            actions: (N, A) integers of `Action`; what the mask forbids is a wait.

        Returns:
            rewards (N, A) float32, and exits (N, A) int8.
        """
        mask = self.action_mask()
        tick, things, state = self._tick, self._things, self.state
        assert tick is not None
        assert things is not None
        tick.stage = self.stage
        self.events.clear()
        acted = state.present.copy()
        day_tick = self._day_tick()
        self._take_actions(tick, actions, mask)
        potential = rewards.potential(state, self.config.rewards)
        before, could_use = tick.neighbours, mask[..., Action.USE] & (state.using < 0) & (state.queue < 0)

        movement.move(tick)
        queues.leave(tick)
        queues.serve(tick, things, day_tick)
        relationships.avoid_rivals(tick, things, before, could_use)
        relationships.chat(tick)
        employment.clock(tick, day_tick)
        affordances.progress(tick)
        perturbations.perturb(tick, self.scenario.perturbations)
        affordances.break_off_without_supply(tick)
        queues.promise(tick)
        needs.decay(tick)
        relationships.decay(tick)
        lives.pay_rent(tick, day_tick)
        lives.judge(tick)
        earned, self.reward_terms = rewards.reward(tick, acted, potential)

        state.tick += 1
        state.age += state.present
        employment.update_shift_state(state, self.layout, self.config, self._day_tick())
        return earned, tick.exits

    def _take_actions(self, tick: Tick, actions: Array, mask: Array) -> None:
        """Keep what was chosen where it is possible, and what the features say about it."""
        state = self.state
        is_known = (actions >= 0) & (actions < len(Action))
        chosen = np.where(is_known, actions, Action.WAIT).astype(np.int8)
        allowed = np.take_along_axis(mask, chosen[..., None].astype(np.int64), axis=-1)[..., 0]
        tick.actions = np.where(allowed, chosen, np.int8(Action.WAIT))
        is_same = tick.actions == state.last_action
        state.last_duration[...] = np.where(is_same, state.last_duration + 1, 1)
        state.last_action[...] = tick.actions
        state.last_success[...] = True

    def settle(self) -> None:
        """End the tick: slots whose life has ended are emptied, and newcomers move in."""
        assert self._tick is not None, "advance comes first"
        lives.bury(self._tick)
        if lives.welcome(self._tick, self._beginnings):
            employment.update_shift_state(self.state, self.layout, self.config, self._day_tick())
        self._look()

    def observe(self, worlds: Array | None = None) -> dict[str, Array]:
        """Return what the agents see, `map` (unless the variant is compact) and `features`; see `Observer.observe`.

        Args:
            worlds: numbers of the worlds whose rows are wanted, in arrays of their own; None = all, in arrays that the
                next call overwrites.
        """
        if worlds is None:
            return self._observer.observe(self.state)
        return self._new_observer(len(worlds)).observe(self.state.take(worlds))

    def snapshot(self) -> dict[str, Array]:
        """Return everything that the next tick depends on, as copies."""
        return self.state.snapshot()

    def restore(self, arrays: dict[str, Array]) -> None:
        """Go back to a snapshot of a town of the same scenario and size."""
        self.state.restore(arrays)
        self.events.clear()
        self._look()
