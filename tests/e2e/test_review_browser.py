"""The review page in a real browser: by mouse, by keyboard alone, with hostile tools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from reviewbrowser import CHROMIUM, DRIVER, Server, chromium, resize
from reviewing import canary_tool, changed_tool, files_tool, hostile_tool
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from toolstore.models import Lifecycle, ToolRef

WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    if not (CHROMIUM and DRIVER):
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium here; scripts/setup --dev installs it")
        pytest.skip("no Chromium here; scripts/setup --dev installs it")
    with chromium() as opened:
        yield opened


@pytest.fixture
def server(tmp_path: Path, browser: Chrome) -> Iterator[Server]:
    with Server(tmp_path) as running:
        browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        resize(browser, 1300, 900)
        yield running
        browser.get("about:blank")


def find(browser: Chrome, selector: str):
    return WebDriverWait(browser, WAIT_SECONDS).until(
        lambda shown: shown.find_element(By.CSS_SELECTOR, selector)
    )


def sign_in(browser: Chrome, server: Server) -> None:
    browser.get(server.address)
    find(browser, "#name").send_keys("bob")
    find(browser, "#token").send_keys(server.token("bob"))
    find(browser, "button.main").click()
    find(browser, "#live")


def state_of(server: Server, ref: str) -> Lifecycle:
    return server.run(server.store.find(ToolRef.parse(ref))).state


def complaints(browser: Chrome) -> list[str]:
    """What the browser's console says: refused scripts and styles, faults of ours."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]  # of selenium
    return [str(entry["message"]) for entry in entries]


def test_a_changed_tool_is_approved_in_three_actions(browser: Chrome, server: Server):
    server.add(changed_tool)
    sign_in(browser, server)

    find(browser, ".queue .tool a").click()
    find(browser, "input[value=approve]").click()
    find(browser, ".decision button.main").click()

    assert "parse_price@2 is approved" in find(browser, ".notice").text
    assert state_of(server, "parse_price@2") is Lifecycle.APPROVED
    assert complaints(browser) == []


def test_a_tool_is_read_and_rejected_without_script(browser: Chrome, server: Server):
    server.add(canary_tool)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        sign_in(browser, server)
        find(browser, ".queue .tool a").click()
        find(browser, "[aria-labelledby=h-history] summary").click()
        assert "approved, canary at 0.1" in find(browser, ".log").text
        find(browser, "input[value=reject]").click()
        find(browser, "#reason").send_keys("too clever")
        find(browser, ".decision button.main").click()
        assert "parse_price@3 is rejected" in find(browser, ".notice").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert state_of(server, "parse_price@3") is Lifecycle.REVOKED


def test_everything_works_with_the_keyboard_alone(browser: Chrome, server: Server):
    server.add(changed_tool)

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focused() -> str:
        found: str = browser.execute_script(
            "const e = document.activeElement; const s = getComputedStyle(e);"
            "return `${e.id || e.name || e.textContent.trim()}|${s.outlineStyle}`"
        )
        return found

    browser.get(server.address)
    press("bob", Keys.TAB, server.token("bob"), Keys.ENTER)
    find(browser, "#live")
    press(Keys.TAB)
    assert focused() == "Skip to the content|auto" or focused().endswith("|solid")
    press(Keys.ENTER)
    press(Keys.TAB)  # the link that refreshes
    press(Keys.TAB)
    assert focused() == "parse_price@2|solid"
    press(Keys.ENTER)
    find(browser, "#decision")
    press(Keys.TAB, Keys.TAB)
    assert focused().startswith("Skip to the decision|")
    press(Keys.ENTER)
    press(Keys.TAB)
    assert focused() == "vote|solid"
    press(Keys.SPACE, Keys.ARROW_DOWN)
    press(Keys.TAB, "say what a dot means", Keys.TAB, Keys.TAB)
    assert focused() == "Send the decision|solid"
    press(Keys.ENTER)

    assert "goes on waiting" in find(browser, ".notice").text
    assert state_of(server, "parse_price@2") is Lifecycle.QUARANTINED


def test_a_hostile_tool_runs_no_script_and_hides_nothing(browser: Chrome, server: Server):
    server.add(hostile_tool)
    sign_in(browser, server)
    assert "<script>document.title='owned'</script>" in find(browser, ".queue").text
    find(browser, ".queue .tool a").click()
    find(browser, "#decision")

    assert browser.title == "add_up@1 – toolkiln review"  # noqa: RUF001 - a dash
    shown = find(browser, "main").text
    assert "\\u202e" in shown
    assert "[300 spaces]" in shown
    assert (
        browser.execute_script("return document.querySelectorAll('main script, img').length") == 0
    )
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    # The wall behind the escapes: even a script that got into the page would not run.
    browser.execute_script(
        "const s = document.createElement('script'); s.append('document.title = \"owned\"');"
        "document.body.append(s)"
    )
    assert browser.title != "owned"
    refusals = complaints(browser)
    assert any("TrustedScript" in each for each in refusals)


def test_a_form_with_another_token_is_refused(browser: Chrome, server: Server):
    version = server.add(changed_tool)
    sign_in(browser, server)
    find(browser, ".queue .tool a").click()
    find(browser, "input[value=approve]").click()
    browser.execute_script(
        "document.querySelector('.decision input[name=csrf_token]').value = 'x'.repeat(43)"
    )
    find(browser, ".decision button.main").click()

    assert "Refused" in find(browser, "h1").text
    assert state_of(server, str(version.ref)) is Lifecycle.QUARANTINED
    complaints(browser)


def test_the_queue_keeps_itself_up_to_date_and_the_focus(browser: Chrome, server: Server):
    server.add(changed_tool)
    sign_in(browser, server)
    link = find(browser, ".queue .tool a")
    browser.execute_script("arguments[0].focus()", link)
    server.add(files_tool)

    WebDriverWait(browser, WAIT_SECONDS).until(
        lambda shown: shown.find_element(By.ID, "live").text == "2 versions"
    )
    assert len(browser.find_elements(By.CSS_SELECTOR, ".queue tbody tr")) == 2
    assert browser.execute_script("return document.activeElement.textContent") == "parse_price@2"
    assert complaints(browser) == []


def test_narrow_screens_and_large_type_lose_nothing(browser: Chrome, server: Server):
    server.add(changed_tool)
    sign_in(browser, server)
    tool = find(browser, ".queue .tool a").get_attribute("href")
    assert tool
    for width, height in ((640, 450), (320, 640)):  # 200 % and 400 % of a window of 1280
        resize(browser, width, height)
        for address, selector in ((server.address, ".queue a"), (tool, ".decision button.main")):
            browser.get(address)
            assert find(browser, selector).is_displayed()
            beyond = browser.execute_script(
                "return document.documentElement.scrollWidth - innerWidth"
            )
            assert beyond <= 0
