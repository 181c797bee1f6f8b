"""The page in a real browser: its pixels against the tars', by keyboard, at phone width, in the dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.pages import accessibility_problems, show
from tests.pipelines.page.test_measured import images

CANVAS = """
const canvas = document.getElementById(arguments[0]);
return [canvas.width, canvas.height, ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
"""


def pixels(browser: webdriver.Chrome, canvas: str) -> NDArray[np.int64]:
    """What a canvas shows: RGB of shape (height, width, 3)."""
    width, height, *values = browser.execute_script(CANVAS, canvas)
    return np.array(values).reshape(height, width, 4)[:, :, :3]


def text(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, name).text


def choose(browser: webdriver.Chrome, a: str, b: str) -> None:
    for name, variant in (("a", a), ("b", b)):
        Select(browser.find_element(By.ID, name)).select_by_visible_text(variant)
    WebDriverWait(browser, 30).until(lambda _: text(browser, "caption-b").startswith("B:"))


def shown(browser: webdriver.Chrome) -> tuple[str, slice, slice]:
    """The key of the sample that is shown, and the rows and columns of its detail."""
    chosen = browser.find_element(By.CSS_SELECTOR, "#samples input:checked + .thumbnail img").get_attribute("alt")
    place = "[...document.querySelectorAll('#samples input')].findIndex((one) => one.checked)"
    x, y, width, height = browser.execute_script(f"return data.details[{place}].box")
    assert chosen
    return chosen, slice(y, y + height), slice(x, x + width)


@pytest.fixture
def opened(browser: webdriver.Chrome, paged: Path) -> webdriver.Chrome:
    show(browser, paged / "index.html")
    WebDriverWait(browser, 30).until(lambda _: text(browser, "caption-d"))
    return browser


def test_two_variants_and_their_difference_are_the_tars_pixels(opened: webdriver.Chrome, paged: Path) -> None:
    choose(opened, "ffmpeg", "opencv_area")
    key, rows, columns = shown(opened)
    one, other = (images(paged / name)[key][rows, columns] for name in ("ffmpeg", "opencv_area"))
    assert (pixels(opened, "canvas-a") == one).all()
    assert (pixels(opened, "canvas-b") == other).all()
    Select(opened.find_element(By.ID, "gain")).select_by_value("4")
    assert (pixels(opened, "canvas-d") == np.minimum(4 * np.abs(one - other), 255)).all()
    mean, largest = map(float, re.findall(r"mean ([\d.]+), largest (\d+)", text(opened, "caption-d"))[0])
    assert largest == np.abs(one - other).max()
    assert mean == pytest.approx(np.abs(one - other).mean(), rel=0.06)


def test_the_matrix_chooses_a_pair(opened: webdriver.Chrome) -> None:
    row = next(row for row in opened.find_elements(By.CSS_SELECTOR, "#matrix tbody tr") if "opencv_exif" in row.text)
    cell = row.find_elements(By.CSS_SELECTOR, "td:not(.same)")[0]
    opened.execute_script("arguments[0].click()", cell)
    assert Select(opened.find_element(By.ID, "a")).first_selected_option.text == "opencv_exif"
    assert text(opened, "distance") == f"mean |Δ| {cell.get_attribute('textContent')}"
    assert "chosen" in (cell.get_attribute("class") or "")


def test_everything_works_by_keyboard(opened: webdriver.Chrome) -> None:
    first = opened.find_element(By.CSS_SELECTOR, "#samples input:checked")
    before, at = shown(opened)[0], pixels(opened, "canvas-a")
    first.send_keys(Keys.ARROW_LEFT)
    WebDriverWait(opened, 30).until(lambda _: not np.array_equal(pixels(opened, "canvas-a"), at))
    assert shown(opened)[0] != before
    a, b = pixels(opened, "canvas-a"), pixels(opened, "canvas-b")
    opened.find_element(By.ID, "flip").send_keys("f")
    WebDriverWait(opened, 30).until(lambda _: text(opened, "caption-a").startswith("B:"))
    assert (pixels(opened, "canvas-a") == b).all()
    assert (pixels(opened, "canvas-b") == a).all()
    opened.find_element(By.ID, "flip").send_keys(Keys.SPACE)
    WebDriverWait(opened, 30).until(lambda _: text(opened, "caption-a").startswith("A:"))
    select = opened.find_element(By.ID, "a")
    select.send_keys("f")  # chooses ffmpeg, and does not flip
    assert Select(select).first_selected_option.text == "ffmpeg"
    assert text(opened, "caption-a").startswith("A:")


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (320, "light"), (1200, "dark"), (1200, "light")])
def test_it_fits_and_nothing_is_wrong_with_it(width: int, scheme: str, browser: webdriver.Chrome, paged: Path) -> None:
    browser.get_log("performance")
    show(browser, paged / "index.html", width, scheme)
    WebDriverWait(browser, 30).until(lambda _: text(browser, "caption-d"))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    asked = re.findall(r'"url":"([a-z]+):', "".join(str(line["message"]) for line in browser.get_log("performance")))
    assert set(asked) <= {"file", "data", "about"}
    assert accessibility_problems(browser) == []


def test_the_checker_finds_what_is_wrong(browser: webdriver.Chrome, tmp_path: Path) -> None:
    bad = '<html lang="en"><title>t</title><main><h1>t</h1><select></select><p style="color: #aaa">pale</p></main>'
    (tmp_path / "bad.html").write_text(bad)
    show(browser, tmp_path / "bad.html")
    found = " ".join(accessibility_problems(browser))
    assert "select-name" in found
    assert "color-contrast" in found


def test_the_tables_say_what_the_manifests_say(opened: webdriver.Chrome, paged: Path) -> None:
    rows = {row.get_attribute("data-variant"): row for row in opened.find_elements(By.CSS_SELECTOR, "#table tbody tr")}
    assert {path.parent.name for path in paged.glob("*/manifest.json")} == {*filter(None, rows)}
    assert "same pixels as opencv" not in rows["opencv"].text
    assert "same pixels as pil_bilinear" in rows["opencv"].text
    assert "photograph_11" in opened.find_element(By.CSS_SELECTOR, "table.reasons").text
    summary = opened.find_element(By.CLASS_NAME, "verdict").text
    assert "7 variants of 12 images" in summary
    assert "6 are distinct" in summary
    assert "1 image failed" in summary


def test_without_scripts_all_but_the_comparison_is_there(paged: Path) -> None:
    page = (paged / "index.html").read_text()
    before: Any = re.search(r"<script", page)
    assert {"How far apart", "Where in the frame", "What failed"} <= set(re.findall(r"<h2[^>]*>([^<]+)", page))
    assert "</tbody>" in page[: before.start()]
    assert "<noscript>" in page
