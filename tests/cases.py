"""Networks with data and losses that all instruments are tested on, and a slow, obvious reference for them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from whydeep.landscape import Landscape
from whydeep.networks import MLP
from whydeep.networks.rounding import rounded
from whydeep.population import CrossEntropy, MeanSquaredError, Population, Samples

SAMPLES = 13
FEATURES, CLASSES = 3, 4


@dataclass(frozen=True)
class Case:
    """A network in float64 with a data set, the objective that a landscape is given, and the same loss in plain torch."""

    module: nn.Module
    inputs: Tensor
    targets: Tensor
    objective: object
    loss: Callable[[Tensor, Tensor], Tensor]
    closed: bool = False

    @property
    def data(self):
        return self.inputs, self.targets


# -- networks that are no stack of layers ------------------------------------------------------------------


class Tied(nn.Module):
    """An encoder and a decoder that share their weight."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


class Words(nn.Module):
    """A bag of embedded integers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(6, 3), nn.Linear(3, CLASSES)

    def forward(self, x):
        return self.out(torch.tanh(self.embedding(x)).mean(1))


class Attention(nn.Module):
    """A transformer encoder layer with a linear head."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, dim_feedforward=3, dropout=0.1, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.encoder(x).mean(1))


class ScalarProduct(nn.Module):
    """Two scalars x and y: outputs x y times the input. With input 1 and target 1 the loss is (1 - x y)^2 / 2."""

    def __init__(self, x=0.7, y=-0.4):
        super().__init__()
        self.x, self.y = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (x, y))

    def forward(self, inputs):
        return inputs * (self.x * self.y)


class QuadraticForm(nn.Module):
    """x . A x / 2 for a vector of parameters x and a matrix A that is the input: the Hessian is the mean of the A."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(x)

    def forward(self, inputs):
        return ((inputs @ self.x) * self.x).sum(-1) / 2


def half_squared(outputs, targets):
    return (outputs - targets).square().mean() / 2


def smoothed(outputs, targets):
    return functional.cross_entropy(outputs, targets, label_smoothing=0.2)


def mean_output(outputs, targets):
    return outputs.mean()


# -- the table ---------------------------------------------------------------------------------------------


def seeded(build, seed=0, dtype=torch.float64):
    """Build a module from a seed; biases that start at zero are moved, so that nothing is symmetric by chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build().to(dtype)
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter), alpha=0.3)
        return module


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def integers(high, *shape, seed=2):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def classes(
    build,
    *,
    closed=False,
    inputs=None,
    number=CLASSES,
    objective=functional.cross_entropy,
    loss=functional.cross_entropy,
):
    inputs = normal(SAMPLES, FEATURES) if inputs is None else inputs
    return Case(seeded(build), inputs, integers(number, len(inputs)), objective, loss, closed=closed)


def values(build, *, closed=False, outputs=2, objective=functional.mse_loss, loss=functional.mse_loss, probable=False):
    targets = normal(SAMPLES, outputs, seed=3)
    return Case(
        seeded(build), normal(SAMPLES, FEATURES), targets.softmax(1) if probable else targets, objective, loss, closed
    )


def between(activation, widths=(FEATURES, 4, 3, CLASSES)):
    """A stack with any activation module between its linear layers."""
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation()]
    return nn.Sequential(*layers[:-1])


def convolution():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)
    )
    net[1].running_mean.copy_(torch.tensor([0.3, -0.2]))
    net[1].running_var.copy_(torch.tensor([0.5, 2.0]))
    return net


def frozen():
    net = MLP((FEATURES, 4, 3, CLASSES), "tanh")
    net.linear2.requires_grad_(False)
    net.linear3.bias.requires_grad_(False)
    return net


def tied_stack():
    net = between(nn.Tanh, (3, 3, 3, 2))
    net[2].weight = net[0].weight
    return net


CASES: dict[str, Callable[[], Case]] = {
    **{
        f"mlp {name}": lambda name=name: classes(lambda: MLP((FEATURES, 4, 3, CLASSES), name), closed=True)
        for name in ("relu", "tanh", "sigmoid", "softplus")
    },
    "mlp values": lambda: values(lambda: MLP((FEATURES, 5, 2), "sigmoid"), closed=True),
    "mlp narrow": lambda: values(lambda: MLP((FEATURES, 1, 1, 2), "tanh"), closed=True),
    "mlp CrossEntropy": lambda: classes(
        lambda: MLP((FEATURES, 4, CLASSES), "tanh"), closed=True, objective=CrossEntropy()
    ),
    "mlp MeanSquaredError": lambda: values(
        lambda: MLP((FEATURES, 4, 2), "tanh"), closed=True, objective=MeanSquaredError()
    ),
    "nn.CrossEntropyLoss": lambda: classes(
        lambda: MLP((FEATURES, 4, CLASSES), "tanh"), closed=True, objective=nn.CrossEntropyLoss()
    ),
    "nn.MSELoss": lambda: values(lambda: MLP((FEATURES, 4, 2), "tanh"), closed=True, objective=nn.MSELoss()),
    "smoothed labels": lambda: classes(
        lambda: MLP((FEATURES, 4, CLASSES), "tanh"), objective=nn.CrossEntropyLoss(label_smoothing=0.2), loss=smoothed
    ),
    "probabilities": lambda: values(
        lambda: MLP((FEATURES, 4, 2), "tanh"), objective=CrossEntropy(), loss=functional.cross_entropy, probable=True
    ),
    "rounded relu": lambda: classes(
        lambda: rounded(MLP((FEATURES, 6, 5, CLASSES)), 0.8), closed=True, inputs=normal(SAMPLES, FEATURES)
    ),
    "relu in place": lambda: classes(lambda: between(lambda: nn.ReLU(inplace=True)), closed=True),
    "softplus beta": lambda: classes(lambda: between(lambda: nn.Softplus(beta=2.5, threshold=1.5)), closed=True),
    "deep linear": lambda: values(lambda: between(nn.Identity, (FEATURES, 4, 2)), closed=True),
    "single layer": lambda: values(lambda: MLP((FEATURES, 2)), closed=True),
    "softmax regression": lambda: classes(lambda: nn.Sequential(nn.Linear(FEATURES, CLASSES)), closed=True),
    "flattened": lambda: classes(
        lambda: nn.Sequential(nn.Flatten(), *between(nn.Tanh, (6, 3, CLASSES))), closed=True, inputs=normal(9, 2, 3)
    ),
    "frozen": lambda: classes(frozen, closed=True),
    "own loss": lambda: values(lambda: MLP((FEATURES, 4, 2), "tanh"), objective=half_squared, loss=half_squared),
    "tied": lambda: values(Tied, outputs=3),
    "tied stack": lambda: values(tied_stack),
    "convolution": lambda: classes(convolution, inputs=normal(SAMPLES, 1, 3, 3), number=3),
    "words": lambda: classes(Words, inputs=integers(6, SAMPLES, 5)),
    "attention": lambda: classes(Attention, inputs=normal(7, 3, 4), number=2),
    "scalars": lambda: Case(ScalarProduct(), torch.ones(3, 1), torch.ones(3, 1), half_squared, half_squared),
    "quadratic": lambda: Case(QuadraticForm(normal(5)), normal(4, 5, 5), torch.zeros(4), mean_output, mean_output),
}

PAIRS = [
    (name, engine) for name, make in CASES.items() for engine in ("auto", "closed-form", "vmap", "one-by-one")
    if engine != "closed-form" or make().closed
]  # fmt: skip


# -- the reference -----------------------------------------------------------------------------------------


def reference(case, names=None, module=None, inputs=None, targets=None):
    """Loss, gradient [size] and Hessian [size, size] of the mean loss over all samples together, in float64.

    `names`: of the parameters that vary; without them, those that are not frozen. What is given replaces the case's.
    """
    module = copy.deepcopy(case.module if module is None else module).double().eval()
    inputs, targets = case.inputs if inputs is None else inputs, case.targets if targets is None else targets
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    targets = targets.double() if targets.is_floating_point() else targets
    varied = {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if (parameter.requires_grad if names is None else name in names)
    }

    def mean_loss(vector):
        parts = vector.split([part.numel() for part in varied.values()])
        moved = {name: part.view(varied[name].shape) for name, part in zip(varied, parts, strict=True)}
        return case.loss(functional_call(module, moved, (inputs,)), targets)

    start = torch.cat([part.flatten() for part in varied.values()])
    with sdpa_kernel(SDPBackend.MATH):
        return (
            mean_loss(start).detach(),
            torch.autograd.functional.jacobian(mean_loss, start),
            torch.autograd.functional.hessian(mean_loss, start),
        )


# -- landscapes whose Hessian is known ---------------------------------------------------------------------


def quadratic(*matrices, start=None):
    """The landscape of x . A x / 2 at `start`; of a population, each member with its own A, if several are given."""
    size = len(matrices[0])
    modules = [QuadraticForm(normal(size) if start is None else start.clone()) for _ in matrices]
    if len(matrices) == 1:
        return Landscape(modules[0], (matrices[0].unsqueeze(0), torch.zeros(1)), mean_output)
    samples = Samples(torch.stack(matrices).unsqueeze(1), torch.zeros(1), own_inputs=True)
    return Landscape(Population(modules), samples, mean_output)


def symmetric(size, seed=0):
    """A random symmetric matrix."""
    matrix = normal(size, size, seed=seed)
    return (matrix + matrix.mT) / 2


def with_spectrum(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    basis = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed=seed)).Q
    matrix = basis * eigenvalues @ basis.mT
    return (matrix + matrix.mT) / 2
