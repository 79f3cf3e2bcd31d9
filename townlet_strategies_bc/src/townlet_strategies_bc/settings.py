"""The settings of behaviour cloning; importing them needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from townlet_core.config.network import NetworkSettings


class BCSettings(NetworkSettings):
    """The section `strategies.bc`."""

    dataset: Path | None = Field(
        default=None,
        description="Demonstrations: the directory of a dataset, or a manifest or capture directory of the earlier "
        "format, which is imported into the run's directory first.",
    )
    num_epochs: int = Field(
        default=60, ge=1, le=1_000_000, description="Passes over the training rows, at most. [passes]"
    )
    batch_size: int = Field(default=256, ge=1, le=1_048_576, description="Rows of an optimiser step. [rows]")
    learning_rate: float = Field(default=1e-3, gt=0, le=10, description="Step size of AdamW. [1]")
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="How the learning rate falls to 0 over num_epochs, if it does."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, le=100, description="Decoupled weight decay, times the learning rate. [1]"
    )
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1, description="Added to Adam's denominator. [1]")
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, le=1e9, description="Global gradient norm; null = no limit. [1]"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each label that is spread over the legal actions. [1]"
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none",
        description="Whether rows of rare actions weigh more: balanced gives every action the same sum of weights.",
    )
    value_coef: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Weight of the regression of values on discounted returns; 0 leaves the critic untrained. [1]",
    )
    gamma: float = Field(default=0.98, ge=0, le=1, description="Discount of the reward one step later. [1]")
    held_out_fraction: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Share of the world-episodes that is measured on and not trained on, where the dataset has no "
        "splits of its own; 0 trains on all and measures nothing. [1]",
    )
    patience: int | None = Field(
        default=5,
        ge=1,
        le=1_000_000,
        description="Stop after so many passes without a better held-out loss; null = never. [passes]",
    )
    accuracy_threshold: float | None = Field(
        default=0.9, ge=0, le=1, description="Held-out accuracy that the gate asks for; null = no gate. [1]"
    )
    min_held_out_rows: int = Field(
        default=200,
        ge=0,
        le=1_000_000_000,
        description="Held-out rows without which no gate is passed, whatever the accuracy. [rows]",
    )
    degenerate_share: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="Share of the most frequent action from which labels count as degenerate, and no gate is passed. "
        "[1]",
    )
    evaluate_episodes: int = Field(
        default=8,
        ge=0,
        le=1_000_000,
        description="Episodes in the configured environment after training; 0 = none. [episodes]",
    )
    evaluate_deterministic: bool = Field(
        default=False, description="Whether those episodes take the most likely actions, instead of samples."
    )
    checkpoint_steps: int = Field(
        default=5_000,
        ge=1,
        le=1_000_000_000,
        description="Optimiser steps after which a checkpoint is due also within a pass. [steps]",
    )
    window_bytes: int = Field(
        default=32 << 20,
        ge=1 << 16,
        le=1 << 40,
        description="Memory in which rows are shuffled; more mixes better, and a dataset that fits is read once. "
        "[bytes]",
    )
