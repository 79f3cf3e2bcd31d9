"""What becomes of each key of an earlier configuration."""

import pytest

from townlet_core.config.document import parse_yaml
from townlet_core.config.dump import to_yaml
from townlet_core.config.earlier import migrate
from townlet_core.config.load import load_config
from townlet_core.config.root import SimulationConfig
from townlet_core.errors import ConfigError
from townlet_strategies_anneal.settings import AnnealSettings
from townlet_strategies_bc.settings import BCSettings
from townlet_strategies_ppo.settings import PPOSettings

MODELS = {"anneal": AnnealSettings, "bc": BCSettings, "ppo": PPOSettings}


def migrated(text, models=MODELS):
    return migrate(parse_yaml(text, source="old.yaml", max_expanded=1000), models, source="old.yaml")


def became(migration):
    return {outcome.key: outcome.became for outcome in migration.outcomes}


def reason(migration, key):
    (outcome,) = [one for one in migration.outcomes if one.key == key]
    return outcome.reason


@pytest.mark.parametrize("source", ["replay", "rollout", "mixed"])
def test_a_source_of_ppo_is_its_data_mode(source):
    values = migrated(f"training: {{source: {source}}}").values
    assert values == {"training": {"strategy": "ppo"}, "strategies": {"ppo": {"data_mode": source}}}


@pytest.mark.parametrize(
    ("source", "fate"),
    [("replay", "taken"), ("mixed", "changed"), ("rollout", "left out"), ("bc", "left out"), ("anneal", "left out")],
)
def test_the_manifest_to_replay_goes_to_what_reads_it(source, fate):
    migration = migrated(f"training: {{replay_manifest: captures/m.json, source: {source}}}")
    assert became(migration)["training.replay_manifest"] == fate
    dataset = migration.values.get("strategies", {}).get("ppo", {}).get("dataset")
    assert dataset == (None if fate == "left out" else "captures/m.json")


@pytest.mark.parametrize("source", ["bc", "anneal"])
def test_a_source_that_is_a_strategy_is_that_strategy(source):
    assert migrated(f"training: {{source: {source}}}").values["training"] == {"strategy": source}


def test_the_settings_of_learning_keep_their_values_under_todays_names():
    text = """
training:
  source: bc
  rollout_ticks: 17
  bc: {manifest: a/b.yaml, learning_rate: 0.002, batch_size: 48, epochs: 7, weight_decay: 0.01, device: cpu}
  anneal_accuracy_threshold: 0.8
ppo: {learning_rate: 3e-4, clip_param: 0.1, value_loss_coef: 0.25, entropy_coef: 0.02, num_epochs: 5,
  num_mini_batches: 3, gae_lambda: 0.9, gamma: 0.97, max_grad_norm: 0.7, value_clip: 0.3,
  advantage_normalization: no}
stability: {promotion: {required_passes: 3}}
"""
    migration = migrated(text)
    assert migration.values == {
        "training": {"strategy": "bc", "device": "cpu"},
        "promotion": {"required_passes": 3},
        "strategies": {
            "ppo": {
                "num_steps": 17,
                "learning_rate": 3e-4,
                "clip_range": 0.1,
                "value_coef": 0.25,
                "entropy_coef": 0.02,
                "num_epochs": 5,
                "num_minibatches": 3,
                "gae_lambda": 0.9,
                "gamma": 0.97,
                "max_grad_norm": 0.7,
                "value_clip_range": 0.3,
                "normalize_advantages": False,
            },
            "bc": {
                "dataset": "a/b.yaml",
                "learning_rate": 0.002,
                "batch_size": 48,
                "num_epochs": 7,
                "weight_decay": 0.01,
            },
            "anneal": {"accuracy_threshold": 0.8},
        },
    }
    assert "changed" in became(migration).values()
    assert not {"left out", "unknown"} & set(became(migration).values())


def test_a_schedule_keeps_its_stages_and_what_it_does_not_say_is_said():
    text = """
training:
  source: anneal
  bc: {manifest: m.json}
  anneal_schedule:
    - {cycle: 2, mode: ppo, epochs: "3", bc_weight: 0.5}
    - {mode: bc, epoch: 4}
    - {cycle: 3}
"""
    migration = migrated(text)
    assert migration.values["strategies"]["anneal"]["schedule"] == [
        {"cycle": 2, "mode": "ppo", "epochs": 3, "bc_weight": 0.5},
        {"cycle": 0, "mode": "bc", "epochs": 1, "bc_weight": 1.0},
        {"cycle": 3, "mode": "ppo", "epochs": 1, "bc_weight": 0.0},
    ]
    assert became(migration)["training.anneal_schedule[1].epoch"] == "unknown"
    assert reason(migration, "training.anneal_schedule[1].epoch") == "entries have no such key; did you mean 'epochs'?"
    assert not migration.missing


@pytest.mark.parametrize(("written", "share"), [("true", 1.0), ("'yes'", 1.0), ("false", None), ("'off'", None)])
def test_a_policy_blend_is_the_share_of_a_script_that_falls_with_the_weight(written, share):
    migration = migrated(f"training: {{source: anneal, anneal_enable_policy_blend: {written}}}")
    assert migration.values.get("strategies", {}).get("anneal", {}).get("blend_share") == share
    fate = became(migration)["training.anneal_enable_policy_blend"]
    assert fate == ("changed" if share else "left out")


@pytest.mark.parametrize(
    ("written", "share", "said"),
    [("1", 1.0, "as before"), ("0", None, "it is off"), ("'Off'", None, "it is off")]
    + [(text, None, f"{shown} given; must be true or false") for text, shown in [("maybe", "'maybe'"), ("[]", "[]")]]
    + [("2.5", None, "2.5 given; must be true or false"), ("{a: 1}", None, "{'a': 1} given; must be true or false")],
)
def test_a_policy_blend_is_on_for_no_value_but_a_true_one(written, share, said):
    migration = migrated(f"training: {{source: anneal, anneal_enable_policy_blend: {written}}}")
    assert migration.values.get("strategies", {}).get("anneal", {}).get("blend_share") == share
    assert said in reason(migration, "training.anneal_enable_policy_blend")


@pytest.mark.parametrize(
    ("source", "words"), [("bc", "the clone is evaluated"), ("anneal", "clones are judged"), ("rollout", "")]
)
def test_recordings_to_clone_have_to_be_of_todays_town(source, words):
    migration = migrated(f"training: {{source: {source}, bc: {{manifest: m.json}}}}")
    assert became(migration)["training.bc.manifest"] == ("changed" if words else "taken")
    said = reason(migration, "training.bc.manifest")
    assert said.startswith("it has to be a recording of today's town" if words else "")
    assert words in said
    assert migration.values["strategies"]["bc"]["dataset"] == "m.json"


def test_all_that_is_wrong_with_schedules_is_said_where_it_stands_and_none_is_left_out():
    text = """
training:
  source: anneal
  anneal_schedule:
    - {cycle: 0, mode: bc, epochs: 0}
    - cycle: 1
      bc_weight: 5
  social_reward_schedule: [{cycle: 1, stage: C9}, {cycle: 2}]
"""
    with pytest.raises(ConfigError) as caught:
        migrated(text)
    assert [line.strip() for line in str(caught.value).splitlines()[1:]] == [
        "training.anneal_schedule[0].epochs (old.yaml:5): 0 given; must be an integer from 1 to 1000000",
        "training.anneal_schedule[1].bc_weight (old.yaml:7): 5 given; must be a number from 0 to 1",
        "training.social_reward_schedule[0].stage (old.yaml:8): 'C9' given; must be one of OFF, C1, C2, C3",
        "training.social_reward_schedule[1].stage (old.yaml:8): is missing; must be one of OFF, C1, C2, C3",
    ]


def test_the_social_stages_are_the_towns_and_an_override_stands_above_all_others():
    schedule = "social_reward_schedule: [{cycle: 4, stage: C1}, {cycle: 9, stage: C3}, {stage: OFF}]"
    text = "features: {stages: {social_rewards: C2}}\ntraining: {source: rollout, %s}"
    migration = migrated(text % schedule)
    town = load_from(migration).environment.town
    assert [town.stage_at(cycle) for cycle in (0, 3, 4, 8, 9, 100)] == ["OFF", "OFF", "C1", "C1", "C3", "C3"]
    overridden = migrated(text % f"{schedule}, social_reward_stage_override: C1")
    town = load_from(overridden).environment.town
    assert [town.stage_at(cycle) for cycle in (0, 9)] == ["C1", "C1"]
    for key in ("features.stages.social_rewards", "training.social_reward_schedule"):
        assert became(overridden)[key] == "left out"
        assert "social_reward_stage_override" in reason(overridden, key)


def load_from(migration):
    return SimulationConfig.model_validate(migration.values)


def test_a_limit_of_0_was_off_and_is_null():
    migration = migrated("ppo: {value_clip: 0, max_grad_norm: 0.0}")
    assert migration.values["strategies"]["ppo"] == {"value_clip_range": None, "max_grad_norm": None}
    assert set(became(migration).values()) == {"changed"}


def test_a_value_that_is_refused_today_is_left_out_and_the_reason_says_what_is_allowed():
    migration = migrated("training: {source: rollout, rollout_ticks: 0}\nppo: {gamma: much, clip_param: 0.2}")
    assert migration.values["strategies"]["ppo"] == {"data_mode": "rollout", "clip_range": 0.2}
    assert became(migration)["training.rollout_ticks"] == became(migration)["ppo.gamma"] == "left out"
    assert "strategies.ppo.num_steps: 0 given; must be" in reason(migration, "training.rollout_ticks")


def test_every_key_is_told_of_once_with_its_line():
    text = """config_id: v1
jobs: {grocer: {start_tick: 180}}
training:
  source: rollout
  rolout_ticks: 5
  replay_manifest: null
trainig: {source: bc}
world: {}
rewards: {}
ppo: {}
"""
    migration = migrated(text)
    assert {outcome.key: (outcome.became, outcome.line) for outcome in migration.outcomes} == {
        "config_id": ("left out", 1),
        "jobs": ("left out", 2),
        "training.source": ("taken", 4),
        "training.rolout_ticks": ("unknown", 5),
        "training.replay_manifest": ("left out", 6),
        "trainig": ("unknown", 7),
        "world": ("left out", 8),
        "rewards": ("left out", 9),
        "ppo": ("left out", 10),
    }
    assert len(migration.outcomes) == 9
    assert reason(migration, "training.rolout_ticks") == "did you mean 'training.rollout_ticks'?"
    assert reason(migration, "trainig") == "did you mean 'training'?"
    assert all(outcome.reason for outcome in migration.outcomes if outcome.became == "left out")


def test_what_a_run_still_needs_is_said():
    assert "strategies.ppo.dataset" in migrated("training: {source: replay}").missing[0]
    assert "strategies.bc.dataset" in migrated("training: {source: bc}").missing[0]
    assert "training.source" in migrated("ppo: {gamma: 0.9}").missing[0]
    assert "schedule" in migrated("training: {source: anneal, bc: {manifest: m}}").missing[0]
    assert not migrated("training: {source: rollout}").missing


def test_a_manifest_without_a_source_is_replayed():
    migration = migrated("training: {replay_manifest: m.json}")
    assert migration.values["training"] == {"strategy": "ppo"}
    assert migration.values["strategies"]["ppo"] == {"data_mode": "replay", "dataset": "m.json"}


def test_aliases_and_merge_keys_are_followed():
    text = "base: &base {learning_rate: 0.1, gamma: 0.5}\nppo: {<<: *base, gamma: 0.6}"
    migration = migrated(text)
    assert migration.values["strategies"]["ppo"] == {"learning_rate": 0.1, "gamma": 0.6}
    assert became(migration)["base"] == "unknown"


def test_without_the_plugins_sections_of_strategies_are_kept():
    migration = migrated("training: {source: bc, bc: {manifest: m.json, epochs: 3}}", models={})
    assert migration.values["strategies"]["bc"] == {"dataset": "m.json", "num_epochs": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {source: sideways}", "old.yaml:1: training.source: 'sideways' given; must be one of replay, "),
        ("training: {source: [bc]}", "must be one of replay, "),
        ("training: {replay_manifest: m, source: [bc]}", "must be one of replay, "),
        ("training: {source: bc, anneal_schedule: 3}", "anneal_schedule: 3 given; must be a list of entries with cyc"),
        ("training: {source: bc, anneal_schedule: [3]}", "must be a list of entries"),
        (
            "training: {source: bc, anneal_schedule: [{}, {mode: pppo}]}",
            "[1].mode: 'pppo' given; must be one of bc",
        ),
        ("training: {source: bc, social_reward_schedule: {cycle: 1}}", "must be a list of entries"),
        ("training: 3", "training is not a section"),
        ("{ppo: {}, stability: {promotion: [1]}}", "stability.promotion is not a section"),
        ("training: {strategy: ppo}", "is a configuration of today already"),
        ("strategies: {ppo: {gamma: 0.9}}", "is a configuration of today already"),
        ("name: a playlist", "nothing in it can be used: it has name,"),
        ("jobs: {}", "nothing in it can be used"),
        ("{}", "nothing in it can be used: it has no keys"),
    ],
)
def test_what_is_no_earlier_configuration_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        migrated(text)
    assert message in str(caught.value)


def test_what_is_written_is_loaded(write):
    migration = migrated("training: {source: mixed, replay_manifest: 'yes', rollout_ticks: 8}\nrewards: {}")
    loaded = load_config(write(to_yaml(migration.values)), strategies=MODELS).config
    assert loaded.strategies["ppo"] == {"data_mode": "mixed", "dataset": "yes", "num_steps": 8}
