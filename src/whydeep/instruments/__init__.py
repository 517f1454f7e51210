"""Measured quantities, one file each.

spikes   whether spikes of the gradient norm sit where the loss changes its slope

The norm of the gradient itself is recorded while a population trains: `population.gradient_norm`.
"""

from whydeep.instruments.spikes import Alignment, norm_excess, slope_change, spike_alignment

__all__ = ["Alignment", "norm_excess", "slope_change", "spike_alignment"]
