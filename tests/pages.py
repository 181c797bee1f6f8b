"""How tests look at a page: in a browser of some width and colour scheme, and through an accessibility checker."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from selenium import webdriver


def show(browser: webdriver.Chrome, page: Path, width: int = 1200, scheme: str = "light") -> None:
    """Open a page; the browser's log is then of this page only."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser")
    browser.get(page.as_uri())


def accessibility_problems(browser: webdriver.Chrome) -> list[str]:
    """What axe-core finds wrong with the page that is shown: contrast, labels, roles, headings and the rest."""
    # By way of the protocol, which a page's content security policy does not stop.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": _axe()})
    found = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then((found) => done(found.violations));"
    )
    return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


@cache
def _axe() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
