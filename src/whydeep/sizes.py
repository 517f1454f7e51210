"""Numbers of bytes, as people write them."""

import re

from whydeep.errors import SettingError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_size(option: str, text: str) -> int:
    """Read a number of bytes, such as 4G or 512M.

    Raises:
        SettingError: it is something else.

    >>> read_size("--memory", "1.5G") // 2**20
    1536
    """
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE | re.ASCII)
    if not match or not float(match[1]):
        raise SettingError(f"{option} must be a number of bytes such as 4G or 512M, not {text!r:.40}")
    return int(float(match[1]) * UNITS[match[2].upper()])


def format_size(size: float) -> str:
    """Write a number of bytes.

    >>> format_size(330 * 2**20), format_size(4.2 * 2**30), format_size(900)
    ('330 MB', '4.2 GB', '0.9 KB')
    """
    unit, name = next(
        ((unit, name) for unit, name in ((2**30, "GB"), (2**20, "MB")) if size >= 0.95 * unit), (2**10, "KB")
    )
    return f"{size / unit:.{0 if size >= 10 * unit else 1}f} {name}".replace(".0 ", " ")
