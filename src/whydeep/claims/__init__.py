"""What is claimed about results, and how sure that is.

claim       Claim and Test: statement, statistic, accepted values; estimates with intervals
verdict     judge: tests, adjusted p values, and supported, contradicted or undecided
own         a user's own claims, from a TOML or a Python file
intervals   Student t intervals over seeds
sign_flip   the permutation test beside Student's t
correlation rank correlation along a dimension
"""

from whydeep.claims.claim import Claim, Estimate, Test, estimate
from whydeep.claims.correlation import rank_correlation
from whydeep.claims.intervals import CORRELATION, LEVEL, SHARE, Interval, interval_band, mean_interval
from whydeep.claims.own import OwnClaims, read_claims
from whydeep.claims.sign_flip import sign_flip_p
from whydeep.claims.verdict import Case, Judgement, Part, Verdict, holm, judge, seeds_needed

__all__ = [
    "CORRELATION",
    "LEVEL",
    "SHARE",
    "Case",
    "Claim",
    "Estimate",
    "Interval",
    "Judgement",
    "OwnClaims",
    "Part",
    "Test",
    "Verdict",
    "estimate",
    "holm",
    "interval_band",
    "judge",
    "mean_interval",
    "rank_correlation",
    "read_claims",
    "seeds_needed",
    "sign_flip_p",
]
