"""The page in a real browser: offline, both languages, desk and phone, mouse, keyboard and touch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.needs import lacking
from tests.report import examples

from bakeoff.report import render

pytestmark = pytest.mark.browser
selenium = pytest.importorskip("selenium")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        lacking("browser", "chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a decision's page at a width; afterwards the console must be clean and the network untouched."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)

    def opened(
        decision: Any, width: int = 1280, fragment: str = "", *, language: str = "zh", theme: str = "light"
    ) -> Any:
        path = tmp_path / "report.html"
        path.write_text(render(decision, language), encoding="utf-8")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        browser.get("about:blank")
        browser.get(f"file://{path}{fragment}")
        return browser

    yield opened
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "DEBUG"] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {url.split(":", 1)[0] for url in asked} <= {"file", "about"}


def run(browser: Any, script: str, *given: Any) -> Any:
    return browser.execute_script(f"return {script}", *given)


def text(browser: Any, selector: str) -> str:
    return run(browser, "document.querySelector(arguments[0]).innerText", selector)


def choose(browser: Any, selector: str, value: str) -> None:
    browser.execute_script(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change', {bubbles: true}))",
        selector,
        value,
    )


def order(browser: Any) -> list[str]:
    return run(browser, "[...document.querySelectorAll('.board tbody.row')].map((b) => b.dataset.id)")


def press(browser: Any, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(browser).send_keys(getattr(Keys, key)).perform()


def hover(browser: Any, selector: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    target = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", target)
    ActionChains(browser).move_to_element(target).perform()


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("make", [examples.winner, examples.no_clear_winner, examples.infeasible, examples.hostile])
def test_nothing_makes_the_page_scroll_sideways(show: Open, make: Any, language: str, width: int) -> None:
    page = show(make(), width, f"#{language}")
    page.execute_script(
        "document.querySelector('[data-open-all]').click(); document.querySelectorAll('details').forEach((d) => d.open = true)"
    )
    assert run(page, "document.documentElement.scrollWidth") <= width
    wide = run(
        page,
        "[...document.querySelectorAll('main *')].filter((n) => n.getBoundingClientRect().right > innerWidth + 1"
        " && !n.closest('.scroll, .layer') && n.checkVisibility()).map((n) => n.outerHTML.slice(0, 120))",
    )
    assert wide == []


def test_sixty_candidates_fit_a_phone(show: Open) -> None:
    page = show(examples.crowded(60), 390)
    assert run(page, "document.documentElement.scrollWidth") <= 390
    assert len(order(page)) == 60


def test_the_toggle_switches_every_word_and_keeps_every_digit(show: Open) -> None:
    page = show(examples.winner())
    before = text(page, ".six")
    assert run(page, "document.documentElement.lang") == "zh-CN"
    assert "上线什么" in before
    assert "What to ship" not in before
    page.execute_script("document.querySelector('[data-language=en]').click()")
    after = text(page, ".six")
    assert run(page, "document.documentElement.lang") == "en"
    assert run(page, "location.hash") == "#en"
    assert run(page, "document.title") == "Ship character TF-IDF with logistic regression"
    assert "What to ship" in after
    assert "上线什么" not in after
    assert run(page, "document.querySelector('[data-axis=x]').selectedOptions[0].text") == "p95 latency"
    numbers = "[...document.querySelectorAll('.num')].filter((n) => n.checkVisibility() && !n.querySelector('[lang]')).map((n) => n.innerText)"
    english = run(page, numbers)
    page.execute_script("document.querySelector('[data-language=zh]').click()")
    assert run(page, numbers) == english
    assert len(english) > 80


@pytest.mark.parametrize(
    ("fragment", "language", "expected"),
    [("#en", "zh", "en"), ("#zh", "en", "zh-CN"), ("", "en", "en"), ("#cost", "zh", "zh-CN")],
)
def test_the_address_may_name_the_language(show: Open, fragment: str, language: str, expected: str) -> None:
    page = show(examples.winner(), 1280, fragment, language=language)
    assert run(page, "document.documentElement.lang") == expected


def test_no_chinese_is_left_on_the_english_page(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    page.execute_script("document.querySelector('[data-open-all]').click()")
    said = text(page, "main").replace("旗舰店", "").replace("自营", "")
    assert [character for character in said if "\u4e00" <= character <= "\u9fff"] == []


def test_rows_sort_both_ways_and_missing_values_stay_last(show: Open) -> None:
    page = show(examples.winner())
    ranks = order(page)
    click = "document.querySelector('.board [data-sort=\"{}\"]').click()"
    page.execute_script(click.format("latency_p95"))
    assert order(page)[0] == "baseline.majority.none.native"
    assert order(page)[-1] == "ensemble.soft-vote.none.composite"
    page.execute_script(click.format("latency_p95"))
    assert order(page)[0] == examples.QWEN
    assert order(page)[-1] == "ensemble.soft-vote.none.composite"
    assert (
        run(page, "document.querySelector('.board [data-sort=latency_p95]').closest('th').getAttribute('aria-sort')")
        == "descending"
    )
    page.execute_script(click.format("macro_f1"))
    assert order(page)[0] == "ensemble.soft-vote.none.composite"
    choose(page, "[data-sort-select]", "rank")
    assert order(page) == ranks


def test_a_row_opens_and_shows_sample_size_and_source(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    detail = "document.querySelector('#more-1')"
    assert run(page, f"{detail}.checkVisibility()") is False
    page.execute_script("document.querySelector('[aria-controls=more-1]').click()")
    said = run(page, f"{detail}.innerText")
    assert "p99 needs 459 requests" in said
    assert "1,496" in said
    assert "measured" in said


def test_axes_can_be_chosen_and_never_be_the_same(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    x = f"document.querySelector('.pt[data-id=\"{examples.CHAR}\"] .at').getAttribute('x')"
    before = run(page, x)
    choose(page, "[data-axis=x]", "cost")
    assert run(page, x) != before
    assert "Total cost" in text(page, ".axis-x")
    assert run(page, "[...document.querySelectorAll('#plot .grid [data-axes=\"x:cost\"] text')].length") >= 2
    assert run(page, "document.querySelectorAll('#plot .limits [data-axes^=\"x:\"]').length") == 0
    hidden = run(
        page,
        "[...document.querySelectorAll('.pt')].filter((n) => n.getBoundingClientRect().width === 0).map((n) => n.dataset.id)",
    )
    assert "linear.word.none.native" in hidden
    choose(page, "[data-axis=y]", "cost")
    assert run(page, "document.querySelector('[data-axis=y]').value") == "cost"
    assert run(page, "document.querySelector('[data-axis=x]').value") == "macro_f1"


def test_script_and_page_draw_the_same(show: Open) -> None:
    page = show(examples.winner())
    drawn = "document.querySelector('#plot svg').outerHTML.replace(/ (style|display)=\"[^\"]*\"/g, '')"
    positions = "[...document.querySelectorAll('.pt .at')].map((n) => [parseFloat(n.getAttribute('x')), parseFloat(n.getAttribute('y'))])"
    before, front = run(page, positions), run(page, "document.querySelector('.front').getAttribute('d')")
    assert run(page, drawn)
    choose(page, "[data-axis=x]", "memory")
    choose(page, "[data-axis=x]", "latency_p95")
    after = run(page, positions)
    assert after == [pytest.approx(spot, abs=0.02) for spot in before]
    flat = [float(number) for number in front.replace("M", " ").replace("L", " ").split()]
    now = run(page, "document.querySelector('.front').getAttribute('d')").replace("M", " ").replace("L", " ").split()
    assert [float(number) for number in now] == pytest.approx(flat, abs=0.02)


def test_a_tooltip_appears_on_hover_and_leaves(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    assert run(page, "document.querySelector('#tip').checkVisibility()") is False
    hover(page, f'.pt[data-id="{examples.QWEN}"] .dot')
    said = text(page, "#tip")
    assert "p95 latency 310 ms breaks the 50 ms limit" in said
    assert "Misses" in said
    box = run(page, "(({left, right}) => [left, right])(document.querySelector('#tip').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 1280
    hover(page, "#compare-title")
    assert run(page, "document.querySelector('#tip').checkVisibility()") is False


def test_the_plot_works_from_the_keyboard(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    page.execute_script("document.querySelector('.pt[tabindex=\"0\"]').focus({preventScroll: false})")
    assert "Character TF-IDF" in text(page, "#tip")
    press(page, "ARROW_RIGHT")
    first = run(page, "document.activeElement.dataset.id")
    assert first != examples.CHAR
    press(page, "ARROW_LEFT")
    assert run(page, "document.activeElement.dataset.id") == examples.CHAR
    press(page, "ESCAPE")
    assert run(page, "document.querySelector('#tip').checkVisibility()") is False
    press(page, "ARROW_RIGHT")
    press(page, "ENTER")
    assert run(page, "[...document.querySelectorAll('.board .detail')].filter((n) => !n.hidden).length") == 1


def test_pointing_at_a_line_of_the_race_tells_who_left_when_and_why(show: Open) -> None:
    page = show(examples.winner(), 1280, "#en")
    hover(page, '#race-plot .runner[data-race="linear.word"] .dot')
    said = text(page, "#tip")
    assert "52.0 s" in said
    assert "a better one of its family went on" in said
    lit = "[...document.querySelectorAll('.exits li.lit')].map((n) => n.dataset.race)"
    assert run(page, lit) == ["linear.word"]
    hover(page, '#race-plot .runner[data-race="encoder.e5-small"] .dot')
    assert "0.849" in text(page, "#tip")  # it reached the end: its score, not the path that left
    hover(page, "#race-title")
    assert run(page, "document.querySelector('#tip').checkVisibility()") is False
    assert run(page, lit) == []


def test_pointing_at_a_name_lights_up_its_line(show: Open) -> None:
    page = show(examples.crowded(60), 1280, "#en")
    hover(page, ".exits li:nth-child(2)")
    arm = run(page, "document.querySelector('.exits li:nth-child(2)').dataset.race")
    assert run(page, "[...document.querySelectorAll('#race-plot .lit')].map((n) => n.dataset.race)") == [arm]


@pytest.mark.parametrize("make", [examples.winner, examples.infeasible, examples.crowded])
@pytest.mark.parametrize("width", [390, 1280])
def test_everything_of_the_race_stays_inside_its_card(show: Open, make: Any, width: int) -> None:
    page = show(make(), width)
    outside = run(
        page,
        "((card) => [...document.querySelectorAll('#race-plot circle, #race-plot text, #race-plot .cross')].filter((n) => {"
        " const box = n.getBoundingClientRect(); return box.width && (box.left < card.left || box.right > card.right || box.bottom > card.bottom); })"
        ".map((n) => n.outerHTML))(document.querySelector('#race .chart').getBoundingClientRect())",
    )
    assert outside == []
    ticks = run(
        page,
        "[...document.querySelectorAll('#race-plot .grid .x')].map((n) => n.getBoundingClientRect()).map((b) => [b.left, b.right])",
    )
    assert len(ticks) >= 3
    assert all(before[1] < after[0] for before, after in pairwise(ticks))


def test_a_tap_on_the_race_shows_the_reason_on_a_phone(show: Open) -> None:
    page = show(examples.winner(), 390, "#en")
    cross = "document.querySelector('#race-plot .runner[data-race=\"linear.word\"] .cross')"
    page.execute_script(f"{cross}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y = run(
        page, f"(({{left, top, width}}) => [left + width / 2, top + width / 2])({cross}.getBoundingClientRect())"
    )
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert "a better one of its family went on" in text(page, "#tip")
    box = run(page, "(({left, right}) => [left, right])(document.querySelector('#tip').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 390


def test_a_tap_shows_the_tooltip_on_a_phone(show: Open) -> None:
    page = show(examples.winner(), 390, "#en")
    dot = f"document.querySelector('.pt[data-id=\"{examples.E5}\"] .dot')"
    page.execute_script(f"{dot}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y = run(page, f"(({{left, top, width}}) => [left + width / 2, top + width / 2])({dot}.getBoundingClientRect())")
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert "multilingual-e5-small" in text(page, "#tip")
    box = run(page, "(({left, right}) => [left, right])(document.querySelector('#tip').getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 390


def test_texts_of_users_stay_texts(show: Open) -> None:
    page = show(examples.hostile())
    assert run(page, "document.querySelectorAll('main script, main img').length") == 0
    assert "<script>alert('x')</script>" in text(page, "h1")
    hover(page, f'.pt[data-id="{examples.CHAR}"] .dot')
    assert "<script>alert('x')</script>" in text(page, "#tip")


CONTRAST = """(() => {
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = (node) => { const layers = []; for (let n = node; n; n = n.parentElement) layers.unshift(rgba(getComputedStyle(n).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255]); };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('svg, .skip')) continue;
    const back = ground(node), front = over(rgba(getComputedStyle(node).color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) poor.push([ratio.toFixed(2), node.className, node.textContent.trim().slice(0, 30)]);
  }
  return poor;
})()"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("make", [examples.winner, examples.no_clear_winner, examples.infeasible])
def test_every_text_has_enough_contrast(show: Open, make: Any, theme: str) -> None:
    page = show(make(), theme=theme)
    page.execute_script(
        "document.querySelector('[data-open-all]').click(); document.querySelectorAll('details').forEach((d) => d.open = true)"
    )
    assert run(page, CONTRAST) == []


def test_the_page_reads_without_script(show: Open, browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = show(examples.winner(), language="en")
        tree = page.execute_cdp_cmd("DOMSnapshot.captureSnapshot", {"computedStyles": ["display"]})
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    strings, layout = tree["strings"], tree["documents"][0]["layout"]
    seen = " ".join(strings[i] for i in layout["text"] if i >= 0)
    for words in (
        "Ship character TF-IDF with logistic regression",
        "Risk register",
        "Joint draws",
        "p99 needs 459 requests",
    ):
        assert words in seen
    assert "上线什么" not in seen


def test_it_prints_in_full(show: Open) -> None:
    page = show(examples.winner(), language="en")
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(printed["data"]) > 50_000
