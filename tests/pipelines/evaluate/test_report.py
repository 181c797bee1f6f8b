"""The report in a real browser: its numbers, at phone width, in the dark, by keyboard and without a network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import score
from pipelines.evaluate.report import pictures
from pipelines.evaluate.shards import Shards
from tests.pipelines.evaluate.conftest import write_predictions, wrong_in

WRONG = {"pil_bilinear": range(4), "opencv": range(4), "ffmpeg": range(5), "pil_nearest": range(1, 30)}


@pytest.fixture(scope="module")
def report(noised: Path, truth: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_predictions(folder / "predictions", {name: wrong_in(truth, places) for name, places in WRONG.items()})
    words = ["--shards", noised, "--predictions", folder / "predictions", "--output", folder, "--name", "a <b> & net"]
    assert score.main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and its driver are not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


def show(browser: webdriver.Chrome, report: Path, width: int = 1200, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((report / "report.html").as_uri())


def test_the_page_has_the_numbers_and_nothing_goes_wrong(browser: webdriver.Chrome, report: Path) -> None:
    show(browser, report)
    results: dict[str, Any] = json.loads((report / "results.json").read_text())
    assert browser.find_element(By.TAG_NAME, "h1").text == "a <b> & net under SysNoise"
    heads = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "#table thead th")]
    rows = browser.find_elements(By.CSS_SELECTOR, "#table tr[data-variant]")
    assert [row.get_attribute("data-variant") for row in rows] == list(results["variants"])
    for row in rows[1:]:
        texts = [cell.text.replace("−", "-") for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        cells = dict(zip(heads, texts, strict=True))
        mine = results["variants"][cells["variant"]]
        assert float(cells["top-1"]) == pytest.approx(mine["top1"], abs=0.005)
        assert float(cells["Δ"]) == pytest.approx(mine["delta"], abs=0.005)
        assert [float(end) for end in cells["95% interval"].split(" to ")] == pytest.approx(mine["ci95"], abs=0.005)
        assert (int(cells["lost"]), int(cells["gained"])) == (mine["lost"], mine["gained"])
        assert (cells["note"] == "same pixels") == mine["degenerate"]
    stages = [cell.text.replace("−", "-") for cell in browser.find_elements(By.CSS_SELECTOR, "#stages td")]
    found = [[float(n) for n in re.findall(r"-?\d+\.\d+", text)] for text in stages]
    decode, resize = results["stages"]["decode"], results["stages"]["resize"]
    assert found[1:] == [pytest.approx([decode["mean"], decode["max"]], abs=0.005), [round(resize["mean"], 2)]]
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(charts) == 3
    named = {title.get_attribute("textContent") for title in charts[0].find_elements(By.TAG_NAME, "title")}
    assert len(named) == len(WRONG) - 1
    assert not browser.get_log("browser")
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_nothing_is_cut_off_at_any_width(width: int, browser: webdriver.Chrome, report: Path) -> None:
    show(browser, report, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for text in browser.find_elements(By.CSS_SELECTOR, "svg.chart text"):
        box = text.rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 8  # pixels: readable


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = np.array([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_the_light_and_in_the_dark(scheme: str, browser: webdriver.Chrome, report: Path) -> None:
    show(browser, report, scheme=scheme)
    paper = luminance(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert (paper > 0.5) == (scheme == "light")
    for selector, name in (("p, th, td, h2, figcaption, .mark", "color"), ("svg.chart text", "fill")):
        for element in browser.find_elements(By.CSS_SELECTOR, selector):
            ink = luminance(element.value_of_css_property(name))
            contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
            assert contrast >= 4.5, (element.text, contrast)  # WCAG 2 AA


def test_a_keyboard_reaches_everything_that_scrolls_or_opens(browser: webdriver.Chrome, report: Path) -> None:
    show(browser, report, 360)
    reached = []
    for _ in range(12):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("aria-label") or element.get_attribute("id") or element.text)
        if element.tag_name == "summary":
            break
    assert reached[0] == "Skip to the table of variants"
    regions = [r.get_attribute("aria-label") or "" for r in browser.find_elements(By.CSS_SELECTOR, ".scroll")]
    assert {region for region in regions if region} <= set(reached)
    assert reached[-1] == "Library versions and configuration"
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert browser.find_element(By.TAG_NAME, "dl").is_displayed()


def test_the_pictures_are_the_shards_pixels(browser: webdriver.Chrome, report: Path, shards: Shards) -> None:
    """The worst sample first, its pixels as decoded by the browser, and differences stretched to 255."""
    show(browser, report)
    example = browser.find_element(By.CSS_SELECTOR, ".example")
    key = example.find_element(By.TAG_NAME, "h3").text
    shown = example.find_elements(By.TAG_NAME, "img")
    script = """
        const canvas = document.createElement("canvas"), image = arguments[0];
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        return Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data);
    """
    seen = [
        np.array(browser.execute_script(script, picture), np.uint8).reshape(64, 64, 4)[:, :, :3] for picture in shown
    ]
    pixels = [
        next(shards.pixels(s) for s in shards.stored(name, {key}) if s.key == key)
        for name in ("pil_bilinear", "pil_nearest")
    ]
    assert np.array_equal(seen[0], pixels[0])
    assert np.array_equal(seen[1], pixels[1])
    difference = np.abs(pixels[0].astype(int) - pixels[1])
    for channel in range(3):
        wanted = difference[:, :, channel]
        assert seen[2 + channel].max() == 255
        assert np.corrcoef(seen[2 + channel][:, :, 0].ravel(), wanted.ravel())[0, 1] > 0.999


def test_a_single_picture_element_is_lossless() -> None:
    """WebP keeps every value, so that what is shown is what is in the shard."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    data = base64.b64decode(pictures._panel(noise, "").uri.partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), noise)


def test_large_differences_of_single_pixels_survive_reduction() -> None:
    channel = np.zeros((800, 1333), np.uint8)
    channel[401, 777] = 9
    panel = pictures._difference(channel, "red")
    assert max(panel.width, panel.height) <= 448
    assert panel.caption == "|Δ red| ≤ 9"
