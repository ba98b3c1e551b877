"""The expression language: what documented examples evaluate to, and how errors are worded."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.cel.declarations import type_of
from pilothouse.api.cel.errors import CelError, CompileError, CostExceeded
from pilothouse.api.cel.program import compile_expression
from pilothouse.api.cel.types import INT, list_of

SPEC = {
    "type": "object",
    "properties": {
        "s": {"type": "string"},
        "a": {"type": "integer"},
        "n": {"type": "number"},
        "t": {"type": "string", "format": "date-time"},
        "du": {"type": "string", "format": "duration"},
        "by": {"type": "string", "format": "byte"},
        "l": {"type": "array", "items": {"type": "string"}},
        "il": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "o": {"type": "object", "properties": {"p": {"type": "string"}}},
        "ios": {"x-kubernetes-int-or-string": True},
        "x-y": {"type": "integer"},
        "namespace": {"type": "integer"},
        "__x": {"type": "integer"},
    },
}
SELF = type_of(SPEC)
assert SELF is not None
OBJECT = {
    "s": "Hello World", "a": 3, "n": 2, "t": "2020-02-03T04:05:06Z", "du": "1h30m", "by": "aGVsbG8=", "l": ["a", "b", "c"],
    "il": [1, 2, 3], "m": {"a": "1", "b": "2"}, "o": {"p": "x"}, "ios": 5, "x-y": 1, "namespace": 2, "__x": 4,
}  # fmt: skip


def value(source: str, obj: Any = OBJECT) -> Any:
    assert SELF is not None
    return compile_expression(source, {"self": SELF}).evaluate({"self": obj})[0]


TRUE = [
    "self.s.charAt(0) == 'H'", "self.s.indexOf('o') == 4", "self.s.lastIndexOf('o') == 7", "self.s.lowerAscii() == 'hello world'",
    "self.s.upperAscii() == 'HELLO WORLD'", "self.s.replace('o','0') == 'Hell0 W0rld'", "self.s.replace('o','0',1) == 'Hell0 World'",
    "self.s.split(' ') == ['Hello', 'World']", "self.s.substring(6) == 'World'", "self.s.substring(0,5) == 'Hello'",
    "('  '+self.s+' ').trim() == self.s", "size(self.s) == 11", "self.s.contains('lo')", "self.s.startsWith('He') && self.s.endsWith('ld')",
    "'%s-%d'.format([self.s, 3]) == 'Hello World-3'", "'%.2f %x'.format([1.5, 255]) == '1.50 ff'", "strings.quote('a') == '\"a\"'",
    "self.s.matches('^[A-Z]')", "'a1b22'.find('[0-9]+') == '1'", "'a1b22'.findAll('[0-9]+') == ['1','22']",
    "'a1b22'.findAll('[0-9]+', 1) == ['1']", "matches('x1', 'x.')",
    "isURL('https://example.com:80/p')", "!isURL('not a url')", "url('https://u@example.com:8443/p/a?x=1&x=2').getHost() == 'example.com:8443'",
    "url('https://example.com:8443/p').getHostname() == 'example.com'", "url('https://[::1]:80/').getPort() == '80'",
    "url('https://e.com/p/a?x=1&x=2').getQuery()['x'].size() == 2", "url('https://e.com/p/a').getEscapedPath() == '/p/a'",
    "url('https://e.com').getScheme() == 'https'",
    "ip('127.0.0.1').isLoopback()", "ip('::1').family() == 6", "isIP('10.0.0.1') && !isIP('10.0.0')", "ip.isCanonical('::1')",
    "ip('0.0.0.0').isUnspecified()", "ip('224.0.0.1').isLinkLocalMulticast()", "ip('169.254.1.1').isLinkLocalUnicast()",
    "ip('8.8.8.8').isGlobalUnicast()", "string(ip('1.2.3.4')) == '1.2.3.4'",
    "cidr('10.0.0.0/8').containsIP('10.1.2.3')", "cidr('10.0.0.0/8').containsIP(ip('11.1.2.3')) == false",
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", "cidr('10.1.0.0/8').masked() == cidr('10.0.0.0/8')",
    "cidr('10.0.0.0/8').prefixLength() == 8", "cidr('10.0.0.0/8').ip().family() == 4", "!isCIDR('10.0.0.0/33')",
    "quantity('1500m').asApproximateFloat() == 1.5", "quantity('50k').asInteger() == 50000", "!quantity('1.5').isInteger()",
    "quantity('1Gi').isGreaterThan(quantity('1G'))", "quantity('1').isLessThan(quantity('2'))", "quantity('2').compareTo(quantity('2')) == 0",
    "quantity('1500m').add(quantity('500m')) == quantity('2')", "quantity('2').sub(1) == quantity('1')", "quantity('-2').sign() == -1",
    "isQuantity('1Mi') && !isQuantity('x')",
    "self.il.isSorted()", "self.il.sum() == 6", "self.il.min() == 1 && self.il.max() == 3", "self.l.indexOf('b') == 1",
    "['a','b','a'].lastIndexOf('a') == 2", "self.l.join(',') == 'a,b,c'", "[1, 2].first().value() == 1",
    "[1, 2].last().value() == 2", "!dyn([]).first().hasValue()", "[optional.of(1), optional.none()].unwrapOpt() == [1]",
    "self.il.all(x, x > 0)", "self.l.exists(x, x == 'b')", "self.il.exists_one(x, x == 1)", "self.il.map(x, x * 2) == [2,4,6]",
    "self.il.filter(x, x > 1) == [2,3]", "self.il.map(x, x > 1, x) == [2,3]", "self.l.transformMap(i, v, v).size() == 3",
    "self.l.all(i, v, i < 5)", "self.m.transformList(k, v, k + v) == ['a1', 'b2']", "self.m.exists(k, v, v == '2')",
    "{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
    "sets.contains(self.l, ['a'])", "sets.equivalent([1,2],[2,1,1])", "sets.intersects([1],[1,2])",
    "isSemver('1.2.3') && !isSemver('v1.2')", "isSemver('v1.2', true)", "semver('1.2.3').major() == 1", "semver('1.2.3').patch() == 3",
    "semver('1.2.3').compareTo(semver('1.2.4')) == -1", "semver('2.0.0-rc.1').isLessThan(semver('2.0.0'))",
    "semver('1.0.0-alpha.2').isGreaterThan(semver('1.0.0-alpha.1'))",
    "self.t.getFullYear() == 2020 && self.t.getMonth() == 1 && self.t.getDate() == 3", "self.t.getDayOfWeek() == 1",
    "self.t.getHours('America/New_York') == 23", "self.du.getMinutes() == 90", "self.du > duration('1h')",
    "self.t + self.du > timestamp('2020-01-01T00:00:00Z')", "string(self.t) == '2020-02-03T04:05:06Z'", "string(duration('90s')) == '90s'",
    "size(self.by) == 5 && string(self.by) == 'hello'",
    "has(self.m.a) && !has(self.m.z)", "'a' in self.m && 'a' in self.l", "self.?m.?z.orValue('none') == 'none'",
    "self.?m[?'b'].hasValue()", "optional.of(1).optMap(x, x + 1).value() == 2", "optional.none().or(optional.of(2)).value() == 2",
    "[?optional.none(), 1] == [1]", "{?'a': optional.none()} == {}",
    "double(self.a) + self.n == 5.0", "int(1.9) == 1", "uint(3) == 3u", "self.a / 2 == 1 && -7 / 2 == -3", "-7 % 2 == -1",
    "type(self.ios) == int", "dyn(self.a) == 3.0", "type(self.n) == double", "string(self.a) == '3'", "bool('true')",
    "self.x__dash__y == 1 && self.__namespace__ == 2 && self.__underscores__x == 4", "self.n > 1",
    "true || 1 / 0 == 1", "1 / 0 == 1 || true", "[0, 1].exists(x, 1 / x == 1)",
    "format.dns1123Label().validate('Bad').hasValue()", "!format.dns1123Label().validate('good').hasValue()",
    "'%s-%d'.format(['a', 3]) == 'a-3'", "'%.2f %x %X %b %o'.format([1.005, 255, 'hi', true, 8]) == '1.00 ff 6869 1 10'",
    "'%s'.format([['b', 'a']]) == '[b, a]'", "'%.2e'.format([1052.0]) == '1.05\u202f×\u202f10⁰³'",
    "format.named('uuid').value().validate('nope').hasValue()", "r'\\d' == '\\\\d'", "b'\\xff' != b'x'", "0x10 == 16",
]  # fmt: skip


@pytest.mark.parametrize("source", TRUE)
def test_documented_examples_hold(source: str) -> None:
    assert value(source) is True


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("self.a / 0 == 1", "division by zero"),
        ("self.l[7] == 'a'", "index out of bounds: 7"),
        ("self.m['k'] == 'a'", "no such key: k"),
        ("int(self.s) == 1", "type conversion error from 'string' to 'int'"),
        ("self.s.substring(60) == ''", "index out of range: 60"),
        ("uint(-self.a) == 1u", "unsigned integer overflow"),
        ("[1].filter(x, x > 1).min() == 1", "min called on empty list"),
        ("9223372036854775807 + self.a > 0", "integer overflow"),
        (
            "url('not a url').getHost() == ''",
            'URL parse error during conversion from string: parse "not a url": invalid URI for request',
        ),
        ("semver('v1.2').major() == 1", "No Major.Minor.Patch elements found"),
    ],
)
def test_evaluation_without_a_value_says_why(source: str, message: str) -> None:
    with pytest.raises(CelError) as raised:
        value(source)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("source", "column", "message"),
    [
        ("self.a == 'x'", 8, "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.missing > 1", 5, "undefined field 'missing'"),
        ("nofunc(self.a)", 7, "undeclared reference to 'nofunc' (in container '')"),
        ("self.s.nomethod()", 16, "undeclared reference to 'nomethod' (in container '')"),
        ("other.a == 1", 1, "undeclared reference to 'other' (in container '')"),
        ("has(self.nope)", 4, "undefined field 'nope'"),
        ("has(self)", 5, "invalid argument to has() macro"),
        ("self.s.matches('[')", 16, "invalid matches argument"),
        ("timestamp('x') < timestamp('2020-01-01T00:00:00Z')", 11, "invalid timestamp argument"),
        ("duration('x') > duration('1s')", 10, "invalid duration argument"),
        ("[1,'a'] == []", 4, "expected type 'int' but found 'string'"),
        ("self.l.map(x, x + 1).size() > 0", 17, "found no matching overload for '_+_' applied to '(string, int)'"),
        ("self.o == {'p':'x'}", 8, "found no matching overload for '_==_' applied to '(selfType.o, map(string, string))'"),
        ("self.a > optional.of(1)", 8, "found no matching overload for '_>_' applied to '(int, optional_type(int))'"),
    ],
)
def test_what_does_not_compile_is_shown_with_its_place(source: str, column: int, message: str) -> None:
    with pytest.raises(CompileError) as raised:
        value(source)
    assert str(raised.value) == f"ERROR: <input>:1:{column}: {message}\n | {source}\n | {'.' * (column - 1)}^"


def test_every_syntax_error_is_told() -> None:
    with pytest.raises(CompileError) as raised:
        value("self.a = 1")
    assert [i.message for i in raised.value.issues] == [
        "Syntax error: token recognition error at: '= '",
        "Syntax error: extraneous input '1' expecting <EOF>",
    ]


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        ("'%d'.format(['x']) == ''", ["error during formatting: decimal clause can only be used on integers, was given string"]),
        ("'%s %s'.format(['x']) == ''", ["index 1 out of range"]),
        ("'%s'.format(['x', 1]) == ''", ["too many arguments supplied to string.format (expected 1, got 2)"]),
        ("'%y'.format([1]) == ''", ["error during formatting: could not parse formatting clause: unrecognized formatting clause \"y\""]),
        ("math.greatest(1, 2) == 2", ["undeclared reference to 'math' (in container '')", "undeclared reference to 'greatest' (in container '')"]),
        ("[1, 1].distinct() == [1]", ["undeclared reference to 'distinct' (in container '')"]),
        ("cel.bind(x, 1, true)", ["undeclared reference to 'cel' (in container '')", "undeclared reference to 'x' (in container '')",
                                  "undeclared reference to 'bind' (in container '')"]),
    ],
)  # fmt: skip
def test_what_kubernetes_does_not_have_and_formats_that_do_not_fit_are_refused(source: str, messages: list[str]) -> None:
    with pytest.raises(CompileError) as raised:
        compile_expression(source, {})
    assert [i.message for i in raised.value.issues] == messages


def test_a_format_that_does_not_fit_is_an_error_when_it_runs() -> None:
    with pytest.raises(CelError, match="octal clause can only be used on integers, was given double"):
        value("dyn('%o').format([self.n]) == ''")


def test_an_expression_that_costs_too_much_is_cut_off() -> None:
    program = compile_expression("l.all(x, l.all(y, x + y >= 0))", {"l": list_of(INT)})
    with pytest.raises(CostExceeded):
        program.evaluate({"l": list(range(1000))}, limit=10_000)


def test_a_null_property_counts_as_absent_to_has() -> None:
    assert value("has(self.o)", {"o": None}) is False
