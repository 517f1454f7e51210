"""E5. Optimization: from where training ends to where the gradient vanishes, and how the loss curves there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from whydeep import instruments
from whydeep.claims import Need, Test
from whydeep.course import critical_point_charts as charts
from whydeep.course import function_training as functions
from whydeep.course.optimization import SIZE_AND_DIVERGENCE, training_design
from whydeep.course.text import course_experiment, derived, reported
from whydeep.errors import SettingError
from whydeep.instruments import GRADIENT_TOLERANCE, ROUNDINGS
from whydeep.landscape import Landscape
from whydeep.landscape.landscape import DENSE_BYTES
from whydeep.networks import parameter_count
from whydeep.population import MeanSquaredError
from whydeep.study import Each, Field, Plan, Run, Scaled, dimension
from whydeep.variables import CORRELATION, SHARE, Variable

DESIGN = training_design(
    {"weight_decay": "phase two and the Hessian are those of the loss alone"},
    activation=Each("relu", "tanh"),
    networks=Scaled(4, 12, 100),
    cycles=Field(Scaled(0, 3, 6), least=0),
    smooth_networks=Scaled(4, 8, 25),  # of the other activations, which take ten times as long to solve
    smooth_cycles=Field(Scaled(1, 8, 60), least=0),
    iterations=Scaled(300, 3000, 10_000),
    points=Field(Scaled(100, 1000, 1000), least=2),
    function="cos",
    hidden=(3, 5),
)


@dataclass(frozen=True, kw_only=True)
class Setting(functions.FunctionSetting):
    """Networks with one activation on one function; all networks of a seed share their points.

    Attributes:
        networks: of each seed.
        cycles: of phase two, at most.
    """

    activation: str = dimension()
    networks: int
    iterations: int
    cycles: int
    function: str = "cos"
    widths: tuple[int, ...] = (1, 3, 5, 1)

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        step, cycle = (2e-5, 0.06) if self.activation == "relu" else (4e-5, 0.08)
        solving = cycle * min(1 + self.cycles, 35)  # few networks need the last cycles
        return 1.5 + self.networks * (step * self.iterations + solving)


def settings(plan: Plan) -> Iterator[Setting]:
    """The course report's network, and one with a smooth activation.

    Raises:
        SettingError: networks whose Hessians do not fit into memory together.
    """
    for values in functions.function_settings(plan):
        smooth = {name: values.pop(f"smooth_{name}") for name in ("networks", "cycles")}
        setting = Setting(**values | (smooth if values["activation"] != "relu" else {}))
        size = parameter_count(setting.widths)
        if 8 * setting.networks * size**2 > DENSE_BYTES:
            raise SettingError(
                f"Hessians of {setting.networks} networks with {size:,} parameters take more than "
                f"{DENSE_BYTES / 2**30:g} GiB: set fewer networks, or a narrower hidden"
            )
        yield setting


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Measure one seed after the other; the networks of a seed train and are solved as one population."""
    return xr.concat(run.each_seed(lambda _, alone: _measure_seed(setting, alone)), "seed")


def _measure_seed(setting: Setting, run: Run) -> xr.Dataset:
    (samples,), (seed,) = functions.training_points(setting, run), run.seeds
    inits = [run.stream("init", seed, name=f"{setting.name} network {number}") for number in range(setting.networks)]
    training = functions.start_training(setting, run, samples, inits, setting.iterations)
    functions.train(training, setting.iterations, run, share=0.3)
    landscape = Landscape(training.population, samples, MeanSquaredError())
    trained = landscape.points()
    converges = trained.isfinite().all(1)
    starts = torch.where(converges.unsqueeze(1), trained, 0.0)  # from anywhere, where training diverged
    phase_two: dict[str, Any] = {"cycles": setting.cycles, "progress": run.part(0.3, 1), "loop": run.loop}
    if setting.activation == "relu":  # with corners that are rounded less and less
        points = instruments.find_stationary_points(landscape, starts, **phase_two)
    else:
        points = instruments.find_critical_points(landscape, starts, **phase_two).points

    losses, gradients, hessians = landscape.expand(points)
    norms, indices = gradients.norm(dim=1), instruments.frye_index(gradients, hessians)
    kinks = instruments.find_kinks(landscape, points, reach=ROUNDINGS[-1]) if setting.activation == "relu" else None
    nothing = torch.full_like(norms, torch.nan)
    finite = hessians.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite, hessians, 0.0)).where(finite[:, 0], torch.nan)
    by_network = {
        "trained_loss": landscape.losses(trained),
        "trained_gradient_norm": landscape.gradients(trained).norm(dim=1),
        "loss": losses,
        "gradient_norm": norms,
        "frye_index": indices,
        "kind": instruments.sort_by_stationarity(norms, indices, tolerance=GRADIENT_TOLERANCE, kinks=kinks).double(),
        "kinks": kinks.near if kinks else nothing,
        "gradient_jump": kinks.jump if kinks else nothing,
        "subgradient_norm": kinks.subgradient_norms if kinks else nothing,
        "moved": (points - trained).norm(dim=1),
    }
    measured = run.dataset(
        {name: ("network", values[None]) for name, values in by_network.items()}
        | {"weights": (("network", "parameter"), points[None])}
        | {"eigenvalues": (("network", "eigenvalue"), eigenvalues[None])},
        network=np.arange(setting.networks),
    )
    measured = measured.where(xr.DataArray(converges.cpu().numpy(), dims="network"))
    return measured.assign(parameters=("seed", [float(training.population.size)]))


VARIABLES = {
    "trained_loss": Variable("MSE on the training points after phase one", log=True),
    "trained_gradient_norm": Variable("Euclidean norm of its gradient after phase one", log=True),
    "loss": Variable("MSE on the training points after phase two", log=True),
    "gradient_norm": Variable("Euclidean norm of its gradient after phase two", log=True),
    "frye_index": Variable("relative residual of the Newton step, Frye's index", limits=SHARE),
    "kind": Variable("0 critical point, 1 kink, 2 gradient-flat, 3 not converged"),
    "kinks": Variable(f"hidden units whose input is zero at a training point, within {ROUNDINGS[-1]:g}"),
    "gradient_jump": Variable("norm of the change of the gradient across these kinks"),
    "subgradient_norm": Variable("norm of the subgradient between their sides"),
    "moved": Variable("distance between the parameters after phase one and after phase two"),
    "weights": Variable("weights and biases after phase two, layer by layer"),
    "eigenvalues": Variable("eigenvalues of the Hessian of the MSE on the training points, smallest first"),
    "parameters": SIZE_AND_DIVERGENCE["parameters"],
}

REFERENCE = (
    Need("activation", labels=("relu",)),
    Need("networks", least=12, where={"activation": "relu"}),
    Need("cycles", least=3, where={"activation": "relu"}),
    *(need for need in functions.trained_for(hidden=(3, 5), iterations=3000, points=1000) if need.name != "activation"),
)

SHARE_OF_RELU = "after phase two, share of the ReLU networks"
LOSS_AND_RATIO = "Spearman's correlation of loss and minimal ratio over the critical points of ReLU"
SMALL_NORM, CRITICAL, CORRELATED = (
    derived(charts.statistics_for_claims, name, at={"activation": "relu"})
    for name in (charts.SMALL_NORM, charts.CRITICAL, charts.CORRELATION_WITH_LOSS)
)

CLAIMS = (
    reported(
        "C12. At convergence the gradient norm is almost zero.",
        Test(f"{SHARE_OF_RELU} with a gradient norm below {GRADIENT_TOLERANCE:g}", SMALL_NORM, low=0.9, limits=SHARE),
        Test(f"{SHARE_OF_RELU} that are critical points", CRITICAL, low=0.9, limits=SHARE),
        reading=f"“at convergence” means after phase two, and “almost zero” below {GRADIENT_TOLERANCE:g}. A network on "
        "a kink, where no gradient vanishes, is against the claim, and in the second part one that is gradient-flat.",
        needs=REFERENCE,
    ),
    reported(
        "C13. The lower the loss, the larger the minimal ratio (the course report draws no conclusion; the literature "
        "expects it).",
        Test(LOSS_AND_RATIO, CORRELATED, high=0, limits=CORRELATION),
        source="expected after Y. N. Dauphin et al. (2014)",
        reading="within the ReLU networks of a seed. Dauphin et al. speak of the share of negative eigenvalues at "
        "saddles; what is not positive here may be flat instead, and the table of eigenvalues tells the two apart.",
        needs=REFERENCE,
    ),
)

EXPERIMENT = course_experiment(
    "critical-points",
    "Where does training end: at minima, at saddles, or where the gradient never vanishes?",
    settings,
    measure,
    design=DESIGN,
    title="E5. Critical points",
    variables=VARIABLES,
    terms="Phase one, Phase two, ReLU in phase two, Tolerance, Critical point, Kink, Frye's index, Minimal ratio",
    claims=CLAIMS,
    figures=(charts.loss_and_minimal_ratio,),
    tables=charts.TABLES,
    revision=2,
)
