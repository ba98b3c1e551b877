"""Changes of headers and paths, redirects, CORS, and what of a head is passed on: the embedded engine's pure functions."""

from __future__ import annotations

import pytest

from pilothouse.dataplane.embedded.filters import Change, CorsPolicy, change_path, hostname, location, split_authority
from pilothouse.dataplane.embedded.heads import changed, fits_http1, is_authority, to_backend, to_client, trailers
from pilothouse.dataplane.model import Cors, Match, PathChange, Redirect
from pilothouse.dataplane.model import Headers as Changes


def test_headers_are_set_then_added_then_removed() -> None:
    change = Change(Changes(set=(("A", "new"), ("B", "1")), add=(("B", "2"), ("C", "3")), remove=("C",)))
    before = [(b"a", b"1"), (b"a", b"2"), (b"z", b"0")]
    assert change.apply(before) == [(b"z", b"0"), (b"a", b"new"), (b"b", b"1"), (b"b", b"2")]
    assert before == [(b"a", b"1"), (b"a", b"2"), (b"z", b"0")], "what was received stays as it is"


@pytest.mark.parametrize(
    ("authority", "host", "port", "name"),
    [
        (b"Example.COM", b"Example.COM", b"", b"example.com"),
        (b"example.com:80", b"example.com", b"80", b"example.com"),
        (b"example.com.:80", b"example.com.", b"80", b"example.com"),
        (b"[::1]:8080", b"[::1]", b"8080", b"[::1]"),
        (b"[::1]", b"[::1]", b"", b"[::1]"),
        (b"", b"", b"", b""),
    ],
)
def test_an_authority_has_a_host_and_a_port(authority: bytes, host: bytes, port: bytes, name: bytes) -> None:
    assert split_authority(authority) == (host, port)
    assert hostname(authority) == name


def test_a_prefix_of_an_expression_is_left_alone() -> None:
    assert change_path(PathChange("prefix", "/x"), b"/a/b", Match("/a.*", "RegularExpression")) == b"/a/b"


def test_a_full_path_begins_with_a_slash() -> None:
    assert change_path(PathChange("full", "x"), b"/a", Match()) == b"/x"


@pytest.mark.parametrize(
    ("redirect", "scheme", "authority", "expected"),
    [
        (Redirect(), b"http", b"a.org", b"http://a.org/p?q"),
        (Redirect(), b"https", b"a.org:8443", b"https://a.org:8443/p?q"),
        (Redirect(scheme="https"), b"http", b"a.org:8080", b"https://a.org/p?q"),
        (Redirect(scheme="http", port=443), b"https", b"a.org", b"http://a.org:443/p?q"),
        (Redirect(hostname="b.org"), b"http", b"[::1]:81", b"http://b.org:81/p?q"),
        (Redirect(), b"http", b"[::1]:81", b"http://[::1]:81/p?q"),
    ],
)
def test_a_location_names_a_port_only_where_it_has_to(
    redirect: Redirect, scheme: bytes, authority: bytes, expected: bytes
) -> None:
    assert location(redirect, scheme, authority, b"/p", b"?q", Match()) == expected


def test_what_belongs_to_a_connection_is_not_passed_to_a_backend() -> None:
    received = [
        (b"connection", b"Keep-Alive, X-Mine, Content-Length"),
        (b"x-mine", b"1"),
        (b"keep-alive", b"5"),
        (b"te", b"trailers, gzip"),
        (b"transfer-encoding", b"chunked"),
        (b"host", b"a.org"),
        (b"accept", b"*/*"),
    ]
    head, trailers = to_backend(received, b"192.0.2.1", b"https", b"a.org")
    assert head == [
        (b"accept", b"*/*"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"a.org"),
    ]
    assert trailers


def test_a_chain_of_addresses_grows_and_other_claims_are_replaced() -> None:
    received = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2"), (b"x-forwarded-host", b"evil")]
    head, _ = to_backend(received, b"3.3.3.3", b"http", b"a.org")
    assert dict(head) == {
        b"x-forwarded-for": b"1.1.1.1, 2.2.2.2, 3.3.3.3",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-host": b"a.org",
    }


def test_an_answer_loses_what_belongs_to_its_connection() -> None:
    received = [(b"connection", b"close, x-mine"), (b"x-mine", b"1"), (b"content-length", b"3"), (b"server", b"s")]
    assert to_client(received) == [(b"content-length", b"3"), (b"server", b"s")]


def test_a_filter_may_change_the_host_but_not_the_framing() -> None:
    change = Change(Changes(set=(("Host", "b.org"), ("Content-Length", "999"), ("X", "1"))))
    assert changed([(b"y", b"2")], b"a.org", change) == ([(b"y", b"2"), (b"x", b"1")], b"b.org")
    assert changed([], b"a.org", Change(Changes(remove=("Host",)))) == ([], b"a.org")


def test_trailers_do_not_frame_or_direct() -> None:
    received = [(b"x-sum", b"1"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked"), (b"host", b"evil")]
    assert trailers(received) == [(b"x-sum", b"1")]


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (b"a.example:80", True),
        (b"[::1]:80", True),
        (b"", True),
        (b"a b", False),
        (b"a/b", False),
        (b"a@b", False),
        (b"a\r\nx", False),
    ],
)
def test_an_authority_has_only_what_can_be_in_one(authority: bytes, expected: bool) -> None:
    assert is_authority(authority) is expected


@pytest.mark.parametrize(
    ("method", "target", "length", "expected"),
    [
        (b"GET", b"/a?b=%20", None, True),
        (b"POST", b"/", b"12", True),
        (b"GET /evil HTTP/1.1", b"/", None, False),
        (b"GET", b"/a HTTP/1.1", None, False),
        (b"GET", b"/a\r\nX: y", None, False),
        (b"GET", b"/a\tb", None, False),
        (b"POST", b"/", b"+5", False),
        (b"POST", b"/", b"5 ", False),
        (b"", b"/", None, False),
    ],
)
def test_what_would_mean_something_else_in_http_1_does_not_fit(
    method: bytes, target: bytes, length: bytes | None, expected: bool
) -> None:
    assert fits_http1(method, target, length) is expected


def asked(origin: bytes, **more: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"origin", origin), *((name.replace("_", "-").encode(), value) for name, value in more.items())]


def test_any_origin_is_named_itself_where_credentials_are_sent() -> None:
    assert dict(CorsPolicy(Cors(("*",))).answer(asked(b"https://a"), [])) == {b"access-control-allow-origin": b"*"}
    answer = dict(CorsPolicy(Cors(("*",), credentials=True)).answer(asked(b"https://a"), []))
    assert answer == {
        b"access-control-allow-origin": b"https://a",
        b"access-control-allow-credentials": b"true",
        b"vary": b"origin",
    }


def test_what_a_backend_said_about_origins_gives_way() -> None:
    policy = CorsPolicy(Cors(("https://a",), expose=("X",)))
    backend = [(b"access-control-allow-origin", b"*"), (b"x", b"1")]
    assert policy.answer(asked(b"https://b"), backend) == backend
    assert dict(policy.answer(asked(b"https://a"), backend)) == {
        b"x": b"1",
        b"access-control-allow-origin": b"https://a",
        b"vary": b"origin",
        b"access-control-expose-headers": b"X",
    }


def test_only_a_question_before_a_request_is_a_preflight() -> None:
    policy = CorsPolicy(Cors(("*",)))
    question = asked(b"https://a", access_control_request_method=b"PUT")
    assert policy.is_preflight(b"OPTIONS", question)
    assert not policy.is_preflight(b"GET", question)
    assert not policy.is_preflight(b"OPTIONS", asked(b"https://a"))
    assert not policy.is_preflight(b"OPTIONS", question[1:])
