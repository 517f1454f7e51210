"""The report as a document: well formed, self-contained, escaped, accessible, and the same every time."""

import base64
import hashlib
import io
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from whydeep.errors import RunError
from whydeep.report.elements import Table
from whydeep.report.page import (
    ClaimText,
    Drawing,
    Page,
    Section,
    VerdictRow,
    render,
    section_from_json,
    section_to_json,
)

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"


def draw(fonttype: str = "path") -> str:
    """Return real matplotlib output with all that carries identifiers: clips, markers, hatches, glyphs, an image."""
    with mpl.rc_context({"svg.fonttype": fonttype, "svg.hashsalt": "test"}):
        drawing = Figure(figsize=(4, 3))
        axes = drawing.add_subplot(title=r"loss < $10^{-3}$ & falling", xlabel="iteration")
        axes.plot([1, 2, 3], marker="o", label="shallow")
        axes.bar([0, 1], [1, 2], hatch="//")
        axes.imshow([[0, 1], [1, 0]])
        axes.legend()
        file = io.StringIO()
        drawing.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def figure(name: str = "figure-01", svg: str | None = None) -> Drawing:
    return Drawing(
        name, "Figure 1. Training error.", "The band is the interval.", "Three falling curves.", svg or draw()
    )


TABLE = Table("Final errors", ("network", "MSE", "remark"), (("shallow", "0.1", "a"), ("deep", "0.2", "b")), (1,))
SECTION = Section(
    "function-fitting",
    "E1. Function fitting",
    "Does depth help?",
    ("First paragraph.", "Second paragraph."),
    Table("What was trained", ("network", "widths"), (("shallow", "1-9-1"), ("deep", "1-3-3-1"))),
    (figure(), figure("figure-02")),
    (TABLE,),
    (
        ClaimText(
            "C5",
            "The deeper, the better.",
            "the course report",
            "“better” means a lower error.",
            "supported",
            "deep minus shallow: -0.1",
            "p < 0.001",
            Table("C5 in numbers", ("statistic", "estimate"), (("deep minus shallow", "-0.1"),), (1,)),
        ),
    ),
    (("Converged", "the loss stays low"),),
    "results/function-fitting.nc",
    Table("What was measured", ("variable", "meaning"), (("loss", "MSE & more"),)),
    "network: shallow, deep",
)
PAGE = Page(
    "How networks train",
    "Populations of networks.",
    (("Scale", "quick"), ("Seeds", "n = 5")),
    (),
    (
        VerdictRow(
            "C5", "supported", "The deeper, the better.", "deep minus shallow", "-0.1 [-0.2, 0.0]", "5", "< 0.001"
        ),
    ),
    (),
    "1 supported.",
    (SECTION,),
    (("Seeds", "every setting is trained once per seed"),),
    (("Versions", "torch 2"),),
    "whydeep run --scale quick",
    ("Kingma and Ba (2015). https://arxiv.org/abs/1412.6980",),
)


def with_section(**changes: object) -> Page:
    return replace(PAGE, sections=(replace(SECTION, **changes),))


class Document(HTMLParser):
    """All elements as (tag, attributes) and all text; unbalanced tags fail."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert "svg" in self._open, f"<{tag}/> is HTML's only inside a drawing"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def references(self) -> list[str]:
        found = []
        for _, attributes in self.elements:
            found += attributes.get("aria-labelledby", "").split()
            found += [attributes["href"][1:]] if attributes.get("href", "").startswith("#") else []
            for value in attributes.values():
                found += re.findall(r"url\([\"']?#([^\"')]+)", value or "")
        return found


@pytest.mark.parametrize("fonttype", ["none", "path"])
def test_identifiers_are_unique_and_references_resolve(fonttype):
    svg = draw(fonttype)
    document = Document(render(with_section(figures=(figure(svg=svg), figure("figure-02", svg)))))
    assert len(set(document.ids)) == len(document.ids)
    assert set(document.references) <= set(document.ids)
    drawn = [reference for reference in document.references if reference.startswith("figure-02.")]
    assert len(drawn) == len(re.findall(r"url\(#|href=\"#", svg))


@pytest.mark.parametrize("fonttype", ["none", "path"])
def test_a_drawing_keeps_its_shapes_and_its_text(fonttype):
    svg = draw(fonttype)
    html = render(with_section(figures=(figure(svg=svg),)))
    document = Document(html)
    for tag in ("path", "use", "image", "text", "tspan", "pattern"):
        assert len(document.all(tag)) == len(re.findall(rf"<{tag}\b", svg)), tag
    (image,) = document.all("image")
    assert re.fullmatch(r"data:image/png;base64,[\w+/=]+", image["href"])
    assert ("iteration" in document.text) == (fonttype == "none")


def test_a_drawing_scales_and_is_described():
    html = render(PAGE)
    for svg in Document(html).all("svg"):
        assert svg["role"] == "img"
        assert svg["aria-label"] == "Three falling curves."
        assert svg["viewbox"] == "0 0 288 216"
        assert not {"width", "height"} & set(svg)
        assert svg["style"] == "max-width: 288pt"
    assert html.count("<title>Figure 1. Training error.</title>") == 2
    assert not re.search(r"<\?xml|<!DOCTYPE svg|<metadata|xmlns", html)


def test_a_drawing_styles_nothing_but_itself():
    assert len(Document(render(PAGE)).all("style")) == 1


def test_nothing_is_loaded():
    html = render(PAGE)
    document = Document(html)
    assert not {"iframe", "object", "embed", "audio", "video"} & {tag for tag, _ in document.elements}
    assert not any("src" in attributes or "srcset" in attributes for _, attributes in document.elements)
    for tag, attributes in document.elements:
        if tag != "a" and "href" in attributes:
            assert re.match("#|data:", attributes["href"])
    assert not re.search(r"@import|@font-face|url\((?![\"']?#)", html)
    (policy,) = (meta["content"] for meta in document.all("meta") if "http-equiv" in meta)
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; script-src"
    )
    assert policy == f"{own} 'sha256-{digest}'"  # the page's own script and no other


def test_hostile_text_stays_text():
    table = Table(HOSTILE, (HOSTILE,) * 2, ((HOSTILE,) * 2,))
    hostile = Section(
        "hostile",
        HOSTILE,
        HOSTILE,
        (HOSTILE,),
        table,
        (Drawing("figure-01", HOSTILE, HOSTILE, HOSTILE, draw()),),
        (table,),
        (ClaimText("C1", HOSTILE, HOSTILE, HOSTILE, "supported", HOSTILE, HOSTILE, table),),
        ((HOSTILE, HOSTILE),),
        "javascript:alert('x') & #.nc",
        table,
        HOSTILE,
        HOSTILE,
    )
    pairs = ((HOSTILE, HOSTILE),)
    verdict = VerdictRow("C1", "supported", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    page = Page(
        *(
            HOSTILE,
            HOSTILE,
            pairs,
            (HOSTILE,),
            (verdict,),
            (verdict,),
            HOSTILE,
            (hostile,),
            pairs,
            pairs,
            HOSTILE,
            (HOSTILE,),
        )
    )
    document = Document(render(page))
    assert len(document.all("script")) == 1
    assert document.text.count(HOSTILE) == 58
    assert document.all("svg")[0]["aria-label"] == HOSTILE
    assert "javascript%3Aalert%28%27x%27%29%20%26%20%23.nc" in [link["href"] for link in document.all("a")]


def test_headings_are_ordered_and_landmarks_there():
    document = Document(render(PAGE))
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert document.all("html") == [{"lang": "en"}]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(document.all(landmark)) == 1
    assert document.all("a")[0]["href"] == "#main"


def test_the_contents_lead_to_the_experiments():
    html = render(PAGE)
    contents = html[html.index("<nav") : html.index("</nav>")]
    assert '<a href="#function-fitting">E1. Function fitting</a>' in contents
    assert "incomplete" not in contents


def test_tables_have_captions_and_scopes():
    document = Document(render(PAGE))
    assert len(document.all("caption")) == len(document.all("table")) == 5
    none = Table("None", (), ())
    html = render(with_section(settings=none, variables=none, claims=()))
    table = Document(html[html.index('id="main"') - len("<main ") : html.index("</main>") + len("</main>")])
    assert [cell["scope"] for cell in table.all("th")] == ["col", "col", "col", "row", "row"]
    assert [cell.get("class") for cell in table.all("td")] == ["number", None] * 2
    assert table.all("th")[1]["class"] == "number"


def test_verdicts_come_first_and_lead_to_their_claims():
    html = render(PAGE)
    assert html.index('<a href="#claim-C5">C5</a>') < html.index("<nav") < html.index('<article id="claim-C5"')
    claim = html[html.index('<article id="claim-C5"') :]
    parts = [
        "C5. The deeper, the better.",
        '"verdict supported">supported',
        "deep minus shallow: -0.1",
        "p < 0.001".replace("<", "&lt;"),
    ]
    places = [claim.index(part) for part in parts]
    assert places == sorted(places)


def test_previews_have_a_table_of_their_own_without_p():
    preview = VerdictRow("C6", "preview", "Wider is better.", "at 5 of 40 epochs: for", "0.1 [0.0, 0.2]", "5", "0.012")
    html = render(replace(PAGE, previews=(preview,)))
    table = html[html.index('<section class="scroll previews"') : html.index("<nav")]
    assert [cell in table for cell in ("#claim-C6", "preview", "at 5 of 40 epochs: for", "0.1")] == [True] * 4
    assert "0.012" not in html
    assert "previews" not in Document(render(PAGE)).ids
    alone = Document(render(replace(PAGE, verdicts=(), previews=(preview,))))
    assert "previews-caption" in alone.ids
    assert "verdicts-caption" not in alone.ids


def test_a_section_that_is_kept_is_shown_as_it_was():
    drawings = {drawing.name: drawing.svg for drawing in SECTION.figures}
    kept = section_from_json(section_to_json(SECTION), drawings.get, claims=SECTION.claims)
    assert kept == SECTION
    assert render(replace(PAGE, sections=(kept,))) == render(PAGE)
    del drawings["figure-02"]
    kept = section_from_json(section_to_json(SECTION), drawings.get)
    assert [drawing.name for drawing in kept.figures] == ["figure-01"]
    assert kept.missing.startswith("Drawings that are not there any more: figure-02. Give the Python file")


def test_a_section_is_in_its_order():
    html = render(with_section(missing="Seed 3 is missing."))
    parts = [
        ">E1. Function fitting</h2>",
        "Does depth help?",
        "Seed 3 is missing.",
        "First paragraph.",
        "Second paragraph.",
        ">What was trained</",
        'id="figure-01"',
        "<figcaption><strong>Figure 1. Training error.</strong> The band is the interval.",
        'id="figure-02"',
        ">Final errors</",
        "<h3>Claims</h3>",
        'id="claim-C5"',
        "<h3>Definitions</h3>",
        'href="results/function-fitting.nc"',
    ]
    places = [html.index(part) for part in parts]
    assert places == sorted(places)


def test_notices_and_missing_units_are_seen():
    page = replace(with_section(missing="Seed 3 is missing."), notices=("The digits stand in for MNIST.",))
    html = render(page)
    assert '<p class="notice"><strong>Note:</strong> The digits stand in for MNIST.</p>' in html
    assert '<p class="notice"><strong>Incomplete:</strong> Seed 3 is missing.</p>' in html
    assert html.index("stand in for MNIST") < html.index("<nav")
    assert '<span class="incomplete">incomplete</span>' in html[html.index("<nav") : html.index("</nav>")]


def test_empty_parts_leave_nothing_behind():
    none = Table("No rows", ("a", "b"), ())
    empty = Section("e", "E", "", (), none, (), (none,), (), (), "", none, "")
    document = Document(render(Page("Title", "", (), (), (), (), "", (empty,), (), (), "", ())))
    assert [tag for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h2"]
    assert not {"table", "dl", "figure", "ol", "pre", "h3"} & {tag for tag, _ in document.elements}
    assert "Data:" not in document.text
    assert set(document.references) <= set(document.ids)


def test_equal_pages_give_equal_documents():
    assert render(PAGE) == render(with_section(figures=(figure(), figure("figure-02"))))


@pytest.mark.parametrize("svg", ["not a drawing", "<svg><g></svg>"])
def test_a_broken_drawing_is_named(svg):
    with pytest.raises(RunError, match=r"the drawing of figure-07 is not SVG \(.*\): draw the figure again"):
        render(with_section(figures=(figure("figure-07", svg),)))
