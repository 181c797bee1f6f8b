"""The comparison's pages in a real browser: at phone width, in dark mode, by keyboard, sorted and filtered."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.pipelines.evaluate.compare.conftest import read


def show(browser: webdriver.Chrome, page: Path, width: int = 1200, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser")  # messages left by other pages
    browser.get(page.as_uri())


def order(browser: webdriver.Chrome) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#models tbody tr")
    return [row.get_attribute("data-model") or "" for row in rows if row.is_displayed()]


def press(browser: webdriver.Chrome, title: str) -> None:
    """Press a column's head, by keyboard."""
    heads = browser.find_elements(By.CSS_SELECTOR, "#models thead button")
    head = next(head for head in heads if head.text.endswith(title))
    browser.execute_script("arguments[0].focus()", head)
    ActionChains(browser).send_keys(Keys.ENTER).perform()


def test_models_are_sorted_and_filtered(browser: webdriver.Chrome, compared: Path) -> None:
    show(browser, compared / "index.html")
    stages = {name: row["stages"] for name, row in read(compared)["models"].items()}
    by_mean = sorted(stages, key=lambda name: stages[name]["resize"]["mean"])
    assert order(browser) == list(stages)
    press(browser, "Resize")
    assert order(browser) == by_mean
    press(browser, "Resize")
    assert order(browser) == by_mean[::-1]
    browser.find_element(By.CSS_SELECTOR, "input[value=max]").click()
    by_max = sorted(stages, key=lambda name: -stages[name]["resize"]["max"])
    assert order(browser) == by_max
    press(browser, "Combined")  # a dash is last either way
    assert order(browser)[-1] == "steady"
    press(browser, "Combined")
    assert order(browser)[-1] == "steady"
    browser.find_element(By.CSS_SELECTOR, "[data-filters=models]").send_keys("SMALL")
    assert sorted(order(browser)) == ["small10", "small20"]
    assert browser.find_element(By.CSS_SELECTOR, "[data-counts=models]").text == "2 of 3 shown"


def test_paired_tests_are_filtered_by_significance(
    browser: webdriver.Chrome,
    compared: Path,
) -> None:
    show(browser, compared / "index.html")
    browser.find_element(By.CSS_SELECTOR, "input[type=checkbox][data-filters=pairs]").click()
    shown = [row for row in browser.find_elements(By.CSS_SELECTOR, "#pairs tbody tr") if row.is_displayed()]
    real = [pair for pair in read(compared)["pairs"] if pair["p_holm"] < 0.05]
    assert 0 < len(real) == len(shown) < len(read(compared)["pairs"])


@pytest.mark.parametrize("page", ["index.html", "reports/small20/index.html"])
def test_pages_fit_a_phone_and_nothing_goes_wrong(
    page: str,
    browser: webdriver.Chrome,
    site: Path,
) -> None:
    for width, scheme in ((320, "dark"), (1200, "light")):
        show(browser, site / page, width, scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.get_log("browser") == []
    links = [link.get_attribute("href") or "" for link in browser.find_elements(By.CSS_SELECTOR, "main a")]
    assert links
    assert all(Path(link.removeprefix("file://")).is_file() for link in links)
