"""E3. Optimization: the path of the weights, and what a random walk would look like."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from whydeep.claims import Test
from whydeep.course import function_training as functions
from whydeep.course import trajectory_charts as charts
from whydeep.course.optimization import SIZE_AND_DIVERGENCE, training_design, training_seconds
from whydeep.course.text import course_experiment, reported
from whydeep.errors import SettingError
from whydeep.instruments import directness, random_walks_like, trajectory_pca, trajectory_surface
from whydeep.networks import MLP
from whydeep.population import MeanSquaredError, Population, Recorder, Samples, loss, weights
from whydeep.study import Field, Run, Scaled, dimension
from whydeep.variables import SHARE, Variable

PARTS = {"second layer": "linear2.weight", "whole network": "*.weight"}
COMPONENTS = 6
"""Of which the shares of the variance are kept."""

DESIGN = training_design(
    function="cos",
    hidden=(3, 5),
    iterations=Scaled(300, 3000, 10_000),
    series=8,
    snapshots=Field(30, least=2),
    points=Field(1000, least=2),
    grid=Field(Scaled(15, 51, 101), least=2),
    walks=100,
)


@dataclass(frozen=True, kw_only=True)
class Setting(functions.FunctionSetting):
    """Several trainings of one network on one function, from different initial weights.

    Attributes:
        series: trainings of each seed.
        snapshots: of the weights, evenly spaced over the iterations.
        grid: points of the loss surface along each axis.
        walks: random walks behind each mean directness of the null.

    Raises:
        SettingError: more snapshots than iterations, or a second layer whose paths are no more than a line.
    """

    function: str = dimension()
    iterations: int
    grid: int
    series: int = 8
    snapshots: int = 30
    points: int = 1000
    walks: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.snapshots > self.iterations:
            raise SettingError(f"{self.snapshots} snapshots of {self.iterations} iterations: set snapshots to fewer")
        if self.widths[1] * self.widths[2] < 2:
            raise SettingError("a second layer of one weight has no two principal components: widen hidden")

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        training = self.series * training_seconds(self.widths, self.points, self.iterations)
        return training + 2e-5 * self.grid**2 + 0.005 * self.walks


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train the series of all seeds as one population, then look at each seed's paths on their own."""
    samples = functions.training_points(setting, run)
    inits = [
        run.stream("init", seed, name=f"{setting.name} series {series}")
        for seed in run.seeds
        for series in range(setting.series)
    ]
    for_members = Samples.each([points for points in samples for _ in range(setting.series)])
    training = functions.start_training(setting, run, for_members, inits, setting.iterations)
    times = np.linspace(0, setting.iterations - 1, setting.snapshots).astype(int)
    paths, losses = recorders = [Recorder(measured, set(times.tolist())) for measured in (weights, loss)]
    functions.train(training, setting.iterations, run, recorders, share=0.8)
    shape = (len(run.seeds), setting.series, setting.snapshots)
    vectors = paths.values.reshape(*shape, -1).double().cpu().numpy()
    trained = run.dataset(
        {
            "weights": (("series", "snapshot", "parameter"), vectors.astype(np.float32)),
            "loss": (("series", "snapshot"), losses.values.reshape(shape)),
            "parameters": np.full(len(run.seeds), float(training.population.size)),
        },
        iteration_of_snapshot=("snapshot", times, {"long_name": "iteration before whose update the snapshot is taken"}),
    )

    def measure_seed(index: int, alone: Run) -> xr.Dataset:
        return _measure_paths(setting, alone, vectors[index], training.population, samples[index])

    measured = run.each_seed(measure_seed, 0.8, 1)
    return xr.merge([trained, xr.concat(measured, trained.seed)], join="exact")


def _measure_paths(
    setting: Setting, run: Run, vectors: np.ndarray, population: Population, samples: Samples
) -> xr.Dataset:
    """Principal components, directness and the loss surface of one seed's paths [series, snapshot, parameter]."""
    columns = [population.layout.columns(pattern) for pattern in PARTS.values()]
    usable = np.isfinite(vectors).all() and all(np.ptp(vectors[:, :, part], axis=(0, 1)).any() for part in columns)
    if not usable:  # diverged, or never moved: what is measured instead is thrown away, and has the right shapes
        vectors = np.random.default_rng(0).standard_normal(vectors.shape)
    coordinates, explained, direct, null = [], [], [], []
    for number, part in enumerate(columns):
        paths, generator = vectors[:, :, part], run.stream("null", run.seeds[0]).numpy(number)
        walks = [random_walks_like(paths, generator) for _ in range(setting.walks)]
        pcas = [trajectory_pca(shown) for shown in (paths, walks[0])]
        coordinates.append([pca.coordinates for pca in pcas])
        explained.append([np.pad(pca.explained, (0, COMPONENTS), constant_values=np.nan)[:COMPONENTS] for pca in pcas])
        direct.append(directness(paths))
        null.append(np.mean([directness(walk) for walk in walks], axis=0))
    network, pattern = MLP(setting.widths, setting.activation), PARTS["whole network"]  # the last of the parts
    plane = trajectory_surface(
        network, samples, MeanSquaredError(), vectors, pcas[0], parameters=pattern, grid=setting.grid
    )
    return xr.Dataset(
        {
            "coordinates": (("part", "path", "series", "snapshot", "component"), coordinates),
            "explained": (("part", "path", "shown_component"), explained),
            "directness": (("part", "series"), direct),
            "null_directness": (("part", "series"), null),
            "surface": (("first", "second"), plane.losses),
            "surface_first": ("first", plane.first),
            "surface_second": ("second", plane.second),
            "plane_loss": (("series", "snapshot"), plane.path_losses),
            "off_plane": (("series", "snapshot"), plane.off_plane),
        },
        coords={"part": list(PARTS), "path": ["trained", "random walk"]},
    ).where(bool(usable))


VARIABLES = {
    "weights": Variable("weights and biases at each snapshot, layer by layer"),
    "loss": Variable("MSE on the training points at each snapshot", log=True),
    "parameters": SIZE_AND_DIVERGENCE["parameters"],
    "coordinates": Variable("coordinates along the first two principal components"),
    "explained": Variable("share of the variance that each principal component explains", limits=SHARE),
    "directness": Variable("net displacement / path length", limits=SHARE),
    "null_directness": Variable("the same, mean of random walks with steps of the same lengths", limits=SHARE),
    "surface": Variable("MSE on the plane of the first two components of all weights, biases at their mean", log=True),
    "surface_first": Variable("coordinate along the first component"),
    "surface_second": Variable("coordinate along the second component"),
    "plane_loss": Variable("MSE where the path is drawn on the plane", log=True),
    "off_plane": Variable("distance from the plane / from the mean, of a snapshot's weights and biases", limits=SHARE),
}


def _fall(results: xr.Dataset) -> xr.DataArray:
    """Last loss / first loss of the series in which it is largest."""
    losses = results.loss.isel(function=0, drop=True)
    fall = (losses.isel(snapshot=-1, drop=True) / losses.isel(snapshot=0, drop=True)).max("series", skipna=False)
    return functions.count_diverged(fall, results)


def _directness_beyond_null(results: xr.Dataset) -> xr.DataArray:
    """Directness of all weights minus that of random walks, mean of the series."""
    network = results.isel(function=0, drop=True).sel(part="whole network", drop=True)
    beyond = (network.directness - network.null_directness).mean("series", skipna=False)
    return functions.count_diverged(beyond, results)


CLAIMS = (
    reported(
        "C10. Weights are tuned gradually.",
        Test("last / first loss, worst of the series", _fall, high=1, log=True),
        Test("directness beyond that of random walks, whole network", _directness_beyond_null, low=0),
        reading="“gradually” means that the loss of every series falls, and that the path is straighter than random "
        "walks of the same steps. Neither rules out that single steps are large.",
        needs=functions.trained_for(hidden=(3, 5), iterations=3000, points=1000, series=8, snapshots=30, walks=100),
    ),
)

EXPERIMENT = course_experiment(
    "weight-trajectories",
    "Which way do the weights go during training, and does a random walk go there too?",
    Setting.from_plan,
    measure,
    design=DESIGN,
    title="E3. Weight trajectories",
    variables=VARIABLES,
    terms="Series, Parts, Principal components, Random walk, Directness, Off-plane residual",
    claims=CLAIMS,
    figures=(charts.paths_and_surface,),
    tables=(charts.TABLE,),
)
