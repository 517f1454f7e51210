"""From where training ended to a point where the gradient vanishes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whydeep.landscape import Landscape

GRADIENT_TOLERANCE = 1e-6
DAMPINGS = 10.0 ** torch.arange(-2, 2, dtype=torch.float64)
"""Dampings that are tried at every step, times the last one that was best."""

SMALLEST_DAMPING, LARGEST_DAMPING = 1e-14, 1e8
PROBE = 0.1
"""Part of a step over which the bend of the gradient is measured."""

LARGEST_BEND = 1.5
"""Bends are tried up to so many lengths of the step: twice what Transtrum and Sethna advise, as the loss decides."""


@dataclass
class Solution:
    """Where a solver arrived; everything belongs together.

    Attributes:
        points: [point, size].
        losses: [point].
        gradients: [point, size].
        hessians: [point, size, size].
        steps: [point], how many were taken.
    """

    points: Tensor
    losses: Tensor
    gradients: Tensor
    hessians: Tensor
    steps: Tensor

    @classmethod
    def at(cls, landscape: Landscape, points: Tensor) -> "Solution":
        """Measure points without moving them."""
        losses, gradients, hessians = landscape.expand(points)
        return cls(
            points.clone(),
            losses,
            gradients,
            hessians,
            torch.zeros(len(points), dtype=torch.int64, device=points.device),
        )

    @property
    def gradient_norms(self) -> Tensor:
        """Euclidean norms of the gradients: [point]."""
        return self.gradients.norm(dim=1)

    def select(self, chosen: Tensor) -> "Solution":
        """Copy some points."""
        return Solution(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def checkpoint(self) -> dict[str, Tensor]:
        """Copy all of it."""
        return {name: getattr(self, name).clone() for name in self.__dataclass_fields__}

    def restore(self, checkpoint: dict[str, Tensor]) -> None:
        """Go back to what was copied."""
        self.replace(slice(None), Solution(**checkpoint))

    def replace(self, chosen: Tensor | slice, other: "Solution") -> None:
        """Put other points in the place of some."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[chosen] = getattr(other, name)


Loop = Callable[..., Iterable[int]]
"""From the items of a loop, and what the loop changes, to the items: so that a caller can keep the state between two of
them, and go on from there (see `study.Run.loop`)."""


def plain_loop(items: Iterable[int], *state: Any) -> Iterable[int]:
    """Go through all items."""
    return items


def minimise_gradient_norm(
    landscape: Landscape, points: Tensor | None = None, *, tolerance: float = GRADIENT_TOLERANCE, steps: int = 50
) -> Solution:
    """Minimise the norm of the gradient, by the Levenberg-Marquardt method on the gradient itself.

    The equations are g = 0 and their Jacobian is the Hessian H, so a step is -(H^2 + mu^2)^-1 H g. It goes to the
    critical point nearby whatever its index, saddles as well as minima, quadratically where H is not singular along
    g. It can also end where g lies in the kernel of H, and is not zero: see `frye_index`.

    Args:
        landscape: with a dense Hessian that fits into memory.
        points: where to start; at the networks themselves if not given.
        tolerance: gradient norm at which a point is done.
        steps: at most; each tries several dampings mu and takes the best.
    """

    def propose(eigenvalues: Tensor, gradients: Tensor, damping: Tensor) -> Tensor:
        return -gradients * eigenvalues / (eigenvalues**2 + damping**2)

    def merits(landscape: Landscape, candidates: Tensor) -> Tensor:
        return landscape.gradients(candidates).norm(dim=1)

    return _minimise(landscape, points, propose, merits, tolerance, steps, bent=False)[0]


def minimise_loss(
    landscape: Landscape,
    points: Tensor | None = None,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    steps: int = 50,
    bent: bool = True,
    damping: Tensor | None = None,
) -> tuple[Solution, Tensor]:
    """Minimise the loss, by a damped Newton method with the absolute eigenvalues of the Hessian.

    A step is p = -(|H| + mu)^-1 g, |H| with the absolute values of H's eigenvalues: it goes down along negative
    curvature too, away from saddles (Dauphin et al. 2014). With `bent`, also tried is p + a/2, where a = -(|H| +
    mu)^-1 T[p, p] and T[p, p] is the second derivative of the gradient along p, from differences: it follows bent
    valleys, along which straight steps must be short (geodesic acceleration, Transtrum and Sethna 2012, for any
    loss instead of least squares).

    Args:
        landscape, points, tolerance, steps: as for `minimise_gradient_norm`.
        bent: whether bent steps are tried as well; twice the cost, and of no use across kinks.
        damping: [point] to start with, from an earlier call.

    Returns:
        Where it arrived, and the damping there.
    """

    def propose(eigenvalues: Tensor, gradients: Tensor, damping: Tensor) -> Tensor:
        return -gradients / (eigenvalues.abs() + damping)

    return _minimise(landscape, points, propose, Landscape.losses, tolerance, steps, bent=bent, damping=damping)


def find_critical_points(
    landscape: Landscape,
    points: Tensor | None = None,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    cycles: int = 10,
    bent: bool = True,
    progress: Callable[[float], None] = lambda share: None,
    loop: Loop = plain_loop,
) -> Solution:
    """Bring the gradient norm of every network below a tolerance; nearby where there is a critical point nearby.

    First `minimise_gradient_norm`. A point that stays above the tolerance goes down the loss by 50 steps of
    `minimise_loss`, then the gradient norm is tried again, from a copy; and so on for so many cycles. It can go far
    that way: a flat valley may lead on for ever, with a gradient norm that falls below any tolerance (compare where it
    started). What is returned of a point that never comes below is where its gradient norm was least.

    Args:
        landscape, points, tolerance: as for `minimise_gradient_norm`.
        cycles: at most.
        bent: whether bent steps are tried on the way down.
        progress: told the share of points that are done.
        loop: goes through the cycles.
    """
    starts = landscape.at(points)
    best, running = Solution.at(landscape, starts), starts.clone()
    damping = best.losses.new_full((len(running),), 1e-3)
    for cycle in loop(range(cycles + 1), best, running, damping):
        if cycle == 0:
            best.replace(slice(None), minimise_gradient_norm(landscape, starts, tolerance=tolerance))
        progress(float((best.gradient_norms <= tolerance).double().mean()))
        open_ = torch.nonzero(best.gradient_norms > tolerance).squeeze(1)
        if len(open_) == 0 or cycle == cycles:
            break
        some = landscape if landscape.shared else landscape.select(open_)
        lower, damping[open_] = minimise_loss(
            some, running[open_], tolerance=tolerance, bent=bent, damping=damping[open_]
        )
        running[open_] = lower.points
        flatter = minimise_gradient_norm(some, lower.points, tolerance=tolerance, steps=15)
        flatter.steps += lower.steps
        spent = best.steps[open_] + flatter.steps
        better = flatter.gradient_norms < best.gradient_norms[open_]
        best.replace(open_[better], flatter.select(better))
        best.steps[open_] = spent
    return best


Propose = Callable[[Tensor, Tensor, Tensor], Tensor]


def _minimise(
    landscape: Landscape,
    points: Tensor | None,
    propose: Propose,
    merits: Callable[[Landscape, Tensor], Tensor],
    tolerance: float,
    steps: int,
    *,
    bent: bool,
    damping: Tensor | None = None,
) -> tuple[Solution, Tensor]:
    """Take damped steps until every gradient norm is below the tolerance; see the two solvers for the steps.

    `propose` gets the eigenvalues of one Hessian [size], gradients in its eigenbasis [damping, size] and dampings
    [damping, 1], and returns steps in that basis. A step is taken where the merit gets smaller.
    """
    solution = Solution.at(landscape, landscape.at(points))
    damping = solution.losses.new_full((len(solution.points),), 1e-3) if damping is None else damping.clone()
    current = merits(landscape, solution.points)
    for _ in range(steps):
        open_ = torch.nonzero(solution.gradient_norms > tolerance).squeeze(1)
        if len(open_) == 0:
            break
        unsolved = solution.select(open_)
        some = landscape if landscape.shared else landscape.select(open_)
        dampings = damping[open_].unsqueeze(1) * DAMPINGS.to(damping)
        candidates = _candidates(some, unsolved, propose, dampings, bent)
        values = torch.stack([merits(some, candidate) for candidate in candidates.unbind(1)], dim=1)
        values = values.nan_to_num(nan=torch.inf)
        chosen = values.argmin(1)
        rows = torch.arange(len(open_), device=chosen.device)
        proposed = Solution.at(some, candidates[rows, chosen])
        proposed.steps = unsolved.steps + 1
        least = values[rows, chosen]
        # On the floor of a loss, where rounding hides its fall, the gradient decides.
        level = (least <= current[open_] * (1 + 1e-14)) & (proposed.gradient_norms < unsolved.gradient_norms)
        taken = (least < current[open_]) | level
        solution.replace(open_[taken], proposed.select(taken))
        solution.steps[open_] = unsolved.steps + 1
        current[open_[taken]] = least[taken]
        best = dampings[rows, chosen % len(DAMPINGS)]
        damping[open_] = torch.where(taken, best, 100 * damping[open_]).clamp(SMALLEST_DAMPING, LARGEST_DAMPING)
    return solution, damping


def _candidates(landscape: Landscape, solution: Solution, propose: Propose, dampings: Tensor, bent: bool) -> Tensor:
    """Where steps with each damping lead: [point, candidate, size].

    Linear algebra goes point by point: in a stack, the bits of a decomposition depend on where its matrix lies.
    """
    bases = [torch.linalg.eigh(hessian.clone()) for hessian in solution.hessians]

    def steps_against(forces: Tensor) -> Tensor:
        """Damped steps [point, damping, size] against forces of the same shape."""
        return torch.stack(
            [
                propose(eigenvalues, force.clone() @ vectors, damping.unsqueeze(1)) @ vectors.mT
                for (eigenvalues, vectors), force, damping in zip(bases, forces, dampings, strict=True)
            ]
        )

    starts = solution.points.unsqueeze(1)
    gradients = solution.gradients.unsqueeze(1).expand(-1, dampings.shape[1], -1)
    steps = steps_against(gradients)
    if not bent:
        return starts + steps
    # Taylor: g(x + h p) = g + h H p + h^2 / 2 T[p, p] + ...
    ahead = torch.stack([landscape.gradients(solution.points + PROBE * step) for step in steps.unbind(1)], dim=1)
    straight = torch.stack(
        [step.clone() @ hessian.clone() for step, hessian in zip(steps, solution.hessians, strict=True)]
    )
    bends = steps_against((ahead - gradients - PROBE * straight) * (2 / PROBE**2))
    small = bends.norm(dim=2, keepdim=True) <= LARGEST_BEND * steps.norm(dim=2, keepdim=True)
    return torch.cat([starts + steps, starts + steps + torch.where(small, bends / 2, 0.0)], dim=1)
