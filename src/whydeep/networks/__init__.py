"""The networks that are trained.

mlp      fully connected networks of any widths, and their parameter count
budget   the solver from a parameter budget to widths
"""

from whydeep.networks.budget import widths_for_budget
from whydeep.networks.mlp import ACTIVATIONS, MLP, parameter_count

__all__ = ["ACTIVATIONS", "MLP", "parameter_count", "widths_for_budget"]
