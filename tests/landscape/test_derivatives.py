"""What PyTorch differentiates wrongly, or otherwise than to the derivative, is refused; all else is measured."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from cases import integers, normal, reference, seeded, values
from whydeep.errors import SettingError
from whydeep.instruments import hessian_trace, input_sensitivity, top_eigenvalues
from whydeep.landscape import Landscape
from whydeep.population import Population

SAMPLES, FEATURES, OUTPUTS = 6, 4, 2
ENGINES = ("vmap", "one-by-one")

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # of what vmap takes point by point


class Head(nn.Module):
    """A module, a function of what it returns, and a linear layer on that."""

    def __init__(self, inner, features, function=torch.tanh):
        super().__init__()
        self.inner, self.function, self.head = inner, function, nn.Linear(features, OUTPUTS)

    def forward(self, x):
        outputs = self.function(self.inner(x))
        return self.head(outputs.reshape(len(outputs), -1))


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, OUTPUTS)

    def forward(self, x):
        return functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x)).mean(1)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.TransformerDecoderLayer(4, 2, 8, batch_first=True), nn.Linear(12, OUTPUTS)

    def forward(self, x):
        return self.head(self.layer(x, x).flatten(1))


class Checkpointed(nn.Module):
    """Computes its layers again on the way back: with the parameters of the point, not with those of the template."""

    def __init__(self):
        super().__init__()
        self.layers = between(nn.Tanh())

    def forward(self, x):
        return checkpoint(self.layers, x, use_reentrant=False)


class ReferredToTwice(nn.Module):
    """Has its weights in a list as well."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 5), nn.Linear(5, OUTPUTS)
        self.weights = [self.first.weight, self.second.weight]

    def forward(self, x):
        return torch.tanh(x @ self.weights[0].T + self.first.bias) @ self.weights[1].T + self.second.bias


def between(activation):
    return nn.Sequential(nn.Linear(FEATURES, 5), activation, nn.Linear(5, OUTPUTS))


def parametrised(make, **options):
    return nn.Sequential(make(nn.Linear(FEATURES, 5), **options), nn.Tanh(), nn.Linear(5, OUTPUTS))


def last(outputs):
    return outputs[0][:, -1]


def old_weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return parametrised(nn.utils.weight_norm)


SEQUENCES, IMAGES = normal(SAMPLES, 3, 4), normal(SAMPLES, 2, 6, 6)
ZOO = {  # name -> how to build it, inputs (flat ones without), and whether vmap takes it
    **{
        name: (lambda name=name: between(getattr(nn, name)()), None, True)
        for name in ("GELU", "Mish", "Hardtanh", "PReLU", "LogSigmoid")
    },
    "group norm": (lambda: Head(nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6)), 6), None, True),
    "RMS norm": (lambda: between(nn.RMSNorm(5)), None, True),
    "instance norm": (
        lambda: Head(nn.Sequential(nn.Conv1d(3, 2, 2), nn.InstanceNorm1d(2, affine=True)), 6), SEQUENCES, True
    ),
    "transposed convolution": (lambda: Head(nn.ConvTranspose2d(2, 1, 3, stride=2), 169), IMAGES, True),
    "max pooling": (lambda: Head(nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2)), 8), IMAGES, True),
    "upsampling": (lambda: Head(nn.Sequential(nn.Conv2d(2, 1, 3), nn.Upsample(scale_factor=2, mode="bicubic")), 64), IMAGES, True),
    "rnn": (lambda: Head(nn.RNN(4, 3, batch_first=True), 3, last), SEQUENCES, False),
    "gru": (lambda: Head(nn.GRU(4, 2, num_layers=2, bidirectional=True, batch_first=True), 4, last), SEQUENCES, False),
    "lstm": (lambda: Head(nn.LSTM(4, 3, batch_first=True), 3, last), SEQUENCES, False),
    "gru cell": (lambda: Head(nn.GRUCell(4, 3), 3), None, True),
    "attention": (CrossAttention, SEQUENCES, True),
    "decoder": (Decoder, SEQUENCES, True),
    "spectral norm": (lambda: parametrised(parametrizations.spectral_norm), None, True),
    "old spectral norm": (lambda: parametrised(nn.utils.spectral_norm), None, True),
    "orthogonal": (lambda: parametrised(parametrizations.orthogonal), None, True),
    "weight norm of a whole layer": (lambda: parametrised(parametrizations.weight_norm, dim=None), None, True),
    "normalised": (lambda: Head(nn.Linear(4, 5), 5, functional.normalize), None, True),
    "eigenvalues": (lambda: Head(nn.Linear(4, 4), 2, lambda y: torch.linalg.svdvals(y.view(-1, 2, 2))), None, True),
    "checkpointed": (Checkpointed, None, False),
}  # fmt: skip


def case_of(build, inputs=None):
    case = values(build)
    given = normal(SAMPLES, FEATURES) if inputs is None else inputs
    return type(case)(case.module, given, normal(SAMPLES, OUTPUTS, seed=3), functional.mse_loss, functional.mse_loss)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ZOO)
def test_modules_of_all_kinds_equal_the_dense_reference(name, engine):
    """At the module's own parameters and elsewhere; what vmap does not take is refused."""
    build, inputs, vectorised = ZOO[name]
    case = case_of(build, inputs)
    if engine == "vmap" and not vectorised:
        with pytest.raises(SettingError, match=r"cannot be computed for all points at once"):
            Landscape(case.module, case.data, case.objective, engine=engine).gradients()
        return
    landscape = Landscape(case.module, case.data, case.objective, engine=engine)
    elsewhere = landscape.points() + 0.1 * normal(1, landscape.size)
    for point in (landscape.points(), elsewhere):
        moved = seeded(build)
        nn.utils.vector_to_parameters(point[0], moved.parameters())
        expected = reference(case, module=moved)
        directions = normal(1, 2, landscape.size, seed=9)
        found = (landscape.losses(point)[0], landscape.gradients(point)[0], landscape.products(directions, point)[0])
        for part, whole in zip(found, (*expected[:2], directions[0] @ expected[2]), strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-10, atol=1e-11)
    assert input_sensitivity(landscape).loss_gradient > 0


def test_weights_that_are_referred_to_twice():
    """`functional_call` would put others in place of the attributes alone; one by one, the point is written to them."""
    case = case_of(ReferredToTwice)
    plain = case_of(lambda: between(nn.Tanh()))
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(case.module.parameters()), plain.module.parameters())
    landscape = Landscape(case.module, case.data, case.objective, engine="one-by-one")
    for found, expected in zip(landscape.expand(), reference(plain), strict=True):
        torch.testing.assert_close(found[0], expected, rtol=1e-10, atol=1e-11)
    with pytest.raises(SettingError, match="ReferredToTwice computes with parameters that are not among its own"):
        Landscape(case.module, case.data, case.objective, engine="vmap")


# -- what is refused --------------------------------------------------------------------------------------------------


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.sign(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class SquareOfWhatWasKept(torch.autograd.Function):
    """Right, and differentiated as if what was kept were constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = x.detach()
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.kept * gradient


class SquareOnce(SquareOfWhatWasKept):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.kept * gradient


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def reversed_gradient(x):
    if x.requires_grad:
        x.register_hook(lambda gradient: -gradient)
    return x


def rounded_forward(x):
    return x + (torch.round(4 * x) / 4 - x).detach()


def backward_hook():
    net = between(nn.Tanh())
    net[1].register_full_backward_hook(lambda module, inputs, outputs: (2 * inputs[0],))
    return net


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, OUTPUTS)

    def forward(self, x):
        return self.out(torch.tanh(self.embedding(x)).mean(1))


WRONG_GRADIENTS = {  # name -> how to build it, the parameters that are named, inputs, engines
    "straight through": (lambda: between(Function(Sign.apply)), "0.weight, 0.bias", None, ("one-by-one",)),
    "straight through, detached": (lambda: between(Function(rounded_forward)), "0.weight, 0.bias", None, ENGINES),
    "detached gate": (lambda: between(Function(lambda x: x * torch.sigmoid(x).detach())), "0.weight, 0.bias", None, ENGINES),
    "reversed gradient": (lambda: between(Function(reversed_gradient)), "0.weight, 0.bias", None, ENGINES),
    "backward hook": (backward_hook, "0.weight, 0.bias", None, ("one-by-one",)),
    "padding": (Padded, "embedding.weight", integers(5, SAMPLES, 4), ENGINES),
}  # fmt: skip
WRONG_PRODUCTS = {
    "weight norm": (lambda: parametrised(parametrizations.weight_norm), r"0.parametrizations.weight.original1", ENGINES),
    "old weight norm": (old_weight_norm, "0.weight_v", ENGINES),
    "weight norm of a convolution": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 4)), parametrizations.weight_norm(nn.Conv1d(1, 2, 2)), nn.Flatten(), nn.Linear(6, OUTPUTS)
        ),
        "1.parametrizations.weight.original1", ENGINES,
    ),
    "kept": (lambda: between(Function(SquareOfWhatWasKept.apply)), "0.weight, 0.bias", ("one-by-one",)),
    "once": (lambda: between(Function(SquareOnce.apply)), "0.weight, 0.bias, 2.weight and 1 more", ("one-by-one",)),
}  # fmt: skip


def pairs(cases):
    return pytest.mark.parametrize(("name", "engine"), [(name, e) for name, case in cases.items() for e in case[-1]])


def landscape_of(build, engine, inputs=None, **settings):
    case = case_of(build, inputs)
    return Landscape(case.module, case.data, case.objective, engine=engine, **settings)


@pairs(WRONG_GRADIENTS)
def test_gradients_that_are_no_derivatives(name, engine):
    build, names, inputs, _ = WRONG_GRADIENTS[name]
    message = rf"^the gradient of \w+ by {names} is not the derivative of its loss, as with .*parameters=\.\.\.$"
    landscape = landscape_of(build, engine, inputs)
    assert landscape.losses().isfinite().all()
    for _ in range(2):
        for measure in (landscape.gradients, landscape.hessians, lambda: top_eigenvalues(landscape)):
            with pytest.raises(SettingError, match=message):
                measure()
    if inputs is None:
        with pytest.raises(SettingError, match="by its inputs is not the derivative of its loss"):
            landscape.input_derivatives()
    others = landscape_of(build, engine, inputs, parameters=landscape.names[-2:])  # above
    others.hessians()
    population = Population([case_of(build).module] * 2)
    with pytest.raises(
        SettingError, match=r"cannot be computed for all points at once|is not the derivative of its loss"
    ):
        Landscape(population, landscape_data(inputs), functional.mse_loss).gradients()


def landscape_data(inputs):
    return normal(SAMPLES, FEATURES) if inputs is None else inputs, normal(SAMPLES, OUTPUTS, seed=3)


@pairs(WRONG_PRODUCTS)
def test_second_derivatives_that_are_wrong(name, engine):
    build, names, _ = WRONG_PRODUCTS[name]
    message = (
        rf"^the second derivatives of Sequential by {names} are wrong as PyTorch computes them.*parameters=\.\.\.$"
    )
    landscape = landscape_of(build, engine)
    expected = reference(case_of(build))[1] if "old" not in name else landscape.gradients()[0]
    torch.testing.assert_close(landscape.gradients()[0], expected)  # gradients alone are right, and not refused
    for measure in (landscape.hessians, lambda: hessian_trace(landscape), lambda: top_eigenvalues(landscape)):
        with pytest.raises(SettingError, match=message):
            measure()


def test_what_weight_norm_would_have_given():
    """The reason for the check: PyTorch's Hessian is not symmetric. Should it be mended, this fails."""
    hessian = reference(case_of(WRONG_PRODUCTS["weight norm"][0]))[2]
    assert (hessian - hessian.mT).abs().max() > 1e-3 * hessian.abs().max()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frozen_part_under_no_grad_has_no_gradient_by_the_inputs(engine):
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.out = nn.Linear(FEATURES, 3).requires_grad_(False), nn.Linear(3, OUTPUTS)

        def forward(self, x):
            with torch.no_grad():
                features = torch.tanh(self.features(x))
            return self.out(features)

    landscape = landscape_of(Frozen, engine)
    torch.testing.assert_close(landscape.gradients()[0], reference(case_of(Frozen))[1])
    with pytest.raises(SettingError, match="the gradient of Frozen by its inputs is not the derivative of its loss"):
        input_sensitivity(landscape)


# -- what is not refused by mistake -----------------------------------------------------------------------------------

KINKED = {
    "deep": lambda: nn.Sequential(*[layer for _ in range(7) for layer in (nn.Linear(FEATURES, FEATURES), nn.ReLU())], nn.Linear(FEATURES, 2)),
    "wide": lambda: nn.Sequential(nn.Linear(FEATURES, 300), nn.ReLU(), nn.Linear(300, 300), nn.Hardtanh(), nn.Linear(300, 2)),
    "in single precision inside": lambda: nn.Sequential(nn.Linear(FEATURES, 9), Function(lambda x: torch.relu(x.float()).double()), nn.Linear(9, 2)),
}  # fmt: skip
LOSSES = {
    "squares": functional.mse_loss,
    "distances": functional.l1_loss,
    "classes": lambda o, t: functional.cross_entropy(o, t.argmax(1)),
    "constant": lambda o, t: 0 * o.mean(),
}


@pytest.mark.parametrize("scale", [1e-3, 10.0])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", KINKED)
def test_kinks_and_rounding_are_no_wrong_derivatives(name, loss, fitted, scale):
    """At zero biases and inputs, where units lie on their kinks, and where the loss is zero."""
    module = seeded(KINKED[name])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale if parameter.ndim > 1 else 0)
    inputs = normal(20, FEATURES).clamp_min(0)
    inputs[::3] = 0
    targets = module(inputs).detach() if fitted else normal(20, 2, seed=3)
    for dtype in (torch.float64, torch.float32) if "single" not in name else (torch.float64,):
        landscape = Landscape(module, (inputs, targets), LOSSES[loss], engine="one-by-one", dtype=dtype)
        landscape.products(normal(1, landscape.size))
        landscape.input_derivatives()


@pytest.mark.parametrize("engine", ENGINES)
def test_checks_cost_nothing_before_they_are_needed_and_once_after(engine):
    landscape = landscape_of(lambda: between(nn.GELU()), engine)
    called = []
    compute = landscape._engine.products
    landscape._engine.products = lambda *given: called.append(1) or compute(*given)
    landscape.losses(), landscape.gradients()
    assert not called
    directions = normal(1, landscape.size)
    landscape.products(directions)
    first = len(called)
    assert first > 1
    landscape.products(directions), landscape.select([0]).products(directions)
    assert len(called) == first + 2


@pytest.mark.parametrize("engine", ENGINES)
def test_checks_draw_from_no_generator_of_pytorch(engine):
    state = torch.random.get_rng_state()
    landscape = landscape_of(lambda: between(nn.GELU()), engine)
    landscape.hessians(), landscape.input_derivatives()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_member_that_diverged_hides_nothing():
    """The first one that is finite is tried."""
    modules = [seeded(WRONG_PRODUCTS["weight norm"][0], seed) for seed in range(2)]
    with torch.no_grad():
        modules[0][2].bias.fill_(torch.nan)
    landscape = Landscape(Population(modules), landscape_data(None), functional.mse_loss)
    with pytest.raises(SettingError, match="are wrong as PyTorch computes them"):
        landscape.products(normal(2, landscape.size))
