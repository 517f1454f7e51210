"""Paths of weights: against a dense decomposition, against what is known of random walks, and under rotations."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from whydeep.errors import SettingError
from whydeep.instruments import directness, random_walks, random_walks_like, trajectory_pca


def paths(series=3, time=20, dimension=7, seed=0):
    return np.random.default_rng(seed).normal(size=(series, time, dimension)).cumsum(axis=1)


def rotation(dimension, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))[0]


def step_lengths(walks):
    return np.linalg.norm(np.diff(walks, axis=1), axis=2)


# -- principal components ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 20, 7), (4, 20, 7), (1, 5, 40), (3, 2, 1)])
def test_equals_a_dense_decomposition(shape):
    """More snapshots than dimensions and fewer, one series and several."""
    snapshots = paths(*shape)
    kept = min(3, shape[2])
    found = trajectory_pca(snapshots, components=kept)
    rows = snapshots.reshape(-1, shape[2])
    _, singular, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0))
    np.testing.assert_allclose(found.explained, singular**2 / np.sum(singular**2), atol=1e-14)
    assert found.explained.sum() == pytest.approx(1, abs=1e-12)
    signs = np.sign(np.sum(found.components * right[:kept], axis=1))
    np.testing.assert_allclose(found.components, signs[:, None] * right[:kept], atol=1e-9)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(kept), atol=1e-12)
    assert found.coordinates.shape == (*shape[:2], kept)
    expected = (snapshots - rows.mean(axis=0)) @ (signs[:, None] * right[:kept]).T
    np.testing.assert_allclose(found.coordinates, expected, atol=1e-9)


def test_all_components_give_the_snapshots_back():
    snapshots = paths()
    found = trajectory_pca(snapshots, components=7)
    np.testing.assert_allclose(found.mean + found.coordinates @ found.components, snapshots, atol=1e-12)


def test_a_straight_line_has_one_component_whatever_the_pace():
    pace = np.array([0, 1, 5, 6, 20.0])
    found = trajectory_pca(np.array([1.0, 2.0, 3.0]) + pace[None, :, None] * [2.0, -1.0, 2.0])
    assert found.explained == pytest.approx([1, 0, 0], abs=1e-12)
    np.testing.assert_allclose(np.abs(np.diff(found.coordinates[0, :, 0])), 3 * np.diff(pace))
    np.testing.assert_allclose(np.abs(found.components[0]), [2 / 3, 1 / 3, 2 / 3])


def test_series_together_have_components_that_none_has_alone():
    """Two parallel lines: each is straight, together they span a plane."""
    line = np.linspace(0, 1, 11)[:, None] * [1.0, 0.0, 0.0]
    both = np.stack([line, line + np.array([0, 10.0, 0])])
    for alone in both:
        assert trajectory_pca(alone[None]).explained == pytest.approx([1, 0, 0], abs=1e-12)
    together = trajectory_pca(both)
    assert together.explained == pytest.approx([25 / 25.1, 0.1 / 25.1, 0], abs=1e-12)
    assert np.ptp(together.coordinates[:, :, 0], axis=1) == pytest.approx([0, 0], abs=1e-12)
    assert abs(together.coordinates[1, 0, 0] - together.coordinates[0, 0, 0]) == pytest.approx(10)


@pytest.mark.parametrize("dimension", [2000, 4000])
def test_a_random_walk_in_many_dimensions_explains_six_over_pi_squared_k_squared(dimension):
    """Antognini and Sohl-Dickstein 2018: in the limit of many steps and dimensions. Within 0.02 here."""
    walk = random_walks(np.zeros((1, dimension)), np.ones((1, 400)), np.random.default_rng(1))
    explained = trajectory_pca(walk).explained
    assert explained[:4] == pytest.approx(6 / np.pi**2 / np.arange(1, 5) ** 2, abs=0.02)
    cloud = np.random.default_rng(1).normal(size=walk.shape)  # snapshots that are no path
    assert trajectory_pca(cloud).explained[0] < 0.02


def test_points_are_projected_as_the_snapshots_are():
    snapshots = paths()
    found = trajectory_pca(snapshots)
    np.testing.assert_allclose(found.project(snapshots), found.coordinates, atol=1e-12)
    np.testing.assert_allclose(found.project(snapshots[1, 4]), found.coordinates[1, 4], atol=1e-12)
    np.testing.assert_allclose(found.project(found.mean), [0, 0], atol=1e-12)
    np.testing.assert_allclose(found.project(found.mean + 3 * found.components[1]), [0, 3], atol=1e-12)
    off = np.linalg.svd(found.components)[2][-1]  # at right angles to both components
    np.testing.assert_allclose(found.project(found.mean + 5 * off), [0, 0], atol=1e-12)


def test_float32_snapshots_are_computed_in_float64():
    snapshots = paths().astype(np.float32)
    found, exact = trajectory_pca(snapshots), trajectory_pca(snapshots.astype(float))
    assert np.array_equal(found.coordinates, exact.coordinates)
    assert np.array_equal(directness(snapshots), directness(snapshots.astype(float)))


# -- directness ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([[0, 0], [1, 1], [5, 5]], 1),  # straight on
        ([[0, 0], [3, 0], [3, 4]], 5 / 7),  # two sides of a right triangle
        ([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], 0),  # once round
        ([[0, 0], [2, 0], [1, 0]], 1 / 3),  # there and half of the way back
        ([[0, 0], [0, 0], [0, 3], [0, 3]], 1),  # with rests
        ([[1, 1], [1, 1], [1, 1]], np.nan),  # nowhere
    ],
)
def test_directness_by_hand(path, expected):
    assert directness([path]) == pytest.approx([expected], nan_ok=True)


def test_a_series_that_stands_still_leaves_the_others_alone():
    moving = paths()
    snapshots = np.concatenate([moving, np.ones((1, *moving.shape[1:]))])
    found = directness(snapshots)
    assert found[:3].tolist() == directness(moving).tolist()
    assert np.isnan(found[3])


@pytest.mark.parametrize("steps", [25, 100, 400])
def test_random_walks_in_many_dimensions_have_directness_one_over_the_root_of_time(steps):
    """Steps are nearly at right angles. The relative spread of one walk is 1 / sqrt(2 * 2000) = 0.016; five of it."""
    walks = random_walks(np.zeros((4, 2000)), np.full((4, steps), 0.1), np.random.default_rng(steps))
    np.testing.assert_allclose(directness(walks) * steps**0.5, 1, atol=0.08)


# -- random walks ---------------------------------------------------------------------------------------------------


def test_random_walks_keep_starts_and_step_lengths():
    generator = np.random.default_rng(2)
    starts, lengths = generator.normal(size=(4, 6)), generator.exponential(size=(4, 9))
    lengths[1, 3] = 0
    walks = random_walks(starts, lengths, np.random.default_rng(3))
    assert walks.shape == (4, 10, 6)
    assert np.array_equal(walks[:, 0], starts)
    np.testing.assert_allclose(step_lengths(walks), lengths, rtol=1e-12, atol=1e-14)
    assert np.array_equal(walks, random_walks(starts, lengths, np.random.default_rng(3)))
    assert not np.allclose(walks[:, 1:], random_walks(starts, lengths, np.random.default_rng(4))[:, 1:])


def test_walks_like_snapshots_take_their_starts_and_step_lengths_and_not_their_directions():
    snapshots = paths()
    walks = random_walks_like(snapshots, np.random.default_rng(0))
    assert walks.shape == snapshots.shape
    assert np.array_equal(walks[:, 0], snapshots[:, 0])
    np.testing.assert_allclose(step_lengths(walks), step_lengths(snapshots), rtol=1e-12)
    line = np.linspace(0, 1, 200)[None, :, None] * np.ones(50)
    assert directness(line)[0] == pytest.approx(1)
    assert directness(random_walks_like(line, np.random.default_rng(0)))[0] < 0.3


@pytest.mark.parametrize("dimension", [1, 2, 3, 10])
def test_directions_are_uniform(dimension):
    """Along any axis, the square of a uniform direction's component has a beta distribution (in three dimensions
    the component is uniform, as Archimedes knew). Kolmogorov-Smirnov with 20,000 directions, p above 0.001 along
    an edge and a diagonal of the cube; directions from a cube instead of a sphere fail it."""
    steps = np.diff(random_walks(np.zeros((20, dimension)), np.ones((20, 1000)), np.random.default_rng(5)), axis=1)
    steps = steps.reshape(-1, dimension)
    assert np.abs(steps.mean(axis=0)).max() < 5 / np.sqrt(dimension * len(steps))
    np.testing.assert_allclose(steps.T @ steps / len(steps), np.eye(dimension) / dimension, atol=5 / len(steps) ** 0.5)
    if dimension > 1:
        cube = np.random.default_rng(5).uniform(-1, 1, steps.shape)
        cube /= np.linalg.norm(cube, axis=1, keepdims=True)
        axes = np.eye(dimension)[0], np.ones(dimension) / dimension**0.5
        assert min(p_of_uniform(steps @ axis) for axis in axes) > 0.001
        assert min(p_of_uniform(cube @ axis) for axis in axes) < 0.001


def p_of_uniform(components):
    """Of 20,000 components of directions; the dimension is what their mean square says."""
    dimension = round(1 / np.mean(components**2))
    return stats.kstest(components**2, stats.beta(0.5, (dimension - 1) / 2).cdf).pvalue


def test_directions_of_different_steps_and_series_are_independent():
    steps = np.diff(random_walks(np.zeros((2, 3)), np.ones((2, 20000)), np.random.default_rng(6)), axis=1)
    within = np.sum(steps[0, 1:] * steps[0, :-1], axis=1)
    between = np.sum(steps[0] * steps[1], axis=1)
    for cosines in (within, between):  # of variance 1/3 each
        assert abs(cosines.mean()) < 5 * (1 / 3 / len(cosines)) ** 0.5


# -- what is refused ------------------------------------------------------------------------------------------------

finite = np.zeros((1, 3, 2))
finite[0, 1] = 1
SNAPSHOTS = {
    "snapshots must be [series, time, dimension] with two times or more, not (3, 2)": finite[0],
    "snapshots must be [series, time, dimension] with two times or more, not (1, 1, 2)": finite[:, :1],
    "snapshots must be [series, time, dimension] with two times or more, not (0, 3, 2)": finite[:0],
    "snapshots must be [series, time, dimension] with two times or more, not (1, 3, 0)": finite[:, :, :0],
    "snapshots must be finite: leave out the series that diverged": np.where(finite, np.nan, finite),
}
READERS = {
    "trajectory_pca": trajectory_pca,
    "directness": directness,
    "random_walks_like": lambda snapshots: random_walks_like(snapshots, np.random.default_rng(0)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("message", SNAPSHOTS)
def test_snapshots_that_are_none_are_refused(reader, message):
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        READERS[reader](SNAPSHOTS[message])


def test_an_infinite_weight_is_refused_too():
    with pytest.raises(SettingError, match="leave out the series that diverged"):
        directness(np.where(finite, np.inf, finite))


@pytest.mark.parametrize("components", [0, -1, 3])
def test_components_that_cannot_be_are_refused(components):
    message = f"3 snapshots of 2 weights have no {components} components: give 1 to 2"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        trajectory_pca(finite, components)


def test_a_path_that_never_moves_is_refused():
    with pytest.raises(SettingError, match=r"^all snapshots are the same: there is no path to look at$"):
        trajectory_pca(np.full((2, 5, 3), 0.1))


@pytest.mark.parametrize(("starts", "lengths"), [((3,), (3, 4)), ((3, 2), (4,)), ((3, 2), (2, 4)), ((1, 3, 2), (1, 4))])
def test_starts_and_lengths_that_do_not_fit_are_refused(starts, lengths):
    message = f"starts {starts} must be [series, dimension] and lengths {lengths} [series, step], of as many series"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        random_walks(np.zeros(starts), np.ones(lengths), np.random.default_rng(0))


@pytest.mark.parametrize("length", [-1.0, np.nan, np.inf])
def test_lengths_that_are_none_are_refused(length):
    with pytest.raises(SettingError, match="lengths"):
        random_walks(np.zeros((1, 2)), [[1.0, length]], np.random.default_rng(0))


# -- for any path -----------------------------------------------------------------------------------------------------

any_paths = st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(-100, 100).map(lambda number: number / 8))
)
moving_paths = any_paths.filter(lambda snapshots: np.ptp(snapshots.reshape(-1, snapshots.shape[2]), axis=0).max() > 0)


@given(moving_paths, st.integers(0, 3), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=100, derandomize=True)
def test_turning_shifting_and_scaling_change_neither_explained_shares_nor_directness(snapshots, seed, scale):
    moved = scale * (snapshots @ rotation(snapshots.shape[2], seed) + 7)
    before, after = (trajectory_pca(some, components=1).explained for some in (snapshots, moved))
    np.testing.assert_allclose(after, before, atol=1e-9)
    still = np.isnan(directness(snapshots))
    np.testing.assert_allclose(directness(moved)[~still], directness(snapshots)[~still], atol=1e-9)


@given(moving_paths)
@settings(max_examples=100, derandomize=True)
def test_explained_shares_are_shares_and_directness_is_at_most_one(snapshots):
    explained = trajectory_pca(snapshots, components=1).explained
    assert explained.sum() == pytest.approx(1)
    assert (np.diff(explained) <= 1e-12).all()
    assert explained.min() >= 0
    found = directness(snapshots)
    moves = step_lengths(snapshots).sum(axis=1) > 0
    assert np.array_equal(~np.isnan(found), moves)
    assert (found[moves] >= 0).all()
    assert (found[moves] <= 1 + 1e-12).all()
    if (snapshots.shape[1] == 2) and moves.all():
        assert found == pytest.approx(1)
    np.testing.assert_allclose(directness(snapshots[:, ::-1]), found, atol=1e-12)  # and back again
