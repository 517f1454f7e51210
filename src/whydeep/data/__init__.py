"""What networks learn.

functions   targets of one variable: named, or expressions that a user types
label_noise labels that are replaced by chance
dataset     Dataset: labelled images or features, split into training and test
inputs      what the numbers of inputs mean: one scale for both splits
labels      from labels of any kind to class numbers
mapped      a data set that all processes of a machine share
locate      from a name or a path to a data set: search order and fallback
sources     published data sets: checksums, mirrors, download
idx         IDX files, the format of MNIST
digits      the images that scikit-learn brings along
arrays      a user's own .npz
folder      a user's own folder of images
images      PNG and JPEG files as arrays of bytes
files       files of a user, of which anything may be wrong
"""

from whydeep.data.dataset import Dataset
from whydeep.data.functions import FUNCTIONS, TargetFunction, sample, target_function
from whydeep.data.label_noise import noisy_labels
from whydeep.data.locate import NAMES, Source, catalog, locate
from whydeep.data.mapped import Mapped, map_dataset

__all__ = [
    "FUNCTIONS",
    "NAMES",
    "Dataset",
    "Mapped",
    "Source",
    "TargetFunction",
    "catalog",
    "locate",
    "map_dataset",
    "noisy_labels",
    "sample",
    "target_function",
]
