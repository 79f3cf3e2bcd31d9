"""`townlet config` as a process."""

import json

import jsonschema
import pytest
import yaml

from townlet_core.config.document import read_document
from townlet_core.config.dump import dump_yaml
from townlet_core.config.load import load_config
from townlet_core.config.root import SimulationConfig
from townlet_core.config.sections import every_knob, json_schema
from townlet_core.config.starter import starter
from townlet_strategies_anneal.settings import AnnealSettings
from townlet_strategies_bc.settings import BCSettings
from townlet_strategies_ppo.settings import PPOSettings

PPO = {"ppo": PPOSettings}
INSTALLED = {"anneal": AnnealSettings, "bc": BCSettings, "ppo": PPOSettings}


def test_the_starter_loads_to_the_defaults_and_names_every_field(write, strategies):
    models = PPO | strategies
    text = starter(models)
    path = write(text)
    config = load_config(path, strategies=models).config
    assert config.environment == SimulationConfig().environment
    assert config.training == SimulationConfig().training
    assert config.tracking == SimulationConfig().tracking
    typed = {name: model.model_validate(config.strategies[name]) for name, model in models.items()}
    assert typed == {name: model() for name, model in models.items()}
    lines = read_document(path).lines
    unwrapped = " ".join(text.replace("#", " ").split())
    for knob in every_knob(models):
        assert knob.path in lines
        assert " ".join(knob.description.split()) in unwrapped
    assert max(map(len, text.splitlines())) <= 120


def test_the_starter_is_accepted_by_the_schema_and_a_misspelt_or_wrong_one_is_not(write, strategies):
    schema = json_schema(PPO | strategies)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    values = read_document(write(starter(PPO | strategies))).values
    assert not list(validator.iter_errors(values))
    assert list(validator.iter_errors({"training": {"sed": 1}}))
    assert list(validator.iter_errors({"strategies": {"walk": {"stride": -1}}}))
    assert list(validator.iter_errors({"strategies": {"ppo": {"gama": 1}}}))
    assert not list(validator.iter_errors({"strategies": {"elsewhere": {"anything": 1}}}))


def test_init_writes_a_file_once_and_again_only_with_force(townlet, tmp_path):
    done = townlet("config", "init", "mine.yaml", "--strategy", "ppo")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "mine.yaml"
    text = path.read_text()
    assert "learning_rate:" in text
    path.write_text("training: {seed: 7}\n")
    again = townlet("config", "init", "mine.yaml")
    assert again.returncode == 64
    assert "--force" in again.stderr
    assert path.read_text() == "training: {seed: 7}\n"
    assert townlet("config", "init", "mine.yaml", "--force").returncode == 0
    assert path.read_text() == text
    assert townlet("config", "init", "none/mine.yaml").returncode == 74
    assert townlet("config", "init", "other.yaml", "--strategy", "pppo").returncode == 69


def test_show_of_the_starter_is_show_of_nothing_and_feeds_itself(townlet, tmp_path):
    townlet("config", "init", "mine.yaml")
    shown = townlet("config", "show", "mine.yaml").stdout
    of_nothing = yaml.safe_load(townlet("config", "show").stdout)
    of_starter = yaml.safe_load(shown)
    for name, model in (("anneal", AnnealSettings), ("bc", BCSettings)):  # nothing has what is selected
        assert of_starter["strategies"].pop(name) == model().model_dump(mode="json")
    assert of_starter == of_nothing
    (tmp_path / "shown.yaml").write_text(shown)
    assert townlet("config", "show", "shown.yaml").stdout == shown
    as_json = townlet("config", "show", "shown.yaml", "--json").stdout
    assert json.loads(as_json)["strategies"]["ppo"]["learning_rate"] == PPOSettings().learning_rate
    (tmp_path / "shown.json").write_text(as_json)
    assert townlet("config", "show", "shown.json").stdout == shown
    assert shown.startswith(dump_yaml(SimulationConfig()).partition("strategies:")[0])


def test_explain_names_the_source_of_each_value(townlet, tmp_path):
    (tmp_path / "run.yaml").write_text("training:\n  seed: 1\n  device: cpu\n")
    done = townlet(
        "config", "explain", "run.yaml", "--json", "--set", "strategies.ppo.gamma=0.5", "--env", "gymnasium:CartPole-v1",  # noqa: E501  (one command line)
        TOWNLET_SET__TRAINING__SEED="5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["path"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    assert rows["training.seed"] == (5, "TOWNLET_SET__TRAINING__SEED")
    assert rows["training.device"] == ("cpu", "run.yaml:3")
    assert rows["strategies.ppo.gamma"] == (0.5, "--set")
    assert rows["strategies.ppo.gae_lambda"] == (PPOSettings().gae_lambda, "default")
    assert rows["environment.name"] == ("gymnasium:CartPole-v1", "option")
    assert set(rows) == {knob.path for knob in every_knob(INSTALLED)}


def test_explain_of_one_key_shows_only_that_key(townlet):
    done = townlet("config", "explain", "training.seed")
    assert done.stdout.startswith("training.seed = 0  (default)\n    Seed of every random number")
    assert done.stdout.count("(default)") == 1
    assert townlet("config", "explain", "training.sede").returncode == 78
    assert townlet("config", "explain", "a", "b").returncode == 64


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "none.yaml"], 66, "there is no configuration file none.yaml"),
        (["show", "--set", "learning_rate=1"], 78, "did you mean 'strategies.ppo.learning_rate'?"),
        (["show", "--strategy", "bc", "--set", "learning_rate=1"], 78, "did you mean 'strategies.bc.learning_rate'?"),
        (["show", "--set", "strategies.ppo.gamma=2"], 78, "2 given; must be a number from 0 to 1"),
        (["show", "--seed", "-1"], 78, "training.seed (option): -1 given"),
        (["show", "--seed", "x"], 64, "'x' is not a valid integer"),
    ],
)
def test_errors_of_the_configuration_have_their_exit_codes(townlet, arguments, code, words):
    done = townlet("config", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""


def test_without_plugins_the_core_fields_are_still_shown(townlet):
    done = townlet("--no-plugins", "config", "show")
    assert done.returncode == 0
    assert done.stdout == dump_yaml(SimulationConfig())
    assert "the sections of strategies are not checked" in done.stderr


def test_schema_is_printed_with_the_sections_of_installed_strategies(townlet):
    schema = json.loads(townlet("config", "schema").stdout)
    assert schema == json.loads(json.dumps(json_schema(INSTALLED)))
