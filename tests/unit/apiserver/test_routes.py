import pytest

from pilothouse.api.errors import StatusError
from pilothouse.apiserver import routes


def parsed(method: str, target: str) -> tuple[str, str, str, str, str, str, str]:
    r = routes.parse(method, target)
    return (r.verb, r.group, r.version, r.resource, r.subresource, r.namespace, r.name)


@pytest.mark.parametrize(
    ("method", "target", "want"),
    [
        ("GET", "/api/v1/namespaces/a/pods/p", ("get", "", "v1", "pods", "", "a", "p")),
        ("GET", "/api/v1/namespaces/a/pods", ("list", "", "v1", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods?watch=1", ("watch", "", "v1", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods?watch=false", ("list", "", "v1", "pods", "", "a", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods/p", ("watch", "", "v1", "pods", "", "a", "p")),
        ("PUT", "/apis/apps/v1/namespaces/a/deployments/d/status", ("update", "apps", "v1", "deployments", "status", "a", "d")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "v1", "namespaces", "", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "v1", "namespaces", "finalize", "a", "a")),
        ("DELETE", "/api/v1/nodes", ("deletecollection", "", "v1", "nodes", "", "", "")),
        ("POST", "/api/v1/nodes", ("create", "", "v1", "nodes", "", "", "")),
        ("GET", "/version", ("get", "", "", "", "", "", "")),
    ],
)
def test_a_path_names_a_resource_and_the_method_a_verb(method: str, target: str, want: tuple[str, ...]) -> None:
    assert parsed(method, target) == want


def test_escapes_in_names_are_undone() -> None:
    assert routes.parse("GET", "/api/v1/namespaces/a/configmaps/a%20b").name == "a b"


def test_broken_escapes_are_refused() -> None:
    with pytest.raises(ValueError):
        routes.parse("GET", "/api/v1/namespaces/a/configmaps/%zz")


def test_parts_beyond_a_subresource_make_a_path_malformed() -> None:
    assert routes.parse("GET", "/api/v1/namespaces/a/pods/p/status/x").malformed
    assert not routes.parse("GET", "/api/v1/namespaces/a/pods/p/proxy/x/y").malformed


def test_a_repeated_parameter_keeps_all_its_values() -> None:
    assert routes.parse_query("a=1&b=x%3Dy&a=2&c=p+q") == {"a": ["1", "2"], "b": ["x=y"], "c": ["p q"]}


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("-2s", -2)])
def test_go_durations(text: str, seconds: float) -> None:
    assert routes.parse_go_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["x", "1", "s", "1s2", ""])
def test_what_is_no_go_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        routes.parse_go_duration(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [("x", "invalid syntax"), ("", "invalid syntax"), ("1.5", "invalid syntax"), ("9" * 20, "value out of range")],
)
def test_numbers_in_queries_are_checked(text: str, why: str) -> None:
    with pytest.raises(StatusError, match=why) as caught:
        routes.parse_int(text)
    assert caught.value.code == 400


def test_a_field_selector_by_name_tells_authorizers_the_name() -> None:
    assert routes.single_name(routes.parse("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dp")) == "p"
    assert routes.single_name(routes.parse("GET", "/api/v1/pods?fieldSelector=metadata.name%21%3Dp")) == ""
