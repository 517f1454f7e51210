"""Claims in Python, and the code of experiments: whatever it does, a line says so, or the verdicts are right."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_odd_experiments import FIGURE, MINIMAL

CLAIMS = """
import sys
import numpy as np, xarray as xr
from whydeep.claims import Claim, Test

def measure(results):
    {body}

CLAIMS = {{"walk": [Claim("M1", "?", (Test("t", measure, low=0),)), Claim("M2", "?", (Test("e", lambda r: r.end, low=-99),))]}}
"""
ONE_LINE = {
    "sys.exit(0)": "claim M1: SystemExit: 0",
    "sys.exit()": "claim M1: SystemExit",
    "raise BaseException('no')": "claim M1: BaseException: no",
    "raise GeneratorExit": "claim M1: GeneratorExit",
    "return measure(results)": "claim M1: RecursionError",
    "raise ValueError('\\x1b[31mred\\n' * 10_000)": "claim M1: ValueError: \\x1b[31mred",
    "np.ones(10**15)": "claim M1: MemoryError",
    "return results.end * 1j": "claim M1: t is of type complex128: its measure must return real numbers",
    "return results.end.astype(str)": "its measure must return real numbers",
    "return xr.full_like(results.end, 2**100, dtype=object)": "its measure must return real numbers",
    "return xr.full_like(results.end, 10**400, dtype=object)": "its measure must return real numbers",
    "return np.ones(2)": "must return a DataArray with a dimension seed",
    "return 10**400": "must return a DataArray with a dimension seed",
    "return results": "must return a DataArray with a dimension seed",
    "return results.end.mean()": "must return a DataArray with a dimension seed",
    "return xr.concat([results.end, results.end], 'seed')": "seeds that cannot be matched",
    "return results.end.assign_coords(seed=[7, 8])": "seeds that cannot be matched",
}


@pytest.fixture
def claims(workplace, whydeep, in_this_process):
    """Judge claims in Python on a small run: exit status, what is printed, and lines of errors."""
    Path("walk.py").write_text(f"{MINIMAL}EXPERIMENT = walk()\n")
    assert whydeep("run", "walk.py", "--scale", "smoke", "--seeds", 2, "--out", "out")[0] == 0

    def claims(code, *words):
        Path("mine.py").write_text(code)
        status, out, err = whydeep("claims", "out", "walk.py", "--claims", "mine.py", *words)
        assert "Traceback" not in out + err
        return status, out, err.splitlines()

    return claims


def test_what_cannot_be_judged_is_one_line(claims):
    for body, says in ONE_LINE.items():
        status, out, lines = claims(CLAIMS.format(body=body))
        assert (status, out, len(lines)) == (2, "", 1), body
        assert says in lines[0]
        assert lines[0].isprintable()
        assert len(lines[0]) < 520


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "raise GeneratorExit",
        "def f(): f()\nf()",
        "CLAIMS = 3",
        "\0",
        "é".encode("latin-1").decode("latin-1") + " =",
    ],
)
def test_a_file_that_ends_or_is_no_python(claims, code):
    status, out, lines = claims(code)
    assert (status, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("whydeep: mine.py")


def test_a_run_is_kept_whatever_a_claim_does(claims, whydeep):
    Path("mine.py").write_text(CLAIMS.format(body="sys.exit(0)"))
    status, out, err = whydeep(
        "run", "walk.py", "--scale", "smoke", "--seeds", 2, "--out", "new", "--claims", "mine.py"
    )
    assert (status, err) == (2, "whydeep: claim M1: SystemExit: 0\n")
    assert "4 units measured" in out
    assert Path("new/report.html").exists()


def test_values_without_an_interval_are_undecided(claims):
    for body in (
        "return results.end * np.nan",
        "return results.end * 0 + np.inf",
        "return results.end.isel(seed=[])",
        "return results.end > 0",
    ):
        status, out, _ = claims(CLAIMS.format(body=body))
        assert status == 0
        assert "M1  UNDECIDED" in out
        assert "M2  SUPPORTED" in out or "M2  UNDECIDED" in out


def test_what_a_claim_prints_or_assigns_is_no_part_of_the_answer(claims):
    body = "print('x' * 100_000); results['end'] = results.end * 0 - 1000; return results.end"
    status, out, lines = claims(CLAIMS.format(body=body), "--json")
    records = {record["id"]: record for record in json.loads(out)["claims"]}
    assert status == 0
    assert records["M2"]["parts"][0]["values"] != [-1000, -1000]
    assert lines[0].startswith("xxx")


def test_a_claim_that_never_ends_can_be_interrupted(claims):
    Path("mine.py").write_text(
        CLAIMS.format(body="Path('begun').touch()\n    while True: pass").replace(
            "import sys", "from pathlib import Path\nimport sys"
        )
    )
    command = [sys.executable, "-m", "whydeep", "claims", "out", "walk.py", "--claims", "mine.py"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not Path("begun").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.startswith("whydeep: interrupted")
    assert err.count("\n") == 1


WRONG_FORMULA = FIGURE.replace(
    'Panel((Curve("path", each="kind"),))', r'Panel((Curve("path", each="kind"),), title=r"$\wrong{{$")'
)
EXPERIMENTS = {
    "def odd(plan):\n    raise SystemExit(0)\nEXPERIMENT = walk(functions=(odd, measure))": "its settings failed: SystemExit: 0",
    "def odd(plan):\n    return (Walk(kind=str(i), steps=3) for i in range(10**9))\nEXPERIMENT = walk(functions=(odd, measure))": "more than 10,000 settings",
    "EXPERIMENT = walk(design=Design(kind=Each('a\\n'), steps=3))": "labels are texts that can be printed",
    "class W(Walk):\n    cost = float('nan')\nEXPERIMENT = walk(functions=(lambda plan: [W(kind='a', steps=3)], measure))": "predicts (nan",
    "class W(Walk):\n    name = property(lambda self: 1 / 0)\nEXPERIMENT = walk(functions=(lambda plan: [W(kind='a', steps=3)], measure))": "its settings failed: ZeroDivisionError",
    "import sys\nsys.exit(0)": "walk.py cannot be loaded: SystemExit: 0",
    "raise GeneratorExit": "walk.py cannot be loaded: GeneratorExit",
    "def exits(results):\n    raise SystemExit(0)\nEXPERIMENT = walk(tables=(exits,))": "walk: table exits failed: SystemExit: 0",
    "def exits(results):\n    raise SystemExit(0)\nEXPERIMENT = walk(figures=(exits,))": "walk: figure exits failed: SystemExit: 0",
    f"EXPERIMENT = walk(figures=({WRONG_FORMULA},))": "walk: figure walks failed: ValueError",
}


@pytest.mark.parametrize("code", EXPERIMENTS, ids=range(len(EXPERIMENTS)))
def test_code_of_experiments_that_exits_or_never_ends(workplace, whydeep, in_this_process, code):
    Path("walk.py").write_text(MINIMAL + code)
    status, _, err = whydeep("run", "walk.py", "--scale", "smoke", "--seeds", 2, "--out", "out")
    assert (status, err.count("\n")) == (2, 1)
    assert EXPERIMENTS[code] in err


@pytest.mark.parametrize("raised", ["SystemExit(0)", "KeyboardInterrupt", "GeneratorExit", "BaseException('no')"])
def test_a_measurement_fails_alone_whatever_it_raises(workplace, whydeep, in_this_process, raised):
    code = f"def odd(setting, run):\n    if setting.kind == 'wide':\n        raise {raised}\n    return measure(setting, run)\n"
    Path("walk.py").write_text(f"{MINIMAL}{code}EXPERIMENT = walk(functions=(settings, odd))\n")
    status, out, _ = whydeep("run", "walk.py", "--scale", "smoke", "--seeds", 2, "--out", "out")
    assert status == 1
    assert "FAILED: walk wide" in out
    assert "2 units measured" in out


@pytest.mark.slow
@pytest.mark.parametrize("change", ["Path(file).unlink()", "Path(file).write_text('EXPERIMENT = 3')"])
def test_a_file_that_changes_during_the_run_fails_its_jobs_in_a_line_each(workplace, change):
    code = f"from pathlib import Path\ndef odd(plan):\n    file = {str(workplace / 'walk.py')!r}\n    {change}\n    return settings(plan)\n"
    Path("walk.py").write_text(f"{MINIMAL}{code}EXPERIMENT = walk(functions=(odd, measure))\n")
    words = ["run", "walk.py", "--scale", "smoke", "--seeds", "1", "--out", "out"]
    done = subprocess.run([sys.executable, "-m", "whydeep", *words], capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in (1, 2)
    assert all(line.startswith(("whydeep: ", "0 of")) for line in done.stderr.splitlines())
