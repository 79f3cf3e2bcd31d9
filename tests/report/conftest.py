"""A recording that is made up, and one of the real town."""

import pytest
from report_recordings import made_up

from townlet_core.orchestrator.view import record_town
from townlet_core.plugins.registry import Registry


@pytest.fixture
def recording():
    return made_up()


@pytest.fixture(scope="session")
def breakfast():
    return record_town("kitchen_breakfast", registry=Registry.discover({}, no_plugins=True))
