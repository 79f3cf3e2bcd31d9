"""The generated pages are what the generator makes of the code as it is."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["cli", "exit_codes", "findings"])
def test_the_page_is_up_to_date(generate, page):
    path = getattr(generate, f"{page.upper()}_PAGE")
    assert path.read_text(encoding="utf-8") == getattr(generate, f"{page}_page")(), "run: python docs/generate.py"
