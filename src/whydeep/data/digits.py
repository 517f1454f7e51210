"""The handwritten digits that scikit-learn brings along, for machines without data or network."""

import numpy as np

from whydeep.data.dataset import Dataset, make_dataset


def digits(notice: str = "") -> Dataset:
    """Return 1,797 images of 8 x 8 (Alpaydin and Kaynak 1998): 1,442 for training and 355 for test.

    Every fifth image of each class, in the order in which scikit-learn has them, is for test.
    """
    from sklearn.datasets import load_digits  # slow to load: only when it is needed

    images, labels = load_digits(return_X_y=True)
    place_in_class = np.zeros(len(labels), dtype=int)
    for label in range(10):
        place_in_class[labels == label] = np.arange((labels == label).sum())
    test = place_in_class % 5 == 4
    images = images.reshape(-1, 8, 8).astype(np.float32)
    return make_dataset(
        "digits",
        (images[~test], labels[~test]),
        (images[test], labels[test]),
        origin="embedded in scikit-learn",
        notice=notice,
        divisor=16,
    )
