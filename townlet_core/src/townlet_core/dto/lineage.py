"""What something was made from, and that from what: a tree."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase


class LineageNode(ResultBase):
    """A release, a run, a dataset, a policy, or where the episodes of a dataset came from."""

    kind: Literal["release", "run", "dataset", "policy", "source"] = Field(description="What it is.")
    state: Literal["verified", "changed", "missing", "recorded"] = Field(
        description="verified: it is there, with the digest that was recorded; changed: what is there has another "
        "digest, or is damaged; missing: it was not found; recorded: there is no file to look at."
    )
    path: str = Field(default="", description="Where it is or, if it was not found there, was; empty if unknown.")
    digest: str = Field(default="", description="Its digest, as it was recorded; empty if unknown.")
    how: str = Field(default="", description="How what stands above was made from it, such as curate.")
    options: dict[str, Any] = Field(default_factory=dict, description="With what options.")
    facts: dict[str, Any] = Field(default_factory=dict, description="What else is known about it.")
    made_from: tuple[LineageNode, ...] = Field(default=(), description="What it was made from.")
