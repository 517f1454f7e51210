"""The report in a browser: quiet, alone, readable on any screen and on paper, and its figures answer."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

SCREENS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
LOOKS = [(screen, scheme) for screen in SCREENS for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A real report: logarithmic axes, several panels, claims with one part and with several."""
    folder = tmp_path_factory.mktemp("report")
    own = folder / "own.toml"
    own.write_text(
        '[[claims]]\nid = "my-claim"\nexperiment = "gradient-norm"\nstatement = "The gradient < 1 & shrinks."\n'
        'variable = "gradient_norm"\nat = {iteration = "last", function = "cos"}\nhigh = 1\nlog = true\n'
    )
    command = "run gradient-norm interpolation --scale smoke --seeds 3 --dataset digits --workers 1 --claims own.toml"
    done = subprocess.run(
        [sys.executable, "-m", "whydeep", *command.split(), "--out", "run"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "WHYDEEP_DATA"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder / "run" / "report.html"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, report):
    """Open the report on a screen; the page keeps what was said and asked for in `heard` and `asked`."""
    contexts = []

    def opened(screen="desktop", scheme="light", **options):
        context = chromium.new_context(viewport=SCREENS[screen], color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.heard, page.asked = [], []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(report.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


def figures(page):
    """Every figure with its curves, as (element, what the script knows of it)."""
    found = [figure for figure in page.locator("figure").all() if figure.locator("script.curves").count()]
    assert found
    return [(figure, json.loads(figure.locator("script.curves").text_content())) for figure in found]


def labels(known):
    return list(dict.fromkeys(one["label"] for panel in known["panels"] for one in panel["series"]))


def part(page, figure, name):
    return page.locator(f'[id="{figure.get_attribute("id")}.{name}"]')


def shown(page, figure, known, label):
    """Whether each part of the curves with this label is displayed."""
    names = [
        name for panel in known["panels"] for one in panel["series"] if one["label"] == label for name in one["parts"]
    ]
    assert names
    return [part(page, figure, name).evaluate("part => getComputedStyle(part).display !== 'none'") for name in names]


def pixels_across(page):
    return page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("screen", "scheme"), LOOKS)
def test_the_page_is_quiet_loads_nothing_and_fits(visit, report, screen, scheme):
    page = visit(screen, scheme)
    for figure, known in figures(page):
        for button in figure.locator(".legend button").all():
            button.click()
            button.click()
        point_at(page, figure, known["panels"][0], known["panels"][0]["series"][0], 0.5)
    needed, there = pixels_across(page)
    assert needed <= there == SCREENS[screen]["width"]
    assert page.heard == []
    assert page.asked == [report.as_uri()]


@pytest.mark.parametrize("width", [320, 600, 700, 1024, 2560])
def test_nothing_is_cut_off_at_any_width(visit, width):
    page = visit()
    page.set_viewport_size({"width": width, "height": 800})
    needed, there = pixels_across(page)
    assert needed <= there
    outside = page.evaluate(
        """[...document.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, svg, .skip, [hidden]"))
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 || one.getBoundingClientRect().left < -1)
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert outside == []


# Rules of axe that the report still breaks: none should stay here.
BROKEN: set[str] = set()


@pytest.mark.parametrize(("screen", "scheme"), LOOKS)
def test_axe_finds_nothing(visit, screen, scheme):
    page = visit(screen, scheme)
    figure, known = figures(page)[0]
    figure.locator(".legend button").first.click()  # a curve that is hidden looks different
    point_at(page, figure, known["panels"][0], known["panels"][0]["series"][-1], 0.5)
    found = [
        f"{rule['id']} ({rule['impact']}): {node['html'][:150]} {node['failureSummary']}"
        for rule in axe.Axe().run(page).response["violations"]
        for node in rule["nodes"]
        if rule["id"] not in BROKEN
    ]
    assert found == []


class Tags(HTMLParser):
    """The tags of a document, in their order."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)


def test_the_browser_has_nothing_to_repair(visit, report):
    """A parser moves, adds or drops elements where HTML is not valid."""
    page = visit(java_script_enabled=False)
    found = page.evaluate('[...document.querySelectorAll("*")].map((one) => one.localName.toLowerCase())')
    assert found == Tags(report.read_text(encoding="utf-8")).found
    ids = page.evaluate('[...document.querySelectorAll("[id]")].map((one) => one.id)')
    assert len(set(ids)) == len(ids)
    assert not [name for name in ids if re.search(r"\s", name)]


def test_it_is_valid_html(report):
    html5lib = pytest.importorskip("html5lib", reason="html5lib is not installed")
    html5lib.HTMLParser(strict=True).parse(report.read_text(encoding="utf-8"))


def test_without_scripts_the_figures_are_there_and_no_empty_legend(visit):
    page = visit(java_script_enabled=False)
    assert all(figure.locator("svg").is_visible() for figure in page.locator("figure").all())
    assert not page.locator(".legend").first.is_visible()
    assert page.locator(".tip").count() == 0


def test_verdicts_lead_to_their_claims(visit):
    page = visit()
    links = page.locator("#verdicts tbody a").all()
    assert [link.text_content() for link in links] == ["my-claim", "C11", "C20"]  # verdicts, then previews
    for link in links:
        link.click()
        target = page.locator(page.evaluate("'[id=\"' + decodeURIComponent(location.hash.slice(1)) + '\"]'"))
        assert target.locator("h4").text_content().startswith(link.text_content() + ". ")
        assert target.evaluate("one => one.getBoundingClientRect().top < innerHeight")
    assert page.locator("#claim-my-claim h4").text_content() == "my-claim. The gradient < 1 & shrinks."


def test_every_link_inside_the_page_leads_somewhere(visit):
    page = visit()
    dangling = page.evaluate(
        """[...document.querySelectorAll('a[href^="#"]')].map((link) => link.getAttribute("href").slice(1))
        .filter((name) => !document.getElementById(decodeURIComponent(name)))"""
    )
    assert dangling == []


# -- on paper -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_paper_there_are_pages_and_no_buttons(visit, scheme):
    page = visit(scheme=scheme)
    figure, known = figures(page)[0]
    point_at(page, figure, known["panels"][0], known["panels"][0]["series"][0], 0.5)
    page.emulate_media(media="print")
    for name in (".legend", ".tip", ".mark", ".skip", ".back"):
        assert page.locator(name).count()
        assert not [one for one in page.locator(name).all() if one.is_visible()], name
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12


# -- curves that hide -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", SCREENS)
def test_a_button_hides_its_curve_and_no_other(visit, screen):
    page = visit(screen)
    for figure, known in figures(page):
        names = labels(known)
        assert figure.locator(".legend button").all_text_contents() == names
        for name in names:
            button = figure.get_by_role("button", name=name, exact=True)
            for pressed in ("false", "true"):
                button.click()
                assert button.get_attribute("aria-pressed") == pressed
                assert set(shown(page, figure, known, name)) == {pressed == "true"}
                for other in set(names) - {name}:
                    assert all(shown(page, figure, known, other))


def test_a_band_is_hidden_with_its_line(visit):
    page = visit()
    figure, known = figures(page)[-1]
    kinds = [
        part(page, figure, name).evaluate("part => part.tagName") for name in known["panels"][0]["series"][0]["parts"]
    ]
    assert len(kinds) == 2
    figure.locator(".legend button").first.click()
    assert shown(page, figure, known, labels(known)[0]) == [False] * 2 * len(known["panels"])


def test_the_keyboard_hides_as_well(visit):
    page = visit()
    figure, known = figures(page)[0]
    button = figure.locator(".legend button").first
    button.focus()
    for key, pressed in ((" ", "false"), ("Enter", "true")):
        page.keyboard.press(key)
        assert button.get_attribute("aria-pressed") == pressed
        assert set(shown(page, figure, known, labels(known)[0])) == {pressed == "true"}


def test_a_click_on_the_drawn_legend_does_the_same(visit):
    page = visit()
    for figure, known in figures(page):
        assert sorted(entry["label"] for entry in known["legend"]) == sorted(labels(known))
        for entry in known["legend"]:
            button = figure.get_by_role("button", name=entry["label"], exact=True)
            figure.locator(".card").evaluate("card => card.scrollIntoView({block: 'center'})")
            for pressed in ("false", "true"):
                box = part(page, figure, entry["id"]).bounding_box()
                page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
                assert button.get_attribute("aria-pressed") == pressed
                assert set(shown(page, figure, known, entry["label"])) == {pressed == "true"}


def test_figures_do_not_share_their_curves(visit):
    page = visit()
    (first, _), (second, known) = figures(page)[:2]
    first.locator(".legend button").first.click()
    assert all(shown(page, second, known, labels(known)[0]))


# -- values under the pointer -----------------------------------------------------------------------------------------


def place(page, figure, panel, series, index):
    """Where a point of a curve is on the screen, from its values and the box of its panel."""
    figure.locator(".card").evaluate("card => card.scrollIntoView({block: 'center'})")
    box = part(page, figure, panel["id"]).bounding_box()

    def share(axis, value):
        low, high = axis["limits"]
        if axis["scale"] == "log":
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return (value - low) / (high - low)

    across, up = share(panel["x"], series["x"][index]), share(panel["y"], series["y"][index])
    if not (0.01 < across < 0.99 and 0.01 < up < 0.99):
        return None  # outside of the panel
    return box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"]


def point_at(page, figure, panel, series, fraction):
    """Point at the point that is this fraction along a curve, or the next one that is in the panel."""
    for index in range(int(fraction * len(series["x"])), len(series["x"])):
        found = place(page, figure, panel, series, index)
        if found:
            page.mouse.move(*found)
            return found
    raise AssertionError("no point of the curve is in the panel")


def number(text):
    return float(text.replace(",", ""))


@pytest.mark.parametrize("screen", SCREENS)
def test_the_tip_shows_the_values_of_the_curve(visit, screen):
    page = visit(screen)
    for figure, known in figures(page):
        tip, mark = figure.locator(".tip"), figure.locator(".mark")
        for panel in known["panels"]:
            scale = 100 if panel["y"]["percent"] else 1
            for series in panel["series"]:
                if series["quiet"]:
                    continue
                for fraction in (0.1, 0.45, 0.8):
                    x, _ = point_at(page, figure, panel, series, fraction)
                    assert tip.is_visible()
                    assert mark.is_visible()
                    head, *rows = tip.locator(":scope > div").all_text_contents()
                    name, _, shown_x = head.rpartition(": ")
                    assert name == (panel["x"]["label"] or "x")
                    index = min(range(len(series["x"])), key=lambda at: abs(series["x"][at] - number(shown_x)))
                    at_x, at_y = place(page, figure, panel, series, index)
                    assert abs(at_x - x) < 1.5  # nearest along x
                    (row,) = (row for row in rows if row.startswith(f"{series['label']}: "))
                    value, *interval = re.findall(r"-?[\d.,]*\d(?:e[+-]\d+)?", row.removeprefix(series["label"]))
                    assert number(value) / scale == pytest.approx(series["y"][index], rel=1e-3)
                    if "low" in series:
                        ends = series["low"][index], series["high"][index]
                        assert [number(end) / scale for end in interval] == pytest.approx(ends, rel=1e-3)
                    else:
                        assert interval == []
                    assert len(rows) == sum(not one["quiet"] for one in panel["series"])
                    if tip.locator("strong").text_content().startswith(f"{series['label']}: "):
                        box = mark.bounding_box()
                        assert abs(box["x"] + box["width"] / 2 - at_x) < 1.5
                        assert abs(box["y"] + box["height"] / 2 - at_y) < 1.5


def test_the_mark_lies_on_the_line_that_is_drawn(visit):
    """The places from limits and boxes against the path itself, which knows nothing of them."""
    page = visit()
    for figure, known in figures(page):
        for panel in known["panels"]:
            for series in panel["series"]:
                x, y = point_at(page, figure, panel, series, 0.3)
                far = part(page, figure, series["parts"][0]).evaluate(
                    """(part, [x, y]) => {
                      const path = part.querySelector("path"), onto = path.getScreenCTM();
                      let least = Infinity;
                      for (let along = 0, whole = path.getTotalLength(); along <= whole; along += whole / 4000) {
                        const at = path.getPointAtLength(along).matrixTransform(onto);
                        least = Math.min(least, Math.hypot(at.x - x, at.y - y));
                      }
                      return least;
                    }""",
                    [x, y],
                )
                assert far < 2


@pytest.mark.parametrize("screen", SCREENS)
def test_the_tip_stays_in_its_card_and_leaves_with_the_pointer(visit, screen):
    page = visit(screen)
    figure, known = figures(page)[0]
    (panel,) = known["panels"]
    tip = figure.locator(".tip")
    for fraction in (0.02, 0.5, 0.95):
        point_at(page, figure, panel, panel["series"][0], fraction)
        card, box = figure.locator(".card").bounding_box(), tip.bounding_box()
        assert card["x"] <= box["x"]
        assert box["x"] + box["width"] <= card["x"] + card["width"]
    page.mouse.move(2, 2)
    assert not tip.is_visible()
    assert not figure.locator(".mark").is_visible()


def test_beside_the_panels_there_is_no_tip(visit):
    page = visit()
    figure, known = figures(page)[0]
    point_at(page, figure, known["panels"][0], known["panels"][0]["series"][0], 0.5)
    box = figure.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert not figure.locator(".tip").is_visible()


def test_hidden_curves_have_no_values(visit):
    page = visit()
    figure, known = figures(page)[0]
    panel = known["panels"][0]
    first, second = panel["series"]
    point_at(page, figure, panel, second, 0.5)
    figure.locator(".legend button").first.click()
    assert not figure.locator(".tip").is_visible()
    point_at(page, figure, panel, second, 0.5)
    text = figure.locator(".tip").text_content()
    assert second["label"] in text
    assert first["label"] not in text
    figure.locator(".legend button").last.click()
    point_at(page, figure, panel, second, 0.5)
    assert not figure.locator(".tip").is_visible()


def test_the_arrow_keys_show_values_too(visit):
    page = visit()
    figure, known = figures(page)[0]
    curves = [(panel, one) for panel in known["panels"] for one in panel["series"] if not one["quiet"]]
    card, tip = figure.locator(".card"), figure.locator(".tip")
    marked = tip.locator("strong")
    card.focus()
    assert not tip.is_visible()
    page.keyboard.press("ArrowRight")
    assert marked.text_content().startswith(f"{curves[0][1]['label']}: ")
    heads = [tip.locator("div").first.text_content()]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        heads.append(tip.locator("div").first.text_content())
    page.keyboard.press("ArrowLeft")
    assert tip.locator("div").first.text_content() == heads[-2]
    xs = [number(head.split(": ")[1]) for head in heads]
    assert xs == sorted(set(xs))
    for place in range(1, len(curves) + 1):  # round all curves, and back to the first
        page.keyboard.press("ArrowDown")
        assert marked.text_content().startswith(f"{curves[place % len(curves)][1]['label']}: ")
    page.keyboard.press("ArrowUp")
    assert marked.text_content().startswith(f"{curves[-1][1]['label']}: ")
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.keyboard.press("ArrowLeft")
    assert tip.is_visible()
    page.keyboard.press("Tab")
    assert not tip.is_visible()


def test_the_keyboard_does_not_stop_at_hidden_curves(visit):
    page = visit()
    spoken = [
        (
            figure,
            list(
                dict.fromkeys(one["label"] for panel in known["panels"] for one in panel["series"] if not one["quiet"])
            ),
        )
        for figure, known in figures(page)
    ]
    figure, names = max(spoken, key=lambda one: len(one[1]))
    assert len(names) > 1
    for name in names[1:]:
        figure.get_by_role("button", name=name, exact=True).click()
    figure.locator(".card").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
        assert figure.locator(".tip strong").text_content().startswith(f"{names[0]}: ")
    figure.get_by_role("button", name=names[0], exact=True).click()
    figure.locator(".card").focus()
    page.keyboard.press("ArrowRight")
    assert not figure.locator(".tip").is_visible()


def test_a_finger_shows_values_too(visit):
    page = visit("phone", has_touch=True)
    figure, known = figures(page)[0]
    panel = known["panels"][0]
    x, y = place(page, figure, panel, panel["series"][1], 100)
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    assert figure.locator(".tip").is_visible()
    assert panel["series"][1]["label"] in figure.locator(".tip").text_content()
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(100)
    assert figure.locator(".tip").is_visible()  # there is time to read it
    page.touchscreen.tap(5, 5)
    assert not figure.locator(".tip").is_visible()
    assert page.heard == []
