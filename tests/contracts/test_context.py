"""The context and its protocols: whoever implements one has its exact signature."""

import inspect
import os
import signal
import time

import pytest

from townlet_core.config.load import load_config
from townlet_core.context import (
    BuiltInResolver,
    Clock,
    NeverStop,
    NoStages,
    Resolver,
    StageRunner,
    StopSignal,
    SystemClock,
    TrainingContext,
)
from townlet_core.errors import ConfigError, UnavailableError
from townlet_core.orchestrator import TrainingOrchestrator
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.orchestrator.signals import StopOnSignal
from townlet_core.orchestrator.stages import ChildStages
from townlet_core.policy.base import Policy
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.strategy import TrainingStrategy
from townlet_strategies_ppo.strategy import PPOStrategy

IMPLEMENTATIONS = [
    (Resolver, BuiltInResolver),
    (Resolver, PluginResolver),
    (StageRunner, NoStages),
    (StageRunner, ChildStages),
    (Clock, SystemClock),
    (TrainingStrategy, PPOStrategy),
    (Policy, NumpyPolicy),
]


def methods(protocol):
    return [name for name, member in vars(protocol).items() if inspect.isfunction(member) and not name.startswith("_")]


@pytest.mark.parametrize(("protocol", "implementation"), IMPLEMENTATIONS)
def test_an_implementation_has_every_method_of_its_protocol_with_its_signature(protocol, implementation):
    assert methods(protocol)
    for name in methods(protocol):
        promised = inspect.signature(getattr(protocol, name)).parameters.values()
        given = inspect.signature(getattr(implementation, name)).parameters.values()
        assert [(one.name, one.kind, one.default) for one in given] == [
            (one.name, one.kind, one.default) for one in promised
        ], name


def test_both_stop_signals_say_whether_a_stop_was_requested():
    assert "requested" in vars(StopSignal)
    assert NeverStop().requested is False
    lines = []
    with StopOnSignal(lines.append) as stop:
        assert stop.requested is False
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested is True
    assert len(lines) == 1
    assert signal.getsignal(signal.SIGTERM) != stop._handle


def test_the_systems_clock_tells_both_times():
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 60
    first = clock.monotonic()
    assert clock.monotonic() >= first


def test_a_context_takes_what_the_configuration_says():
    sets = ["training.seed=41", "training.num_threads=2", "training.strategy=ppo"]
    context = TrainingContext.from_config(load_config(None, sets=sets).config)
    assert (context.seed, context.num_threads, context.strategy_name) == (41, 2, "ppo")
    assert (context.rank, context.world_size, context.run, context.initial_policy) == (0, 1, None, None)
    assert context.anneal_context is None
    assert context.stop.requested is False


def test_a_context_cannot_be_changed():
    context = TrainingContext.from_config(load_config(None).config)
    with pytest.raises(AttributeError):
        context.seed = 3


@pytest.mark.parametrize("name", ["python:somebodys.module:make", "gymnasium:somebodys.module:Id-v0"])
def test_nothing_runs_the_code_that_a_configuration_names_unless_it_is_told_to(name):
    config = load_config(None, sets=[f"environment.name={name}"]).config
    for resolver in (TrainingContext.from_config(config).resolver, TrainingOrchestrator(config).context.resolver):
        with pytest.raises(ConfigError, match="would import and run the module 'somebodys"):
            resolver.environment(config.environment)
    for resolver in (BuiltInResolver(trust_code=True), TrainingOrchestrator(config, trust_code=True).context.resolver):
        with pytest.raises(UnavailableError, match="somebodys"):
            resolver.environment(config.environment)


def test_a_context_without_an_orchestrator_resolves_what_core_offers_and_says_where_the_rest_is():
    context = TrainingContext.from_config(load_config(None).config)
    assert isinstance(context.resolver.encoder("flatten"), FlattenEncoder)
    with pytest.raises(ConfigError):
        context.resolver.encoder("other")
    for ask in (
        lambda: context.resolver.strategy("ppo"),
        lambda: context.resolver.tracker("board", {}, "run"),
        lambda: context.stages.run("ppo", {}),
    ):
        with pytest.raises(UnavailableError, match="comes from a plugin: use TrainingOrchestrator"):
            ask()
