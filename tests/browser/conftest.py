"""A real Chromium, with JavaScript and without it, and the real web process, where alice has a password."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from feeds import actions
from feedsvc.run import Instance
from tests.conftest import eventually
from tests.factories import AccountFactory

BASE = f"http://localhost:{settings.PORT}"
PASSWORD = "correct horse battery"
FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=390,844""".split()


@pytest.fixture(autouse=True)
def web(_processes: Instance, transactional_db: None) -> Iterator[None]:
    _processes.start("web")
    eventually(answers, "the web process answers")
    actions.set_password(account=AccountFactory(username="alice"), password=PASSWORD)
    yield
    _processes.stop("web")


def answers() -> bool:
    try:
        return requests.get(f"{BASE}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if request.param == "without JavaScript":
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    service = webdriver.ChromeService(shutil.which("chromedriver"), log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options, service)
    try:
        driver.set_page_load_timeout(30)
        yield driver
    finally:
        driver.quit()


def fill_in(browser: webdriver.Chrome, label: str, text: str) -> None:
    named = browser.find_element(By.XPATH, f"//label[starts-with(text(), '{label}')]").get_attribute("for")
    browser.find_element(By.ID, str(named)).send_keys(text)


def press(browser: webdriver.Chrome, words: str) -> None:
    browser.find_element(By.XPATH, f"//button[text()='{words}']").click()


def body(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def until(browser: webdriver.Chrome, condition: Any) -> None:
    """Waits, over pages that go and come: of an element that has just gone Chromium has several ways to complain."""
    WebDriverWait(browser, 20, ignored_exceptions=[WebDriverException]).until(lambda _: condition())


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser refused for the pages' policy."""
    found: list[dict[str, str]] = browser.get_log("browser")
    return [one["message"] for one in found if "Content Security Policy" in one["message"]]
