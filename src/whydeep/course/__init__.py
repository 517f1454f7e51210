"""The nine experiments of the course report, each in a file that reads from question to figures.

function_fitting       E1  deep against shallow on functions of one variable   (figures 1-4)
image_classification   E2  deep against shallow on images                      (figures 5-6)
weight_trajectories    E3  paths of the weights beside random walks            (figures 7-8)
gradient_norm          E4  the norm of the gradient while the loss falls       (figures 9-10)
critical_points        E5  where the gradient vanishes, and how the loss curves  (figure 11)
random_labels          E6  labels that mean nothing, learned by heart          (figure 12)
parameter_count        E7  from 1,645 to 952,410 parameters                     (figures 13-14)
interpolation          E8  the line through two solutions                       (figure 15)
batch_size             E9  size of batches, sensitivity and sharpness           (figures 16-17)
image_training         what the experiments on images share
function_training      what the experiments on functions share
function_charts        figures and tables of E1
trajectory_charts      figures and table of E3
critical_point_charts  statistics, figure and tables of E5
optimization           the optimisers of both
glossary               what terms mean
styles                 colours and lines of the three networks and the two splits
text                   who made the claims, methods, references
"""

from whydeep.course import (
    batch_size,
    critical_points,
    function_fitting,
    gradient_norm,
    image_classification,
    interpolation,
    parameter_count,
    random_labels,
    weight_trajectories,
)

EXPERIMENTS = tuple(
    module.EXPERIMENT
    for module in (
        *(function_fitting, image_classification, weight_trajectories, gradient_norm, critical_points),
        *(random_labels, parameter_count, interpolation, batch_size),
    )
)
"""In the order of the study."""
