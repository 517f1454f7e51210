"""Instruments: measured quantities, one file each, for any `torch.nn.Module` and for populations.

Those of the loss look at a `whydeep.landscape.Landscape`.

spectrum            the largest and smallest eigenvalues of a Hessian of any size, with residuals
density             how many eigenvalues lie where (stochastic Lanczos quadrature)
trace               the trace of a Hessian (Hutchinson); `probes` are the random vectors of both
eigenvalue_split    shares of positive, zero and negative eigenvalues: minimal ratio, tolerant and strict
critical_points     solvers that bring the gradient norm below a tolerance
gradient_flatness   Frye's index: critical, or only flat along the gradient
kinks               stationary points of ReLU networks at which the gradient jumps: finding and showing them
stationarity        which of these a point is
trajectory          paths of weights: principal components, directness, random walks to compare with
surface             the loss on a plane: of a trajectory, or filter-normalised random directions
interpolation       networks on the line through two solutions, and the loss barrier between them
sharpness           how far the loss can rise in a small box around a network (Keskar's metric)
sensitivity         how strongly the loss and the outputs react to the input
convergence         when a loss falls no more, and from when on it stays below a level
spikes              whether spikes of the gradient norm sit where the loss changes its slope

The norm of the gradient at every step is recorded while a population trains: `population.gradient_norm`, and by layer
`population.gradient_norm_by_layer`.
"""

from whydeep.instruments.convergence import has_converged, settling_steps
from whydeep.instruments.critical_points import (
    GRADIENT_TOLERANCE,
    Solution,
    find_critical_points,
    minimise_gradient_norm,
    minimise_loss,
)
from whydeep.instruments.density import SpectralDensity, spectral_density
from whydeep.instruments.eigenvalue_split import EIGENVALUE_TOLERANCE, EigenvalueSplit, split_eigenvalues
from whydeep.instruments.gradient_flatness import GRADIENT_FLAT, frye_index
from whydeep.instruments.interpolation import interpolate, loss_barrier
from whydeep.instruments.kinks import ROUNDINGS, Kinks, find_kinks, find_stationary_points
from whydeep.instruments.sensitivity import Sensitivity, input_sensitivity
from whydeep.instruments.sharpness import Sharpness, sharpness
from whydeep.instruments.spectrum import Eigenpairs, bottom_eigenvalues, top_eigenvalues
from whydeep.instruments.spikes import Alignment, norm_excess, slope_change, spike_alignment
from whydeep.instruments.stationarity import Stationarity, sort_by_stationarity
from whydeep.instruments.surface import (
    Plane,
    TrajectorySurface,
    loss_surface,
    random_plane,
    trajectory_plane,
    trajectory_surface,
)
from whydeep.instruments.trace import Trace, hessian_trace
from whydeep.instruments.trajectory import (
    TrajectoryPCA,
    directness,
    random_walks,
    random_walks_like,
    trajectory_pca,
)

__all__ = [
    "EIGENVALUE_TOLERANCE",
    "GRADIENT_FLAT",
    "GRADIENT_TOLERANCE",
    "ROUNDINGS",
    "Alignment",
    "Eigenpairs",
    "EigenvalueSplit",
    "Kinks",
    "Plane",
    "Sensitivity",
    "Sharpness",
    "Solution",
    "SpectralDensity",
    "Stationarity",
    "Trace",
    "TrajectoryPCA",
    "TrajectorySurface",
    "bottom_eigenvalues",
    "directness",
    "find_critical_points",
    "find_kinks",
    "find_stationary_points",
    "frye_index",
    "has_converged",
    "hessian_trace",
    "input_sensitivity",
    "interpolate",
    "loss_barrier",
    "loss_surface",
    "minimise_gradient_norm",
    "minimise_loss",
    "norm_excess",
    "random_plane",
    "random_walks",
    "random_walks_like",
    "settling_steps",
    "sharpness",
    "slope_change",
    "sort_by_stationarity",
    "spectral_density",
    "spike_alignment",
    "split_eigenvalues",
    "top_eigenvalues",
    "trajectory_pca",
    "trajectory_plane",
    "trajectory_surface",
]
