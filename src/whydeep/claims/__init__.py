"""What is claimed about results, and how sure that is.

claim        Claim and Test: statement, statistic, accepted values
selection    the statistic that needs no code: a variable at some labels
needs        what must have been run for a claim to be judged
estimates    statistics with their intervals over seeds
intervals    Student t intervals over seeds
part_tests   Part: one part of a claim, and its p values
sign_flip    the permutation test beside Student's t
multiplicity one level for many parts and many claims (Holm)
case         a claim, and the evidence that results give
verdict      judge: supported, contradicted, undecided, preview or not-run
wording      reasons and p values in words
seeds_needed how many seeds would decide
stored       claims judged again from claims.json
user_claims  a user's claims, from a TOML or a Python file
correlation  rank correlation along a dimension
"""

from whydeep.claims.case import Case, Evidence
from whydeep.claims.claim import Claim, Test
from whydeep.claims.correlation import rank_correlation
from whydeep.claims.estimates import Estimate, estimate
from whydeep.claims.intervals import LEVEL, Interval, interval_band, mean_interval
from whydeep.claims.multiplicity import holm
from whydeep.claims.needs import Need
from whydeep.claims.part_tests import Part
from whydeep.claims.seeds_needed import seeds_needed
from whydeep.claims.selection import Selection
from whydeep.claims.sign_flip import sign_flip_p
from whydeep.claims.stored import stored_case
from whydeep.claims.user_claims import UserClaims, read_claims
from whydeep.claims.verdict import Judgement, Verdict, judge
from whydeep.claims.wording import adjusted_p, format_p, preview_text

__all__ = [
    "LEVEL",
    "Case",
    "Claim",
    "Estimate",
    "Evidence",
    "Interval",
    "Judgement",
    "Need",
    "Part",
    "Selection",
    "Test",
    "UserClaims",
    "Verdict",
    "adjusted_p",
    "estimate",
    "format_p",
    "holm",
    "interval_band",
    "judge",
    "mean_interval",
    "preview_text",
    "rank_correlation",
    "read_claims",
    "seeds_needed",
    "sign_flip_p",
    "stored_case",
]
