"""One configuration out of file, variables, --set and options."""

import pytest

from townlet_core.config.base import settings_from
from townlet_core.config.load import load_config
from townlet_core.config.problems import ConfigProblems
from townlet_core.errors import ConfigError, ExitCode, MissingInputError

FILE = "training:\n  seed: 2\n"
VARIABLES = {"TOWNLET_SET__TRAINING__SEED": "3", "TOWNLET_DISABLE_PLUGINS": "x", "HOME": "/"}


def problems(*arguments, **keywords):
    with pytest.raises(ConfigProblems) as caught:
        load_config(*arguments, **keywords)
    assert caught.value.exit_code == ExitCode.CONFIG
    return str(caught.value)


@pytest.mark.parametrize(
    ("layers", "seed", "origin"),
    [(0, 0, "default"), (1, 2, "{file}:2"), (2, 3, "TOWNLET_SET__TRAINING__SEED"), (3, 4, "--set"), (4, 5, "option")],
)
def test_each_source_wins_over_those_before_it_and_is_named_as_the_origin(write, layers, seed, origin):
    path = write(FILE)
    loaded = load_config(
        path if layers >= 1 else None,
        environ=VARIABLES if layers >= 2 else {},
        sets=["training.seed=1", "training.seed=4"] if layers >= 3 else [],
        options={"training.seed": 5 if layers >= 4 else None},
    )
    assert loaded.config.training.seed == seed
    assert loaded.origin("training.seed") == origin.format(file=path)
    assert loaded.origin("training.device") == "default"


def test_no_source_at_all_gives_the_defaults_and_reads_nothing(monkeypatch):
    monkeypatch.setenv("TOWNLET_SET__TRAINING__SEED", "3")
    assert load_config(None).config.training.seed == 0


def test_json_and_yaml_say_the_same(write):
    as_yaml = load_config(write("environment: {name: 'gymnasium:X-v0', options: {g: 9.8}}\n")).config
    text = '{"environment": {"name": "gymnasium:X-v0", "options": {"g": 9.8}}}'
    assert load_config(write(text, "run.json")).config == as_yaml


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training.runs_dir=2024", "training.runs_dir", "2024"),
        ("training.runs_dir=1e5", "training.runs_dir", "1e5"),
        ("environment.name=[odd", "environment.name", None),
        ("environment.name=a: b", "environment.name", "a: b"),
        ("environment.name=true", "environment.name", "true"),
        ("environment.name='12'", "environment.name", "12"),
        ("environment.name=null", "environment.name", None),
        ("environment.name=python:my.module:make", "environment.name", "python:my.module:make"),
        ("tracking.progress=off", "tracking.progress", "off"),
        ("environment.options={g: 9.8, modes: [a, 1]}", "environment.options", {"g": 9.8, "modes": ["a", 1]}),
        ("environment.options.g=1e-3", "environment.options", {"g": 1e-3}),
        ("environment.step_timeout_sec=1e-3", "environment.step_timeout_sec", 1e-3),
        ("environment.num_worlds= 16 ", "environment.num_worlds", 16),
        ("strategies.walk.widths=[1, 2]", "strategies", {"walk": {"widths": [1, 2]}}),
    ],
)
def test_set_reads_yaml_values_and_leaves_text_as_it_stands(text, path, value):
    if "[odd" in text:
        assert "environment.name (--set)" in problems(None, sets=[text])
        return
    config = load_config(None, sets=[text]).config.model_dump(mode="json")
    for part in path.split("."):
        config = config[part]
    assert config == value


def test_set_replaces_what_was_there_and_keeps_its_neighbours(write):
    path = write("environment:\n  num_worlds: 4\n  options: {a: 1, b: 2}\n")
    loaded = load_config(path, sets=["environment.options.a=9", "environment.options={c: 3}"])
    assert loaded.config.environment.options == {"c": 3}
    assert loaded.config.environment.num_worlds == 4
    assert loaded.origin("environment.options") == "--set"
    mixed = load_config(path, sets=["environment.options.a=9"])
    assert mixed.config.environment.options == {"a": 9, "b": 2}
    assert set(mixed.origin("environment.options").split(", ")) == {f"{path}:3", "--set"}


def test_all_problems_are_reported_at_once_each_with_its_place(write, strategies):
    path = write(
        "training:\n  sed: 1\n  seed: -1\nenvironment:\n  num_worlds: true\nstrategies:\n  walk:\n    strid: 1\n"
    )
    text = problems(
        path, sets=["nothing", "training.device=gpu"], environ={"TOWNLET_SET__NUM_WORKERS": "2"}, strategies=strategies
    )
    assert text.splitlines()[0] == "the configuration has 7 problems:"
    for line in [
        "--set 'nothing' is not of the form section.key=value, such as training.seed=1",
        f"training.sed ({path}:2): there is no such key; did you mean 'training.seed'?",
        f"training.seed ({path}:3): -1 given; must be an integer from 0 to 2147483647",
        f"environment.num_worlds ({path}:5): true is a truth value; must be an integer from 1 to 65536",
        "training.device (--set): 'gpu' given; must be text that matches ^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        "num_workers (TOWNLET_SET__NUM_WORKERS): there is no such key; did you mean 'environment.num_workers'?",
        f"strategies.walk.strid ({path}:8): there is no such key; did you mean 'strategies.walk.stride'?",
    ]:
        assert f"\n  {line}" in text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("environment.num_worlds='8'", "'8' is text; must be an integer from 1 to 65536"),
        ("environment.num_worlds=1.5", "1.5 given; must be an integer from 1 to 65536"),
        ("environment.num_worlds=0", "0 given; must be an integer from 1 to 65536"),
        ("environment.num_worlds=null", "None given; must be an integer from 1 to 65536"),
        ("environment.step_timeout_sec=.nan", "nan is not a finite number; must be a number above 0 and up to 86400"),
        ("environment.step_timeout_sec=1e999", "inf is not a finite number"),
        ("environment.step_timeout_sec=0", "0 given; must be a number above 0"),
        ("environment.options.g=.inf", "environment.options.g (--set): inf is not a finite number"),
        ("strategies.walk.x=[1, .nan]", "strategies.walk.x[1] (--set): nan is not a finite number"),
        ("environment.vectorization=asynch", "'asynch' given; must be one of sync, workers, entry_point"),
        ("environment.worlds_per_shard=3", "3 given; it does not divide num_worlds = 8; 2 does, and null chooses one"),
        ("training=5", "5 given; must be a section"),
        ("training.seed.x=5", "training.seed (--set): {'x': 5} given; must be an integer"),
        ("strategies=walk", "'walk' given; must be a mapping"),
        ("training.sed=1", "training.sed (--set): there is no such key; did you mean 'training.seed'?"),
        ("enviroment.num_worlds=1", "enviroment (--set): there is no such key; did you mean 'environment'?"),
        ("num_worlds=4", "num_worlds (--set): there is no such key; did you mean 'environment.num_worlds'?"),
        ("training.num_worlds=4", "did you mean 'environment.num_worlds'?"),
        ("training..seed=4", "is not of the form section.key=value"),
        ("=4", "is not of the form section.key=value"),
    ],
)
def test_a_wrong_value_says_what_was_given_and_what_is_allowed(setting, words):
    assert words in problems(None, sets=[setting])


def test_a_dotted_key_in_a_file_is_told_how_to_nest(write):
    assert "sections are nested in a file" in problems(write("training.seed: 1\n"))


@pytest.mark.parametrize("name", ["TOWNLET_SET_TRAINING__SEED", "TOWNLET_SET__", "TOWNLET_SET", "TOWNLET_SET____SEED"])
def test_a_variable_that_only_looks_like_a_setting_is_an_error(name):
    assert f"the variable {name} names no key" in problems(None, environ={name: "1"})


def test_other_townlet_variables_are_left_alone():
    assert load_config(None, environ={"TOWNLET_STRICT_PLUGINS": "1", "TOWNLET_DISABLE_PLUGINS": "a"}).origins == {}


def test_a_missing_file_is_a_missing_input(tmp_path):
    with pytest.raises(MissingInputError) as caught:
        load_config(tmp_path / "none.yaml")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_empty_files_and_empty_sections_are_the_defaults(write):
    defaults = load_config(None).config
    assert load_config(write("")).config == defaults
    assert load_config(write("training:\nstrategies:\ntracking: {trackers: }\n")).config == defaults
    assert load_config(write("strategies: {walk: }\n")).config.strategies == {"walk": {}}


def test_an_environment_that_runs_code_is_trusted_from_everywhere_but_a_file(write):
    path = write("environment: {name: 'python:my_module:make'}\n")
    assert not load_config(path).trust_code
    assert not load_config(path, sets=["training.seed=1", "environment.num_worlds=2"]).trust_code
    assert load_config(path, trust_config=True).trust_code
    assert load_config(path, sets=["environment.name=python:mine:make"]).trust_code
    assert load_config(path, options={"environment.name": "python:mine:make"}).trust_code
    assert load_config(path, environ={"TOWNLET_SET__ENVIRONMENT__NAME": "python:mine:make"}).trust_code
    assert load_config(None).trust_code
    as_json = write('{"environment": {"name": "python:my_module:make"}}', "run.json")
    assert not load_config(as_json).trust_code


def test_a_strategy_section_is_typed_with_options_over_it(strategies):
    model = strategies["walk"]
    settings = settings_from(model, {"stride": 1, "widths": [8]}, {"stride": 2}, path="strategies.walk")
    assert settings == model(stride=2.0, widths=(8,))
    assert settings_from(model, None, path="strategies.walk") == model()
    with pytest.raises(
        ConfigError, match=r"strategies.walk.gate: there is no such key; did you mean 'strategies.walk.gait'"
    ):
        settings_from(model, {}, {"gate": "trot"}, path="strategies.walk")
    with pytest.raises(
        ConfigError, match=r"strategies.walk.widths\[1\]: true is a truth value; must be a list up to 4 entries"
    ):
        settings_from(model, {"widths": [1, True]}, path="strategies.walk")
    with pytest.raises(ConfigError, match=r"strategies.walk: 5 given; must be a section"):
        settings_from(model, 5, path="strategies.walk")


def test_a_flood_of_problems_is_counted_and_not_listed_in_full(write):
    text = problems(write("".join(f"k{index}: 1\n" for index in range(60))))
    assert text.startswith("the configuration has 60 problems:")
    assert text.endswith("and 10 more")
    assert len(text.splitlines()) == 52
