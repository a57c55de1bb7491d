"""Reaction networks: species, reactions, and propensities written as plain arithmetic."""

import ast
import numbers
import operator
from math import factorial

import equinox as eqx
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput

_MOST_COUNT = 2**31 - 1
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_SIGNS = {ast.USub: operator.neg, ast.UAdd: operator.pos}


class Reaction(eqx.Module):
    """One reaction: what it uses, what it makes, and its propensity in 1/s.

    Parameters
    ----------
    name : str
    reactants, products : tuple of (str, int)
        Species with their stoichiometry.
    rate : str
        The propensity as arithmetic (``+ - * / **`` and parentheses) over counts of species and
        parameters, for example ``"k * P * (P - 1) / 2"``.
    """

    name: str = eqx.field(static=True)
    reactants: tuple[tuple[str, int], ...] = eqx.field(static=True)
    products: tuple[tuple[str, int], ...] = eqx.field(static=True)
    rate: str = eqx.field(static=True)


def mass_action(name: str, reactants, products, constant: str) -> Reaction:
    """A reaction of stochastic mass action: ``constant`` times the number of reactant combinations.

    The propensity of ``m`` copies of X is ``c X (X-1) .. (X-m+1) / m!`` (Gillespie 1977, J Phys
    Chem 81:2340). `reactants` and `products` map species to stoichiometry; ``constant`` is
    the name of a parameter in 1/s.
    """
    used, made = _pairs(name, reactants), _pairs(name, products)
    factors = [constant]
    for species, number in used:
        factors += [f"({species} - {k})" if k else species for k in range(number)]
        factors[-1] += f" / {factorial(number)}" if number > 1 else ""
    return Reaction(name, used, made, " * ".join(factors))


def _pairs(name: str, amounts) -> tuple[tuple[str, int], ...]:
    for species, number in dict(amounts).items():
        if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < 1:
            raise BadInput(
                f"reaction {name}: stoichiometry of {species}",
                number,
                "not a whole number of 1 or more",
                "give a whole number, or leave the species out",
            )
    return tuple((species, int(number)) for species, number in dict(amounts).items())


class ReactionNetwork(eqx.Module):
    """A well-mixed network of reactions among species that are counted one by one.

    Parameters
    ----------
    species : tuple of str
    initial : tuple of int [species]
        Counts at t = 0.
    reactions : tuple of Reaction
    parameters : dict of str to float
        Numbers that the rates name.
    boundary : tuple of str
        Species whose count no reaction changes.

    Raises `BadInput` for an unknown name, a name used twice, a count that is negative or
    above 2**31 - 1, or a rate that is not plain arithmetic.
    """

    species: tuple[str, ...] = eqx.field(static=True)
    initial: tuple[int, ...] = eqx.field(static=True)
    reactions: tuple[Reaction, ...]
    parameters: dict[str, float]
    boundary: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        names = [*self.species, *self.parameters]
        for name in names:
            if not name.isidentifier() or names.count(name) > 1:
                raise BadInput(
                    "network", name, "not a name, or used twice", "give each thing one plain name"
                )
        if not self.species or not self.reactions:
            raise BadInput(
                "network", names, "no species or no reaction", "give at least one of each"
            )
        if len(self.initial) != len(self.species):
            raise BadInput(
                "network.initial",
                self.initial,
                f"there are {len(self.species)} species",
                "give one count for each",
            )
        for name, count in zip(self.species, self.initial, strict=True):
            if isinstance(count, bool) or count != int(count) or not 0 <= count <= _MOST_COUNT:
                raise BadInput(
                    f"network.initial: {name}",
                    count,
                    f"not a whole number from 0 to {_MOST_COUNT}",
                    "give a count of molecules",
                )
        for name, value in self.parameters.items():
            require(f"parameter {name}", value)
        for reaction in self.reactions:
            self._check(reaction)

    def _check(self, reaction: Reaction) -> None:
        for name, _ in (*reaction.reactants, *reaction.products):
            if name not in self.species:
                raise BadInput(
                    f"reaction {reaction.name}",
                    name,
                    "not a species of the network",
                    f"use one of {list(self.species)}",
                )
        for name in names_in(reaction.rate, f"reaction {reaction.name}: rate"):
            if name not in self.species and name not in self.parameters:
                raise BadInput(
                    f"reaction {reaction.name}: rate",
                    name,
                    "neither a species nor a parameter",
                    f"use one of {[*self.species, *self.parameters]}",
                )

    @property
    def change(self) -> np.ndarray:
        """What each reaction does to each count, int [reaction, species]."""
        change = np.zeros((len(self.reactions), len(self.species)), np.int32)
        for r, reaction in enumerate(self.reactions):
            for sign, side in ((-1, reaction.reactants), (1, reaction.products)):
                for name, number in side:
                    if name not in self.boundary:
                        change[r, self.species.index(name)] += sign * number
        return change

    def with_parameters(self, **values: float) -> "ReactionNetwork":
        """The same network with other values of some parameters; `BadInput` for an unknown name."""
        for name in values:
            if name not in self.parameters:
                raise BadInput(
                    "parameter", name, "not in the network", f"use one of {list(self.parameters)}"
                )
        return ReactionNetwork(
            self.species,
            self.initial,
            self.reactions,
            {**self.parameters, **values},
            self.boundary,
        )


def names_in(rate: str, field: str = "rate") -> list[str]:
    """Names that an expression uses, each once; `BadInput` where it is not plain arithmetic."""
    found = []
    for node in ast.walk(_parse(rate, field)):
        if isinstance(node, ast.Name):
            found.append(node.id)
        elif not isinstance(node, _allowed()) or (
            isinstance(node, ast.Constant) and not _is_number(node.value)
        ):
            raise BadInput(
                field,
                rate,
                f"{type(node).__name__} is not plain arithmetic",
                "write it with + - * / ** and parentheses over counts and parameters",
            )
    return list(dict.fromkeys(found))


def evaluate(rate: str, values: dict):
    """Value of an expression with `values` for its names (arrays or numbers, broadcast together)."""
    return _value(_parse(rate, "rate").body, values)


def _allowed() -> tuple:
    kinds = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.Name, ast.Load)
    return (*kinds, *_OPERATIONS, *_SIGNS)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parse(rate: str, field: str) -> ast.Expression:
    try:
        return ast.parse(rate.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise BadInput(
            field, rate, "not an expression", "write it as arithmetic, for example k * X"
        ) from error


def _value(node, values: dict):
    if isinstance(node, ast.Constant):
        return float(node.value)
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        return _SIGNS[type(node.op)](_value(node.operand, values))
    return _OPERATIONS[type(node.op)](_value(node.left, values), _value(node.right, values))
