"""A scenario: the town's objects, agents and jobs, and how long an episode lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from townlet_core.config.base import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ObjectKind = Literal["fridge", "stove", "shower", "bed", "grocer", "cafe"]
JobKind = Literal["grocer", "cafe"]
PerturbationKind = Literal["price_spike", "blackout", "outage", "arranged_meet"]
OBJECT_KINDS: tuple[ObjectKind, ...] = ("fridge", "stove", "shower", "bed", "grocer", "cafe")
JOB_KINDS: tuple[JobKind, ...] = ("grocer", "cafe")
MAX_AGENTS = 64
MAX_OBJECTS = 64

MAX_TICKS = 100_000
"""Longest day of a town. [ticks]"""

Coordinate = Annotated[int, Field(ge=0, le=47)]
Place = tuple[Coordinate, Coordinate]
DayTick = Annotated[int, Field(ge=0, le=MAX_TICKS)]
Slot = Annotated[int, Field(ge=0, lt=MAX_AGENTS)]
Unit = Annotated[float, Field(ge=0, le=1)]
Signed = Annotated[float, Field(ge=-1, le=1)]


class ObjectConfig(Settings):
    """One object of the town."""

    kind: ObjectKind = Field(description="What it is.")
    at: Place = Field(description="Row and column, counted from 0 in the north-west. [tiles]")
    capacity: int = Field(default=8, ge=1, le=64, description="Workers that a workplace takes at once. [agents]")


class AgentConfig(Settings):
    """One or more agents. A value may be a range [low, high]; each life draws its own from it."""

    count: int = Field(default=1, ge=1, le=MAX_AGENTS, description="How many agents are like this. [agents]")
    at: Place | None = Field(default=None, description="Row and column; null = a free tile by chance. [tiles]")
    hunger: tuple[Unit, Unit] = Field(default=(0.6, 0.9), description="Hunger at first. [1]")
    hygiene: tuple[Unit, Unit] = Field(default=(0.6, 0.9), description="Hygiene at first. [1]")
    energy: tuple[Unit, Unit] = Field(default=(0.6, 0.9), description="Energy at first. [1]")
    wallet: float = Field(default=4.0, ge=0, le=50, description="Money at first. [meals]")
    unpaid_rents: int = Field(default=0, ge=0, le=1, description="Rents that are due from before. [rents]")
    job: JobKind | None = Field(default=None, description="Where the agent works; null = nowhere.")
    shift: tuple[DayTick, DayTick] | None = Field(
        default=None, description="First tick, and the one after the last. [ticks]"
    )
    personality: tuple[Signed, Signed, Signed] | None = Field(
        default=None, description="Extroversion, forgiveness and ambition; null = by chance. [1]"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> AgentConfig:
        problems = []
        if (self.job is None) != (self.shift is None):
            problems.append("job and shift belong together: give both or neither")
        if self.shift is not None and self.shift[0] >= self.shift[1]:
            problems.append(f"shift {list(self.shift)} must end after it begins")
        for name in ("hunger", "hygiene", "energy"):
            low, high = getattr(self, name)
            if low > high:
                problems.append(f"{name} [{low}, {high}] must go from low to high")
        if self.at is not None and self.count > 1:
            problems.append("agents with one place must be listed one by one: count is more than 1")
        _refuse(problems)
        return self


class TieConfig(Settings):
    """How one agent stands to another at first."""

    agents: tuple[Slot, Slot] = Field(description="Numbers of the two agents, from 0; the first one feels it. [1]")
    trust: Signed = Field(default=0.0, description="Trust. [1]")
    familiarity: Signed = Field(default=0.0, description="Familiarity. [1]")
    rivalry: Unit = Field(default=0.0, description="Rivalry. [1]")


class ForcedPerturbation(Settings):
    """A perturbation that comes at a certain tick, whatever chance says."""

    kind: PerturbationKind = Field(description="What comes.")
    tick: int = Field(ge=0, le=1_000_000, description="Tick of the episode at which it begins. [ticks]")
    ticks: int = Field(default=50, ge=1, le=100_000, description="How long it lasts. [ticks]")


class ScenarioConfig(Settings):
    """A scenario file."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$", description="Its name.")
    description: str = Field(default="", max_length=500, description="What it shows, in one line.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed where nobody names another. [1]")
    ticks: int = Field(ge=1, le=1_000_000, description="Length of an episode. [ticks]")
    start_tick: int = Field(default=0, ge=0, le=MAX_TICKS, description="Tick of the day at which it begins. [ticks]")
    size: tuple[Annotated[int, Field(ge=4, le=48)], Annotated[int, Field(ge=4, le=48)]] = Field(
        default=(24, 24), description="Rows and columns of the grid. [tiles]"
    )
    objects: tuple[ObjectConfig, ...] = Field(default=(), max_length=MAX_OBJECTS, description="What stands where.")
    agents: tuple[AgentConfig, ...] = Field(min_length=1, max_length=MAX_AGENTS, description="Who lives there.")
    ties: tuple[TieConfig, ...] = Field(default=(), max_length=1000, description="How agents stand to each other.")
    perturbations: tuple[ForcedPerturbation, ...] = Field(
        default=(), max_length=1000, description="What comes over the town, and when."
    )

    @property
    def num_agents(self) -> int:
        """A, the number of agent slots."""
        return sum(agent.count for agent in self.agents)

    @model_validator(mode="after")
    def _fits_together(self) -> ScenarioConfig:
        _refuse([*self._crowding(), *self._misplaced(), *self._jobless(), *self._bad_ties()])
        return self

    def _crowding(self) -> Iterator[str]:
        rows, columns = self.size
        if self.num_agents > MAX_AGENTS:
            yield f"agents are {self.num_agents} in all; a world holds at most {MAX_AGENTS}"
        elif self.num_agents * 2 > rows * columns:
            yield f"agents are {self.num_agents} in all, and need more room than {rows} x {columns} tiles"

    def _misplaced(self) -> Iterator[str]:
        rows, columns = self.size
        for name, given in (("objects", [one.at for one in self.objects]), ("agents", [one.at for one in self.agents])):
            places: dict[Place, str] = {}
            for index, at in enumerate(given):
                who = f"{name}[{index}]"
                if at is None:
                    continue
                if at[0] >= rows or at[1] >= columns:
                    yield f"{who}.at {list(at)} is off the grid of {rows} x {columns} tiles"
                elif at in places:
                    yield f"{who}.at {list(at)} is where {places[at]} stands already"
                places.setdefault(at, who)

    def _jobless(self) -> Iterator[str]:
        kinds = {thing.kind for thing in self.objects}
        for index, agent in enumerate(self.agents):
            if agent.job is not None and agent.job not in kinds:
                yield f"agents[{index}].job is '{agent.job}', and no object is a {agent.job}"

    def _bad_ties(self) -> Iterator[str]:
        first: dict[tuple[int, int], int] = {}
        for index, tie in enumerate(self.ties):
            if max(tie.agents) >= self.num_agents or tie.agents[0] == tie.agents[1]:
                yield f"ties[{index}].agents {list(tie.agents)} must be two different numbers below {self.num_agents}"
            elif tie.agents in first:
                yield f"ties[{index}].agents {list(tie.agents)} stand in ties[{first[tie.agents]}] already"
            first.setdefault(tie.agents, index)


def _refuse(problems: list[str]) -> None:
    """Refuse a model for all of its problems at once, one a line.

    Raises:
        ValueError: there are any.
    """
    if problems:
        raise ValueError("\n".join(problems))
