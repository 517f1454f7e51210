"""E1. Deep against shallow: fitting functions of one variable with the same number of parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
import xarray as xr

from whydeep.claims import Need, Selection, Test
from whydeep.course import function_charts as charts
from whydeep.course import function_training as functions
from whydeep.course.function_training import END, IMPROVEMENT, MIDDLE, SETTLED, WINDOW
from whydeep.course.optimization import AS_IN_THE_REPORT, size_and_divergence, training_design, training_seconds
from whydeep.course.text import course_experiment, derived, reported
from whydeep.instruments import has_converged, settling_steps
from whydeep.networks import widths_for_budget
from whydeep.population import Samples
from whydeep.study import Each, Field, Plan, Run, Scaled, dimension
from whydeep.variables import SHARE, Variable

HIDDEN_LAYERS = {"shallow": 1, "medium": 3, "deep": 5}
BUDGET = 1000

DESIGN = training_design(
    function=Each("arcsinh", "cos"),
    network=Field(Each(*HIDDEN_LAYERS), choices=tuple(HIDDEN_LAYERS)),
    **{network: Field(layers, most=100) for network, layers in HIDDEN_LAYERS.items()},
    budget=Field(BUDGET, most=1e8),
    least_iterations=Scaled(200, 1000, 1000),
    most_iterations=Scaled(200, 4000, 20_000),
    points=Field(2000, least=2),
    unseen_points=Field(1000, least=100),  # fewer might leave an end of the interval without any
)


@dataclass(frozen=True, kw_only=True)
class Setting(functions.FunctionSetting):
    """One function fitted by one network."""

    function: str = dimension()
    network: str = dimension()
    least_iterations: int
    most_iterations: int
    points: int = 2000
    unseen_points: int = 1000

    @property
    def cost(self) -> float:
        """Predicted seconds for one seed on one core."""
        return training_seconds(self.widths, self.points, self.most_iterations)


def settings(plan: Plan) -> Iterator[Setting]:
    """Every function with every network, whose widths follow from its number of hidden layers and the budget."""
    for values in functions.function_settings(plan):
        budget, depths = values.pop("budget"), {network: values.pop(network) for network in HIDDEN_LAYERS}
        yield Setting(widths=widths_for_budget(depths[values["network"]], 1, 1, budget), **values)


def measure(setting: Setting, run: Run) -> xr.Dataset:
    """Train one network per seed until its loss has converged, then try it on unseen points."""
    generators = [stream.numpy() for stream in run.streams("data", shared=True)]
    x, y = functions.draw_points(setting.function, setting.points, generators)
    samples = Samples.each(functions.to_samples(x, y))
    training = functions.start_training(setting, run, samples, run.streams("init"), setting.most_iterations)
    losses, stops, converged = functions.train_until(
        training,
        partial(has_converged, window=WINDOW, improvement=IMPROVEMENT),
        every=WINDOW,
        bounds=(setting.least_iterations, setting.most_iterations),
        run=run,
    )
    unseen_x, unseen_y = functions.draw_points(setting.function, setting.unseen_points, generators, ordered=True)
    predicted = functions.predict(training.population, unseen_x)
    variance, errors = y.var(axis=1), (predicted - unseen_y) ** 2
    size = size_and_divergence(training)
    # A network that has converged is trained on with the others, which does not count.
    size["diverged_at"] = np.where(size["diverged_at"] < stops, size["diverged_at"], np.nan)
    return run.dataset(
        size
        | {
            "iterations": stops.astype(float),
            "converged": converged.astype(float),
            "variance": variance,
            "final_loss": losses[np.arange(len(losses)), stops - 1].astype(float),
            "settled_at": settling_steps(losses, SETTLED * variance),
            "unseen_loss": errors.mean(axis=1),
            "unseen_r2": 1 - errors.mean(axis=1) / unseen_y.var(axis=1),
            "end_loss": _mean_where(errors, np.abs(unseen_x) > END),
            "middle_loss": _mean_where(errors, np.abs(unseen_x) <= MIDDLE),
            "loss": ("iteration", losses),
            "unseen_x": ("point", unseen_x.astype(np.float32)),
            "unseen_y": ("point", unseen_y.astype(np.float32)),
            "predicted": ("point", predicted.astype(np.float32)),
        },
        iteration=np.arange(losses.shape[1]),
    )


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, values, 0).sum(axis=1) / chosen.sum(axis=1)


VARIABLES = functions.VARIABLES | {
    "iterations": Variable("iterations trained"),
    "converged": Variable("1 if the loss converged before the cap, else 0", limits=SHARE),
    "variance": Variable("variance of the target on the training points"),
    "final_loss": Variable("MSE on the training points at the last iteration", log=True),
    "settled_at": Variable(f"first iteration from which the MSE stays below {100 * SETTLED:g} % of the variance"),
    "unseen_loss": Variable("MSE on unseen points", log=True),
    "unseen_r2": Variable("R² on unseen points: 1 - MSE / variance of the truth", limits=(-inf, 1)),
    "end_loss": Variable(f"MSE on unseen points with |x| > {END}", log=True),
    "middle_loss": Variable(f"MSE on unseen points with |x| <= {MIDDLE}", log=True),
    "unseen_x": Variable("unseen x, in ascending order"),
    "unseen_y": Variable("true value at unseen x"),
    "predicted": Variable("predicted value at unseen x"),
}


def _statistics(results: xr.Dataset) -> xr.Dataset:
    """Return the statistics of claims [function, network, seed].

    A network that never settles takes infinitely long, or at least as long as it trained.
    """
    trained, ends = results.diverged_at.isnull(), results.end_loss.reindex(network=list(HIDDEN_LAYERS))
    return xr.Dataset(
        {
            "final": results.final_loss / results.variance,
            "settled": results.settled_at.fillna(inf).where(trained),
            "settled_at_least": results.settled_at.fillna(results.iterations).where(trained),
            "ends": results.end_loss / results.middle_loss,
            "deeper": ends / ends.shift(network=-1),
        }
    )


statistic = partial(derived, _statistics)
AT_ARCSINH, AT_COS, AT_BOTH = {"function": "arcsinh"}, {"function": "cos"}, {"function": ["arcsinh", "cos"]}
NOT_DEEPEST = {"network": ["shallow", "medium"]}
WHEN_SETTLED = f"iteration from which the MSE stays below {100 * SETTLED:g} % of the variance"
ARCSINH, COS, BOTH = (Need("function", labels=labels) for labels in (("arcsinh",), ("cos",), ("arcsinh", "cos")))
REFERENCE = (
    Need("network", labels=tuple(HIDDEN_LAYERS)),
    *(
        Need("widths", equals=widths_for_budget(layers, 1, 1, BUDGET), where={"network": network})
        for network, layers in HIDDEN_LAYERS.items()
    ),
    Need("least_iterations", least=1000),
    Need("points", least=2000),
    *AS_IN_THE_REPORT,
)

CLAIMS = (
    reported(
        "C1. All models converge on both functions.",
        Test("final MSE / variance of the target", statistic("final", at=AT_BOTH), high=SETTLED, log=True),
        reading="“converge” means a final MSE below 5 % of the target's variance; when a training stops is another "
        "thing (Converged, among the definitions).",
        needs=(BOTH, *REFERENCE),
    ),
    reported(
        "C2. arcsinh converges by about 250 iterations, cos needs about 1,000.",
        Test(f"{WHEN_SETTLED}, arcsinh", statistic("settled", at=AT_ARCSINH), high=500),
        Test(f"{WHEN_SETTLED}, cos", statistic("settled", at=AT_COS), low=500, high=2000),
        Test(f"{WHEN_SETTLED}, cos minus arcsinh", statistic("settled_at_least", at=AT_COS, minus=AT_ARCSINH), low=0),
        reading="“converges” means that the loss stays below 5 % of the target's variance from then on, and “about” "
        "within a factor of two. The factor was chosen after results had been seen; before, only the difference was "
        "tested.",
        needs=(BOTH, *REFERENCE, Need("most_iterations", least=2000)),
    ),
    reported(
        "C3. All three networks predict unseen arcsinh well.",
        Test("R² on unseen points", Selection("unseen_r2", at={"function": "arcsinh"}), low=0.99),
        needs=(ARCSINH, *REFERENCE),
    ),
    reported(
        "C4. cos fails at the ends of the axis, not in the middle.",
        Test(f"MSE for |x| > {END} / MSE for |x| <= {MIDDLE}", statistic("ends", at=AT_COS), low=1, log=True),
        reading="“fails” means a larger error there than in the middle, however small; the table has both.",
        needs=(COS, *REFERENCE),
    ),
    reported(
        "C5. The deeper the model, the smaller that failure.",
        Test("end MSE / that of the next deeper", statistic("deeper", at=AT_COS | NOT_DEEPEST), low=1, log=True),
        needs=(COS, *REFERENCE),
    ),
)

EXPERIMENT = course_experiment(
    "function-fitting",
    "Does a deep network fit a function better than a shallow one with as many parameters?",
    settings,
    measure,
    design=DESIGN,
    title="E1. Function fitting",
    variables=VARIABLES,
    terms="Points, Networks, MSE, Converged, Settled, Final MSE, R², Ends and middle",
    claims=CLAIMS,
    figures=(charts.learning_curves_and_predictions,),
    tables=charts.TABLES,
)
