"""Training of fully connected networks, compiled: many steps of many members, one member after the other.

A member's parameters and moments stay in the cache for as long as it trains, and no operation knows of other members:
a member has the same bits alone as among others. Signals lie features first, [unit, sample]. Large products are BLAS's,
on one thread; all else is loops, which Numba compiles for this processor when they are first called, and keeps on disk.

Not-a-number and infinite values are what they are elsewhere: of the fast mathematics of compilers only sums in another
order, products joined with sums, and division by way of the reciprocal are allowed.
"""

import math

import numpy as np
from numba import njit

from whydeep.population.updates import ADAM

compiled = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}, boundscheck=False
)

IDENTITY, RELU, TANH, SIGMOID, SOFTPLUS = range(5)
"""Activations."""
CROSS_ENTROPY, SQUARED_ERROR = range(2)
"""Losses."""
SMALL = 64
"""Up to so many weights, a product is a loop: calling BLAS would take longer."""

# tanh of float32 as a quotient of two polynomials in x, odd and even: at most 4 units in the last place from the true
# value, in a form that compilers turn into vector instructions (the approximation of Eigen's `ptanh`).
_TANH_LIMIT = np.float32(7.90531110763549805)
_ODD = tuple(
    map(
        np.float32,
        (
            -2.76076847742355e-16,
            2.00018790482477e-13,
            -8.60467152213735e-11,
            5.12229709037114e-08,
            1.48572235717979e-05,
            6.37261928875436e-04,
            4.89352455891786e-03,
        ),
    )
)
_EVEN = tuple(map(np.float32, (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)))
_TANH_LINEAR = np.float32(4e-4)


@compiled
def _tanh(z):
    """Overwrite float32 numbers with their tanh."""
    for i in range(z.size):
        x = z[i]
        if x > _TANH_LIMIT:
            x = _TANH_LIMIT
        if x < -_TANH_LIMIT:
            x = -_TANH_LIMIT
        y = x * x
        odd = _ODD[0]
        for k in range(1, 7):
            odd = odd * y + _ODD[k]
        even = _EVEN[0]
        for k in range(1, 4):
            even = even * y + _EVEN[k]
        value = x * odd / even
        z[i] = x if abs(x) < _TANH_LINEAR else value


@compiled
def _activate(z, activation):
    """Overwrite inputs of units [number] with their outputs."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    if activation == RELU:
        for i in range(z.size):
            z[i] = zero if z[i] <= zero else z[i]
    elif activation == TANH:
        if z.itemsize == 4:
            _tanh(z)
        else:
            for i in range(z.size):
                z[i] = math.tanh(z[i])
    elif activation == SIGMOID:
        for i in range(z.size):
            z[i] = one / (one + math.exp(-z[i]))
    elif activation == SOFTPLUS:
        for i in range(z.size):
            z[i] = math.log1p(math.exp(z[i])) if z[i] <= 20 else z[i]


@compiled
def _pull_through(d, a, activation):
    """Overwrite derivatives of the loss by outputs of units [number] with those by their inputs."""
    zero, one = d.dtype.type(0), d.dtype.type(1)
    if activation == RELU:
        for i in range(d.size):
            d[i] = zero if a[i] <= zero else d[i]
    elif activation == TANH:
        for i in range(d.size):
            d[i] *= one - a[i] * a[i]
    elif activation == SIGMOID:
        for i in range(d.size):
            d[i] *= a[i] * (one - a[i])
    elif activation == SOFTPLUS:
        for i in range(d.size):
            d[i] *= -math.expm1(-a[i])


@compiled
def _multiply(weight, signals, out):
    """Write weight [out, in] @ signals [in, sample]."""
    if weight.size > SMALL:
        np.dot(weight, signals, out)
        return
    for j in range(weight.shape[0]):
        row = out[j]
        row[:] = 0
        for i in range(weight.shape[1]):
            factor = weight[j, i]
            for s in range(row.size):
                row[s] += factor * signals[i, s]


@compiled
def _correlate(deltas, samples, out):
    """Write deltas [out, sample] @ samples [sample, in]: the gradient of weights."""
    if out.size > SMALL:
        np.dot(deltas, samples, out)
        return
    for j in range(out.shape[0]):
        row = deltas[j]
        for i in range(out.shape[1]):
            total = out.dtype.type(0)
            for s in range(row.size):
                total += row[s] * samples[s, i]
            out[j, i] = total


@compiled
def _cross_entropy(outputs, classes, deltas):
    """Write the derivative by the outputs [class, sample], and return the mean."""
    count, total = outputs.shape[1], 0.0
    share = outputs.dtype.type(1.0 / count)
    for s in range(count):
        largest = outputs[0, s]
        for k in range(1, outputs.shape[0]):
            largest = outputs[k, s] if outputs[k, s] > largest or outputs[k, s] != outputs[k, s] else largest
        sum_ = outputs.dtype.type(0)
        for k in range(outputs.shape[0]):
            deltas[k, s] = math.exp(outputs[k, s] - largest)
            sum_ += deltas[k, s]
        total += math.log(sum_) + largest - outputs[classes[s], s]
        for k in range(outputs.shape[0]):
            deltas[k, s] = deltas[k, s] / sum_ * share
        deltas[classes[s], s] -= share
    return total / count


@compiled
def _squared_error(outputs, values, deltas):
    """Write the derivative by the outputs [output, sample], values [sample, output], and return the mean."""
    count, total = outputs.size, 0.0
    factor = outputs.dtype.type(2.0 / count)
    for k in range(outputs.shape[0]):
        for s in range(outputs.shape[1]):
            difference = outputs[k, s] - values[s, k]
            total += difference * difference
            deltas[k, s] = factor * difference
    return total / count


@compiled
def _forward(p, net, signals, units):
    """Compute all layers of a member from its parameters [row], and return the outputs, [output, sample].

    Args:
        net: the network, see `compiled.Network`.
        signals: inputs [feature, sample].
        units: a buffer, for the outputs of all units one behind the other.
    """
    widths, weights, biases, starts, activation = net
    layers, count = len(widths) - 1, signals.shape[1]
    for layer in range(layers):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        weight = p[weights[layer] : weights[layer] + fan_in * fan_out].reshape(fan_out, fan_in)
        bias = p[biases[layer] : biases[layer] + fan_out]
        z = units[starts[layer] * count : (starts[layer] + fan_out) * count].reshape(fan_out, count)
        if layer == 0:
            _multiply(weight, signals, z)
        else:
            below = units[starts[layer - 1] * count : (starts[layer - 1] + fan_in) * count].reshape(fan_in, count)
            _multiply(weight, below, z)
        for j in range(fan_out):
            z[j] += bias[j]
        if layer < layers - 1:
            _activate(z.reshape(fan_out * count), activation)
    last = widths[layers]
    return units[starts[layers - 1] * count : (starts[layers - 1] + last) * count].reshape(last, count)


@compiled
def _backward(p, g, net, samples, units, deltas):
    """Write the gradients [row] of a member, from its units and the derivatives by its outputs, the last of deltas.

    Args:
        samples: inputs [sample, feature].
        deltas: a buffer like `units`.
    """
    widths, weights, biases, starts, activation = net
    layers, count = len(widths) - 1, samples.shape[0]
    for layer in range(layers - 1, -1, -1):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        size, start = fan_in * fan_out, starts[layer]
        delta = deltas[start * count : (start + fan_out) * count].reshape(fan_out, count)
        gradient = g[weights[layer] : weights[layer] + size].reshape(fan_out, fan_in)
        for j in range(fan_out):
            total = g.dtype.type(0)
            for s in range(count):
                total += delta[j, s]
            g[biases[layer] + j] = total
        if layer == 0:
            _correlate(delta, samples, gradient)
        else:
            start = starts[layer - 1]
            a = units[start * count : (start + fan_in) * count]
            d = deltas[start * count : (start + fan_in) * count]
            _correlate(delta, a.reshape(fan_in, count).T, gradient)
            weight = p[weights[layer] : weights[layer] + size].reshape(fan_out, fan_in)
            _multiply(weight.T, delta, d.reshape(fan_in, count))
            _pull_through(d, a, activation)


@compiled
def _loss_and_gradient(p, g, net, loss, signals, samples, classes, values, units, deltas):
    """Write the gradient of a member, and return its loss; inputs are given twice, features and samples first."""
    outputs = _forward(p, net, signals, units)
    _, _, _, starts, _ = net
    start, count = starts[len(starts) - 1], outputs.shape[1]
    end = deltas[start * count : (start + outputs.shape[0]) * count].reshape(outputs.shape)
    value = _cross_entropy(outputs, classes, end) if loss == CROSS_ENTROPY else _squared_error(outputs, values, end)
    _backward(p, g, net, samples, units, deltas)
    return value


@compiled
def _gather_inputs(inputs, order, samples):
    """Copy the inputs of a batch, one behind the other."""
    for s in range(samples.shape[0]):
        source, target = inputs[order[s]], samples[s]
        for feature in range(target.size):  # twice as fast as an assignment of the row
            target[feature] = source[feature]


@compiled
def _gather(inputs, classes, values, order, samples, own_classes, own_values):
    """Copy the samples of a batch, one behind the other."""
    _gather_inputs(inputs, order, samples)
    for s in range(own_classes.size):
        own_classes[s] = classes[order[s]]
    for s in range(own_values.shape[0]):
        own_values[s] = values[order[s]]


@compiled
def _scale(g, clip):
    """Return the factor that makes a gradient no longer than `clip`."""
    total = 0.0
    for i in range(g.size):
        total += float(g[i]) * float(g[i])
    factor = clip / (math.sqrt(total) + 1e-6)
    return 1.0 if factor > 1.0 else factor  # not-a-number stays


@compiled
def _adam(p, g, m, v, rate, step, rule):
    """Take a step of Adam or AdamW, with the semantics of PyTorch's."""
    _, beta1, beta2, epsilon, decay, decoupled, _, clip = rule
    kind = p.dtype.type
    scale = kind(_scale(g, clip)) if clip > 0 else kind(1)
    keep = kind(1 - rate * decay) if decoupled else kind(1)
    penalty = kind(0) if decoupled else kind(decay)
    size = kind(rate / (1 - beta1**step))
    root = kind(1 / math.sqrt(1 - beta2**step))
    toward, second, rest, least = kind(1 - beta1), kind(beta2), kind(1 - beta2), kind(epsilon)
    for i in range(p.size):
        x = p[i]
        slope = g[i] * scale
        if penalty != 0:  # an infinite parameter times 0 is not a number
            slope += penalty * x
        x *= keep
        first_moment = m[i] + toward * (slope - m[i])
        second_moment = second * v[i] + rest * slope * slope
        m[i] = first_moment
        v[i] = second_moment
        p[i] = x - size * first_moment / (math.sqrt(second_moment) * root + least)


@compiled
def _sgd(p, g, velocity, rate, rule):
    """Take a step of gradient descent, with the semantics of PyTorch's; without momentum, velocity is empty."""
    _, momentum, _, _, decay, _, nesterov, clip = rule
    kind = p.dtype.type
    scale = kind(_scale(g, clip)) if clip > 0 else kind(1)
    kept, penalty, step = kind(momentum), kind(decay), kind(rate)
    if velocity.size == 0:
        for i in range(p.size):
            slope = g[i] * scale
            if penalty != 0:
                slope += penalty * p[i]
            p[i] -= step * slope
        return
    for i in range(p.size):
        slope = g[i] * scale
        if penalty != 0:
            slope += penalty * p[i]
        moved = kept * velocity[i] + slope
        velocity[i] = moved
        p[i] -= step * (slope + kept * moved if nesterov else moved)


@compiled
def update(parameters, gradients, first, second, rates, step, rule):
    """Take a step of every member: arrays [member, row], rates [member], `step` from 1; see `optimizers.Rule`."""
    for member in range(parameters.shape[0]):
        _update(parameters[member], gradients[member], first[member], second[member], rates[member], step, rule)


@compiled
def _update(p, g, m, v, rate, step, rule):
    if rule[0] == ADAM:
        _adam(p, g, m, v, rate, step, rule)
    else:
        _sgd(p, g, m, rate, rule)


@compiled
def losses_and_gradients(parameters, gradients, net, loss, data, orders, losses):
    """Write every member's gradient [member, row] and loss [member].

    Args:
        data: inputs [1 or member, sample, feature], classes [1 or member, sample] and values [1 or member, sample,
            output], of which those that the loss does not need are empty.
        orders: [member, sample] which samples each member sees.
    """
    inputs, classes, values = data
    count = orders.shape[1]
    units, deltas, batch = _buffers(parameters, net, data, count)
    for member in range(parameters.shape[0]):
        samples, own_classes, own_values = batch
        x, c, y = _own(inputs, member), _own(classes, member), _own(values, member)
        _gather(x, c, y, orders[member], samples, own_classes, own_values)
        losses[member] = _loss_and_gradient(
            parameters[member], gradients[member], net, loss, samples.T, samples, own_classes, own_values, units, deltas
        )


@compiled
def _own(arrays, member):
    """Return a member's own array, or the one that all share."""
    return arrays[member if arrays.shape[0] > 1 else 0]


@compiled
def _buffers(parameters, net, data, count):
    """Make the buffers for batches of up to so many samples."""
    inputs, classes, values = data
    widths, _, _, starts, _ = net
    numbers = (starts[len(starts) - 1] + widths[len(widths) - 1]) * count
    units, deltas = np.empty(numbers, parameters.dtype), np.empty(numbers, parameters.dtype)
    batch = (
        np.empty((count, inputs.shape[2]), parameters.dtype),
        np.empty(count if classes.shape[1] else 0, classes.dtype),
        np.empty((count if values.shape[1] else 0, values.shape[2]), parameters.dtype),
    )
    return units, deltas, batch


@compiled
def train(first, last, rows, net, loss, data, orders, count, rates, start, rule, losses):
    """Take steps of the members from `first` to before `last`, on batches of one size.

    Args:
        rows: parameters, gradients and two moments [member, row].
        data: see `losses_and_gradients`.
        orders: [step, member, sample].
        count: how many samples a batch has: the first of an order.
        rates: [step, member].
        start: steps that were taken before.
        losses: [step, member], written.
    """
    parameters, gradients, firsts, seconds = rows
    inputs, classes, values = data
    units, deltas, batch = _buffers(parameters, net, data, count)
    samples, own_classes, own_values = batch
    for member in range(first, last):
        p, g, m, v = parameters[member], gradients[member], firsts[member], seconds[member]
        x, c, y = _own(inputs, member), _own(classes, member), _own(values, member)
        for step in range(orders.shape[0]):
            _gather(x, c, y, orders[step, member], samples, own_classes, own_values)
            losses[step, member] = _loss_and_gradient(
                p, g, net, loss, samples.T, samples, own_classes, own_values, units, deltas
            )
            _update(p, g, m, v, rates[step, member], start + step + 1, rule)


@compiled
def train_on_all(first, last, rows, net, loss, data, columns, rates, start, rule, losses):
    """Take steps of the members from `first` to before `last`, on all samples.

    Args:
        columns: inputs, features first [1 or member, feature, sample].
        others: see `train`.
    """
    parameters, gradients, firsts, seconds = rows
    inputs, classes, values = data
    units, deltas, _ = _buffers(parameters, net, data, inputs.shape[1])
    for member in range(first, last):
        p, g, m, v = parameters[member], gradients[member], firsts[member], seconds[member]
        x, z = _own(columns, member), _own(inputs, member)
        c, y = _own(classes, member), _own(values, member)
        for step in range(rates.shape[0]):
            losses[step, member] = _loss_and_gradient(p, g, net, loss, x, z, c, y, units, deltas)
            _update(p, g, m, v, rates[step, member], start + step + 1, rule)


@compiled
def outputs(parameters, net, inputs, start, count, out):
    """Write outputs [member, output, slot] of all members for `count` samples from `start` on.

    Slots beyond these stay as they are.
    """
    widths, _, _, starts, _ = net
    units = np.empty((starts[len(starts) - 1] + widths[len(widths) - 1]) * count, parameters.dtype)
    for member in range(parameters.shape[0]):
        signals = _own(inputs, member)[start : start + count].T
        out[member, :, :count] = _forward(parameters[member], net, signals, units)
