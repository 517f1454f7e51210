"""What the report says of its methods, whatever the experiment: seeds, intervals, verdicts."""

METHODS = (
    (
        "Seeds",
        "every setting is trained for each seed. Initial weights, order of samples, data and labels come from random "
        "streams that depend on what they are for and on nothing else; what can be shared between settings is, so that "
        "they are compared within each seed.",
    ),
    (
        "Intervals",
        "Student's t over seeds, on the logarithm for quantities that vary by factors, such as losses and norms; cut "
        "at the limits of what a quantity can be. A bootstrap over so few seeds would be too narrow. A seed whose "
        "training diverged leaves its claim undecided.",
    ),
    (
        "Verdicts",
        "a claim has statistics and the values that agree with it; those of the study were written down before "
        "results were seen, except where a claim says so. It is supported if every part is shown to lie there, "
        "contradicted if some part is shown to lie outside, else undecided. Each part has two one-sided t tests over "
        "seeds, that it lies there and that it lies outside. The p of a claim is twice the smaller of two: the "
        "largest p that its parts lie there (Berger 1982), and the smallest that one lies outside, times their "
        "number. These are adjusted by Holm's method over all claims that can be tested, a user's own among them: "
        "with 95 % confidence no verdict of the report is wrong, as far as the seeds vary normally and their number "
        "was fixed beforehand: a verdict that came after seeds were added, because the claim was undecided before, is "
        "a hint to be confirmed with new ones (--root-seed draws them). Values that are equal in all seeds, three or "
        "more, have no spread that could be tested: they decide a claim by convention, outside of this guarantee. The "
        "numbers of each claim have beside them the p of the sign-flip test, two-sided and of that part alone, which "
        "takes seeds to vary symmetrically but not normally. It decides nothing: with n seeds it is never below 2/2^n.",
    ),
    (
        "Previews",
        "a claim says which settings it is about: epochs, numbers of images, optimiser. Where the run has others, the "
        "claim has no verdict. Its statistic is shown as a preview, which says whether it would be for or against the "
        "claim; it is not counted, and no p is adjusted for it.",
    ),
    (
        "What seeds cannot tell",
        "a verdict is about these networks on these data, trained for so long, over the randomness of training. It "
        "says nothing about other data sets, sizes, optimisers or epochs.",
    ),
)

REFERENCES = (
    "Student (1908): The probable error of a mean. Biometrika 6.",
    "S. Holm (1979): A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6.",
    "R. L. Berger (1982): Multiparameter hypothesis testing and acceptance sampling. Technometrics 24. Every part must "
    "hold.",
    "R. A. Fisher (1935): The design of experiments. Oliver and Boyd. The test by sign flips.",
    "M. Okabe, K. Ito (2008): Color universal design. The palette of the figures.",
)
