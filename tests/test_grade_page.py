"""The report in a real browser: nothing leaves the page, no error is told, filters, links and buttons work."""

import shutil
from pathlib import Path

import pytest
from graded import FIGURE, METRICS, WEEK1, edit_json, hand_in
from test_browser import BROWSER, FLAGS

from medssl.course.checker.grade import grade

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
SHOWN = """[...document.querySelectorAll('details.one')].filter(e => !e.hidden)
           .map(e => e.dataset.student + e.dataset.week)"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """ada: a wrong number in week 1, a whole week 2. bo: no figure. cy: only a note. And a hostile name beside them."""
    root = tmp_path_factory.mktemp("page")
    for name in ("ada", "bo", "cy"):
        hand_in(root, 1, name)
    hand_in(root, 2, "ada")
    edit_json(root / WEEK1 / "ada" / METRICS, accuracy=0.99)
    (root / WEEK1 / "bo" / FIGURE).unlink()
    (root / WEEK1 / "cy" / ".DS_Store").write_text("x")
    (root / WEEK1 / "<img src=x onerror=alert(1)>").mkdir()
    return grade(root).write_html(root / "out" / "grade.html")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, page_file):
    """The page, and at the end a look at what it said and asked for."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
    page.goto(page_file.as_uri())
    yield page
    page.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {page_file.as_uri()}


def until(page, true: str) -> None:
    """Wait for an expression. (Playwright's own wait_for_function evaluates in the page, which its policy forbids.)"""
    for _ in range(50):
        if page.evaluate(true):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never true: {true}")


def shown(page) -> list[str]:
    return [name for name in page.evaluate(SHOWN) if not name.startswith("<")]


def test_each_filter_shows_what_it_says_and_the_address_remembers(page, page_file):
    assert shown(page) == ["ada1", "ada2", "bo1", "cy1"]
    page.select_option("select[name=week]", "2")
    assert shown(page) == ["ada2"] and "week=2" in page.evaluate("location.hash")
    page.click("button[type=reset]")
    until(page, "document.getElementById('shown').textContent.startsWith('5 of 5')")
    page.select_option("select[name=code]", "missing")
    assert shown(page) == ["bo1"]
    page.select_option("select[name=code]", "")
    page.select_option("select[name=severity]", "error")
    assert shown(page) == ["ada1", "bo1"]
    page.fill("input[name=q]", "does not FOLLOW")
    assert shown(page) == ["ada1"]
    page.reload()
    assert shown(page) == ["ada1"] and page.input_value("input[name=q]") == "does not FOLLOW"
    page.goto(page_file.as_uri() + "#look=1")
    page.reload()
    assert shown(page) == ["ada1", "bo1"] and page.is_checked("input[name=look]")
    page.goto(page_file.as_uri() + "#student=cy&status=present")
    assert shown(page) == ["cy1"]
    page.goto(page_file.as_uri() + "#week=99&q=no such words")
    until(page, "!document.getElementById('none').hidden")
    assert shown(page) == []


def test_a_chip_leads_to_its_submission_even_where_a_filter_hides_it(page):
    page.select_option("select[name=student]", "cy")
    chip = page.locator(".overview a[data-for]", has_text="100 1✗").first
    target = chip.get_attribute("data-for")
    page.evaluate(f"location.hash = '{target}'")  # as from a bookmark
    until(page, f"document.getElementById('{target}').closest('details').open")
    assert page.locator(f"#{target}").is_visible() and f"at={target}" in page.evaluate("location.hash")
    top = page.evaluate(f"document.getElementById('{target}').closest('details').getBoundingClientRect().top")
    assert top >= page.evaluate("document.getElementById('filters').getBoundingClientRect().bottom") - 1


def test_the_keyboard_is_enough(page):
    page.keyboard.press("/")
    page.keyboard.type("week1/breastmnist/cy")
    assert "cy1" in shown(page) and "bo1" not in shown(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "look"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('details').open")
    page.keyboard.press("x")
    until(page, "document.getElementById('shown').textContent.startsWith('5 of 5')")


def test_figures_grow_and_fixes_are_copied(page):
    page.click("#open-all")
    first = page.locator(".thumb").first
    assert page.evaluate("[...document.querySelectorAll('.thumb img')].every(e => !e.complete || e.naturalWidth > 50)")
    first.click()
    until(page, "document.querySelector('dialog[open] img')?.naturalWidth > 50")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('large').open")
    copy = page.locator(".copy:visible").first
    copy.click()
    until(page, "[...document.querySelectorAll('.copy')].some(e => /Copied|Selected/.test(e.textContent))")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_and_every_control_has_a_label(browser, page_file, width, colours):
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=colours)
    page.goto(page_file.as_uri())
    page.click("#open-all")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bare = page.evaluate("[...document.querySelectorAll('input, select')].filter(e => !e.closest('label')).length")
    nameless = page.evaluate("[...document.querySelectorAll('button')].filter(e => !e.textContent.trim() && "
                             "!e.ariaLabel).length")
    assert bare == nameless == 0
    # Nine letters of a name stand in one line, and so does every word of a week's title.
    assert page.evaluate("Math.min(...[...document.querySelectorAll('.overview tbody th')].map(e => e.offsetWidth))"
                         ) >= 120
    assert page.evaluate("getComputedStyle(document.querySelector('.whole td')).overflowWrap") == "break-word"
    page.close()


def test_it_prints_with_every_fold_open(browser, page_file, tmp_path):
    if not shutil.which("pdftotext"):
        pytest.skip("no pdftotext on this machine")
    import subprocess

    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    page.close()
    text = subprocess.run(["pdftotext", str(tmp_path / "page.pdf"), "-"], capture_output=True, text=True).stdout
    assert "does not follow from predictions_test.csv" in text and "My own words on:" in text
    assert "Open all shown" not in text and "Copy" not in text


def test_without_scripts_everything_is_still_there(browser, page_file):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri() + "#s1")
    assert page.locator("#filters").is_hidden() and page.locator("details.one").count() == 5
    assert page.locator("noscript").inner_text().startswith("Without JavaScript")
    context.close()
