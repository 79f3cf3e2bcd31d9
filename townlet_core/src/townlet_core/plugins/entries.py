"""What a plugin hands over: frozen entries that name their targets as ``"module:Attribute"`` strings.

Nothing in this file, and nothing that an entry holds, imports the target: that happens when the name is resolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,63}")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What every kind of entry has.

    Attributes:
        name: lower-case name that users type; letters, digits, ``_`` and ``-``.
        summary: one line for `townlet plugins`.
        requires: import names of optional packages that the target needs, such as ``("torch",)``.
    """

    name: str
    summary: str = ""
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _is_text(self.name, _NAME):
            raise ValueError(
                f"{self.name!r} is not a name: use lower-case letters, digits, '_' and '-', starting with a letter"
            )
        packages: object = self.requires  # plugins are not type-checked when they are loaded
        if not isinstance(packages, tuple) or not all(isinstance(package, str) for package in packages):
            raise TypeError(f"{self.name}: requires must be a tuple of import names, not {self.requires!r}")

    def _check_targets(self, **targets: str) -> None:
        for field, target in targets.items():
            if not _is_text(target, _TARGET):
                raise ValueError(f"{self.name}: {field} must be a 'module:Attribute' string, not {target!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyEntry(Entry):
    """A training strategy.

    Attributes:
        strategy: target with a `run(context, **options)` method, built without arguments.
        settings: target of its settings model; importing it must not import anything in `requires`.
        result: target of the result DTO that `run` returns.
    """

    strategy: str
    settings: str
    result: str

    def __post_init__(self) -> None:
        Entry.__post_init__(self)
        self._check_targets(strategy=self.strategy, settings=self.settings, result=self.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentEntry(Entry):
    """An environment.

    Attributes:
        factory: target called as ``factory(config, num_worlds=...)`` with the `EnvironmentConfig`; returns a
            `VectorEnvironment`.
    """

    factory: str

    def __post_init__(self) -> None:
        Entry.__post_init__(self)
        self._check_targets(factory=self.factory)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEntry(Entry):
    """A custom network that turns observations into features.

    Attributes:
        encoder: target with the methods of `townlet_core.policy.encoder.Encoder`, built without arguments.
    """

    encoder: str

    def __post_init__(self) -> None:
        Entry.__post_init__(self)
        self._check_targets(encoder=self.encoder)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerEntry(Entry):
    """Somewhere to send telemetry.

    Attributes:
        tracker: target called as ``tracker(run_directory, options)``; returns a `townlet_core.tracking.Tracker`.
    """

    tracker: str

    def __post_init__(self) -> None:
        Entry.__post_init__(self)
        self._check_targets(tracker=self.tracker)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEntry(Entry):
    """A sub-command of `townlet`.

    Attributes:
        command: target of a click command.
    """

    command: str

    def __post_init__(self) -> None:
        Entry.__post_init__(self)
        self._check_targets(command=self.command)


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    """Return whether `value` is a string that matches: plugins are not type-checked when they are loaded."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None
