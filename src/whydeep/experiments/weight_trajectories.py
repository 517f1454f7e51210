"""E3. Optimization: the path of the weights, and what a random walk would look like."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from whydeep.claims import Claim, Test, mean_interval
from whydeep.experiments.experiment import Experiment, Figure, Plan, Table, training_seconds
from whydeep.experiments.function_training import draw_points, train
from whydeep.instruments import (
    TrajectoryPCA,
    directness,
    loss_surface,
    plane_of,
    random_walks_like,
    trajectory_pca,
)
from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.population import Adam, MeanSquaredError, Population, Recorder, Samples, Stream, Training, loss, weights
from whydeep.report import curves
from whydeep.report.style import BLACK, GREY, LOSS_COLOURS, new_figure
from whydeep.runs import Context
from whydeep.variables import SHARE, Variable

NAME = "weight-trajectories"

# ---------------------------------------------------------------------------------------------------------
# Design

WIDTHS = (1, 3, 5, 1)
ITERATIONS = {"smoke": 300, "quick": 3000, "full": 10_000}
GRID = {"smoke": 15, "quick": 51, "full": 101}
PARTS = {"second layer": "linear2.weight", "whole network": "*.weight"}
SHOWN_COMPONENTS = 6
WALKS = 100
"""Random walks behind each mean directness of the null."""


@dataclass(frozen=True)
class Setting:
    """Several trainings of one network on one function, from different initial weights."""

    function: str
    widths: tuple[int, ...]
    iterations: int
    grid: int
    series: int = 8
    snapshots: int = 30
    points: int = 1000
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """The function."""
        return self.function

    @property
    def coordinates(self) -> dict[str, str | float]:
        """Where it lies in the results."""
        return {"function": self.function}

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        surface = 2e-5 * self.grid**2
        return self.series * training_seconds(self.widths, self.points, self.iterations) + surface + 0.5


def settings(plan: Plan) -> tuple[Setting, ...]:
    """The course report's one setting."""
    return (Setting("cos", WIDTHS, ITERATIONS[plan.scale], GRID[plan.scale]),)


# ---------------------------------------------------------------------------------------------------------
# Measurement


def measure(setting: Setting, seeds: tuple[int, ...], context: Context) -> xr.Dataset:
    """Train the series of all seeds as one population, then look at each seed's paths on their own."""
    samples = [draw_points(NAME, setting.function, setting.points, seed, context) for seed in seeds]
    inits = [
        Stream(context.root_seed, NAME, f"{setting.name} series {series}", seed, "init")
        for seed in seeds
        for series in range(setting.series)
    ]
    population = Population.initialise(lambda: MLP(setting.widths), inits, device=context.device)
    training = Training(
        population,
        Samples.each([samples[member // setting.series] for member in range(len(inits))]),
        objective=MeanSquaredError(),
        optimizer=Adam(setting.learning_rate),
    )
    times = np.linspace(0, setting.iterations - 1, setting.snapshots).astype(int)
    recorders = paths, losses = [Recorder(measured, set(times.tolist())) for measured in (weights, loss)]
    train(training, setting.iterations, lambda share: context.progress(0.8 * share), recorders)
    shape = (len(seeds), setting.series, setting.snapshots)
    vectors = paths.values.reshape(*shape, -1).double().cpu().numpy()
    trained = xr.Dataset(
        {
            "weights": (("seed", "series", "snapshot", "parameter"), vectors.astype(np.float32)),
            "loss": (("seed", "series", "snapshot"), losses.values.reshape(shape).cpu().numpy()),
            "parameters": ("seed", np.full(len(seeds), float(population.size))),
        },
        coords={"seed": list(seeds), "iteration_of_snapshot": ("snapshot", times, {"long_name": SNAPSHOT})},
    )
    looked_at = []
    for index, seed in enumerate(seeds):
        looked_at.append(_look(setting, seed, vectors[index], population, samples[index], context))
        context.progress(0.8 + 0.2 * (index + 1) / len(seeds))
    return xr.merge([trained, xr.concat(looked_at, "seed")], join="exact")


def _look(
    setting: Setting, seed: int, vectors: np.ndarray, population: Population, samples: Samples, context: Context
) -> xr.Dataset:
    """Principal components, directness and the loss surface of one seed's paths [series, snapshot, parameter]."""
    coordinates, explained, direct, null = [], [], [], []
    trained = {}
    for number, pattern in enumerate(PARTS.values()):
        paths = vectors[:, :, population.layout.columns(pattern)]
        generator = Stream(context.root_seed, NAME, setting.name, seed, "null").numpy(number)
        walks = [random_walks_like(paths, generator) for _ in range(WALKS)]
        pcas = [trajectory_pca(shown) for shown in (paths, walks[0])]
        trained[pattern] = pcas[0]
        coordinates.append([pca.coordinates for pca in pcas])
        explained.append([pca.explained[:SHOWN_COMPONENTS] for pca in pcas])
        direct.append(directness(paths))
        null.append(np.mean([directness(walk) for walk in walks], axis=0))
    return xr.Dataset(
        {
            "coordinates": (("seed", "part", "path", "series", "snapshot", "component"), [coordinates]),
            "explained": (("seed", "part", "path", "shown_component"), [explained]),
            "directness": (("seed", "part", "series"), [direct]),
            "null_directness": (("seed", "part", "series"), [null]),
        }
        | _surface(setting, vectors, trained[PARTS["whole network"]], population, samples),
        coords={"seed": [seed], "part": list(PARTS), "path": ["trained", "random walk"]},
    )


def _surface(
    setting: Setting, vectors: np.ndarray, pca: TrajectoryPCA, population: Population, samples: Samples
) -> dict[str, tuple]:
    """Losses on the plane of the whole network's two components; biases, which it leaves out, stay at their mean."""
    network, mean, pattern = MLP(setting.widths), vectors.mean(axis=(0, 1)), PARTS["whole network"]
    torch.nn.utils.vector_to_parameters(torch.from_numpy(mean), network.double().parameters())
    landscape = Landscape(network, samples, MeanSquaredError(), parameters=pattern)
    plane = plane_of(pca)
    paths = torch.from_numpy(vectors[:, :, population.layout.columns(pattern)])
    places, off = plane.project(paths)
    biases = np.linalg.norm((vectors - mean)[:, :, population.layout.columns("*.bias")], axis=2)
    on_plane = landscape.losses(plane.points(places.flatten(0, 1))).view(places.shape[:2]).numpy()
    axes = [_axis(pca.coordinates[:, :, component], setting.grid) for component in range(2)]
    return {
        "surface": (("seed", "first", "second"), loss_surface(landscape, plane, *axes)[None]),
        "surface_first": (("seed", "first"), axes[0][None]),
        "surface_second": (("seed", "second"), axes[1][None]),
        "plane_loss": (("seed", "series", "snapshot"), on_plane[None]),
        "off_plane": (
            ("seed", "series", "snapshot"),
            (np.hypot(off.numpy(), biases) / np.linalg.norm(vectors - mean, axis=2))[None],
        ),
    }


def _axis(coordinates: np.ndarray, count: int) -> np.ndarray:
    margin = 0.15 * np.ptp(coordinates)
    return np.linspace(coordinates.min() - margin, coordinates.max() + margin, count)


SNAPSHOT = "iteration before whose update the snapshot is taken"

VARIABLES = {
    "weights": Variable("weights and biases at each snapshot, layer by layer"),
    "loss": Variable("MSE on the training points at each snapshot"),
    "parameters": Variable("weights and biases"),
    "coordinates": Variable("coordinates along the first two principal components"),
    "explained": Variable("share of the variance that each principal component explains"),
    "directness": Variable("net displacement / path length"),
    "null_directness": Variable(f"the same, mean of {WALKS} random walks with steps of the same lengths"),
    "surface": Variable("MSE on the plane of the first two components of all weights, biases at their mean"),
    "surface_first": Variable("coordinate along the first component"),
    "surface_second": Variable("coordinate along the second component"),
    "plane_loss": Variable("MSE where the path is drawn on the plane"),
    "off_plane": Variable("distance from the plane / distance from the mean, of each snapshot's weights and biases"),
}

DEFINITIONS = {
    "Series": "one training from its own initial weights; the series of a seed share their training points.",
    "Parts": "second layer: its 15 weights; whole network: its 23 weights. Biases are left out, as in the course "
    "report.",
    "Principal components": "of all snapshots of all series of a seed together, about their mean.",
    "Random walk": "starts at the same weights and makes steps of the same lengths, in independent directions that "
    "are uniform on the sphere. Few components explain most of a random walk as well, in smooth curves (Antognini "
    "and Sohl-Dickstein 2018).",
    "Directness": "distance from the first to the last snapshot / length of the path through all snapshots; 1 on a "
    f"straight line. The null is the mean over {WALKS} random walks.",
    "Off-plane residual": "distance of a snapshot's weights and biases from the plane (with the mean biases) / their "
    "distance from the mean of all snapshots: 0 in the plane, 1 where the plane shows nothing of it.",
}

# ---------------------------------------------------------------------------------------------------------
# Claims


def _fall(results: xr.Dataset) -> xr.DataArray:
    """Last loss / first loss of the series in which it is largest."""
    one = results.loss.sel(function="cos", drop=True)
    return (one.isel(snapshot=-1, drop=True) / one.isel(snapshot=0, drop=True)).max("series", skipna=False)


def _directness_beyond_null(results: xr.Dataset) -> xr.DataArray:
    one = results.sel(function="cos", part="whole network", drop=True)
    return (one.directness - one.null_directness).mean("series", skipna=False)


CLAIMS = (
    Claim(
        "C10",
        "Weights are tuned gradually.",
        (
            Test("last / first loss, worst of the series", _fall, high=1, log=True),
            Test(
                "directness of the whole network minus that of random walks, mean of the series",
                _directness_beyond_null,
                low=0,
            ),
        ),
        reading="“gradually” means that the loss of every series falls, and that the path is straighter than random "
        "walks of the same steps. Neither rules out that single steps are large.",
    ),
)

# ---------------------------------------------------------------------------------------------------------
# Figures and tables

FIGURES = {"second layer": ("figure-07", 7), "whole network": ("figure-08", 8)}


def figures(results: xr.Dataset) -> tuple[Figure, ...]:
    """The paths of each part beside random walks, and the loss surface under them."""
    one = results.sel(function="cos")
    known = one.loss.notnull().all(("series", "snapshot"))
    if not known.any():
        return ()
    one = one.sel(seed=one.seed[known][0])
    seed, series, n = int(one.seed), one.sizes["series"], results.sizes["seed"]
    paths = tuple(
        Figure(
            name,
            f"Figure {number}. Paths of the weights, {part}",
            f"Left: {series} trainings (seed {seed} of n = {n}), {one.sizes['snapshot']} snapshots each, on their "
            "first two principal components; from circle to square, coloured by the loss, which is written at the "
            "end. Right: random walks with the same starts and lengths of steps. The axes say how much of the "
            "variance a component explains: where that is as much for the walks, the components say little about "
            "training. Compare how far and how straight the paths go, and where the loss falls.",
            f"Paths of the weights of the {part} on two principal components, beside random walks.",
            partial(_draw_paths, one, part),
        )
        for part, (name, number) in FIGURES.items()
    )
    residual = float(one.off_plane.median())
    ratio = float((one.plane_loss / one.loss).isel(snapshot=-1).median())
    surface = Figure(
        "loss-surface",
        "Loss surface under the paths",
        f"Mean squared error on the plane of figure 8 (seed {seed} of n = {n}; biases at their mean), and the {series} "
        "paths projected to it, their marks in the colour of their own loss. The median off-plane residual is "
        f"{residual:.2f} (0: in the plane, 1: the plane shows nothing), and at the ends of the paths the loss of the "
        f"plane is {ratio:.3g} times their own (median). Look at the shape of the valleys, and at how little of the "
        "way down one plane shows.",
        "Contour map of the loss on a plane through the weights, with the paths of the trainings on it.",
        partial(_draw_surface, one),
    )
    return (*paths, surface)


def _draw_paths(results: xr.Dataset, part: str) -> MatplotlibFigure:
    figure = new_figure(9.6, 4.4)
    left, right = figure.subplots(1, 2)
    one = results.sel(part=part)
    norm = LogNorm(float(results.loss.min()), float(results.loss.max()))
    for axes, path in ((left, "trained"), (right, "random walk")):
        for series in range(one.sizes["series"]):
            x, y = one.coordinates.sel(path=path).isel(series=series).values.T
            losses = one.loss.isel(series=series).values
            known = {"MSE": losses} if path == "trained" else {}
            (line,) = axes.plot(x, y, color=GREY, linewidth=0.7, zorder=1)
            curves.as_path(line, f"series {series + 1}", iteration=one.iteration_of_snapshot, **known)
            parts: list[Artist] = _mark_ends(axes, x, y)
            if path == "trained":
                drawn = axes.scatter(x, y, c=losses, norm=norm, cmap=LOSS_COLOURS, s=14, zorder=2, linewidth=0)
                parts += [drawn, _name_loss(axes, losses[-1], (x[-1], y[-1]))]
            else:
                parts.append(axes.scatter(x, y, color=GREY, s=9, zorder=2, linewidth=0))
            for part_of_it in parts:
                curves.belongs(part_of_it, f"series {series + 1}")
        shares = 100 * one.explained.sel(path=path).values
        axes.set(xlabel=f"component 1 ({shares[0]:.0f} %)", ylabel=f"component 2 ({shares[1]:.0f} %)")
    limits = [np.array([axes.get_xlim(), axes.get_ylim()]) for axes in (left, right)]
    low, high = np.minimum(*limits)[:, 0], np.maximum(*limits)[:, 1]
    for axes in (left, right):  # the same scale, so that distances can be compared
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    left.set_title(f"training, {part}")
    right.set_title("random walk")
    figure.colorbar(drawn, ax=left, label="MSE on the training points")
    _name_ends(figure)
    return figure


def _mark_ends(axes: Axes, x: np.ndarray, y: np.ndarray) -> list[Artist]:
    first = axes.plot(x[0], y[0], "o", color=BLACK, markerfacecolor="white", markersize=6, zorder=3)
    last = axes.plot(x[-1], y[-1], "s", color=BLACK, markersize=5, zorder=3)
    return [*first, *last]


def _name_loss(axes: Axes, value: float, place: tuple[float, float]) -> Artist:
    look: dict[str, Any] = {"fontsize": 8, "path_effects": [withStroke(linewidth=2.5, foreground="white")], "zorder": 5}
    return axes.annotate(f"{value:.2g}", place, (6, 5), textcoords="offset points", **look)


def _name_ends(figure: MatplotlibFigure) -> None:
    first, last = (
        Line2D([], [], color=BLACK, linestyle="", marker=marker, markerfacecolor=fill)
        for marker, fill in (("o", "white"), ("s", BLACK))
    )
    figure.legend([first, last], ["first snapshot", "last snapshot"], loc="outside lower center", ncols=2)


def _draw_surface(results: xr.Dataset) -> MatplotlibFigure:
    figure = new_figure(7.2, 5.2)
    axes = figure.subplots()
    surface = results.surface.values.T
    levels = np.geomspace(min(surface.min(), results.loss.values.min()), np.quantile(surface, 0.95), 25)
    norm = LogNorm(levels[0], levels[-1])
    first, second = results.surface_first.values, results.surface_second.values
    shown = axes.contourf(first, second, surface, levels=levels, norm=norm, cmap=LOSS_COLOURS, extend="max")
    axes.contour(first, second, surface, levels=levels[::2], colors="white", linewidths=0.3)
    paths = results.coordinates.sel(part="whole network", path="trained").values
    iterations = results.iteration_of_snapshot
    for number, (path, losses) in enumerate(zip(paths, results.loss.values, strict=True), 1):
        x, y = path.T
        outline, line = (axes.plot(x, y, color=c, linewidth=w)[0] for c, w in (("white", 2.4), (BLACK, 1)))
        curves.as_path(line, f"series {number}", iteration=iterations, MSE=losses)
        dots = axes.scatter(
            x, y, c=losses, norm=norm, cmap=LOSS_COLOURS, s=18, edgecolor=BLACK, linewidth=0.5, zorder=4
        )
        for part in (outline, dots, *_mark_ends(axes, x, y), _name_loss(axes, losses[-1], path[-1])):
            curves.belongs(part, f"series {number}")
    shares = 100 * results.explained.sel(part="whole network", path="trained").values
    axes.set(
        xlabel=f"component 1 ({shares[0]:.0f} %)",
        ylabel=f"component 2 ({shares[1]:.0f} %)",
        title="Loss on the plane of all weights",
    )
    axes.grid(visible=False)
    decades = 10.0 ** np.arange(np.ceil(np.log10(levels[0])), np.log10(levels[-1]))
    figure.colorbar(shown, ax=axes, label="MSE on the training points", ticks=decades, format="%g")
    _name_ends(figure)
    return figure


def tables(results: xr.Dataset) -> tuple[Table, ...]:
    """Explained variance and directness, of the training and of random walks."""
    one = results.sel(function="cos")
    rows = []
    for part in PARTS:
        for path, direct in (("trained", one.directness), ("random walk", one.null_directness)):
            explained = one.explained.sel(part=part, path=path)
            rows.append(
                (
                    f"{part}, {path}",
                    str(mean_interval(explained[:, 0], limits=SHARE)),
                    str(mean_interval(explained[:, 1], limits=SHARE)),
                    str(mean_interval(direct.sel(part=part).mean("series", skipna=False), limits=SHARE)),
                )
            )
    header = ("part, path", "explained by component 1", "by component 2", "directness")
    n = results.sizes["seed"]
    caption = f"Mean over n = {n} seeds with 95 % interval, of {one.sizes['series']} series each"
    return (Table(caption, header, tuple(rows)),)


EXPERIMENT = Experiment(
    name=NAME,
    title="E3. Weight trajectories",
    question="Which way do the weights go during training, and does a random walk go there too?",
    uses_images=False,
    settings=settings,
    measure=measure,
    variables=VARIABLES,
    definitions=DEFINITIONS,
    claims=CLAIMS,
    figures=figures,
    tables=tables,
)
