"""The page holds the recording, plays it in a browser, and lets nothing from a file become code."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
from report_recordings import made_up

from townlet_core.report.town_player import town_player


def document(page):
    return json.loads(re.search(r'<script id="recording"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def unpacked(packed, width):
    kinds = {"u1": "u1", "i1": "i1", "i2": "<i2", "i4": "<i4"}
    values = np.frombuffer(base64.b64decode(packed["data"]), kinds[packed["kind"]])
    return values.reshape(-1, width) * packed["scale"]


def test_the_page_refers_to_nothing_outside_of_it(breakfast):
    page = town_player(breakfast)
    assert not re.search(r"https?://|//[a-z]+\.|\bsrc=|\bhref=|@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_a_day_of_eight_agents_is_less_than_three_megabytes():
    rng = np.random.default_rng(0)
    recording = made_up(frames=1001, agents=8, size=(24, 24))
    events = recording.events * 700
    tables = {name: rng.normal(size=(1001, 8)).astype(np.float32) for name in "abcdefghi"}
    noisy = type(recording)(
        **{name: getattr(recording, name) for name in recording.__dataclass_fields__}
        | {"reward_terms": tables, "events": events}
    )
    assert len(town_player(noisy).encode()) < 3_000_000


def test_the_page_holds_every_number_of_the_recording(breakfast):
    held = document(town_player(breakfast))
    agents = breakfast.scenario.num_agents
    for name, table in breakfast.agents.items():
        tolerance = (
            0.5 / 255 + 1e-6 if name in {"hunger", "hygiene", "energy"} else 1e-3 if table.dtype.kind == "f" else 0
        )
        np.testing.assert_allclose(unpacked(held["agents"][name], agents), table, atol=tolerance, err_msg=name)
    terms = sum(unpacked(packed, agents) for packed in held["terms"].values())
    np.testing.assert_allclose(terms, breakfast.agents["reward"], atol=1e-4)
    assert len(held["events"]) == len(breakfast.events) > 0


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<!--<script>", "@@SCRIPT@@", "&lt;\u2028'\"\\"]
)
def test_text_of_a_scenario_stays_text(text):
    page = town_player(made_up(description=text))
    assert document(page)["description"] == text
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(1)</script>" not in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"user-data-dir={profile}"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1400,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    yield browser
    browser.quit()


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of a recording and return a way to find its parts."""
    from selenium.webdriver.common.by import By

    def opened(recording):
        page = tmp_path / "page.html"
        page.write_text(town_player(recording), encoding="utf-8")
        browser.get(page.as_uri())
        return lambda selector: browser.find_element(By.CSS_SELECTOR, selector)

    yield opened
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


@pytest.mark.system("chromium", "chromedriver")
def test_a_click_on_an_agent_shows_its_numbers_at_the_tick(browser, opened, recording):
    find = opened(recording)
    press(browser, *["\ue014"] * 10)  # the right arrow
    assert find("body").get_attribute("data-frame") == "10"
    find(".person[data-agent='1']").click()
    panel = find("#follow")
    assert "Agent 1" in panel.text
    assert find("#follow p.does").text == "eats at the fridge"
    assert "works at the cafe, ticks 10 to 30" in panel.text
    assert find("#follow .pill").text == "late"
    assert find("#follow .need b").text == f"{recording.agents['hunger'][10, 1]:.0%}".replace("%", " %")
    money, last, so_far = (part.text for part in panel.find_elements("css selector", ".numbers b"))
    assert float(money) == pytest.approx(recording.agents["wallet"][10, 1], abs=0.005)
    assert last == "+0.000"
    assert so_far == "+0.00"
    terms = {
        row.get_attribute("data-term"): row.text.split() for row in panel.find_elements("css selector", "[data-term]")
    }
    assert terms == {"wages": ["wages", "+0.020", "+0.22"], "needs": ["needs", "−0.020", "−0.22"]}  # noqa: RUF001
    assert [row.text.split("\n")[0] for row in panel.find_elements("css selector", "ol li")] == ["8", "5"]


@pytest.mark.system("chromium", "chromedriver")
def test_the_lists_show_needs_queues_work_and_events(browser, opened, recording):
    find = opened(recording)
    browser.execute_script("location.hash = 'tick=12&agent=2'")
    assert "is kept waiting by" in find("#events").text
    assert "begins at the fridge" not in find("#events").text
    find("#routine").click()
    assert "begins at the fridge" in find("#events").text
    assert find("#things li").text.split() == ["fridge", "1", "←", "next", "2", "12", "meals"]
    assert find("#counts").text == "0 at work · 3 late · 0 absent"
    row = find(".person-row[data-agent='2']")
    assert row.get_attribute("aria-pressed") == "true"
    assert row.text.split("\n") == ["2", "waits for the fridge", "late", "3.25"]


@pytest.mark.system("chromium", "chromedriver")
def test_space_plays_to_the_end_and_arrows_step(browser, opened, recording):
    from selenium.webdriver.support.ui import WebDriverWait

    find = opened(recording)
    press(browser, "\ue013", "\ue013", "\ue013", " ")  # up: faster
    assert find("#speed").get_attribute("value") == "100"
    last = str(recording.num_frames - 1)
    WebDriverWait(browser, 20).until(lambda _: find("body").get_attribute("data-frame") == last)
    assert "playing" not in (find("body").get_attribute("class") or "")
    press(browser, "\ue012", "\ue012")  # left
    assert find("#tick").text == str(recording.num_frames - 3)
    press(browser, "\ue011")  # home
    assert find("#tick").text == "0"
    browser.execute_script("location.hash = 'tick=22'")
    assert find("#city").text == "blackout · 3 ticks"


@pytest.mark.system("chromium", "chromedriver")
def test_a_recorded_scenario_plays_without_a_complaint(browser, opened, breakfast):
    find = opened(breakfast)
    press(browser, "\ue010", "\ue012")  # end, left
    assert find("#tick").text == str(breakfast.num_frames - 2)
    assert find("#name").text == "kitchen_breakfast"
    assert find("#policy").text == "scripted"
