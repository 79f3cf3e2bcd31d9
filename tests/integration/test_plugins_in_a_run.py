"""What plugins bring takes part in real runs: strategies, environments, encoders, trackers, observers, commands."""

import json

import pytest

from townlet_core import PolicyTrainingOrchestrator, TrainingOrchestrator
from townlet_core.config.load import load_config
from townlet_core.errors import ArtefactError, ConfigError, PluginError, RunInterrupted, TownletWarning
from townlet_core.policy.artefact import load_artefact

PLUGIN = """
from townlet_core.plugins import *
from townlet_core.plugins import hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_strategies():
    settings = f"{__package__}.parts:Settings"
    result = "townlet_core.dto.base:TrainingResultBase"
    make = lambda name, target: StrategyEntry(
        name=name, strategy=f"{__package__}.parts:{target}", settings=settings, result=result)
    return [make("staged", "Staged"), make("liar", "Liar"), make("sleepy", "Sleepy"), make("shapeless", "Shapeless"),
            make("crashing", "Crashing"), make("indirect", "Indirect")]

@hookimpl
def townlet_environments():
    names = {"mycart": "make_environment", "narrow": "takes_nothing", "few": "makes_one_world", "none": "makes_none",
             "picky": "refuses", "falls": "Falls"}
    return [EnvironmentEntry(name=name, factory=f"{__package__}.parts:{target}") for name, target in names.items()]

@hookimpl
def townlet_encoders():
    return [EncoderEntry(name="doubling", encoder=f"{__package__}.parts:Doubling")]

@hookimpl
def townlet_trackers():
    return [TrackerEntry(name="notes", tracker=f"{__package__}.parts:Notes"),
            TrackerEntry(name="bad", tracker=f"{__package__}.parts:Bad")]

@hookimpl
def townlet_run_started(run_dir, strategy):
    from . import parts
    parts.SEEN.append(("started", strategy))

@hookimpl
def townlet_run_finished(run_dir, result):
    from . import parts
    parts.SEEN.append(("finished", result["strategy"]))
    raise RuntimeError("an observer may fail")

@hookimpl
def townlet_run_failed(run_dir, error):
    from . import parts
    parts.SEEN.append(("failed", error))
"""

PARTS = """
from townlet_core.config.base import Settings as Base
from townlet_core.dto.base import TrainingResultBase
from townlet_core.environments.build import make_environment as build
from townlet_core.errors import ConfigError, RunInterrupted

SEEN = []

class Settings(Base):
    pass

class Staged:
    def run(self, context, **options):
        small = {"total_steps": 200, "num_steps": 16, "num_epochs": 1}
        first = context.stages.run("ppo", small)
        policy = __import__("townlet_core.policy.artefact", fromlist=["x"]).load_artefact(
            context.run.path / "stages" / "001-ppo" / first.artefact.path)
        second = context.stages.run("ppo", {**small, "learning_rate": 1e-9}, initial_policy=policy)
        SEEN.append((first.artefact.digest, second.agent_steps))
        return TrainingResultBase(strategy="staged", duration_sec=0.0)

class Liar:
    def run(self, context, **options):
        return {"accuracy": 1.0}

class Sleepy:
    def run(self, context, **options):
        raise RunInterrupted("stopped before anything")

class Shapeless:
    pass

class Crashing:
    def run(self, context, **options):
        raise RuntimeError("oops")

class Indirect:
    def run(self, context, **options):
        context.stages.run("ppo", {})

def takes_nothing():
    pass

def makes_one_world(config, *, num_worlds):
    return make_environment(config, num_worlds=1)

def makes_none(config, *, num_worlds):
    return None

def refuses(config, *, num_worlds):
    raise ConfigError("environment.options.height: there is no such option")

def Falls(config, *, num_worlds):
    environment = make_environment(config, num_worlds=num_worlds)
    def step(actions):
        raise RuntimeError("the floor gave way")
    environment.step = step
    return environment

def make_environment(config, *, num_worlds):
    return build(config.model_copy(update={"name": "gymnasium:CartPole-v1"}), num_worlds=num_worlds)

class Doubling:
    def weight_shapes(self, inputs, options):
        return {"w": (4, options["width"]), "b": (options["width"],)}
    def num_features(self, inputs, options):
        return options["width"]
    def encode(self, operations, weights, inputs, options):
        return operations.tanh(operations.linear(inputs["observation"], weights["w"], weights["b"]))

class Notes:
    def __init__(self, run_directory, options):
        self.path = options["path"]
    def log(self, record):
        with open(self.path, "a") as file:
            file.write(f"{record['epoch']}\\n")
    def close(self):
        with open(self.path, "a") as file:
            file.write("closed\\n")

class Bad:
    def __init__(self, run_directory, options):
        pass
    def log(self, record):
        raise OSError("no such server")
    def close(self):
        pass
"""

SMALL = ["strategies.ppo.num_steps=16", "strategies.ppo.num_epochs=1", "strategies.ppo.total_steps=300"]


@pytest.fixture
def parts(shelf):
    """The module of an installed plugin that offers one of everything."""
    import importlib

    package = shelf.install("townlet-of-mine", PLUGIN)
    (shelf.path / package / "parts.py").write_text(PARTS)
    return importlib.import_module(f"{package}.parts")


def orchestrator(tmp_path, *sets, **fields):
    sets = [f"training.runs_dir={tmp_path / 'runs'}", "tracking.progress=off", *SMALL, *sets]
    if not any(text.startswith("environment.name") for text in sets):
        sets.append("environment.name=gymnasium:CartPole-v1")
    return TrainingOrchestrator(load_config(None, sets=sets).config, **fields)


def test_a_plugins_environment_and_encoder_are_trained_with_and_the_artefact_runs(tmp_path, parts):
    trainer = orchestrator(
        tmp_path,
        "environment.name=mycart",
        "strategies.ppo.encoder=doubling",
        "strategies.ppo.encoder_options={width: 6}",
    )
    result = trainer.run_ppo()
    path = trainer.run_directory.policy_dir
    artefact = load_artefact(path, encoders=trainer.context.resolver.encoder)
    assert artefact.digest == result.artefact.digest
    assert artefact.weights["encoder.w"].shape == (4, 6)
    with pytest.raises(ArtefactError, match="doubling"):
        load_artefact(path)


def test_a_plugins_tracker_gets_every_record_and_one_that_fails_is_switched_off(tmp_path, parts, capfd):
    notes = tmp_path / "notes.txt"
    trainer = orchestrator(tmp_path, f"tracking.trackers={{notes: {{path: '{notes}'}}, bad: {{}}}}")
    result = trainer.run_ppo()
    assert notes.read_text().split() == [*map(str, range(1, result.epoch + 1)), "closed"]
    assert capfd.readouterr().err.count("tracker 'bad' failed") == 1


def test_observers_learn_how_a_run_ends_and_cannot_spoil_it(tmp_path, parts, capfd):
    orchestrator(tmp_path).run_ppo()
    assert parts.SEEN == [("started", "ppo"), ("finished", "ppo")]
    assert "an observer may fail" in capfd.readouterr().err
    parts.SEEN.clear()
    with pytest.raises(PluginError, match="returned dict, and its entry promises TrainingResultBase"):
        orchestrator(tmp_path).run("liar")
    assert parts.SEEN[0] == ("started", "liar")
    assert parts.SEEN[1][0] == "failed"


def test_a_strategy_runs_others_by_name_as_stages_in_child_directories(tmp_path, parts):
    trainer = orchestrator(tmp_path, "training.strategy=staged")
    trainer.run()
    digest, agent_steps = parts.SEEN[1]
    stages = trainer.run_directory.path / "stages"
    assert sorted(path.name for path in stages.iterdir()) == ["001-ppo", "002-ppo"]
    assert load_artefact(stages / "001-ppo" / "policy").digest == digest
    assert agent_steps == 256
    first, second = (load_artefact(stages / name / "policy").weights for name in ("001-ppo", "002-ppo"))
    assert abs(first["actor.0.weight"] - second["actor.0.weight"]).max() < 1e-6
    assert json.loads((stages / "002-ppo" / "result.json").read_text())["strategy"] == "ppo"


def test_a_strategy_that_was_interrupted_leaves_an_interrupted_run(tmp_path, parts):
    trainer = orchestrator(tmp_path)
    with pytest.raises(RunInterrupted, match="townlet train --resume --run-dir"):
        trainer.run("sleepy")
    assert trainer.run_directory.record().status == "interrupted"


def test_a_strategy_without_run_is_an_error_that_says_so(tmp_path, parts):
    with pytest.raises(PluginError, match="Shapeless, which has no run"):
        orchestrator(tmp_path).run("shapeless")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        (
            "narrow",
            PluginError,
            "environment 'narrow' of plugin 'mine' of townlet-of-mine 1.2 cannot be made: TypeError",
        ),
        ("few", PluginError, "environment 'few' of .* made 1 worlds, and was asked for 8"),
        ("none", PluginError, "environment 'none' of .* made NoneType, which is no VectorEnvironment"),
        ("picky", ConfigError, "^environment.options.height: there is no such option"),
    ],
)
def test_a_factory_that_does_not_make_what_it_has_to_is_the_plugins_fault(tmp_path, parts, name, error, text):
    with pytest.raises(error, match=text):
        orchestrator(tmp_path, f"environment.name={name}").run_ppo()


@pytest.mark.parametrize(
    ("strategy", "environment", "cause"),
    [
        ("crashing", "gymnasium:CartPole-v1", "RuntimeError: oops"),
        ("ppo", "falls", "RuntimeError: the floor gave way"),
        ("indirect", "falls", "RuntimeError: the floor gave way"),
    ],
)
def test_a_crash_ends_with_69_and_the_name_of_the_plugin_whose_code_was_running(
    shelf, tmp_path, parts, strategy, environment, cause
):
    directory = str(tmp_path / "run")
    done = shelf.townlet("train", "--strategy", strategy, "--env", environment, "--run-dir", directory)
    assert (done.returncode, done.stdout) == (69, "")
    assert cause in done.stderr
    blamed = "error: this is a bug in plugin 'mine' of townlet-of-mine 1.2; please report it with the lines above\n"
    assert done.stderr.endswith(blamed)


def test_options_are_settings_by_field_name_and_an_unknown_one_is_an_error(tmp_path):
    result = orchestrator(tmp_path).run_ppo(total_steps=128)
    assert result.total_steps == 128
    with pytest.raises(ConfigError, match="total_steps"):
        orchestrator(tmp_path).run_ppo(totl_steps=128)


def test_a_run_without_an_environment_lists_those_of_plugins(parts):
    with pytest.raises(ConfigError, match=r"no environment is chosen.*python:module:factory; .*mycart \(of a plugin\)"):
        TrainingOrchestrator(load_config(None, sets=["environment.name=null"]).config).run()


def test_the_earlier_name_of_the_orchestrator_works_and_is_deprecated(tmp_path):
    config = orchestrator(tmp_path).config
    with pytest.deprecated_call(match="TrainingOrchestrator"):
        earlier = PolicyTrainingOrchestrator(config)
    assert earlier.run_ppo().strategy == "ppo"


def test_the_context_is_made_on_first_use_and_needs_no_run_directory(tmp_path):
    trainer = orchestrator(tmp_path)
    assert "context" not in vars(trainer)
    assert trainer.context.run is None
    assert trainer.context.config.strategies["ppo"]["total_steps"] == 300
    assert not (tmp_path / "runs").exists()


def test_a_damaged_newest_checkpoint_is_skipped_when_a_run_is_resumed(tmp_path):
    trainer = orchestrator(tmp_path, "training.checkpoint_every=1")
    trainer.run_ppo()
    run = trainer.run_directory
    newest = max((run.path / "checkpoints").glob("0*"))
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "state.safetensors").write_bytes(bytes(data))
    run.write_record(run.record().model_copy(update={"status": "interrupted"}))
    again = orchestrator(tmp_path, "training.checkpoint_every=1", run_dir=run.path, resume=True)
    with pytest.warns(TownletWarning, match="skipped.*state.safetensors"):
        result = again.run_ppo()
    epochs = [json.loads(line)["epoch"] for line in run.telemetry_path.read_text().splitlines()]
    assert epochs == list(range(1, result.epoch + 1))
    assert result.num_resumes == 0
