"""Colours and lines of what several experiments draw: the networks of E1 and E2, and the two splits of images."""

from whydeep.report.style import BLUE, GREEN, LINE_STYLES, VERMILION, LineStyle

NETWORK_COLOURS = {"shallow": BLUE, "medium": VERMILION, "deep": GREEN}
NETWORK_LINES = {"shallow": LINE_STYLES[0], "medium": LINE_STYLES[1], "deep": LINE_STYLES[2]}

SPLIT_STYLES: dict[str, tuple[str, str, LineStyle]] = {
    "train": ("training images", BLUE, LINE_STYLES[0]),
    "test": ("test images", VERMILION, LINE_STYLES[1]),
}
