"""Functions of one variable as targets: named ones, and expressions that a user types."""

import ast
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import pairwise

import numpy as np

from whydeep.errors import SettingError, near_names

Array = np.ndarray
Evaluate = Callable[[Array], Array]

FUNCTIONS: dict[str, Evaluate] = {
    "abs": np.abs,
    "arccos": np.arccos,
    "arcsin": np.arcsin,
    "arcsinh": np.arcsinh,
    "arctan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "sign": np.sign,
    "sin": np.sin,
    "sinc": np.sinc,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
"""Functions by name; numpy's, so angles are in radians and sinc is sin(pi x) / (pi x)."""

CONSTANTS = {"pi": np.pi, "e": np.e}
OPERATORS: dict[type[ast.AST], Callable[..., Array]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
    ast.USub: np.negative,
    ast.UAdd: np.positive,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
LONGEST, DEEPEST = 200, 40


@dataclass(frozen=True)
class TargetFunction:
    """A function of x, called on float64 arrays of any shape.

    >>> target_function("2 * x + 1")(np.array([0.0, 1.0])).tolist()
    [1.0, 3.0]
    """

    name: str

    def __call__(self, x: Array) -> Array:
        """Return float64 values in the shape of x; where the function has none, they are NaN or infinite."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(_compiled(self.name)(np.asarray(x, dtype=float)), np.shape(x)).astype(float)


def target_function(text: str) -> TargetFunction:
    """Understand the name of a function, or a Python expression of x.

    Accepted are numbers, x, pi, e, the operators + - * / // % **, < <= > >=, ``a if c else b``, and calls
    of the named functions. The text is parsed, never run.

    Raises:
        SettingError: one line that names the piece that is not accepted, and what is.

    >>> target_function("cos").name
    'cos'
    """
    name = " ".join(text.split())
    if name in FUNCTIONS:
        return TargetFunction(name)
    _compiled(name)
    return TargetFunction(name)


def sample(
    function: TargetFunction, interval: tuple[float, float], points: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Draw x uniformly from an interval and compute y: two arrays [point].

    Raises:
        SettingError: y is not finite somewhere, or the same everywhere, so that there is nothing to learn.
    """
    x = generator.uniform(*interval, size=points)
    y = function(x)
    finite = np.abs(y) <= np.finfo(np.float32).max  # what networks compute with; false for NaN
    if not finite.all():
        raise SettingError(
            f"{function.name} is not finite at x = {x[~finite][0]:.4g}: give a function that is, "
            f"everywhere from {interval[0]:g} to {interval[1]:g}"
        )
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        raise SettingError(f"{function.name} is {y[0]:g} for every x: there is nothing to learn")
    return x, y


@lru_cache(maxsize=256)
def _compiled(text: str) -> Evaluate:
    if text in FUNCTIONS:
        return FUNCTIONS[text]
    if len(text) > LONGEST:
        raise SettingError(f"a function of {len(text)} characters is too long: give at most {LONGEST}")
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's remarks on style, such as for 1if x else 2
            tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise SettingError(f"{text!r} is not an expression of x: give one such as sin(x) / 2, {_names(text)}") from None
    return _translate(tree.body, text, 0)


def _names(text: str) -> str:
    return "or a function: " + near_names(text, FUNCTIONS)


def _translate(node: ast.AST, text: str, depth: int) -> Evaluate:
    """Turn a node of the syntax tree into a function of x."""
    if depth > DEEPEST:
        raise SettingError(f"{text[:30]!r}... is nested more than {DEEPEST} levels deep: make it simpler")

    def part(child: ast.AST) -> Evaluate:
        return _translate(child, text, depth + 1)

    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return _constant(value)
        case ast.Name(id="x"):
            return lambda x: x
        case ast.Name(id=name) if name in CONSTANTS:
            return _constant(CONSTANTS[name])
        case ast.Name(id=name):
            names = ("x", *CONSTANTS, *FUNCTIONS)
            hint = f"write {name}(x)" if name in FUNCTIONS else near_names(name, names, most=len(names))
            raise SettingError(f"{text!r} uses {name!r}: {hint}")
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            apply, inner = OPERATORS[type(op)], part(operand)
            return lambda x: apply(inner(x))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _binary(OPERATORS[type(op)], part(left), part(right))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in OPERATORS for op in ops):
            return _comparison([OPERATORS[type(op)] for op in ops], [part(value) for value in (left, *others)])
        case ast.IfExp(test=test, body=body, orelse=orelse):
            chosen, yes, no = part(test), part(body), part(orelse)
            return lambda x: np.where(chosen(x) != 0, yes(x), no(x))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            function, inner = FUNCTIONS[name], part(argument)
            return lambda x: function(inner(x))
        case ast.Call(func=ast.Name(id=name)):
            hint = "takes one value" if name in FUNCTIONS else near_names(name, FUNCTIONS, most=len(FUNCTIONS))
            raise SettingError(f"{text!r} calls {name!r}: {hint}")
        case ast.Call(func=ast.Attribute(attr=name)) if name in FUNCTIONS:
            raise SettingError(f"{text!r} uses {ast.unparse(node.func)}: write {name}(...) alone")
        case ast.BinOp(op=ast.BitXor()):
            raise SettingError(f"{text!r} uses ^: write ** for a power")
    piece = ast.get_source_segment(text, node) or text
    raise SettingError(
        f"{text!r} uses {piece!r}, which is not accepted: numbers, x, pi, e, + - * / // % ** (power), < <= > >=, "
        "'a if c else b' and functions are"
    )


def _constant(value: float) -> Evaluate:
    number = np.asarray(value, dtype=float)
    return lambda x: number


def _binary(apply: Callable[..., Array], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda x: apply(left(x), right(x))


def _comparison(compare: list[Callable[..., Array]], parts: list[Evaluate]) -> Evaluate:
    """Compare neighbours, as in ``0 < x < 1``: 1 where all of it holds, else 0."""

    def evaluate(x: Array) -> Array:
        values = [part(x) for part in parts]  # once each, however often it is compared
        holds = [apply(left, right) for apply, (left, right) in zip(compare, pairwise(values), strict=True)]
        return reduce(np.logical_and, holds).astype(float)

    return evaluate
