"""How objects show themselves in a notebook: a small table, escaped; everywhere else their text counts."""

from collections.abc import Iterable
from html import escape

STYLE = "text-align: left; padding: 0.15em 0.8em 0.15em 0; font-weight: normal; vertical-align: top"


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return an HTML table with a title and a row for each name and value.

    >>> print(table("a < b", [("members", 5)]).replace(f' style="{STYLE}"', ""))
    <table><caption>a &lt; b</caption><tr><th scope="row">members</th><td>5</td></tr></table>
    """
    body = "".join(
        f'<tr><th scope="row" style="{STYLE}">{escape(name)}</th><td style="{STYLE}">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return f'<table><caption style="{STYLE}">{escape(title)}</caption>{body}</table>'
