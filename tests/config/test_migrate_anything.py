"""Every rule leads to a key of today, and whatever the values are, a migration passes today's checks or is an error."""

from hypothesis import given, settings
from hypothesis import strategies as st

from townlet_core.config.document import Document, parse_yaml
from townlet_core.config.dump import to_yaml
from townlet_core.config.earlier import migrate
from townlet_core.config.earlier.migrate import RULES
from townlet_core.config.load import checked
from townlet_core.config.sections import every_path
from townlet_core.errors import ConfigError
from townlet_strategies_anneal.settings import AnnealSettings
from townlet_strategies_bc.settings import BCSettings
from townlet_strategies_ppo.settings import PPOSettings

MODELS = {"anneal": AnnealSettings, "bc": BCSettings, "ppo": PPOSettings}


def test_every_rule_leads_to_a_key_of_today():
    samples = {
        "training.source": "replay",
        "training.replay_manifest": "m",
        "training.anneal_schedule": [{}],
        "training.social_reward_schedule": [{"stage": "C1"}],
        "training.anneal_enable_policy_blend": True,
    }
    paths = set(every_path(MODELS))
    for key, rule in RULES.items():
        fate = rule(samples.get(key, 1), {})
        assert set(fate.targets) <= paths, key
        assert fate.targets or fate.reason, key


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["C1", "bc", "replay"])
)
VALUES = SCALARS | st.lists(
    SCALARS | st.dictionaries(st.sampled_from(["cycle", "stage", "mode", "epochs", "bc_weight", "x", "<<"]), SCALARS),
    max_size=3,
)


def nested(values):
    """Return sections of values by dotted path."""
    sections = {}
    for path, value in values.items():
        *above, name = path.split(".")
        place = sections
        for section in above:
            place = place.setdefault(section, {})
        place[name] = value
    return sections


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(RULES)), VALUES, max_size=6), st.text(max_size=3), VALUES)
def test_whatever_the_values_are_the_result_is_accepted_or_an_error_is_raised(values, other, more):
    document = nested(values)
    document.setdefault(other, more)
    try:
        migration = migrate(Document(document), MODELS, source="old.yaml")
    except ConfigError:
        return
    problems = []
    checked(migration.values, MODELS, problems)
    assert not problems
    assert set(values) <= {outcome.key for outcome in migration.outcomes}
    assert parse_yaml(to_yaml(migration.values), source="new.yaml").values == migration.values
