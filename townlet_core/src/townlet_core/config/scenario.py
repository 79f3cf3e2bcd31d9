"""A scenario: the town's objects, agents and jobs, and how long an episode lasts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from townlet_core.config.base import Settings

ObjectKind = Literal["fridge", "stove", "shower", "bed", "grocer", "cafe"]
JobKind = Literal["grocer", "cafe"]
PerturbationKind = Literal["price_spike", "blackout", "outage", "arranged_meet"]
OBJECT_KINDS: tuple[ObjectKind, ...] = ("fridge", "stove", "shower", "bed", "grocer", "cafe")
JOB_KINDS: tuple[JobKind, ...] = ("grocer", "cafe")
MAX_AGENTS = 64
MAX_OBJECTS = 64

Place = tuple[int, int]
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
    shift: tuple[int, int] | None = Field(default=None, description="First tick, and the one after the last. [ticks]")
    personality: tuple[Signed, Signed, Signed] | None = Field(
        default=None, description="Extroversion, forgiveness and ambition; null = by chance. [1]"
    )

    @model_validator(mode="after")
    def _has_shift_with_job(self) -> AgentConfig:
        if (self.job is None) != (self.shift is None):
            raise ValueError("job and shift belong together: give both or neither")
        if self.shift is not None and not 0 <= self.shift[0] < self.shift[1]:
            raise ValueError(f"shift {list(self.shift)} must begin at 0 or later and end after it begins")
        for name in ("hunger", "hygiene", "energy"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low}, {high}] must go from low to high")
        if self.at is not None and self.count > 1:
            raise ValueError("agents with one place must be listed one by one: count is more than 1")
        return self


class TieConfig(Settings):
    """How one agent stands to another at first."""

    agents: tuple[int, int] = Field(description="Numbers of the two agents, from 0; the first one feels it. [1]")
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
    start_tick: int = Field(default=0, ge=0, le=100_000, description="Tick of the day at which it begins. [ticks]")
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
        rows, columns = self.size
        number = self.num_agents
        if number > MAX_AGENTS:
            raise ValueError(f"agents are {number} in all; a world holds at most {MAX_AGENTS}")
        if number * 2 > rows * columns:
            raise ValueError(f"agents are {number} in all, and need more room than {rows} x {columns} tiles")
        places: dict[Place, str] = {}
        for index, thing in enumerate(self.objects):
            _require_place(f"objects[{index}]", thing.at, self.size, places)
        places = {}
        for index, agent in enumerate(self.agents):
            if agent.at is not None:
                _require_place(f"agents[{index}]", agent.at, self.size, places)
        kinds = {thing.kind for thing in self.objects}
        for index, agent in enumerate(self.agents):
            if agent.job is not None and agent.job not in kinds:
                raise ValueError(f"agents[{index}].job is '{agent.job}', and no object is a {agent.job}")
        for index, tie in enumerate(self.ties):
            if not all(0 <= one < number for one in tie.agents) or tie.agents[0] == tie.agents[1]:
                raise ValueError(
                    f"ties[{index}].agents {list(tie.agents)} must be two different numbers below {number}"
                )
        return self


def _require_place(name: str, at: Place, size: tuple[int, int], places: dict[Place, str]) -> None:
    if not (0 <= at[0] < size[0] and 0 <= at[1] < size[1]):
        raise ValueError(f"{name}.at {list(at)} is off the grid of {size[0]} x {size[1]} tiles")
    if at in places:
        raise ValueError(f"{name}.at {list(at)} is where {places[at]} stands already")
    places[at] = name
