"""Checks of the numbers that optimisers and schedules are given."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from whydeep.errors import SettingError


def check_number(name: str, value: Any, accepted: str, fits: Callable[[Any], bool]) -> None:
    """Raise `SettingError` unless a value is a finite real number that fits.

    >>> check_number("momentum", 0.9, "from 0 to below 1", lambda m: 0 <= m < 1)
    >>> check_number("momentum", "0.9", "from 0 to below 1", lambda m: 0 <= m < 1)
    Traceback (most recent call last):
    whydeep.errors.SettingError: momentum must be a number from 0 to below 1, not '0.9'
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not (real and math.isfinite(value) and fits(value)):
        raise SettingError(f"{name} must be a number {accepted}, not {_shown(value)}")


def check_steps(name: str, value: Any) -> None:
    """Raise `SettingError` unless a value is a whole number of steps, 1 or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name} must be a whole number of steps, 1 or more, not {_shown(value)}")


def _shown(value: Any) -> str:
    """Numbers and strings as they were given; of anything else, whose text may be long, the kind."""
    return repr(value) if value is None or isinstance(value, Real | str) else f"a {type(value).__name__}"
