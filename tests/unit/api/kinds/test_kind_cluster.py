"""Runtime classes, priority levels, flow schemas, API services and certificate requests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kind_kit import NOW, Kind

from pilothouse.api.kinds.flowschema import FIXED
from pilothouse.api.strategy import Context

FLOW = "flowcontrol.apiserver.k8s.io"
runtimes = Kind("node.k8s.io", "v1", "runtimeclasses")
levels = Kind(FLOW, "v1", "prioritylevelconfigurations")
schemas = Kind(FLOW, "v1", "flowschemas")
services = Kind("apiregistration.k8s.io", "v1", "apiservices")
requests = Kind("certificates.k8s.io", "v1", "certificatesigningrequests")


def request() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bob")])
    made = (
        x509.CertificateSigningRequestBuilder().subject_name(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


# --- runtime classes ----------------------------------------------------------------------------------------------------------------


def test_a_runtime_class_keeps_its_handler() -> None:
    assert runtimes.stored({"handler": "runc"}) == {"handler": "runc"}
    assert runtimes.wrong({}) == ["handler: Required value"]
    assert runtimes.update({"handler": "runc"}, {"handler": "kata"})[1] == ['handler: Invalid value: "kata": field is immutable']


def test_a_runtime_classes_tolerations_are_those_of_pods() -> None:
    toleration = {"key": "k", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 1}
    assert runtimes.wrong({"handler": "runc", "scheduling": {"tolerations": [toleration]}}) == [
        "scheduling.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"
    ]


# --- priority levels and flow schemas -----------------------------------------------------------------------------------------------


def test_a_limited_level_has_shares_and_queues_by_default() -> None:
    stored = levels.stored({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}})
    queuing = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
    limited = {"nominalConcurrencyShares": 30, "lendablePercent": 0, "limitResponse": {"type": "Queue", "queuing": queuing}}
    assert stored["spec"] == {"type": "Limited", "limited": limited}


@pytest.mark.parametrize(
    ("queuing", "told"),
    [
        ({"queues": 4, "handSize": 5}, "handSize: Invalid value: 5: should not be greater than queues (4)"),
        (
            {"queues": 1024, "handSize": 8},
            "handSize: Invalid value: 8: required entropy bits of deckSize 1024 and handSize 8 should not be greater than 60",
        ),
        ({"queueLengthLimit": -1}, "queueLengthLimit: Invalid value: -1: must be positive"),
    ],
)
def test_bad_queues_are_refused(queuing: dict[str, Any], told: str) -> None:
    spec = {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}
    assert levels.wrong({"spec": spec}) == [f"spec.limited.limitResponse.queuing.{told}"]


def test_only_the_exempt_level_is_exempt_and_the_last_one_is_as_it_must_be() -> None:
    assert levels.wrong({"spec": {"type": "Exempt"}}) == [
        "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"
    ]
    assert levels.wrong({"spec": {"type": "Exempt"}}, "exempt") == []
    reject = {"limitResponse": {"type": "Reject"}}
    assert levels.wrong({"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, **reject}}}, "catch-all") == []
    wrong = levels.wrong({"spec": {"type": "Limited", "limited": reject}}, "catch-all")
    assert len(wrong) == 1 and wrong[0].endswith("spec of 'catch-all' must equal the fixed value")


LEVEL = {"priorityLevelConfiguration": {"name": "workload-low"}}


def test_a_schema_has_a_precedence() -> None:
    assert schemas.stored({"spec": LEVEL})["spec"] == {**LEVEL, "matchingPrecedence": 1000}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"priorityLevelConfiguration": {}},
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        ),
        (
            {"matchingPrecedence": 1},
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
        ),
        (
            {
                "rules": [
                    {
                        "subjects": [{"kind": "User", "user": {"name": ""}}],
                        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                    }
                ]
            },
            "spec.rules[0].subjects[0].user.name: Required value",
        ),
        (
            {
                "rules": [
                    {
                        "subjects": [{"kind": "Group", "group": {"name": "g"}}],
                        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["x"]}],
                    }
                ]
            },
            'spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "x": must start with slash',
        ),
    ],
)
def test_a_bad_schema_is_refused(spec: dict[str, Any], told: str) -> None:
    assert schemas.wrong({"spec": {**LEVEL, **spec}}) == [told]


# --- API services -------------------------------------------------------------------------------------------------------------------

SERVED = {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}


def test_an_api_service_is_reached_by_https_by_default() -> None:
    spec = {**SERVED, "service": {"namespace": "n", "name": "s"}}
    assert services.stored({"spec": spec}, "v1.example.com")["spec"]["service"]["port"] == 443


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"groupPriorityMinimum": 20001},
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
        ),
        (
            {"insecureSkipTLSVerify": True},
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ),
        ({"service": {"namespace": "n"}}, "spec.service.name: Required value"),
    ],
)
def test_a_bad_api_service_is_refused(more: dict[str, Any], told: str) -> None:
    assert services.wrong({"spec": {**SERVED, **more}}, "v1.example.com") == [told]


def test_an_api_service_is_named_after_what_it_serves() -> None:
    assert services.wrong({"spec": SERVED}, "x") == [
        'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.example.com"'
    ]


# --- certificate requests -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"request": "bm90IHBlbQ=="}, 'spec.request: Invalid value: "bm90IHBlbQ==": PEM block type must be CERTIFICATE REQUEST'),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["client auth", "client auth"]}, 'spec.usages[1]: Duplicate value: "client auth"'),
        (
            {"signerName": "nodomain"},
            'spec.signerName: Invalid value: "nodomain": must be a fully qualified domain and path of the form '
            "'example.com/signer-name'",
        ),
        (
            {"expirationSeconds": 599},
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)",
        ),
    ],
)
def test_a_bad_request_is_refused(more: dict[str, Any], told: str) -> None:
    good = {"request": request(), "signerName": "example.com/s", "usages": ["client auth"]}
    assert requests.wrong({"spec": good}) == []
    assert requests.wrong({"spec": {**good, **more}}) == [told]


def test_approval_and_denial_exclude_each_other_and_last() -> None:
    approved, denied = ({"type": t, "status": "True", "reason": "R"} for t in ("Approved", "Denied"))
    check = requests.strategy.validate_subresource
    assert [e.detail for e in check("approval", {"status": {"conditions": [approved, denied]}}, {})] == [
        "Approved and Denied conditions are mutually exclusive"
    ]
    assert [e.detail for e in check("approval", {"status": {}}, {"status": {"conditions": [denied]}})] == [
        'updates may not remove a condition of type "Denied"'
    ]


def test_the_approval_endpoint_issues_nothing_and_the_status_endpoint_keeps_what_was_decided() -> None:
    approved = {"type": "Approved", "status": "True", "reason": "R"}
    pending = {"metadata": {}, "spec": {}}
    decided: dict[str, Any] = {"metadata": {}, "status": {"conditions": [approved], "certificate": "eA=="}}
    requests.strategy.prepare_subresource("approval", decided, pending, Context(NOW, "certificates.k8s.io/v1"))
    assert list(decided["status"]) == ["conditions"]
    issued: dict[str, Any] = {"metadata": {}, "status": {"conditions": [{**approved, "reason": "Other"}], "certificate": "eA=="}}
    old = {**pending, "status": {"conditions": [approved]}}
    requests.strategy.prepare_subresource("status", issued, old, Context(NOW, "certificates.k8s.io/v1"))
    assert [c["reason"] for c in issued["status"]["conditions"]] == ["R"]
    assert issued["status"]["certificate"] == "eA=="


def test_a_status_write_may_neither_decide_nor_issue_something_that_is_no_certificate() -> None:
    approved = {"type": "Approved", "status": "True", "reason": "R"}
    content = base64.b64encode(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").decode()
    check = requests.strategy.validate_subresource
    assert [str(e.detail) for e in check("status", {"status": {"conditions": [approved], "certificate": content}}, {})] == [
        'updates may not add a condition of type "Approved"',
        'only CERTIFICATE PEM blocks are allowed, found "PUBLIC KEY"',
    ]


@pytest.mark.parametrize("name", ["exempt", "catch-all"])
def test_the_two_flow_schemas_that_must_be_there_say_what_they_must_say(name: str) -> None:
    assert schemas.wrong({"spec": FIXED[name]}, name) == []
    other = {**FIXED[name], "rules": [{**FIXED[name]["rules"][0], "resourceRules": []}]}
    (wrong,) = schemas.wrong({"spec": other}, name)
    assert wrong.startswith('spec: Invalid value: {"PriorityLevelConfiguration":{"Name":"' + name)
    assert wrong.endswith(f"spec of '{name}' must equal the fixed value")
