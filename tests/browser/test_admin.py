"""The admin in a real browser, under its policy."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from feeds import actions
from tests.factories import AccountFactory, PostFactory

from .conftest import BASE, PASSWORD, body, complaints, fill_in, until

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_staff_work_in_the_admin_and_its_policy_is_in_nobodys_way(browser: webdriver.Chrome) -> None:
    actions.set_password(account=AccountFactory(username="bob", is_staff=True), password=PASSWORD)
    post = PostFactory(text="<script>document.title = 'taken over'</script>")
    browser.get(f"{BASE}/admin/")
    fill_in(browser, "User name or e-mail", "bob")
    fill_in(browser, "Password", PASSWORD)
    browser.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
    until(browser, lambda: "What there is" in body(browser))
    browser.get(f"{BASE}/admin/feeds/post/?visibility=public")
    assert "<script>" in body(browser)
    styled = browser.find_element(By.ID, "header").value_of_css_property("background-color")
    assert styled not in ("rgba(0, 0, 0, 0)", "rgb(255, 255, 255)")
    browser.find_element(By.CSS_SELECTOR, "input.action-select").click()
    browser.find_element(By.CSS_SELECTOR, "select[name=action] option[value=delete_posts]").click()
    browser.find_element(By.CSS_SELECTOR, "button[name=index]").click()
    until(browser, lambda: "This can't be undone" in body(browser))
    browser.find_element(By.CSS_SELECTOR, "input[type=submit][value='Yes, go on']").click()
    until(browser, lambda: "1 of 1 deleted" in body(browser))
    post.refresh_from_db()
    assert post.deleted_at
    assert "taken over" not in browser.title
    assert complaints(browser) == []
