"""ObjectMeta: what a new object's metadata may be, and what may change."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import meta, names


def errors(**fields: Any) -> list[str]:
    return [str(e) for e in meta.validate_object_meta({"name": "a", "namespace": "n", **fields}, True, names.dns1123_subdomain)]


def changes(old: dict[str, Any], **fields: Any) -> list[str]:
    before = {"name": "a", "namespace": "n", "uid": "1", **old}
    return [str(e) for e in meta.validate_object_meta_update({**before, **fields}, before)]


def test_an_ordinary_object_is_fine() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    assert (
        errors(
            labels={"a.b/c": "d"},
            annotations={"A.b/c": "anything at all"},
            finalizers=["a.b/c", "orphan"],
            ownerReferences=[owner],
        )
        == []
    )


def test_a_name_is_needed() -> None:
    assert errors(name="") == ["metadata.name: Required value: name or generateName is required"]


def test_the_namespace_follows_the_kind() -> None:
    assert errors(namespace="") == ["metadata.namespace: Required value"]
    cluster_wide = meta.validate_object_meta({"name": "a", "namespace": "n"}, False, names.dns1123_subdomain)
    assert [str(e) for e in cluster_wide] == ["metadata.namespace: Forbidden: not allowed on this type"]


def test_annotations_have_a_limit_together() -> None:
    assert errors(annotations={"a": "x" * (256 * 1024)}) == ["metadata.annotations: Too long: may not be more than 262144 bytes"]


def test_owners_are_complete_and_one_controls() -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}
    assert errors(ownerReferences=[{**owner, "uid": ""}]) == [
        'metadata.ownerReferences.uid: Invalid value: "": must not be empty'
    ]
    (two,) = errors(ownerReferences=[owner, {**owner, "name": "q"}])
    assert 'Only one reference can have Controller set to true. Found "true" in references for Pod/p and Pod/q' in two
    (event,) = errors(ownerReferences=[{**owner, "kind": "Event"}])
    assert event.endswith("/v1, Kind=Event is disallowed from being an owner")


def test_finalizers_are_qualified_or_known() -> None:
    assert errors(finalizers=["nodomain"]) == [
        'metadata.finalizers[0]: Invalid value: "nodomain": name is neither a standard finalizer name nor is it fully qualified'
    ]
    assert "cannot be both set" in errors(finalizers=["orphan", "foregroundDeletion"])[0]


def test_managed_fields_name_their_manager() -> None:
    entry = {"manager": "m" * 129, "operation": "Merge", "fieldsType": "FieldsV2"}
    assert errors(managedFields=[entry]) == [
        'metadata.managedFields[0].operation: Invalid value: "Merge": must be `Apply` or `Update`',
        'metadata.managedFields[0].fieldsType: Invalid value: "FieldsV2": must be `FieldsV1`',
        "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes",
    ]


@pytest.mark.parametrize(
    "field", ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
)
def test_identity_never_changes(field: str) -> None:
    assert changes({}, **{field: "other"}) == [f'metadata.{field}: Invalid value: "other": field is immutable']


def test_an_object_that_is_being_deleted_takes_no_new_finalizers() -> None:
    old = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}
    assert changes(old, finalizers=[]) == []
    assert changes(old, finalizers=["a.b/c", "d.e/f"]) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        '[]string{"d.e/f"}'
    ]


def test_generation_does_not_go_back() -> None:
    assert changes({"generation": 3}, generation=2) == ["metadata.generation: Invalid value: 2: must not be decremented"]
