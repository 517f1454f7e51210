"""What is claimed about results, and how sure that is.

claim       Claim and Test: statement, statistic, accepted values; estimates with intervals
intervals   Student t intervals over seeds
correlation rank correlation along a dimension
"""

from whydeep.claims.claim import Claim, Estimate, Test, estimate
from whydeep.claims.correlation import rank_correlation
from whydeep.claims.intervals import LEVEL, Interval, interval_band, mean_interval

__all__ = [
    "LEVEL",
    "Claim",
    "Estimate",
    "Interval",
    "Test",
    "estimate",
    "interval_band",
    "mean_interval",
    "rank_correlation",
]
