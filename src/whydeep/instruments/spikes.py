"""Do spikes of the gradient norm sit where the loss changes its slope?"""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used

from whydeep.errors import SettingError

SMOOTHING = 5
BASELINE = 101


@dataclass(frozen=True)
class Alignment:
    """How two series move together, beyond what their shapes alone bring about; each [member].

    Attributes:
        correlation: Spearman's rank correlation of the two series.
        excess: the correlation minus its mean over all circular shifts of one series.
        p: share of the shifts (the real one included) whose correlation is at least as large.
    """

    correlation: np.ndarray
    excess: np.ndarray
    p: np.ndarray


def norm_excess(norms: np.ndarray, window: int = BASELINE) -> np.ndarray:
    """Logarithm of a gradient norm [..., time] over its running median: above zero where it spikes."""
    logs = np.log(norms)
    return logs - scipy.ndimage.median_filter(logs, size=(1,) * (logs.ndim - 1) + (window,), mode="nearest")


def slope_change(losses: np.ndarray, window: int = SMOOTHING) -> np.ndarray:
    """Absolute second difference of the smoothed logarithm of a loss [..., time]; zero at both ends.

    Smoothed is a running mean over `window`, and the difference is taken between neighbouring windows that do
    not overlap: ``|s(t + window) - 2 s(t) + s(t - window)|``. It peaks at the middle of a bump; differences of
    neighbouring times would peak at its edges.
    """
    smooth = scipy.ndimage.uniform_filter1d(np.log(losses), size=window, axis=-1, mode="nearest")
    change = np.zeros_like(smooth)
    middle, before, after = smooth[..., window:-window], smooth[..., : -2 * window], smooth[..., 2 * window :]
    change[..., window:-window] = np.abs(after - 2 * middle + before)
    return change


def spike_alignment(losses: np.ndarray, norms: np.ndarray) -> Alignment:
    """Rank correlation of gradient-norm excess and slope change of the loss, against circular shifts.

    Both are taken from logarithms, since both fall by orders of magnitude during training, and a correlation
    of two falling curves would say nothing about spikes. What is left of such trends is in the shifts as well:
    a shift keeps both series as they are, and moves one against the other by at least a twentieth of the
    time. All shifts are computed at once, as a circular cross-correlation of ranks (Fourier transform), in
    O(time * log(time)).

    Args:
        losses, norms: [member, time], above zero; loss and norm of the gradient at the same parameters.

    Raises:
        SettingError: series of different shapes, shorter than `BASELINE`, or not above zero.

    >>> spikes = np.zeros((1, 500))
    >>> spikes[:, 20::37] = 1
    >>> float(spike_alignment(losses=np.exp(spikes), norms=np.exp(3 * spikes)).excess[0]) > 0.1
    True
    """
    losses, norms = np.asarray(losses, dtype=float), np.asarray(norms, dtype=float)
    if losses.shape != norms.shape or losses.ndim != 2 or losses.shape[1] < BASELINE:
        raise SettingError(
            f"losses {losses.shape} and gradient norms {norms.shape} must both be [member, time] with at least "
            f"{BASELINE} times"
        )
    if not (losses > 0).all() or not (norms > 0).all():
        raise SettingError("losses and gradient norms must be above zero and finite: leave out what diverged")
    first = _standard_ranks(norm_excess(norms))
    second = _standard_ranks(slope_change(losses))
    time = losses.shape[1]
    products = np.fft.irfft(np.fft.rfft(first) * np.conj(np.fft.rfft(second)), n=time) / time
    near = time // 20
    shifted = products[:, near : time - near]
    real = products[:, 0]
    at_least = (shifted >= real[:, None] - 1e-12).sum(axis=1)
    return Alignment(real, real - shifted.mean(axis=1), (1 + at_least) / (1 + shifted.shape[1]))


def _standard_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along time with mean 0 and variance 1; a constant series becomes zeros."""
    ranks = scipy.stats.rankdata(values, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    spread = ranks.std(axis=-1, keepdims=True)
    return np.divide(ranks, spread, out=np.zeros_like(ranks), where=spread > 0)
