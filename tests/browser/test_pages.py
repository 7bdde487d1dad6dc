"""What a browser makes of gnomon's HTML: no script runs, nothing is fetched, text can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from gnomon.sdk import demo
from gnomon.settings import Home
from tests import hostile_models
from tests.bare_server import serving

CONTRAST = """() => {
    const number = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const color = number(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] > 0.5) return color;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll("h1, h2, h3, p, td, th, summary, code")]
        .filter((element) => element.innerText && element.offsetParent)
        .map((element) => {
            const a = light(number(getComputedStyle(element).color));
            const b = light(behind(element));
            return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.innerText];
        })
        .sort((x, y) => x[0] - y[0])[0];
}"""


@pytest.fixture(scope="module")
def demo_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("demo") / "home"
    file = home.with_name("page.html")
    demo.run(Home(home), keep=False, page_file=file, shown=False)
    return file


def opened(browser: Browser, content: str, scheme: str, tmp_path: Path) -> Page:
    """Open a page and note on it what it asked for and whether a script ran."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1100, "height": 900})
    file = tmp_path / "opened.html"
    file.write_text(content)
    page.asked = []
    page.scripts = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("dialog", lambda dialog: (page.scripts.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: page.scripts.append(message.text))
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_run_is_self_contained_and_readable(browser, demo_page, tmp_path, scheme):
    page = opened(browser, demo_page.read_text(), scheme, tmp_path)

    assert page.asked == [page.url]
    assert page.scripts == []
    assert page.locator("script").count() == 0
    for text in ("fraud-champion", "fraud-boosted", "fraud-forest", "Shadow Deploy Logs"):
        assert page.get_by_text(text).filter(visible=True).count() > 0
    contrast, text = page.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory):
    """The displays of a pipeline whose model has a script for an input's name."""
    directory = tmp_path_factory.mktemp("hostile")
    file = directory / "<img src=x onerror=alert(2)>.onnx"
    file.write_bytes(hostile_models.script_name())
    with serving(directory / "home") as client:
        model = client.upload_model("scripted", file)
        pipeline = client.build_pipeline("scripted").add_model_step(model).deploy()
        pipeline.infer({"<script>alert(1)</script>": [[1.0, 2.0]]})
        shown = [
            pipeline,
            model,
            pipeline.logs(),
            pipeline.logs_shadow_deploy(),
            client.list_workspaces(),
            client.list_models(),
        ]
        yield [display._repr_html_() for display in shown]


def test_no_name_in_a_model_becomes_a_script(browser, hostile, tmp_path):
    page = opened(browser, "<!doctype html>" + "".join(hostile), "light", tmp_path)
    for summary in page.locator("summary").all():
        summary.click()

    assert page.scripts == []
    assert page.asked == [page.url]
    assert page.locator("script").count() == page.locator("img").count() == 0
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    page.close()


@pytest.mark.parametrize(("text", "background"), [("#111", "#fff"), ("#eee", "#111")])
def test_displays_can_be_read_in_light_and_dark_notebooks(
    browser, hostile, tmp_path, text, background
):
    style = f"<style>body {{ color: {text}; background: {background} }}</style>"
    page = opened(browser, "<!doctype html>" + style + "".join(hostile), "light", tmp_path)

    contrast, shown = page.evaluate(CONTRAST)

    assert contrast >= 4.5, shown
    page.close()
