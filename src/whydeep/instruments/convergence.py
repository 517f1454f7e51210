"""When a loss has come to rest: where it falls no more, and from when on it stays below a level."""

import numpy as np

from whydeep.errors import SettingError


def has_converged(losses: np.ndarray, *, window: int, improvement: float) -> bool:
    """Say whether a loss falls no more: whether the last window improves on the one before by less than a share.

    Windows are compared by their geometric means, so that single spikes count little. A loss that has risen counts as
    converged, one that is not finite or shorter than two windows does not.

    Args:
        losses: [step], above zero.
        window: steps of each of the two windows.
        improvement: share of the earlier mean, between 0 and 1.

    Raises:
        SettingError: a window without a step, or another share.

    >>> has_converged(np.array([4.0, 4.0, 2.0, 2.0]), window=2, improvement=0.1)
    False
    >>> has_converged(np.array([4.0, 4.0, 3.9, 3.9]), window=2, improvement=0.1)
    True
    """
    if window < 1 or not 0 < improvement < 1:
        raise SettingError(f"window {window} must be 1 or more, and improvement {improvement:g} between 0 and 1")
    if len(losses) < 2 * window:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        before, last = np.log(losses[-2 * window :]).reshape(2, window).mean(axis=1)
        return bool(before - last < -np.log1p(-improvement))


def settling_steps(losses: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """First step from which each loss stays below its level to the end; not-a-number if it never does; [member].

    Args:
        losses: [member, step]; not-a-number after a member's last step.
        levels: [member].

    >>> settling_steps(np.array([[3.0, 1.0, 2.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0, 3.0]]), np.array([1.5, 1.5]))
    array([ 3., nan])
    """
    above = losses >= levels[:, None]
    first = losses.shape[1] - above[:, ::-1].argmax(axis=1)
    first[~above.any(axis=1)] = 0
    trained = (~np.isnan(losses)).sum(axis=1)
    return np.where(first < trained, first, np.nan)
