"""How a fault of an environment is told: which world, episode, reset seed, step and field, and its own traceback."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from townlet_core.errors import EnvironmentFault

_MAX_TRACEBACK = 4000


class FieldError(Exception):
    """One field is not what the spaces promise; becomes a fault where the world is known."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the experience a fault happened.

    Attributes:
        environment: the environment's name.
        world: index of the world, or None where it is not known.
        episode: episodes of this world before this one.
        seed: what this episode was reset with; enough to replay it with the same actions.
        step: steps of the episode, the faulty one included; 0 is the reset.
    """

    environment: str
    world: int | None
    episode: int = 0
    seed: int | None = None
    step: int = 0

    def fault(self, problem: str, *, cause: BaseException | None = None) -> EnvironmentFault:
        """Return the error that says `problem` happened here, with the traceback of `cause` if there is one."""
        where = "an unknown world" if self.world is None else f"world {self.world}"
        seed = "" if self.seed is None else f" (reset seed {self.seed})"
        text = f"environment '{self.environment}': {where}, episode {self.episode}{seed}, step {self.step}: {problem}"
        return EnvironmentFault(text if cause is None else f"{text}\n{_traceback_text(cause)}")


def _traceback_text(error: BaseException) -> str:
    own = error.__traceback__.tb_next if error.__traceback__ is not None else None
    text = "".join(traceback.format_exception(type(error), error, own or error.__traceback__)).rstrip()
    return text if len(text) <= _MAX_TRACEBACK else "... " + text[-_MAX_TRACEBACK:]
