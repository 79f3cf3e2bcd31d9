"""What behaviour cloning reports: one record per pass is the telemetry, that of the kept pass is part of the result.

`accuracy`, `nll` and what follows them are measured on held-out world-episodes, and are None where none are held out.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from townlet_core.dto.anneal_fields import AnnealFields
from townlet_core.dto.base import ResultBase, TrainingResultBase


class ActionMetrics(ResultBase):
    """How well one action is told from the others, on held-out rows."""

    support: int = Field(ge=0, description="Rows in which the demonstrator took it.")
    predicted: int = Field(ge=0, description="Rows in which the policy finds it the most likely one.")
    precision: float | None = Field(description="Share of the predicted rows that are right; None without any.")
    recall: float | None = Field(description="Share of the demonstrator's rows that are found; None without any.")


class HeldOutFields(ResultBase):
    """What held-out rows say about a policy; None where it does not apply."""

    accuracy: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Share of rows whose most likely action is the demonstrator's."
    )
    nll: float | None = Field(default=None, description="Mean negative log-likelihood of the demonstrator's action.")
    ece: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Expected calibration error, 15 bins of equal width."
    )
    mean_absolute_error: float | None = Field(
        default=None, ge=0.0, description="Mean distance of a Gaussian's mean from the action, over all dimensions."
    )
    value_explained_variance: float | None = Field(
        default=None, description="1 - var(returns - values) / var(returns); None without a value regression."
    )
    actions: dict[str, ActionMetrics] = Field(
        default_factory=dict, description="By name; `<part>.<number>` where there are several choices."
    )


class BCTelemetry(HeldOutFields, AnnealFields):
    """One pass over the training rows."""

    telemetry_version: Literal["2.0"] = Field(default="2.0", description="Version of these names.")
    epoch: int = Field(ge=1, description="Number of this pass, from 1.")
    num_epochs: int = Field(ge=1, description="Passes that the run makes at most.")
    loss: float = Field(description="What is minimised: mean over the rows of this pass, each as it was learned from.")
    loss_value: float | None = Field(
        default=None, description="Its value part, 0.5 x squared error; None without a value regression."
    )
    train_accuracy: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Accuracy on training rows, each before it was learned from."
    )
    lr: float = Field(ge=0.0, description="Learning rate of the last step of this pass.")
    grad_norm: float = Field(ge=0.0, description="Mean global gradient norm before clipping.")
    grad_norm_max: float = Field(ge=0.0, description="Largest one.")
    updates: int = Field(ge=0, description="Optimiser steps of this pass.")
    transitions: int = Field(ge=0, description="Rows learned from in this pass.")
    steps: int = Field(ge=0, description="Optimiser steps of the whole run so far.")
    agent_steps: int = Field(ge=0, description="Rows learned from in the whole run so far; each is an agent-step.")
    total_steps: int = Field(ge=0, description="Rows that the run learns from at most.")
    is_best: bool = Field(description="Whether no earlier pass had a smaller held-out loss.")
    policy_digest: str = Field(description="SHA-256 of the weights after this pass.")
    epoch_duration_sec: float = Field(ge=0.0, description="Wall-clock seconds of this pass, measuring included.")
    samples_per_sec: float = Field(ge=0.0, description="Rows learned from per second of training in this pass.")
    log_stream_offset: int = Field(default=0, ge=0, description="Bytes in the telemetry file before this record.")


class LabelFields(ResultBase):
    """What the recorded labels allow, and whether they are any; see `docs/explanation/behaviour-cloning.md`."""

    num_actions_seen: int | None = Field(
        default=None,
        ge=0,
        description="Different actions in the training rows; of several choices, that of the most varied one.",
    )
    label_majority_share: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Share of the most frequent action in the training rows; of several choices, the smallest.",
    )
    held_out_majority_share: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="The same of the held-out rows: what a policy that sees nothing would reach there, at most.",
    )
    labels_degenerate: bool = Field(description="Whether the labels hardly differ, so that accuracy says nothing.")
    accuracy_ceiling: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Held-out accuracy of a policy that knows the most frequent label of every observation; "
        "None where nothing is held out, where no observation occurs twice, and for a Gaussian.",
    )
    ceiling_rows: int = Field(
        default=0, ge=0, description="Held-out rows that the ceiling was found from: all, or an even sample."
    )
    ceiling_repeated_share: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Share of them whose observation occurs more than once; where it is small, the ceiling is loose.",
    )


class RolloutFields(ResultBase):
    """How the cloned policy does in an environment, beside its demonstrator."""

    rollout_episodes: int = Field(default=0, ge=0, description="Episodes that were run.")
    rollout_return_mean: float | None = Field(
        default=None, description="Their mean return, mean over agent slots; only the first life in each counts."
    )
    rollout_reward_mean: float | None = Field(
        default=None,
        description="Their mean reward of an agent in a step; the one to compare where lives are of different lengths.",
    )
    demonstrator_return_mean: float | None = Field(
        default=None, description="The same of the recorded world-episodes that were not cut; None without any."
    )
    demonstrator_reward_mean: float | None = Field(
        default=None, description="Mean reward of an agent in a step of the same."
    )
    rollout_return_share: float | None = Field(
        default=None, description="The return as a share of the demonstrator's; None unless that is positive."
    )
    rollout_skipped: str = Field(default="", description="Why no episode was run; empty if some were.")


class BCTrainingResultDTO(BCTelemetry, LabelFields, RolloutFields, TrainingResultBase):
    """What a run of behaviour cloning returns: the record of the kept pass, the labels, the gate, the artefact."""

    manifest: str = Field(description="Path of the demonstrations, as it was given.")
    dataset_digest: str = Field(description="SHA-256 that stands for every byte of the dataset.")
    num_epochs_done: int = Field(ge=1, description="Passes that were made; `epoch` is the one that was kept.")
    agent_steps_done: int = Field(ge=0, description="Rows learned from in them; `agent_steps` up to the one kept.")
    stop_reason: Literal["epochs", "patience"] = Field(description="Why the passes ended.")
    num_train_rows: int = Field(ge=1, description="Rows trained on.")
    num_held_out_rows: int = Field(ge=0, description="Rows measured on.")
    num_train_groups: int = Field(ge=1, description="World-episodes trained on.")
    num_held_out_groups: int = Field(ge=0, description="World-episodes measured on.")
    held_out_by: Literal["labels", "fraction", "nothing"] = Field(
        description="Whether the dataset's own splits, or a random share of its world-episodes, were held out."
    )
    gate_threshold: float | None = Field(default=None, description="Held-out accuracy that the gate asked for.")
    gate_passed: bool | None = Field(
        default=None,
        description="Whether it was reached, on enough rows, by labels that are not degenerate, and by more than the "
        "most frequent action would; None if not measured.",
    )
    gate_reason: str = Field(default="", description="Why the gate was not passed, or not measured.")
    num_threads: int = Field(default=1, ge=1, description="Threads that the run learned with.")
    device: str = Field(default="cpu", description="Device that the network was trained on, such as `cpu` or `cuda`.")


def flatten_bc_record(record: BCTelemetry) -> dict[str, Any]:
    """Return the telemetry line of `record`: what it says about actions becomes `actions.<name>.<field>`."""
    flat = record.model_dump(mode="json")
    for name, metrics in flat.pop("actions").items():
        for field, value in metrics.items():
            flat[f"actions.{name}.{field}"] = value
    return flat
