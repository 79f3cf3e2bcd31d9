"""A name means one thing, or an error that says why it does not; there is no fallback."""

import json
import sys
from importlib.util import find_spec

import pytest

from townlet_core import TorchNotAvailableError
from townlet_core.config.tracking import TrackingConfig
from townlet_core.errors import ConfigError, PluginError, UnavailableError
from townlet_core.plugins.discovery import installed_sources
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.registry import RESERVED, Registry
from townlet_core.plugins.requirements import FIRST_PARTY_EXTRAS

HEADER = "from townlet_core.plugins import *\nfrom townlet_core.plugins import hookimpl\nTOWNLET_PLUGIN_API = (1, 0)\n"


def registry_of(shelf, **options):
    return Registry(PluginManager(installed_sources([str(shelf.path)]), **options))


def error_of(registry, kind, name, error=PluginError):
    with pytest.raises(error) as caught:
        registry.resolve(kind, name)
    assert caught.value.exit_code == 69
    return str(caught.value)


@pytest.fixture
def twins(shelf, new_strategy):
    """Two distributions that offer one name, and a third that has nothing to do with it."""
    shelf.install("left-twin", new_strategy("same"))
    shelf.install("right.twin", new_strategy("same"))
    shelf.install("other", new_strategy("other"))
    return registry_of(shelf)


def test_a_name_with_two_owners_is_an_error_that_names_both(twins):
    text = error_of(twins, "strategy", "same")
    assert "left-twin" in text
    assert "right.twin" in text
    assert "'plugin:left-twin:same'" in text
    assert set(twins.strategies) == {"other"}


def test_a_qualified_name_means_one_of_two_owners_however_the_distribution_is_spelt(twins):
    assert twins.find("strategy", "plugin:left_twin:same").plugin.source.distribution == "left-twin"
    assert twins.find("strategy", "plugin:Right-Twin:same").plugin.source.distribution == "right.twin"
    assert "other" in error_of(twins, "strategy", "plugin:other:same")


def test_the_problems_of_a_duplicate_name_are_told_for_each_owner(twins):
    assert [problem.partition(":")[0] for problem in twins.problems()] == [
        "plugin 'mine' of left-twin 1.2",
        "plugin 'mine' of right.twin 1.2",
    ]


def test_one_name_may_be_used_for_different_kinds(shelf, new_strategy):
    tracker = "@hookimpl\ndef townlet_trackers(): return [TrackerEntry(name='same', tracker='json:loads')]\n"
    shelf.install("both", new_strategy("same") + tracker)
    registry = registry_of(shelf)
    assert registry.resolve("strategy", "same") is json.JSONDecoder
    assert registry.resolve("tracker", "same") is json.loads
    assert registry.problems() == []


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in RESERVED.items() for name in sorted(names)])
def test_a_built_in_name_is_never_taken_over(shelf, kind, name):
    hook, entry, field = {
        "environment": ("townlet_environments", "EnvironmentEntry", "factory"),
        "encoder": ("townlet_encoders", "EncoderEntry", "encoder"),
        "tracker": ("townlet_trackers", "TrackerEntry", "tracker"),
        "command": ("townlet_commands", "CommandEntry", "command"),
    }[kind]
    offers = f"[{entry}(name='{name}', {field}='json:loads'), {entry}(name='free', {field}='json:dumps')]"
    shelf.install("shadow", HEADER + f"@hookimpl\ndef {hook}(): return {offers}\n")
    registry = registry_of(shelf)
    assert set(registry.plain(kind)) == {"free"}
    error_of(registry, kind, name)
    assert registry.resolve(kind, f"plugin:shadow:{name}") is json.loads
    assert registry.resolve(kind, "free") is json.dumps
    assert "is a built-in name" in registry.problems()[0]


@pytest.mark.parametrize("name", FIRST_PARTY_EXTRAS)
def test_a_first_party_strategy_that_is_not_installed_says_the_pip_command(shelf, name):
    text = error_of(registry_of(shelf), "strategy", name)
    assert text == f"""strategy '{name}' is not installed: pip install "townlet-core[{name}]\""""


@pytest.mark.parametrize("name", ["anneal", "bc", "ppo"])
def test_an_extra_is_named_exactly_if_its_distribution_registers_a_strategy(name):
    assert (name in FIRST_PARTY_EXTRAS) == (find_spec(f"townlet_strategies_{name}.plugin") is not None)


def test_a_misspelt_name_is_an_error_with_a_suggestion_and_the_list(shelf, new_strategy):
    shelf.install("good", new_strategy("gradient"))
    text = error_of(registry_of(shelf), "strategy", "gradent")
    assert text == "unknown strategy 'gradent'; did you mean 'gradient'?; installed: gradient"


def test_a_strategy_of_a_broken_plugin_names_the_plugin_the_stage_and_the_cause(shelf):
    shelf.install("townlet-strategies-ppo", "import a_package_that_is_not_there", point="ppo")
    text = error_of(registry_of(shelf), "strategy", "ppo")
    assert "plugin 'ppo' of townlet-strategies-ppo 1.2 is broken" in text
    assert "import: ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in text


def test_an_unknown_name_mentions_broken_plugins_that_might_have_offered_it(shelf):
    shelf.install("mystery", "1 / 0")
    assert "plugin 'mine' of mystery 1.2 is broken" in error_of(registry_of(shelf), "strategy", "anything")


def test_a_strategy_of_a_disabled_plugin_names_the_switch(shelf, new_strategy):
    shelf.install("townlet-strategies-ppo", new_strategy("ppo"), point="ppo")
    text = error_of(registry_of(shelf, disabled=["ppo"]), "strategy", "ppo")
    assert "is disabled by TOWNLET_DISABLE_PLUGINS" in text
    assert "is disabled by --no-plugins" in error_of(registry_of(shelf, no_plugins=True), "strategy", "ppo")


def test_a_missing_torch_is_its_own_error_with_the_exact_command(shelf, new_strategy, monkeypatch):
    shelf.install("townlet-strategies-ppo", new_strategy("ppo", requires=("torch",)))
    shelf.install("third-party", new_strategy("theirs", requires=("torch", "a_missing_library")))
    monkeypatch.setitem(sys.modules, "torch", None)
    registry = registry_of(shelf)
    text = error_of(registry, "strategy", "ppo", TorchNotAvailableError)
    assert text == """strategy 'ppo' needs torch, which is not installed: pip install "townlet-core[ppo]\""""
    text = error_of(registry, "strategy", "theirs", TorchNotAvailableError)
    assert text.endswith(
        "needs torch and a_missing_library, which is not installed: pip install torch a_missing_library"
    )


def test_any_other_missing_requirement_is_unavailable_and_settings_need_none(shelf, new_strategy):
    shelf.install("demanding", new_strategy("demanding", requires=("a_missing_library",)))
    registry = registry_of(shelf)
    text = error_of(registry, "strategy", "demanding", UnavailableError)
    assert text.endswith("needs a_missing_library, which is not installed: pip install a_missing_library")
    assert registry.resolve("strategy", "demanding", field="settings") is TrackingConfig


def test_a_requirement_that_is_there_and_cannot_be_imported_is_told_apart(shelf):
    (shelf.path / "torch_like").mkdir()
    (shelf.path / "torch_like" / "__init__.py").write_text("raise OSError('libsomething.so: cannot open')")
    (shelf.path / "needs_it.py").write_text("import torch_like\n")
    entry = "EnvironmentEntry(name='world', factory='needs_it:make', requires=('torch_like',))"
    shelf.install("worlds", HEADER + f"@hookimpl\ndef townlet_environments(): return [{entry}]\n")
    text = error_of(registry_of(shelf), "environment", "world", UnavailableError)
    assert text == (
        "environment 'world' needs torch_like, which cannot be imported (libsomething.so: cannot open): "
        "pip install --force-reinstall torch_like"
    )


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("import missing_thing", "missing_thing"),
        ("", "has no attribute 'make'"),
    ],
)
def test_a_target_that_cannot_be_imported_is_an_error_that_names_it(shelf, body, cause):
    module = f"target_{abs(hash(body))}"
    (shelf.path / f"{module}.py").write_text(body)
    entry = f"EnvironmentEntry(name='world', factory='{module}:make')"
    shelf.install("worlds", HEADER + f"@hookimpl\ndef townlet_environments(): return [{entry}]\n")
    text = error_of(registry_of(shelf), "environment", "world")
    assert f"environment 'world' of plugin 'mine' of worlds 1.2 is broken: '{module}:make' cannot be imported" in text
    assert cause in text


def test_an_environment_factory_is_none_only_where_no_plugin_can_have_the_name(shelf):
    entries = "[EnvironmentEntry(name='world', factory='json:loads')]"
    shelf.install("worlds", HEADER + f"@hookimpl\ndef townlet_environments(): return {entries}\n")
    shelf.install("sick", "1 / 0", point="patient")
    registry = registry_of(shelf)
    assert registry.environment_factory("world") is json.loads
    assert registry.environment_factory("plugin:worlds:world") is json.loads
    assert registry.environment_factory("another") is None
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        registry.environment_factory("patient")


def test_strict_mode_makes_any_failure_an_error_that_lists_all(shelf, new_strategy):
    shelf.install("good", new_strategy("good"))
    assert "good" in Registry.discover({"TOWNLET_STRICT_PLUGINS": "1"}).strategies
    shelf.install("sick", "1 / 0")
    shelf.install("ill", "import missing_thing")
    with pytest.raises(PluginError) as caught:
        Registry.discover({"TOWNLET_STRICT_PLUGINS": "1"})
    assert "sick 1.2: import: ZeroDivisionError" in str(caught.value)
    assert "ill 1.2: import: ModuleNotFoundError" in str(caught.value)
    assert "good" in Registry.discover({"TOWNLET_STRICT_PLUGINS": "0"}).strategies
    assert (
        "good" in Registry.discover({"TOWNLET_STRICT_PLUGINS": "1", "TOWNLET_DISABLE_PLUGINS": "sick, ill"}).strategies
    )


def test_a_switch_that_is_neither_on_nor_off_is_refused():
    with pytest.raises(ConfigError, match="TOWNLET_STRICT_PLUGINS must be 0 or 1, not 'yes'"):
        Registry.discover({"TOWNLET_STRICT_PLUGINS": "yes"}, no_plugins=True)


MODELS = """
from typing import Any
from pydantic import BaseModel
from townlet_core.config.base import Settings

class Plain: pass
class Foreign(BaseModel):
    size: int = 1
class Required(Settings):
    size: int
class Inner(Settings):
    size: int
class Nested(Settings):
    inner: Inner = Inner(size=1)
class BadDefault(Settings):
    size: int = "large"
class Unwritable(Settings):
    function: Any = len
def function(): pass
"""


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ("Plain", "it is no subclass of townlet_core.config.base.Settings"),
        ("Foreign", "it is no subclass of townlet_core.config.base.Settings"),
        ("function", "it is no subclass of townlet_core.config.base.Settings"),
        ("Required", "Required: every field of a settings model needs a default; size has none"),
        ("Nested", "Inner: every field of a settings model needs a default; size has none"),
        ("BadDefault", "ValidationError"),
        ("Unwritable", "PydanticSerializationError"),
    ],
)
def test_settings_that_commands_cannot_use_are_the_plugins_fault_and_break_nobody_elses(
    shelf, new_strategy, settings, cause
):
    (shelf.path / "their_models.py").write_text(MODELS)
    source = new_strategy("theirs").replace("townlet_core.config.tracking:TrackingConfig", f"their_models:{settings}")
    shelf.install("theirs", source)
    with pytest.raises(PluginError) as caught:
        registry_of(shelf).resolve("strategy", "theirs", field="settings")
    assert str(caught.value).startswith(
        f"strategy 'theirs' of plugin 'mine' of theirs 1.2 is broken: settings 'their_models:{settings}': "
    )
    assert cause in str(caught.value)
    for arguments in (("config", "init", "-"), ("config", "schema"), ("config", "explain"), ("config", "show")):
        done = shelf.townlet(*arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    done = shelf.townlet("train", "--strategy", "theirs", "--env", "gymnasium:CartPole-v1")
    assert done.returncode == 69
    assert done.stderr == f"error: {caught.value}\n"
    assert done.stderr.count("\n") == 1


def test_a_result_type_that_is_none_is_told_before_a_run(shelf, new_strategy):
    shelf.install("theirs", new_strategy("theirs").replace("townlet_core.dto.base:TrainingResultBase", "json:loads"))
    with pytest.raises(PluginError, match=r"result 'json:loads': it is no subclass of .*TrainingResultBase"):
        registry_of(shelf).resolve("strategy", "theirs", field="result")
