"""Expressions that nobody should write: refused, or without a value, but never anything else."""

from __future__ import annotations

import random
import re

import pytest
from test_cel import OBJECT, SELF, TRUE

from pilothouse.api.cel.errors import CelError, CompileError
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.types import DYN

PARTS = re.compile(r"\s+|\w+|'[^']*'|[^\w\s]")
WORDS = [word for source in TRUE for word in PARTS.findall(source)]
ODD = ("9223372036854775807", "''", "null", "[]", "{}", "1.5", "dyn(1)", "0u", "duration('9999999h')", "b'\\xff'", "?", ".", "timestamp('9999-12-31T23:59:59Z')")  # fmt: skip


def spoilt(source: str, draw: random.Random) -> str:
    parts = PARTS.findall(source)
    for _ in range(draw.randint(1, 3)):
        at, way = draw.randrange(len(parts)), draw.random()
        if way < 0.5:
            parts[at] = draw.choice(WORDS if way < 0.3 else ODD)
        elif way < 0.75:
            parts.insert(at, draw.choice(WORDS))
        elif len(parts) > 1:
            del parts[at]
    return "".join(parts)


@pytest.mark.parametrize("seed", range(4))
def test_a_spoilt_expression_is_refused_or_has_no_value(seed: int) -> None:
    assert SELF is not None
    draw = random.Random(seed)
    for _ in range(120):
        source = spoilt(draw.choice(TRUE), draw)
        try:
            compile_expression(source, {"self": SELF}).evaluate({"self": OBJECT})
        except (CompileError, CelError):
            continue


@pytest.mark.parametrize(
    "source",
    ["x" + ".a" * 3000, "+".join("1" * 3000), "(" * 400 + "1" + ")" * 400, "!" * 3000 + "true", "[" * 300 + "]" * 300, "x.map(a," * 200 + "1" + ")" * 200],
    ids=["selections", "sum", "brackets", "negations", "lists", "loops"],
)  # fmt: skip
def test_an_expression_that_is_nested_too_deep_is_refused(source: str) -> None:
    with pytest.raises(CompileError, match="recursion limit exceeded"):
        compile_expression(source, {"x": DYN})


@pytest.mark.parametrize("source", ["1 == .", "self.", "dyn(1).size(.", "[1, ?2]", "{?'a': 1}"])
def test_an_expression_that_breaks_off_is_refused(source: str) -> None:
    with pytest.raises(CompileError):
        compile_expression(source, {"self": DYN})


@pytest.mark.parametrize(
    "source",
    ["{[]: 1} == {}", "duration(dyn(null)) == duration('1s')", "quantity('1').add(dyn(null)).isInteger()", "[?dyn(1)] == []"],
)
def test_what_has_no_type_may_have_no_value(source: str) -> None:
    with pytest.raises(CelError):
        compile_expression(source, {}).evaluate({})
