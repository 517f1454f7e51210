"""The path of the weights during training, seen in few dimensions, and what a random walk would show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from whydeep.errors import SettingError


@dataclass(frozen=True)
class TrajectoryPCA:
    """Principal components of snapshots of weights.

    Attributes:
        mean: [dimension], the origin of the coordinates.
        components: [component, dimension], orthonormal.
        coordinates: [series, time, component].
        explained: [all components], shares of the variance, largest first; they sum to one.
    """

    mean: np.ndarray
    components: np.ndarray
    coordinates: np.ndarray
    explained: np.ndarray

    def project(self, points: ArrayLike) -> np.ndarray:
        """Coordinates of points [..., dimension]: [..., component]."""
        return (np.asarray(points, dtype=float) - self.mean) @ self.components.T


def trajectory_pca(snapshots: ArrayLike, components: int = 2) -> TrajectoryPCA:
    """Find the principal components of all snapshots of all series together; give one series to see it alone.

    A few components explain most of the variance of *any* smooth path, a random walk's as well, and draw it as a
    smooth curve (Antognini and Sohl-Dickstein 2018): compare with `random_walks`.

    Args:
        snapshots: [series, time, dimension]: weights at chosen times, of a layer or of the whole network.
        components: how many are kept.

    Raises:
        SettingError: too few snapshots or dimensions, values that are not finite, or weights that never differ.

    >>> line = np.linspace(0, 1, 5)[None, :, None] * [3.0, 4.0]
    >>> trajectory_pca(line).explained.round(12).tolist()
    [1.0, 0.0]
    """
    from sklearn.decomposition import PCA  # slow to load: only when it is needed

    snapshots = _check(snapshots)
    rows = snapshots.reshape(-1, snapshots.shape[2])
    if not 1 <= components <= min(rows.shape):
        raise SettingError(
            f"{len(rows)} snapshots of {rows.shape[1]} weights have no {components} components: give 1 to "
            f"{min(rows.shape)}"
        )
    if np.ptp(rows, axis=0).max() == 0:
        raise SettingError("all snapshots are the same: there is no path to look at")
    fitted = PCA(svd_solver="full").fit(rows)
    kept = fitted.components_[:components]
    return TrajectoryPCA(
        mean=fitted.mean_,
        components=kept,
        coordinates=((rows - fitted.mean_) @ kept.T).reshape(*snapshots.shape[:2], components),
        explained=fitted.explained_variance_ratio_,
    )


def directness(snapshots: ArrayLike) -> np.ndarray:
    """Net displacement / path length of each series: 1 on a straight line, about time^-1/2 for a random walk; [series].

    A series that does not move has none (not-a-number).

    >>> directness([[[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]]).round(4).tolist()
    [0.7143]
    """
    snapshots = _check(snapshots)
    net = np.linalg.norm(snapshots[:, -1] - snapshots[:, 0], axis=1)
    length = np.linalg.norm(np.diff(snapshots, axis=1), axis=2).sum(axis=1)
    return np.divide(net, length, out=np.full(len(net), np.nan), where=length > 0)


def random_walks(starts: ArrayLike, lengths: ArrayLike, generator: np.random.Generator) -> np.ndarray:
    """Walk from given starts with steps of given lengths, each in a direction of its own: [series, time, dimension].

    The null for a trajectory: same start, number of steps, length of each step and dimensions; directions are
    independent and uniform.

    Args:
        starts: [series, dimension].
        lengths: [series, step].
        generator: of the directions.

    >>> walk = random_walks(np.zeros((1, 2000)), np.ones((1, 999)), np.random.default_rng(0))
    >>> trajectory_pca(walk).explained[:2].round(2).tolist()  # 6 / pi^2 and a quarter of it
    [0.6, 0.16]
    """
    starts, lengths = np.asarray(starts, dtype=float), np.asarray(lengths, dtype=float)
    if starts.ndim != 2 or lengths.ndim != 2 or len(starts) != len(lengths):
        raise SettingError(
            f"starts {starts.shape} must be [series, dimension] and lengths {lengths.shape} [series, step], of as "
            "many series"
        )
    if starts.shape[1] == 0 or not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise SettingError(
            "random walks need one dimension or more, and lengths of steps that are finite and not negative"
        )
    steps = generator.standard_normal((*lengths.shape, starts.shape[1]))
    steps *= (lengths / np.linalg.norm(steps, axis=2))[:, :, None]
    return np.concatenate([starts[:, None], starts[:, None] + np.cumsum(steps, axis=1)], axis=1)


def random_walks_like(snapshots: ArrayLike, generator: np.random.Generator) -> np.ndarray:
    """Walk as `random_walks` does, with the starts and lengths of steps of snapshots [series, time, dimension]."""
    snapshots = _check(snapshots)
    return random_walks(snapshots[:, 0], np.linalg.norm(np.diff(snapshots, axis=1), axis=2), generator)


def _check(snapshots: ArrayLike) -> np.ndarray:
    checked = np.asarray(snapshots, dtype=float)
    if checked.ndim != 3 or checked.shape[1] < 2 or checked.size == 0:
        raise SettingError(f"snapshots must be [series, time, dimension] with two times or more, not {checked.shape}")
    if not np.isfinite(checked).all():
        raise SettingError("snapshots must be finite: leave out the series that diverged")
    return checked
