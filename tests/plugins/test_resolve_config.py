"""The sections of strategies get the types that their plugins bring, and only the selected one has to work."""

import pytest

from townlet_core import SimulationConfig
from townlet_core.errors import ConfigError, PluginError, TownletWarning
from townlet_core.plugins.discovery import installed_sources
from townlet_core.plugins.manager import PluginManager
from townlet_core.plugins.registry import Registry

SETTINGS = """
from pydantic import Field
from townlet_core.config.base import Settings

class Mine(Settings):
    learning_rate: float = Field(default=0.5, gt=0, le=1, description="Step size. [1]")
    layers: tuple[int, ...] = (64, 64)
"""


@pytest.fixture
def registry(shelf):
    (shelf.path / "mine_settings.py").write_text(SETTINGS)
    (shelf.path / "broken_settings.py").write_text("1 / 0")
    entry = "StrategyEntry(name='{0}', strategy='json:loads', settings='{0}_settings:Mine', result='json:loads')"
    shelf.install(
        "mine",
        "from townlet_core.plugins import StrategyEntry, hookimpl\nTOWNLET_PLUGIN_API = (1, 0)\n"
        f"@hookimpl\ndef townlet_strategies():\n    return [{entry.format('mine')}, {entry.format('broken')}]\n",
    )
    return Registry(PluginManager(installed_sources([str(shelf.path)])))


def config(strategy="mine", **strategies):
    return SimulationConfig.model_validate({"training": {"strategy": strategy}, "strategies": strategies})


def test_the_selected_section_is_completed_with_its_defaults(registry):
    resolved = registry.resolve_config(config(mine={"learning_rate": 0.25}))
    assert resolved.strategies == {"mine": {"learning_rate": 0.25, "layers": (64, 64)}}
    assert registry.resolve_config(config()).strategies == {"mine": {"learning_rate": 0.5, "layers": (64, 64)}}


def test_resolving_twice_changes_nothing_and_leaves_the_original_alone(registry):
    original = config(mine={"learning_rate": 0.25})
    once = registry.resolve_config(original)
    assert registry.resolve_config(once) == once
    assert original.strategies == {"mine": {"learning_rate": 0.25}}


def test_a_misspelt_field_is_an_error_with_its_path_and_a_suggestion(registry):
    with pytest.raises(ConfigError, match=r"strategies\.mine\.learning_rat.*learning_rate"):
        registry.resolve_config(config(mine={"learning_rat": 0.25}))


def test_a_section_of_another_strategy_is_kept_with_a_warning(registry):
    with pytest.warns(TownletWarning, match=r"strategies\.absent is kept and not checked: unknown strategy 'absent'"):
        resolved = registry.resolve_config(config(absent={"any": ["thing"]}))
    assert resolved.strategies["absent"] == {"any": ["thing"]}
    with pytest.warns(TownletWarning, match=r"strategies\.broken is kept and not checked.*ZeroDivisionError"):
        registry.resolve_config(config(broken={}))


@pytest.mark.parametrize(("name", "cause"), [("absent", "unknown strategy"), ("broken", "ZeroDivisionError")])
def test_a_selected_strategy_that_cannot_be_used_is_an_error(registry, name, cause):
    with pytest.raises(PluginError, match=cause):
        registry.resolve_config(config(name, mine={}))


def test_a_strategy_selected_by_its_qualified_name_uses_the_section_of_its_plain_name(registry):
    resolved = registry.resolve_config(config("plugin:mine:mine", mine={"learning_rate": 0.125}))
    assert resolved.strategies["plugin:mine:mine"] == {"learning_rate": 0.125, "layers": (64, 64)}
