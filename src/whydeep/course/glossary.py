"""What the course's terms mean. Each is defined once; an experiment names those that it uses."""

from whydeep.course.function_training import END, IMPROVEMENT, INTERVAL, MIDDLE, SETTLED, WINDOW
from whydeep.instruments import EIGENVALUE_TOLERANCE, GRADIENT_FLAT, GRADIENT_TOLERANCE, ROUNDINGS
from whydeep.instruments.spikes import BASELINE, SMOOTHING

_FUNCTIONS = {
    "Points": f"x is drawn uniformly from {INTERVAL[0]:g} to {INTERVAL[1]:g}, for each seed anew.",
    "Networks": "widths are solved from a budget of parameters; each network is within 1 % of it.",
    "MSE": "the loss: mean squared error over all training points, before the update of each iteration. An iteration "
    "is one step of the optimiser on all points.",
    "Converged": f"the geometric mean of the loss over the last {WINDOW} iterations is less than {IMPROVEMENT:.0%} "
    f"below that of the {WINDOW} before: it falls no more, or has risen, as it does in spikes. A network trains until "
    "then, or up to the cap.",
    "Settled": f"first iteration from which the loss stays below {100 * SETTLED:g} % of the target's variance on the "
    "training points.",
    "Final MSE": "the loss of the last iteration, before its update. What is measured on unseen points is measured "
    "after it.",
    "R²": "1 - MSE / variance of the true values, on unseen points.",
    "Ends and middle": f"unseen points with |x| > {END}, and with |x| <= {MIDDLE}.",
    "Gradient norm": "Euclidean norm of the gradient of the loss, before the update of each iteration: of all weights "
    "and biases together, or of those of one layer.",
    "Gradient-norm excess": f"logarithm of the gradient norm over its running median of {BASELINE} iterations.",
    "Slope change": f"absolute second difference, between neighbouring windows of {SMOOTHING} iterations, of the "
    f"logarithm of the loss smoothed over {SMOOTHING} iterations.",
    "Alignment": "Spearman's rank correlation of excess and slope change over all iterations, minus its mean over all "
    "circular shifts of one against the other by at least a twentieth of the iterations. p is the share of shifts with "
    "a correlation at least as large.",
}

_TRAJECTORIES = {
    "Series": "one training from its own initial weights. The series of a seed share their training points.",
    "Parts": "second layer: its weights; whole network: all weights. Biases are left out, as in the course report.",
    "Principal components": "of all snapshots of all series of a seed together, about their mean.",
    "Random walk": "starts at the same weights and makes steps of the same lengths, in independent directions that "
    "are uniform on the sphere. A few components, along which it moves in smooth curves, explain most of a long one "
    "(Antognini and Sohl-Dickstein 2018).",
    "Directness": "distance from the first to the last snapshot / length of the path through all snapshots; 1 on a "
    "straight line. The null is its mean over random walks.",
    "Off-plane residual": "distance of a snapshot's weights and biases from the plane (with the mean biases) / their "
    "distance from the mean of all snapshots: 0 in the plane, 1 where the plane shows nothing of it.",
}

_CRITICAL_POINTS = {
    "Phase one": "the optimiser minimises the loss, all points at once, in single precision.",
    "Phase two": "the Levenberg-Marquardt method minimises the gradient norm, in double precision with the exact "
    "Hessian. A network that stays above the tolerance goes down the loss by 50 damped Newton steps (with the absolute "
    "eigenvalues; bent along valleys, for smooth networks), and is tried again: one cycle. How far that leads "
    "from where training ended is in the table from phase one to phase two.",
    "ReLU in phase two": f"corners are rounded to parabolas of half-width {ROUNDINGS[0]:g} to {ROUNDINGS[-1]:g}, and "
    "solved one after the other, so that the solver can settle on kinks. What is reported is measured with sharp "
    "corners.",
    "Tolerance": f"a norm of {GRADIENT_TOLERANCE:g} of the gradient of the mean squared error over all points, by all "
    "weights and biases.",
    "Critical point": f"gradient norm below the tolerance, and Frye's index at most {GRADIENT_FLAT}.",
    "Kink": f"the gradient norm is above the tolerance, but the input of some hidden unit is within {ROUNDINGS[-1]:g} "
    "of zero at a training point, so that the gradient jumps there, and the subgradient in which such units are on in "
    "part has a norm below the tolerance: a stationary point at which no gradient vanishes.",
    "Frye's index": "||H p + g|| / (||H||_F ||p|| + ||g||), where p = -H^+ g is the least-squares Newton step, and "
    f"eigenvalues within the eigenvalue tolerance count as zero. A point above {GRADIENT_FLAT} is gradient-flat: its "
    "gradient lies in the kernel of H (Frye et al. 2021).",
    "Minimal ratio": f"share of eigenvalues above the eigenvalue tolerance, {EIGENVALUE_TOLERANCE:g} of the largest "
    "absolute one. Strict: above exactly 0; every active ReLU has an eigenvalue of exactly zero by its rescaling "
    "symmetry, and rounding decides its sign.",
}

_IMAGES = {
    "Loss": "mean cross entropy over the whole training or test set, in nats, with the parameters that the network has "
    "at the time; not the average over the batches of an epoch.",
    "Accuracy": "share of images whose largest output is at the true class.",
    "Gap": "training minus test accuracy.",
    "Parameters": "weights and biases of all layers.",
    "Rank correlation": "Spearman's, over the networks of one seed.",
    "Last epochs": "the last {last_epochs} epochs, or all where there are fewer.",
    "Relative change": "exp(slope * n) - 1, where a straight line with this slope is fitted to the logarithm of the "
    "training loss over the last n epochs. The spread is the root mean square distance from that line.",
    "Random labels": "a share of the training labels (noise; where it is 1, all of them) is replaced by uniformly "
    "random classes, once, before training, for each seed anew. Some of these are right by chance, one in as many as "
    "there are classes. The test loss is measured with true labels and with random ones.",
    "Labels redrawn": "the control: labels are drawn again for every epoch. Training loss and accuracy are those with "
    "the labels of the epoch that has just ended.",
    "Training accuracy": "share of training images whose largest output is at the label that was trained on, however "
    "wrong that label is.",
    "No longer learn": "a training accuracy of {fitted:.0%} or more, or a rise of at most {still_learning:.1%} in the "
    "last tenth of the epochs.",
    "Slope": "of a straight line through the training loss after each epoch, over the second half of the epochs.",
    "Guessing": "equal probabilities for all classes: a loss of ln(number of classes), an accuracy of 1 / number of "
    "classes.",
    "Line": "networks whose weights and biases are (1 - alpha) times those of the first, trained with the learning "
    "rate, plus alpha times those of the second, trained with the second learning rate. They are evaluated on the test "
    "set and on a part of the training set.",
    "Initialisation": "different: the two networks start from weights of their own. Shared: from the same weights. "
    "Each sees the images in an order of its own.",
    "Barrier": "the greatest height, over alpha from 0 to 1, of the loss above the straight line between its values at "
    "0 and 1; 0 where the loss is nowhere above.",
    "Sensitivity": "Frobenius norm of the gradient of the loss of one image with respect to that image, averaged over "
    "all test images.",
    "Jacobian norm": "Frobenius norm of the derivative of all outputs, before the softmax, with respect to one image, "
    "averaged over all test images; after Novak et al. (2018), who take the probabilities.",
    "Sharpness": "100 * (greatest loss in a box - loss) / (1 + loss), on the first training images, where the box "
    "holds every weight w within epsilon * (|w| + 1): metric 2.1 of Keskar et al. (2017). The greatest loss is the "
    "greatest that random draws and projected gradient ascent reach, a lower bound. It depends on the scale of the "
    "weights (Dinh et al. 2017); here all networks are of one kind.",
    "Random subspace": "sharpness in the space of {directions} standard normal directions A, at most as many as "
    "parameters, with steps y in the box |y| <= epsilon * (|A^+ w| + 1), which moves weights further than the full box "
    "does: its values can be larger.",
    "Epochs": "networks of all batch sizes see every image equally often, so that large batches take fewer steps.",
}

TERMS = {**_FUNCTIONS, **_TRAJECTORIES, **_CRITICAL_POINTS, **_IMAGES}


def define(names: str, **numbers: float) -> dict[str, str]:
    """Return the definitions of terms, by name.

    Args:
        names: of the terms, separated by commas.
        numbers: take the place of what the definitions have in curly brackets.

    >>> define("Gap, Last epochs", last_epochs=10)
    {'Gap': 'training minus test accuracy.', 'Last epochs': 'the last 10 epochs, or all where there are fewer.'}
    """
    return {name: TERMS[name].format(**numbers) for name in names.split(", ")}
