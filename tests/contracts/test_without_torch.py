"""Core is whole without torch: with torch blocked, everything outside of the torch rooms imports and works."""

import subprocess
import sys
from pathlib import Path

import pytest

import townlet_core

TORCH_ROOMS = (
    "townlet_core.torch",
    "townlet_core.bench",
    "townlet_core.__main__",
    "townlet_core.testing.policy_parity",
)


def core_modules():
    root = Path(townlet_core.__file__).parent
    names = []
    for path in sorted(root.rglob("*.py")):
        parts = ["townlet_core", *path.relative_to(root).with_suffix("").parts]
        names.append(".".join(part for part in parts if part != "__init__"))
    return [name for name in names if not name.startswith(TORCH_ROOMS)]


def run_without_torch(code):
    blocked = "import sys\nsys.modules['torch'] = None\n" + code
    return subprocess.run([sys.executable, "-W", "error", "-c", blocked], capture_output=True, text=True, check=False)


def test_every_module_outside_of_the_torch_rooms_imports_without_torch():
    names = core_modules()
    assert len(names) > 60
    code = f"""
import importlib
for name in {names!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error)
"""
    done = run_without_torch(code)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_no_module_outside_of_the_torch_rooms_imports_torch_where_it_is_installed():
    """Also not behind `try`: an installed torch costs a second that nobody asked for."""
    pytest.importorskip("torch")
    code = f"""
import importlib, sys
for name in {core_modules()!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_settings_and_the_plugin_of_ppo_import_without_torch():
    code = "import townlet_strategies_ppo, townlet_strategies_ppo.plugin, townlet_strategies_ppo.settings"
    done = run_without_torch(code)
    assert done.returncode == 0, done.stderr


def test_a_context_collects_and_evaluates_without_torch():
    code = """
from townlet_core import TrainingContext
from townlet_core.config.load import load_config
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
config = load_config(None, sets=["environment.name=gymnasium:CartPole-v1", "environment.num_worlds=2"]).config
context = TrainingContext.from_config(config)
environment = context.resolver.environment(context.config.environment)
spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
encoder = context.resolver.encoder(spec.encoder.name)
policy = NumpyPolicy(spec, encoder, initial_weights(spec, encoder, seed=context.seed), {}, worlds_per_shard=2)
rollout = context.services.rollout.start(environment, policy, seeds=context.seed)
print(rollout.fill(context.services.rollout.allocate(rollout, 8)).agent_steps)
print(len(context.services.evaluation.evaluate(policy, environment, [1, 2, 3]).episodes))
"""
    done = run_without_torch(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", "3"]
