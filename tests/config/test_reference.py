"""The generated page of the documentation."""

import runpy
from pathlib import Path

from townlet_strategies_anneal.settings import Guardrail, ScheduleEntry

SCRIPT = Path(__file__).parents[2] / "docs" / "generate.py"


def test_the_configuration_page_is_what_the_settings_say_now():
    script = runpy.run_path(str(SCRIPT))
    page = script["CONFIGURATION_PAGE"].read_text(encoding="utf-8")
    assert page == script["configuration_page"](script["STRATEGIES"]), "run: python docs/generate.py"
    own = sum(1 for _ in script["every_knob"](script["STRATEGIES"]))
    assert page.count("\n| `") == own + len(ScheduleEntry.model_fields) + len(Guardrail.model_fields)
