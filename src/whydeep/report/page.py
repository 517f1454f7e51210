"""The report: one HTML file that holds everything it shows and loads nothing.

An experiment hands over plain text, tables and drawings; how they look is decided here and in templates/.
"""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from whydeep.errors import RunError
from whydeep.report import curves
from whydeep.report.elements import Table


@dataclass(frozen=True)
class Drawing:
    """A figure as it is shown: its anchor, its title ("Figure 1. ..."), what to look at, its alt text, its SVG file."""

    name: str
    title: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True)
class ClaimText:
    """A claim of an experiment: what is claimed, by whom, what became of it and why, and the numbers behind.

    `reading` says what the tests take the statement to mean; a claim without a source has an empty `source`.
    """

    id: str
    statement: str
    source: str
    reading: str
    verdict: str
    reason: str
    test: str
    table: Table


@dataclass(frozen=True)
class VerdictRow:
    """One row of the table of verdicts; it links to the claim of the same id."""

    id: str
    verdict: str
    statement: str
    statistic: str
    interval: str
    n: str
    p: str


@dataclass(frozen=True)
class Section:
    """One experiment; `name` is its anchor, `missing` is a warning.

    `data_file` is relative to the report; `variables` says what the file holds, and `labels` those of its dimensions.
    """

    name: str
    title: str
    question: str
    paragraphs: tuple[str, ...]
    settings: Table
    figures: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    claims: tuple[ClaimText, ...]
    definitions: tuple[tuple[str, str], ...]
    data_file: str
    variables: Table
    labels: str
    missing: str = ""
    methods: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The whole report; `facts`, `methods` and `environment` are (label, value), `notices` come first.

    `previews` are verdicts that are none, as the run was not what their claims are about.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]
    verdicts: tuple[VerdictRow, ...]
    previews: tuple[VerdictRow, ...]
    verdicts_note: str
    sections: tuple[Section, ...]
    methods: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    command: str
    references: tuple[str, ...]


def section_to_json(section: Section) -> bytes:
    """Write what a section says as JSON, for reports that are made without its experiment.

    Its drawings are files of their own, and its claims are judged anew.
    """
    record = asdict(replace(section, claims=()))
    for figure in record["figures"]:
        del figure["svg"]
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def figures_of_section(data: bytes) -> set[str]:
    """Return the names of the figures of a section that was kept; none if it cannot be read."""
    try:
        return {figure["name"] for figure in json.loads(data)["figures"]}
    except (ValueError, KeyError, TypeError):
        return set()


def section_from_json(
    data: bytes, read_svg: Callable[[str], str | None], claims: tuple[ClaimText, ...] = ()
) -> Section:
    """Read a section that was kept; drawings that are gone are named.

    Args:
        data: what `section_to_json` wrote.
        read_svg: from the name of a figure to its SVG; None if it is not there.
        claims: of the section.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """

    def table(record: dict[str, Any]) -> Table:
        rows, numeric = record["rows"], record["numeric"]
        return Table(
            record["caption"],
            tuple(record["header"]),
            tuple(map(tuple, rows)),
            None if numeric is None else tuple(numeric),
        )

    record = json.loads(data)
    drawn = {figure["name"]: read_svg(figure["name"]) for figure in record["figures"]}
    gone = [name for name, svg in drawn.items() if svg is None]
    missing = record["missing"]
    if gone:
        missing += f" Drawings that are not there any more: {', '.join(gone)}. "
        missing += "Give the Python file of the experiment to draw them again."
    return Section(
        **record
        | {
            "missing": missing.strip(),
            "paragraphs": tuple(record["paragraphs"]),
            "settings": table(record["settings"]),
            "figures": tuple(
                Drawing(**figure, svg=svg) for figure in record["figures"] if (svg := drawn[figure["name"]]) is not None
            ),
            "tables": tuple(map(table, record["tables"])),
            "claims": claims,
            "definitions": tuple(map(tuple, record["definitions"])),
            "methods": tuple(map(tuple, record.get("methods", ()))),
            "references": tuple(record.get("references", ())),
            "variables": table(record["variables"]),
        }
    )


def render(page: Page) -> str:
    """Return the report as one HTML document; equal pages give equal documents.

    Every text is escaped; only the drawings are trusted.

    Raises:
        RunError: a drawing is not SVG.
    """
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(page=page, script=Markup(script), script_hash=Markup(f"'sha256-{digest}'"))
    )


@cache
def _script() -> str:
    """Return the page's own script; the page allows no other."""
    return resources.files("whydeep.report").joinpath("templates", "page.js").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whydeep.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = _drawing
    environment.filters["curves"] = _curves
    environment.filters["cell"] = _cell
    return environment


def _cell(text: str) -> Markup:
    """Return a cell in which an interval is not broken; where there is no room it goes below its estimate."""
    estimate, bracket, interval = text.partition(" [")
    if not (bracket and interval.endswith("]")):
        return escape(text)
    return Markup('{} <span class="interval">[{}</span>').format(estimate, interval)


def _drawing(figure: Drawing) -> Markup:
    """Return a figure's SVG as an element of the page.

    Drawings in one page share its identifiers and its style sheet. So each identifier is prefixed by the
    figure's name, as is each reference to one; the drawing's style sheet, which would apply to the whole
    page, is dropped (page.css has its rule); and so are the namespaces, which HTML implies. The drawing
    scales with the page, up to the size at which it was drawn.
    """
    try:
        root = ET.fromstring(figure.svg)
    except ET.ParseError as error:
        raise RunError(f"the drawing of {figure.name} is not SVG ({error}): draw the figure again") from None
    for parent in list(root.iter()):
        for child in [child for child in parent if _local(child.tag) in ("metadata", "style", "desc")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({key: _with_prefix(key, value, figure.name) for key, value in attributes.items()})
    width = root.attrib.pop("width", "100%")
    root.attrib.pop("height", None)
    root.attrib.pop("version", None)
    root.attrib.update({"role": "img", "aria-label": figure.alt, "style": f"max-width: {width}"})
    title = ET.Element("title")
    title.text = figure.title
    root.insert(0, title)
    return Markup(ET.tostring(root, encoding="unicode"))


def _curves(figure: Drawing) -> Markup:
    """Return what the page's script knows of a figure (see `report.curves`), as JSON that is safe inside HTML."""
    description = curves.extract(figure.svg)
    return Markup(json.dumps(description, separators=(",", ":")).replace("<", "\\u003c")) if description else Markup("")


def _local(name: str) -> str:
    """Drop the namespace: "{http://www.w3.org/1999/xlink}href" is "href", which browsers prefer today."""
    return name.rpartition("}")[2]


def _with_prefix(key: str, value: str, name: str) -> str:
    """Make an attribute's identifiers the figure's own; a dot keeps the prefixes of any two names apart."""
    if key == "id":
        return f"{name}.{value}"
    if key == "href":
        return f"#{name}.{value[1:]}" if value.startswith("#") else re.sub(r"\s", "", value)
    return re.sub(r"""url\((["']?)#""", rf"url(\1#{name}.", value)
