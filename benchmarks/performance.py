"""Write docs/performance.md from what `whydeep bench --json` measured.

whydeep bench --json > bench.json && python benchmarks/performance.py bench.json > docs/performance.md
"""

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Performance

Made by `benchmarks/performance.py` from `whydeep bench --json`; measure yours with `whydeep bench`.

Machine: {machine}.
A core multiplies large float32 matrices at {product_gflops:.0f} GFLOP/s and copies {memory_gb_per_second:.0f} GB/s.

Every alternative runs in a process of its own, one after the other, and the round is repeated; ratios are those of the
fastest of {rounds} rounds. Shared machines are noisy: trust ratios more than times.
"""
MADE_THE_DIFFERENCE = """
## What made the difference

- One member after the other, many steps in one compiled call (`population/kernels.py`): parameters and moments of small
  networks stay in the cache, and nothing is called from Python between two steps.
- The update of Adam as one compiled loop: 6 microseconds for 16,000 parameters, a third of PyTorch's fused kernel.
- tanh as a quotient of polynomials, which is computed for sixteen numbers at once.
- Rows of a batch copied in a loop of their own: twice as fast as an assignment of rows.

What did not: visiting only the pixels that are not zero (for 20 and 30 units a quarter slower than dense products, at
batches of 5, 50 and 500). For layers of hundreds of units, products take two thirds of the time and run at 90 to 100 %
of the speed of large matrices; the rest is memory traffic of Adam, 28 bytes a parameter and step. Products with 20 to
30 rows run at two thirds of that speed, whether of 50 samples or of 500.
"""


def table(entry: dict[str, Any]) -> str:
    """Write one comparison as a table; the first alternative is what the others are compared with."""
    times = entry["microseconds"]
    ours = min(next(iter(times.values())))
    least = entry["least_of_products"]
    limit = f" Its matrix products take {least:.1f} at least." if least else ""
    lines = [f"\n## {entry['name']}\n", f"Microseconds per {entry['unit']}.{limit}\n"]
    lines += ["| | fastest | slowest | |", "|---|---|---|---|"]
    for name, measured in times.items():
        if measured:
            best = min(measured)
            lines.append(f"| {name} | {best:.3g} | {max(measured):.3g} | {best / ours:.1f}x |")
        else:
            lines.append(f"| {name} | not installed | | |")
    return "\n".join(lines)


def main(path: str) -> None:
    """Print the page."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    rounds = len(next(iter(record["comparisons"][0]["microseconds"].values())))
    print(HEAD.format(rounds=rounds, **record), end="")
    print("\n".join(map(table, record["comparisons"])))
    print(MADE_THE_DIFFERENCE, end="")


if __name__ == "__main__":
    main(sys.argv[1])
