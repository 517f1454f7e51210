"""A fully connected network as the kernels see it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from whydeep.networks import recognise
from whydeep.networks.activations import find_activation

if TYPE_CHECKING:
    from whydeep.population.population import Population


class Network(NamedTuple):
    """Where the parts of a network lie in memory.

    Attributes:
        widths: inputs, hidden layers, outputs.
        weights, biases: where those of each layer start in a member's row.
        starts: how many units lie in the layers before each layer.
        activation: of the hidden layers.
    """

    widths: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    starts: np.ndarray
    activation: int

    @classmethod
    def of(cls, population: "Population") -> "Network":
        """Describe a network that `recognise` knows, of a population."""
        from whydeep.population import kernels

        architecture = recognise(population.template)
        assert architecture is not None
        record = find_activation(architecture.activation)
        assert record is not None
        slots = {slot.name: slot.start for slot in population.layout.slots}
        weights, biases = ([slots[f"{layer}.{kind}"] for layer in architecture.layers] for kind in ("weight", "bias"))
        widths = architecture.widths
        starts = np.concatenate([[0], np.cumsum(widths[1:])[:-1]])
        activation = getattr(kernels, record.name.upper())
        return cls(np.array(widths), np.array(weights), np.array(biases), starts, activation)
