"""The resolved configuration as text and digest."""

import json
import subprocess
import sys

import yaml
from hypothesis import given
from hypothesis import strategies as st

from townlet_core.config.document import parse_yaml
from townlet_core.config.dump import config_digest, dump_yaml, to_yaml
from townlet_core.config.load import load_config
from townlet_core.config.root import SimulationConfig

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["1e5", "off", "null", "~", "", "0x1f", "1_0", "007", ".5", "1:30", "2026-11-23", "true", "=", "<<", "- a", "a: b", "!x", "*x", "&x", "# x"]  # noqa: E501  (a table)
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


def same(left, right):
    return left == right and json.dumps(left) == json.dumps(right)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_any_json_data_comes_back_from_its_yaml_exactly(data):
    text = to_yaml(data)
    assert same(parse_yaml(text, source="x").values, data)
    assert same(yaml.safe_load(text), data)


def test_the_resolved_configuration_loads_to_itself(write, strategies):
    sets = [
        "environment.options={g: 1e-7, s: '1e5', deep: [{a: off}]}",
        "environment.name=gymnasium:X-v0",
        "strategies.walk.widths=[1]",
    ]
    config = load_config(None, sets=sets, strategies=strategies).config
    again = load_config(write(dump_yaml(config)), strategies=strategies)
    assert again.config == config
    assert dump_yaml(again.config) == dump_yaml(config)
    assert config_digest(again.config) == config_digest(config)


def test_the_digest_is_that_of_the_canonical_json_in_every_process():
    code = (
        "from townlet_core.config.root import SimulationConfig; from townlet_core.config.dump import config_digest;"
        "print(config_digest(SimulationConfig(strategies={'b': {'y': 1, 'x': 2}, 'a': {}})))"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ["1", "2"]
    }
    mirrored = SimulationConfig(strategies={"a": {}, "b": {"x": 2, "y": 1}})
    assert digests == {config_digest(mirrored) + "\n"}
    assert config_digest(SimulationConfig()) != config_digest(mirrored)


def test_the_digest_leaves_out_what_changes_no_result_and_nothing_else():
    plain = config_digest(SimulationConfig())

    def digest(*sets):
        return config_digest(load_config(None, sets=sets).config)

    assert digest() == plain
    assert digest("tracking.progress=plain", "tracking.trackers={x: {}}", "training.runs_dir=elsewhere") == plain
    for text in ("training.seed=1", "training.num_threads=2", "environment.num_worlds=16", "training.device=cpu"):
        assert digest(text) != plain
