"""The page of `scumble compare` in a real browser, offline: it works, it is quick enough, and everybody can use it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from synthetic_runs import write_run, write_strengths, write_sweep

from scumble.comparison.commands import compare
from scumble.comparison.runs import load_sweep
from scumble.ledger import State

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&`${x}"
Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=180_000)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opener]:
    """Opens a report; at the end of the test nothing may have gone wrong in it, and nothing may have been asked for."""
    troubles: list[str] = []
    contexts = []

    def opened(report: Path, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else troubles.append(request.url)
            ),
        )
        page.goto((report / "index.html").as_uri())
        page.wait_for_selector("#table tbody tr")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three weights and two seeds, a run that failed and one that was killed."""
    root = tmp_path_factory.mktemp("compare")
    sweep = write_sweep(root / "sweep", styles=[1, 2, 8], seeds=[0, 1])
    failed = write_run(sweep / "failed", {"loss_weights.style": 4, "seed": 0}, state=State.FAILED, pictures=False)
    (failed / "error.txt").write_text("no memory\n")
    (failed / "metrics.csv").unlink()
    killed = {"loss_weights.style": 16, "seed": 0, "steps": 20}
    write_run(sweep / "killed", killed, steps=[10], state=State.PREEMPTED)
    compare([sweep], root / "report", 10**7)
    return root / "report"


def column(page: Page, name: str) -> list[str]:
    """The texts of a column of the table."""
    heads = [text.split("\n")[-1] for text in page.locator("#table thead th").all_inner_texts()]
    place = heads.index(name) + 1
    return page.locator(f"#table tbody tr > :nth-child({place})").all_inner_texts()


def numbers(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts if not text.startswith("–")]


def see(page: Page, section: str) -> Locator:
    """A section, scrolled to, its plot drawn."""
    found = page.locator(f"#{section}")
    found.scroll_into_view_if_needed()
    if found.locator(".plot").count():
        found.locator(".plot .main-svg").first.wait_for()
    return found


def stylized(page: Page) -> list[str]:
    """What the first row of runs shows, once it is decoded."""
    images = page.locator("#cells tbody tr:first-child img")
    images.first.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('#cells tbody tr:first-child img')].every(i => i.complete && i.naturalWidth)"
    )
    return [image.get_attribute("src") or "" for image in images.all()]


def test_the_table_sorts_by_mouse_and_keyboard(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    button = page.get_by_role("button", name="val content_distance")
    head = page.locator("#table th", has=button)
    assert head.get_attribute("aria-sort") == "none"
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = column(page, "content_distance")
    assert numbers(values) == sorted(numbers(values))
    assert len(numbers(values)) == 4
    assert values[-1].startswith("–")  # the failed run is last, in both directions
    page.keyboard.press("Enter")  # the focus is still there
    assert head.get_attribute("aria-sort") == "descending"
    values = column(page, "content_distance")
    assert numbers(values) == sorted(numbers(values), reverse=True)
    assert values[-1].startswith("–")
    page.get_by_label("Find").fill("failed")
    assert column(page, "style") == ["4"]
    page.get_by_label("Find").fill("")
    page.get_by_text("runs", exact=True).click()
    assert len(column(page, "Folder")) == 8


def test_numbers_have_their_spread(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    frame = load_sweep(report.parent / "sweep").to_dataframe("configuration").set_index("loss_weights.style")
    texts = dict(zip(column(page, "style"), column(page, "content_distance"), strict=True))
    mean, deviation = frame.loc[8, ["val/content_distance", "val/content_distance_sd"]]
    assert texts["8"] == f"{mean:.3f} ± {deviation:.3f}"
    page.get_by_label("Spread").select_option("interval")
    texts = dict(zip(column(page, "style"), column(page, "content_distance"), strict=True))
    low, high = frame.loc[8, ["val/content_distance_low", "val/content_distance_high"]]
    assert texts["8"].endswith(f"[{low:.3f}, {high:.3f}]")


def test_sliders_change_the_pictures(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    section = see(page, "pictures")
    section.get_by_label("with").select_option("none")
    seen = [stylized(page)]
    for label, value in (("loss_weights.style", "2"), ("seed", "1"), ("training step", "10")):
        slider = section.get_by_role("slider", name=label)
        slider.press("ArrowLeft" if label == "training step" else "ArrowRight")
        assert slider.get_attribute("aria-valuetext") == value
        shown = stylized(page)
        assert len(shown) == 4
        assert all(shown != other for other in seen)
        seen.append(shown)
    assert section.get_by_role("status").inner_text() == "style=2, seed=1, step 10."
    for _ in range(4):
        section.get_by_role("slider", name="loss_weights.style").press("ArrowRight")
    assert "style=16" in section.get_by_role("status").inner_text()
    section.get_by_role("slider", name="loss_weights.style").press("ArrowLeft")
    section.get_by_role("slider", name="loss_weights.style").press("ArrowLeft")  # the failed run
    assert section.get_by_text("no pictures yet, failed").is_visible()


def test_the_same_pairs_stand_side_by_side(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    section = see(page, "pictures")
    rows = section.locator("#cells tbody tr")
    assert rows.count() == 4  # the four configurations of the front, which are chosen
    headings = section.locator("#cells tbody th").all_inner_texts()
    assert [heading.split(",")[0] for heading in headings] == ["style=1", "style=2", "style=8", "style=16"]
    for row in range(4):
        for image in rows.nth(row).locator("img").all():
            assert image.get_attribute("alt", timeout=9000).startswith("stylized, pair ")
    section.get_by_role("slider", name="loss_weights.style").press("End")
    section.get_by_role("button", name="Keep this one beside").click()
    section.get_by_role("slider", name="loss_weights.style").press("Home")
    headings = section.locator("#cells tbody th").all_inner_texts()
    assert [heading.split(",")[0] for heading in headings] == ["style=1", "style=16"]
    page.get_by_text("all runs").click()
    assert section.locator("#cells tbody tr").count() == 8
    assert not section.get_by_label("with").is_visible()


def test_flicker_shows_runs_in_turn_and_respects_reduced_motion(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    section = see(page, "pictures")
    page.get_by_text("flicker").click()
    before = stylized(page)
    page.wait_for_function("before => document.querySelector('#cells tbody img').src !== before", arg=before[0])
    section.get_by_role("button", name="Pause").click()
    still = open_page(report, reduced_motion="reduce")
    see(still, "pictures")
    still.get_by_text("flicker").click()
    before = stylized(still)
    still.wait_for_timeout(2500)
    assert stylized(still) == before
    still.get_by_role("button", name="Next").click()
    assert stylized(still) != before


def test_magnification_is_the_same_for_all_pictures(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    section = see(page, "pictures")
    matrices = (
        "[...document.querySelectorAll('#cells img')].map(i => [new DOMMatrix(getComputedStyle(i).transform), i])"
    )
    transforms = f"[...new Set({matrices}.map(([matrix]) => matrix.a))]"
    shares = f"{matrices}.map(([matrix, image]) => matrix.e / image.clientWidth)"
    section.get_by_role("slider", name="magnification").press("End")
    assert page.evaluate(transforms) == [8]
    before = page.evaluate(shares)
    section.locator("#cells").press("ArrowRight")
    after = page.evaluate(shares)
    assert all(new == pytest.approx(old - 0.7, abs=0.02) for old, new in zip(before, after, strict=True))
    section.locator("#cells .cell").nth(2).drag_to(section.locator("#cells .cell").nth(3))
    dragged = page.evaluate(shares)
    assert max(dragged) - min(dragged) < 0.02
    assert dragged[0] > after[0]
    section.locator("#cells .cell").first.dblclick()
    assert section.get_by_role("slider", name="magnification").get_attribute("aria-valuetext") == "1×"


def test_the_front_is_the_one_that_python_finds_and_shows_pictures(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    table = load_sweep(report.parent / "sweep").table()
    assert page.evaluate("plots.front") == table.front
    section = see(page, "front")
    points = section.locator(".scatterlayer .point")
    assert points.count() == sum(table.front)
    buttons = section.locator(".modebar-btn").all()
    assert [button.get_attribute("aria-label") for button in buttons] == [
        "Download plot as a PNG", "Zoom", "Pan", "Box Select", "Reset axes",
    ]  # fmt: skip  # and none that sends the plot away
    assert page.evaluate("document.getElementById('front-plot')._context.plotlyServerURL") == ""
    box = points.last.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    card = page.get_by_role("tooltip")
    card.wait_for()
    assert "style=" in card.inner_text()
    assert card.locator("img").count() == 9
    page.wait_for_function("[...document.querySelectorAll('#card img')].every(i => i.naturalWidth)")
    page.keyboard.press("Escape")
    assert card.is_hidden()
    section.locator("#front-list button").first.focus()  # by keyboard as well
    assert card.is_visible()
    section.get_by_label("Across").select_option(label="val/psnr")
    assert section.locator(".xtitle").text_content() == "val/psnr (higher is better)"
    expected = page.evaluate("report.configurations.map(c => Boolean(c.metrics[2]))")
    assert sum(page.evaluate("plots.front")) <= sum(expected)


def test_a_line_joins_the_strengths_of_a_configuration(tmp_path: Path, open_page: Opener) -> None:
    for style in (1, 2):
        run = write_run(tmp_path / "sweep" / str(style), {"loss_weights.style": style})
        write_strengths(run, [0.0, 0.25, 0.5, 0.75, 1.0], scale=style)
    compare([tmp_path / "sweep"], tmp_path / "report", 10**7)
    page = open_page(tmp_path / "report")
    section = see(page, "front")
    assert section.locator(".xtitle").text_content() == "scores-abcdef01/content_distance (lower is better)"
    assert "A line joins the strengths of each of 2 configurations." in section.inner_text()
    assert section.locator(".scatterlayer .textpoint").all_text_contents() == ["0", "0.25", "0.5", "0.75", "1"]
    drawn = page.evaluate("document.getElementById('front-plot').data.map(t => [t.mode, t.x])")
    assert ["lines+markers", [1, 1.25, 1.5, 1.75, 2, None]] in drawn
    section.get_by_label("Across").select_option(label="val/content_distance")
    assert "2 configurations measured at several strengths under a protocol" in section.inner_text()
    assert section.locator(".scatterlayer .textpoint").count() == 0


def test_what_is_chosen_has_its_colour_everywhere(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    for section in ("front", "curves", "settings"):
        see(page, section)
    page.get_by_role("button", name="Choose none").click()
    assert page.locator("#chosen-count").inner_text() == "0 chosen"
    page.get_by_label("Choose style=8").check()
    colour = page.evaluate("css('--c0')")
    for plot in ("front-plot", "curves-plot", "settings-plot"):
        colours = page.evaluate(f"document.getElementById('{plot}').data.map(t => t.marker?.color)")
        assert colour in colours, plot
    page.locator("#front-list").get_by_role("button", name="style=8").click()
    assert page.locator("#chosen-count").inner_text() == "0 chosen"
    page.get_by_role("button", name="Choose the front").click()
    assert page.locator("#chosen-count").inner_text() == "4 chosen"


def test_what_is_missing_is_said(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    notes = page.locator("#notes")
    notes.locator("summary").click()
    text = notes.inner_text()
    for words in ("failed: no memory", "preempted, at step 10", "no metrics.csv", "no pictures"):
        assert words in text


CONTRAST = """() => {
  const luminance = (c) => { const [r, g, b] = c.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const background = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll('body *:not(script):not(style):not(svg *)')) {
    const words = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
    if (!words || !e.checkVisibility() || e.closest('.hidden, .skip, .plot, .cell') || e.tagName === 'OPTION') continue;
    const [a, b] = [luminance(parse(getComputedStyle(e).color).slice(0, 3)), luminance(background(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(`${words.slice(0, 30)} ${((a + .05) / (b + .05)).toFixed(2)}`);
  }
  return low;
}"""  # noqa: E501


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_layout_is_usable(report: Path, open_page: Opener, width: int, scheme: str) -> None:
    page = open_page(report, width, color_scheme=scheme)
    for section in ("front", "pictures", "curves", "settings"):
        see(page, section)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rows = "new Set([...document.querySelectorAll('#cells tbody td')].map(cell => Math.round(cell.offsetHeight)))"
    assert page.evaluate(f"({rows}).size") == 1  # also of pictures that wait to be decoded
    for control in page.locator("button:visible, select:visible, input[type=range]:visible").all():
        box = control.bounding_box()
        assert box
        assert box["height"] >= 20, control.inner_text()
    for plot in page.locator(".plot").all():
        box = plot.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 300
    assert page.evaluate(CONTRAST) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
    assert dark == (scheme == "dark")


def test_a_screen_reader_and_a_keyboard_find_their_way(report: Path, open_page: Opener) -> None:
    page = open_page(report)
    for section in ("front", "pictures", "curves", "settings"):
        see(page, section)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1, h2").all_inner_texts() == [
        "sweep", "Runs", "Trade-off", "Pictures", "Learning curves", "Settings and results",
    ]  # fmt: skip
    for control in page.locator("input, select, button").all():
        if control.is_visible():
            name = control.evaluate(
                "e => e.ariaLabel || [...e.labels ?? []].map(l => l.innerText).join() || e.innerText"
            )
            assert name.strip(), control.evaluate("e => e.outerHTML")
    for image in page.locator("#cells img").all():
        assert image.get_attribute("alt")
    for plot in page.locator(".plot").all():
        assert plot.get_attribute("role") == "group"
        described = page.locator(f"#{plot.get_attribute('aria-labelledby')}")
        assert len(described.inner_text()) > 40
    assert page.locator("#table th[scope=col]").count() == page.locator("#table thead th").count()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    visited = []
    for _ in range(12):
        page.keyboard.press("Tab")
        shown = "(e => e.matches('.segments input') ? e.nextElementSibling : e)(document.activeElement)"
        assert page.evaluate(f"getComputedStyle({shown}).outlineStyle") == "solid", page.evaluate(f"{shown}.outerHTML")
        visited.append(page.evaluate("document.activeElement.tagName"))
    assert visited[0] == "A"  # the link that skips to the table
    assert {"SUMMARY", "INPUT", "SELECT", "BUTTON"} <= set(visited)


def test_the_headings_of_pictures_break_between_words_of_a_setting(tmp_path: Path, open_page: Opener) -> None:
    for generator in ("residual_attention", "adain"):
        write_run(tmp_path / "sweep" / generator, {"generator": generator, "loss_weights.style": len(generator)})
    compare([tmp_path / "sweep"], tmp_path / "report", 10**7)
    for width in (400, 1280):
        page = open_page(tmp_path / "report", width=width)
        see(page, "pictures")
        lines = page.locator("#cells th b span").evaluate_all(
            """all => all.flatMap(span => [...span.childNodes]).filter(node => node.nodeName === "#text").map(node => {
                const range = document.createRange(); range.selectNodeContents(node);
                return [node.data.trim(), new Set([...range.getClientRects()].map(one => one.top)).size];
            })"""
        )
        assert {"generator=", "residual_", "attention,", "adain,"} <= {text for text, _ in lines}
        assert [text for text, count in lines if count != 1] == []


def test_text_of_run_folders_stays_text(tmp_path: Path, open_page: Opener) -> None:
    for value in (HOSTILE, "b"):
        run = write_run(tmp_path / "sweep" / str(len(value)), {"note": value}, state=State.FAILED)
        (run / "error.txt").write_text(HOSTILE)
    compare([tmp_path / "sweep"], tmp_path / "report", 10**7)
    page = open_page(tmp_path / "report")
    for section in ("front", "pictures", "curves", "settings"):
        see(page, section)
    assert HOSTILE in column(page, "note")
    page.locator("#notes summary").click()
    assert HOSTILE in page.locator("#notes").inner_text()
    assert page.locator("img[src=x]").count() == 0


def test_runs_without_numbers_and_pictures_have_a_page(tmp_path: Path, open_page: Opener) -> None:
    for style in (1, 2):
        run = write_run(tmp_path / "sweep" / str(style), {"loss_weights.style": style}, pictures=False)
        (run / "metrics.csv").unlink()
    compare([tmp_path / "sweep"], tmp_path / "report", 10**7)
    page = open_page(tmp_path / "report")
    page.wait_for_function(
        "document.getElementById('front-summary').textContent && document.getElementById('curves-summary').textContent"
    )
    assert "no run has been validated yet" in page.locator("#front").inner_text()
    assert "No run has a grid of pictures" in page.locator("#pictures").inner_text()
    assert "No run has a metrics.csv" in page.locator("#curves").inner_text()


def test_two_hundred_runs(tmp_path: Path, open_page: Opener) -> None:
    for index in range(200):
        settings = {"loss_weights.style": (index % 40 + 1) / 4, "loss_weights.content": index // 40 + 1}
        write_run(tmp_path / "sweep" / f"{index:03d}", settings, steps=[5, 10])
    compare([tmp_path / "sweep"], tmp_path / "report", 10**7)
    assert (tmp_path / "report" / "index.html").stat().st_size < 20e6
    page = open_page(tmp_path / "report")
    assert page.locator("#table tbody tr").count() == 200
    page.get_by_role("button", name="val style_distance").click()
    values = column(page, "style_distance")
    assert numbers(values) == sorted(numbers(values))
    for section in ("front", "curves", "settings"):
        see(page, section)
    see(page, "pictures")
    page.get_by_text("all runs").click()
    page.wait_for_function("document.querySelectorAll('#cells img[src]').length > 0")
    assert page.locator("#cells img").count() == 4 * (200 + 2)
    assert page.locator("#cells img[src]").count() < 400  # the others wait until they are near
    page.locator("#cells tbody tr").last.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#cells tbody tr:last-child img').naturalWidth > 0")
    page.get_by_role("slider", name="loss_weights.style").press("End")
    assert "style=10" in page.locator("#cells tr.current").inner_text()
    assert json.loads((tmp_path / "report" / "table.json").read_text())[0]["seeds"] == 1
