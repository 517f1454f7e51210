"""How long the rest of a run takes: a range, from predicted costs and from how long work of each kind took so far."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

# Standard deviations of logarithms of (seconds taken / seconds predicted), as seen on machines of two to sixteen cores,
# idle and busy.
MACHINE = 0.6
"""Common to all work of a run: how fast the machine is, and how busy."""
KIND = 0.45
"""Of an experiment against the others: how wrong its prediction is."""
WATCHED = 0.5
"""Of what was watched for WATCHED_SECONDS; the variance falls in proportion to the time."""
WATCHED_SECONDS = 2.0
LATER = 0.15
"""Of what is to come against what was: other settings, another load."""
RANGE = 1.28
"""Standard deviations to both sides: eight of ten ends lie within the range."""


@dataclass(frozen=True)
class Piece:
    """A job, or a part of one.

    Attributes:
        kind: its experiment, whose jobs are predicted alike.
        done: predicted seconds of what was done while it was watched.
        left: predicted seconds of what is left.
        seconds: for which it was watched.
    """

    kind: str
    done: float = 0.0
    left: float = 0.0
    seconds: float = 0.0


def estimate_range(pieces: Iterable[Piece], workers: int, *, machine: float = MACHINE) -> tuple[float, float] | None:
    """Return the least and the most seconds that are likely left; None while nothing can be said.

    The ratio of seconds taken and predicted is a factor of the run times a factor of the kind of work, both log-normal
    with mean 1 before anything was watched; what was watched narrows them (a Bayesian estimate with known variances).
    The end cannot come before the longest job does.

    Args:
        pieces: of the run.
        workers: how many jobs run at once.
        machine: standard deviation of the logarithm of the factor of the run; less where it was measured.

    >>> ahead = [Piece("toy", left=50), Piece("toy", left=50)]
    >>> low, high = estimate_range(ahead, workers=2)
    >>> round(low), round(high)
    (19, 133)
    >>> low, high = estimate_range([Piece("toy", done=100, seconds=400), *ahead], workers=2)
    >>> round(low), round(high)
    (164, 243)
    """
    pieces = list(pieces)
    left: dict[str, float] = defaultdict(float)
    done: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for piece in pieces:
        left[piece.kind] += piece.left
        done[piece.kind] += piece.done
        seconds[piece.kind] += piece.seconds
    if not math.isfinite(sum(left.values())):
        return None
    if not any(left.values()):
        return 0.0, 0.0
    seen = {
        kind: (math.log(seconds[kind] / done[kind]), WATCHED**2 * WATCHED_SECONDS / (WATCHED_SECONDS + seconds[kind]))
        for kind in done
        if done[kind] > 0 and seconds[kind] > 0
    }
    common, common_variance = _combine([(0.0, machine**2), *((ratio, KIND**2 + var) for ratio, var in seen.values())])
    ratios = {kind: _combine([(common, KIND**2), seen[kind]]) if kind in seen else (common, KIND**2) for kind in left}
    expected = {kind: amount * math.exp(ratios[kind][0]) for kind, amount in left.items()}
    total = sum(expected.values())
    unseen = sum(amount for kind, amount in expected.items() if kind not in seen) / total
    variance = LATER**2 + unseen**2 * common_variance
    variance += sum((expected[kind] / total) ** 2 * ratios[kind][1] for kind in left)
    longest = max(piece.left * math.exp(ratios[piece.kind][0]) for piece in pieces)
    most_likely, spread = max(total / workers, longest), math.exp(RANGE * math.sqrt(variance))
    return most_likely / spread, most_likely * spread


def _combine(measurements: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Mean and variance of a quantity that was measured several times, given mean and variance of each."""
    weights = [(mean, 1 / variance) for mean, variance in measurements]
    total = sum(weight for _, weight in weights)
    return sum(mean * weight for mean, weight in weights) / total, 1 / total


def format_range(low: float, high: float) -> str:
    """Write a range of seconds, roughly.

    >>> format_range(3, 8), format_range(50, 57), format_range(130, 420), format_range(5000, 20000)
    ('about 3 to 8 s', 'about 1 min', 'about 2 to 7 min', 'about 1.4 to 5.6 h')
    """
    seconds, unit, digits = (1, "s", 0) if high < 90 else (60, "min", 0) if high < 2 * 3600 else (3600, "h", 1)
    if high < 1.3 * low and unit == "s":
        seconds, unit = (60, "min") if low > 45 else (seconds, unit)
    first, last = (f"{max(value / seconds, 10**-digits):.{digits}f}" for value in (low, high))
    return f"about {last} {unit}" if first == last else f"about {first} to {last} {unit}"
