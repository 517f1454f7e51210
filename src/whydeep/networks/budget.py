"""From a parameter budget to the widths of a network."""

from collections.abc import Callable, Iterator

from whydeep.errors import SettingError
from whydeep.networks.mlp import parameter_count

TOLERANCE = 0.01
EXHAUSTIVE_BUDGET = 2_000
"""Up to this budget every network is considered where no regular one fits."""

Widths = tuple[int, ...]


def widths_for_budget(
    hidden_layers: int, inputs: int, outputs: int, budget: int, tolerance: float = TOLERANCE
) -> Widths:
    """Widths of a fully connected network with a given number of parameters, as even as possible.

    Hidden layers that differ by one unit at most come first. Where no such network is within the
    tolerance, the first hidden layer may have any width (inputs are often many, and one unit more there
    costs many parameters), and the most even of these networks is taken. Where that does not help either
    and the budget is at most `EXHAUSTIVE_BUDGET`, all widths are considered.

    Args:
        hidden_layers: number of hidden layers, 1 or more.
        inputs, outputs: units of the first and the last layer.
        budget: wanted number of weights and biases.
        tolerance: accepted distance from the budget, as a share of it.

    Returns:
        All widths, input and output included.

    Raises:
        SettingError: no network is within the tolerance; the nearest reachable count is named.

    >>> widths_for_budget(hidden_layers=1, inputs=1, outputs=1, budget=1000)
    (1, 333, 1)
    >>> widths_for_budget(hidden_layers=3, inputs=1, outputs=1, budget=1000)
    (1, 20, 22, 21, 1)
    """
    given = {"hidden_layers": hidden_layers, "inputs": inputs, "outputs": outputs, "budget": budget}
    for name, value in given.items():
        if value < 1:
            raise SettingError(f"{name} must be 1 or more, not {value}")

    tried: list[Widths] = []
    for search in (_regular, _free_first_layer, _any_widths):
        candidates = list(search(hidden_layers, inputs, outputs, budget))
        near = [widths for widths in candidates if _distance(widths, budget) <= tolerance * budget]
        if near:
            return min(near, key=lambda widths: (_unevenness(widths), _distance(widths, budget)))
        tried += candidates
    best = min(tried, key=lambda widths: _distance(widths, budget))
    raise SettingError(
        f"no network with {hidden_layers} hidden layers, {inputs} inputs and {outputs} outputs has "
        f"{budget} parameters within {tolerance:.0%}: the nearest reachable count is "
        f"{parameter_count(best)} (widths {best})"
    )


def _distance(widths: Widths, budget: int) -> int:
    return abs(parameter_count(widths) - budget)


def _unevenness(widths: Widths) -> int:
    hidden = widths[1:-1]
    return max(hidden) - min(hidden)


def _equal(units: int, layers: int) -> Widths:
    """Share units out over layers as equally as possible, wider layers first."""
    width, wider = divmod(units, layers)
    return (width + 1,) * wider + (width,) * (layers - wider)


def _around(network: Callable[[int], Widths], least: int, budget: int) -> tuple[Widths, Widths]:
    """Return the widest network below the budget and the next wider one; counts must grow with the units."""
    low, high = least, least + 1
    while parameter_count(network(high)) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if parameter_count(network(middle)) < budget:
            low = middle
        else:
            high = middle
    return network(low), network(high)


def _regular(layers: int, inputs: int, outputs: int, budget: int) -> Iterator[Widths]:
    yield from _around(lambda units: (inputs, *_equal(units, layers), outputs), layers, budget)


def _free_first_layer(layers: int, inputs: int, outputs: int, budget: int) -> Iterator[Widths]:
    if layers == 1:
        return
    for first in range(1, budget // (inputs + 1) + 2):
        yield from _around(
            lambda units, first=first: (inputs, first, *_equal(units, layers - 1), outputs),  # type: ignore[misc]
            layers - 1,
            budget,
        )


def _any_widths(layers: int, inputs: int, outputs: int, budget: int) -> Iterator[Widths]:
    """Find the network nearest to a small budget by dynamic programming over the layers.

    Bit c of ``reachable[layer][width]`` says that the layers up to this one can have c parameters.
    """
    if layers == 1 or budget > EXHAUSTIVE_BUDGET:
        return
    limit = (1 << 2 * budget + 1) - 1
    reachable: list[dict[int, int]] = [{inputs: 1}]
    for _ in range(layers):
        counts: dict[int, int] = {}
        for before, bits in reachable[-1].items():
            for width in range(1, 2 * budget // (before + 1) + 1):
                counts[width] = counts.get(width, 0) | (bits << (before + 1) * width & limit)
        reachable.append({width: bits for width, bits in counts.items() if bits})
    last = {width: bits << (width + 1) * outputs & limit for width, bits in reachable[-1].items()}
    counts_reached = [c for c in range(2 * budget + 1) if any(bits >> c & 1 for bits in last.values())]
    if not counts_reached:
        return
    rest = min(counts_reached, key=lambda count: abs(count - budget))
    widths: Widths = (outputs,)
    for layer in range(layers, -1, -1):  # walk back over widths from which the rest can be reached
        width = next(
            w
            for w, bits in sorted(reachable[layer].items())
            if rest >= (w + 1) * widths[0] and bits >> rest - (w + 1) * widths[0] & 1
        )
        rest -= (width + 1) * widths[0]
        widths = (width, *widths)
    yield widths
