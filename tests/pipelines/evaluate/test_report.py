"""The report in a real browser: its numbers, at phone width, in dark mode, by keyboard and without a network."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import score
from generators.registry import STAGES
from generators.variant import parse
from pipelines.evaluate.classification import Classification
from pipelines.evaluate.report import pictures
from pipelines.evaluate.report.page import page
from pipelines.evaluate.results import Results, Unscored, compare
from pipelines.evaluate.results_json import as_json
from pipelines.shards import Shards
from pipelines.style.stages import COMBINED, LOOKS
from tests.pipelines.evaluate.conftest import write_predictions, wrong_in
from tests.pipelines.evaluate.made import MODEL, PIXELS, whole
from tests.steps import result_of

WRONG = {"pil_bilinear": range(4), "opencv": range(4), "ffmpeg": range(5), "pil_nearest": range(1, 30)}


@pytest.fixture(scope="module")
def report(noised: Path, truth: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_predictions(folder / "predictions", {name: wrong_in(truth, places) for name, places in WRONG.items()})
    words = ["--shards", noised, "--predictions", folder / "predictions", "--output", folder, "--name", "a <b> & net"]
    assert score.main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def results() -> Results:
    """A detector's results, with all seven stages and their compositions."""
    costs = {**PIXELS, **{**MODEL, "floor_mode": 0.002}}
    return whole("map", costs, reasons={"ceil_mode_average": "no average-pooling"}, unchanged=("fp16",))


@pytest.fixture(scope="module")
def large(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    (folder / "report.html").write_text(page(results, []), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(as_json(results)))
    return folder


@pytest.fixture(params=["report", "large"])
def either(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


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
    shown = row_cells(browser)
    decode, resize = results["stages"]["decode"], results["stages"]["resize"]
    assert shown["decode"][0] == [pytest.approx(decode["mean"], abs=0.005), pytest.approx(decode["max"], abs=0.005)]
    assert shown["resize"][0] == [pytest.approx(resize["mean"], abs=0.005)]
    assert [column for column, (figures, _) in shown.items() if not figures] == [
        "color",
        "precision",
        "pool",
        "combined",
    ]
    charts = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(charts) == 4
    named = {title.get_attribute("textContent") for title in charts[0].find_elements(By.TAG_NAME, "title")}
    assert len(named) == len(WRONG) - 1
    assert not browser.get_log("browser")
    requests = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {r["params"]["request"]["url"] for r in requests if r["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}


def row_cells(browser: webdriver.Chrome) -> dict[str, tuple[list[float], list[str]]]:
    """The figures in each cell of the paper's row, and the lines below them."""
    found = {}
    for cell in browser.find_elements(By.CSS_SELECTOR, "#stages td[data-column]"):
        figures, *lines = cell.text.replace("−", "-").splitlines()
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", figures)]
        found[str(cell.get_attribute("data-column"))] = (numbers, lines)
    return found


def test_the_row_has_an_interval_and_a_p_value_in_every_cell(browser: webdriver.Chrome, large: Path) -> None:
    show(browser, large)
    found: dict[str, Any] = json.loads((large / "results.json").read_text())
    cells = row_cells(browser)
    assert list(cells) == ["decode", "resize", "color", "precision", "pool", "upsample", "boxes", "combined"]
    of = {stage: [found["stages"][stage]["worst"]] for stage in cells if stage not in ("precision", "combined")}
    of |= {"precision": ["fp16", "int8"], "combined": [found["combined"]["variant"]]}
    for column, (figures, lines) in cells.items():
        variants = [found["variants"][name] for name in of[column]]
        assert figures[-len(variants) :] == pytest.approx([mine["delta"] for mine in variants], abs=0.005)
        named = [line for line in lines if line in found["variants"]]
        assert named == (of[column] if column != "combined" else [])
        ends = [[float(end) for end in line[4:].split(" to ")] for line in lines if line.startswith("95% ")]
        assert ends == [pytest.approx(mine["ci95"], abs=0.005) for mine in variants]
        p_values = [float(line[4:]) for line in lines if line.startswith("p ")]
        assert p_values == pytest.approx([max(mine["p_holm"], 0.001) for mine in variants], abs=5e-4)
    assert "changed nothing" in cells["precision"][1]


def test_every_stage_has_its_section_its_symbol_and_its_charts(browser: webdriver.Chrome, large: Path) -> None:
    show(browser, large)
    titles = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "th.stage")]
    assert titles == [f"{look.symbol} {look.title}" for look in LOOKS.values()]
    assert list(LOOKS) == [*STAGES, COMBINED]
    assert len({look.marker for look in LOOKS.values()}) == len({look.symbol for look in LOOKS.values()}) == len(LOOKS)
    labels = [chart.get_attribute("aria-label") or "" for chart in browser.find_elements(By.CSS_SELECTOR, "svg.chart")]
    assert len(set(labels)) == 5
    assert sum(label.startswith("The loss as stages are added") for label in labels) == 2
    found: dict[str, Any] = json.loads((large / "results.json").read_text())
    residuals = browser.find_element(By.CSS_SELECTOR, 'svg[aria-label^="Difference in score against"]')
    named = [str(title.get_attribute("textContent")) for title in residuals.find_elements(By.TAG_NAME, "title")]
    noise = ("pool", "upsample", "precision", "boxes")
    pixels = [n for n, v in found["variants"].items() if all(v["stages"][stage] == "none" for stage in noise)]
    shown = [name for name in pixels if name != found["reference"] and not found["variants"][name]["degenerate"]]
    assert sorted(title.partition(":")[0] for title in named) == sorted(shown)
    heads = browser.find_elements(By.CSS_SELECTOR, "th")
    assert all(head.get_attribute("scope") for head in heads)


BOXES = """
    return Array.from(document.querySelectorAll(arguments[0]), element => {
        const box = element.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom, element.textContent];
    });
"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off_at_any_width(width: int, browser: webdriver.Chrome, either: Path) -> None:
    show(browser, either, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for left, top, right, bottom, _ in browser.execute_script(BOXES, "svg.chart text"):
        assert left >= 0
        assert right <= width
        assert bottom - top >= 7.5  # readable, in pixels


@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_of_a_chart_covers_another(width: int, browser: webdriver.Chrome, large: Path) -> None:
    show(browser, large, width)
    for place in range(5):
        browser.execute_script(
            "document.querySelectorAll('svg.chart')[arguments[0]].id = 'chart' + arguments[0]", place
        )
        boxes = browser.execute_script(BOXES, f"#chart{place} text")
        for index, (left, top, right, bottom, name) in enumerate(boxes):
            for other_left, other_top, other_right, other_bottom, other in boxes[:index]:
                across = min(right, other_right) - max(left, other_left)
                down = min(bottom, other_bottom) - max(top, other_top)
                # A line's box is higher than its letters.
                assert across <= 0 or down <= 0.35 * (bottom - top), (name, other)


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = np.array([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


COLORS = """
    return Array.from(document.querySelectorAll(arguments[0]), element =>
        [getComputedStyle(element)[arguments[1]], element.textContent]);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark_mode(scheme: str, browser: webdriver.Chrome, either: Path) -> None:
    show(browser, either, scheme=scheme)
    paper = luminance(browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
    assert (paper > 0.5) == (scheme == "light")
    for selector, name in (("p, th, td, li, small, b, h2, h3, figcaption, .mark", "color"), ("svg.chart text", "fill")):
        found = browser.execute_script(COLORS, selector, name)
        assert found
        for color, text in found:
            assert contrast(luminance(color), paper) >= 4.5, text  # WCAG 2 AA


@pytest.mark.parametrize("dark", [False, True])
def test_the_colours_of_stages_can_be_read_and_told_apart(dark: bool, large: Path) -> None:
    """On the page and its panels, as the style sheet sets them; also for colour-blind readers."""
    style = (large / "report.html").read_text().partition("<style>")[2].partition("</style>")[0]
    blocks = re.findall(r":root {(.*?)}", style, re.DOTALL)
    colors = dict(re.findall(r"--([a-z]+): *(#[0-9a-f]{6})", blocks[dark]))
    assert set(LOOKS) <= set(colors)
    for stage, ground in product([*LOOKS, "ink", "muted", "accent"], ("paper", "panel")):
        assert contrast(luminance(rgb(colors[stage])), luminance(rgb(colors[ground]))) >= 4.5, (stage, ground)
    for one, other in combinations(LOOKS, 2):
        for seen in (np.eye(3), DEUTERANOPIA, PROTANOPIA):
            distance = np.linalg.norm(lab(seen @ linear(colors[one])) - lab(seen @ linear(colors[other])))
            assert distance > 20, (one, other)


# Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009, at full severity, for linear RGB.
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def rgb(color: str) -> str:
    return " ".join(str(int(color[place : place + 2], 16)) for place in (1, 3, 5))


def linear(color: str) -> NDArray[np.float64]:
    channels = np.array(rgb(color).split(), float) / 255
    found: NDArray[np.float64] = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return found


def lab(color: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of linear sRGB, for D65."""
    x, y, z = np.cbrt(XYZ @ np.clip(color, 0, 1) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


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
    """The worst sample comes first; the browser decodes its exact pixels, and differences are stretched to 255."""
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


def noised_results(shards: Shards, truth: dict[str, int], folder: Path) -> Results:
    """Variants with noise in the model: one loses more than its pixels alone, and one loses the most."""
    names = ("pil_bilinear", "int8", "ffmpeg+ceil_mode+int8")
    shards = shards.with_noise([parse(name, shards.base) for name in names]).only(names)
    wrong = dict(zip(names, (range(3), range(6), range(3, 30)), strict=True))
    write_predictions(folder, {name: wrong_in(truth, places) for name, places in wrong.items()})
    task = Classification(shards, folder / "pil_bilinear.csv")
    scores = {name: result_of(task.score(name, folder / f"{name}.csv")) for name in names}
    return compare("net", shards, task, scores, Unscored(), (), ())


def test_noise_in_a_model_has_no_pictures_of_its_own(shards: Shards, truth: dict[str, int], tmp_path: Path) -> None:
    results = noised_results(shards, truth, tmp_path)
    both = pictures.examples(results, 1, ())[0]
    assert both.variant == "ffmpeg+ceil_mode+int8"
    assert [panel.caption for panel in both.panels[:2]] == ["pil_bilinear", "ffmpeg+ceil_mode+int8"]
    assert both.note == "The effect of ceil_mode+int8 is not visible in the pixels."
    alone = replace(results, lines=[line for line in results.lines if line.name == "int8"])
    (shown, *_) = pictures.examples(alone, 1, ())
    assert [panel.caption for panel in shown.panels] == ["pil_bilinear"]
    assert shown.note == "The pixels are the reference's: only int8 differs."
    assert shown.note.replace("'", "&#39;") in page(results, [shown])
    assert not pictures.examples(replace(alone, lines=[replace(alone.lines[0], unchanged=True)]), 1, ())


def test_a_single_picture_element_is_lossless() -> None:
    """WebP keeps every value, so the picture shows the shard's exact pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    data = base64.b64decode(pictures._panel(noise, "").uri.partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), noise)


def test_large_differences_of_single_pixels_survive_reduction() -> None:
    channel = np.zeros((800, 1333), np.uint8)
    channel[401, 777] = 9
    panel = pictures._difference(channel, "red")
    assert max(panel.width, panel.height) <= 448
    assert panel.caption == "|Δ red| ≤ 9"
