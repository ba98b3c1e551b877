"""Field sets, update tracking and server-side apply: the rules one by one, and properties that hold for all objects."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pilothouse.api.apply import apply, keep_times_if_unchanged, track_update
from pilothouse.api.apply import fieldset as fs
from pilothouse.api.apply.scale import to_object, to_scale
from pilothouse.api.errors import StatusError
from pilothouse.api.schema import Schema
from pilothouse.api.tables import schema_for

Obj = dict[str, Any]
CONFIG_MAP = schema_for("", "v1", "ConfigMap")
DEPLOYMENT = schema_for("apps", "v1", "Deployment")
SCALE = schema_for("autoscaling", "v1", "Scale")


def config_map(data: Obj | None = None, **meta: Any) -> Obj:
    out: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **meta}}
    return out if data is None else {**out, "data": data}


def created(obj: Obj, manager: str = "u1", now: float = 0) -> Obj:
    track_update(obj, None, CONFIG_MAP, manager, api_version="v1", now=now)
    return obj


def updated(old: Obj, new: Obj, manager: str, now: float = 1) -> Obj:
    track_update(new, old, CONFIG_MAP, manager, api_version="v1", now=now)
    return new


def applied(live: Obj | None, config: Obj, manager: str = "m1", force: bool = False, now: float = 2) -> Obj:
    return apply(live, config, CONFIG_MAP, manager, api_version="v1", kind="ConfigMap", now=now, force=force)


def owners(obj: Obj) -> dict[tuple[str, str], Obj]:
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


# --- updates --------------------------------------------------------------------------------------------------------------------


def test_who_creates_owns_everything_but_the_identity() -> None:
    obj = created(config_map({"k": "v"}, labels={"l": "1"}, uid="u", creationTimestamp="2020-01-01T00:00:00Z"))
    assert obj["metadata"]["managedFields"] == [
        {"manager": "u1", "operation": "Update", "apiVersion": "v1", "time": "1970-01-01T00:00:00Z", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:l": {}}}}}
    ]  # fmt: skip


def test_objects_of_one_shape_share_their_fields_and_others_do_not() -> None:
    a, b, c = created(config_map({"k": "v"})), created(config_map({"k": "w"})), created(config_map({"q": "v"}))
    assert a["metadata"]["managedFields"][0]["fieldsV1"] is b["metadata"]["managedFields"][0]["fieldsV1"]
    assert owners(c) == {("u1", "Update"): {"f:data": {".": {}, "f:q": {}}}}


def test_an_anonymous_writer_is_unknown() -> None:
    assert list(owners(created(config_map({"k": "v"}), ""))) == [("unknown", "Update")]


def test_fields_that_every_object_has_are_not_new() -> None:
    obj: Obj = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {},
        "spec": {"strategy": {"type": "Recreate"}, "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }  # fmt: skip
    track_update(obj, None, DEPLOYMENT, "m", api_version="apps/v1", now=0, reset_fields=(("status",),))
    assert obj["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {
            "f:strategy": {"f:type": {}},
            "f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}, "f:name": {}}}}},
        }
    }


def test_a_change_takes_the_field_from_its_owner() -> None:
    old = created(config_map({"k": "v", "q": "1"}))
    new = updated(old, config_map({"k": "w", "q": "1"}), "u2")
    assert owners(new) == {("u1", "Update"): {"f:data": {".": {}, "f:q": {}}}, ("u2", "Update"): {"f:data": {"f:k": {}}}}


def test_a_removed_field_is_nobodys_and_an_empty_entry_goes() -> None:
    old = updated(created(config_map({"k": "v"})), config_map({"k": "v", "n": "1"}), "u2")
    assert owners(updated(old, config_map({"k": "v"}), "u3")) == {("u1", "Update"): {"f:data": {".": {}, "f:k": {}}}}


def test_a_write_that_changes_nothing_keeps_the_entries() -> None:
    old = created(config_map({"k": "v"}))
    new = updated(old, config_map({"k": "v"}), "u2", now=99)
    assert new["metadata"]["managedFields"] == old["metadata"]["managedFields"]


def test_an_entrys_time_is_that_of_its_last_change() -> None:
    old = created(config_map({"k": "v"}))
    new = updated(old, config_map({"k": "w"}), "u1", now=60)
    assert [e["time"] for e in new["metadata"]["managedFields"]] == ["1970-01-01T00:01:00Z"]
    assert old["metadata"]["managedFields"][0]["time"] == "1970-01-01T00:00:00Z"


def test_clients_may_set_managed_fields_but_not_break_them() -> None:
    old = created(config_map({"k": "v"}))
    entry = {
        "manager": "h",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:k": {}}},
    }
    assert owners(updated(old, config_map({"k": "v"}, managedFields=[entry]), "w")) == {("h", "Apply"): {"f:data": {"f:k": {}}}}
    for broken in (
        {"fieldsV1": {"f:data": 5}},
        {"fieldsV1": []},
        {"fieldsV1": {"v:x": {}}},
        {"operation": "Other"},
        {"fieldsType": ""},
    ):
        kept = updated(old, config_map({"k": "v"}, managedFields=[{**entry, **broken}]), "w")
        assert owners(kept) == owners(old)


def test_one_empty_entry_turns_tracking_off_until_somebody_applies() -> None:
    off = updated(created(config_map({"k": "v"})), config_map({"k": "v"}, managedFields=[{}]), "w")
    assert "managedFields" not in off["metadata"]
    still = updated(off, config_map({"k": "w"}), "w")
    assert "managedFields" not in still["metadata"]
    assert owners(applied(still, config_map({"n": "1"}))) == {
        ("m1", "Apply"): {"f:data": {"f:n": {}}}, ("before-first-apply", "Update"): {"f:data": {".": {}, "f:k": {}}},
    }  # fmt: skip


def test_only_ten_updaters_are_remembered() -> None:
    obj = created(config_map({"k": "v"}), "u00", now=0)
    for i in range(1, 13):
        obj = updated(obj, config_map({**obj["data"], f"k{i}": "1"}), f"u{i:02}", now=i)
    found = owners(obj)
    assert len(found) == 10
    assert found["ancient-changes", "Update"] == {"f:data": {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}}


def test_entries_are_ordered_by_operation_and_time() -> None:
    obj = updated(created(config_map({"k": "v"}), "z", now=5), config_map({"k": "v", "a": "1"}), "a", now=9)
    obj = applied(obj, config_map({"b": "1"}), "m", now=7)
    assert [e["manager"] for e in obj["metadata"]["managedFields"]] == ["m", "z", "a"]


def test_an_endpoint_does_not_own_what_it_does_not_write() -> None:
    old = created(config_map({"k": "v"}))
    new = config_map({"k": "w"}, labels={"a": "b"})
    track_update(new, old, CONFIG_MAP, "s", api_version="v1", now=1, subresource="status", reset_fields=(("data",),))
    assert owners(new)["s", "Update"] == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}
    assert owners(new)["u1", "Update"] == owners(old)["u1", "Update"]


def test_entries_in_versions_that_do_not_exist_are_dropped() -> None:
    entry = {
        "manager": "h",
        "operation": "Update",
        "apiVersion": "v9",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:k": {}}},
    }
    new = updated(created(config_map({"k": "v"})), config_map({"k": "v"}, managedFields=[entry]), "w")
    assert "managedFields" not in new["metadata"]


def test_a_write_that_only_moves_times_is_none() -> None:
    old = created(config_map({"k": "v"}, resourceVersion="1"))
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = "2030-01-01T00:00:00Z"
    other = copy.deepcopy(new)
    keep_times_if_unchanged(new, old)
    assert new == old
    other["data"]["k"] = "w"
    keep_times_if_unchanged(other, old)
    assert other["metadata"]["managedFields"][0]["time"] == "2030-01-01T00:00:00Z"


# --- apply ----------------------------------------------------------------------------------------------------------------------


def test_apply_creates_sets_and_unsets() -> None:
    obj = applied(None, config_map({"k": "v"}, labels={"l": "1"}))
    assert owners(obj) == {("m1", "Apply"): {"f:data": {"f:k": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}}
    obj["metadata"]["uid"] = "u"
    again = applied(obj, config_map({"k": "w"}))
    del again["metadata"]["managedFields"]
    assert again == config_map({"k": "w"}, uid="u")


def test_a_conflict_names_the_manager_and_the_field() -> None:
    obj = applied(None, config_map({"k": "v", "o": "1"}), "m2")
    with pytest.raises(StatusError) as one:
        applied(obj, config_map({"k": "w"}))
    assert one.value.message == 'Apply failed with 1 conflict: conflict with "m2": .data.k'
    with pytest.raises(StatusError) as two:
        applied(obj, config_map({"k": "w", "o": "2"}))
    assert two.value.message == 'Apply failed with 2 conflicts: conflicts with "m2":\n- .data.k\n- .data.o'
    assert two.value.details == {
        "causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "m2"', "field": f} for f in (".data.k", ".data.o")
        ]
    }


def test_force_takes_the_field() -> None:
    obj = applied(applied(None, config_map({"k": "v"}), "m2"), config_map({"k": "w"}), force=True)
    assert (obj["data"], owners(obj)) == ({"k": "w"}, {("m1", "Apply"): {"f:data": {"f:k": {}}}})


def test_the_same_value_is_shared_and_goes_with_its_last_owner() -> None:
    obj = applied(applied(None, config_map({"k": "v"}), "m1"), config_map({"k": "v"}), "m2")
    assert set(owners(obj)) == {("m1", "Apply"), ("m2", "Apply")}
    obj = applied(obj, config_map(), "m1")
    assert obj["data"] == {"k": "v"}
    assert "data" not in applied(obj, config_map(), "m2")


def test_what_is_only_a_default_goes_with_the_field_that_brought_it() -> None:
    live: Obj = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "managedFields": [
            {"manager": "m1", "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:spec": {"f:replicas": {}, "f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}, "f:type": {}}}}}]},
        "spec": {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}},
    }  # fmt: skip
    config = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}},
    }
    out = apply(live, config, DEPLOYMENT, "m1", api_version="apps/v1", kind="Deployment", now=1)
    assert out["spec"]["strategy"] == {"type": "Recreate"}


def test_kubectl_takes_over_what_its_client_side_apply_had_set() -> None:
    last = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}'
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    live = created(config_map({"k": "v"}, annotations={annotation: last}), "kubectl-client-side-apply")
    with pytest.raises(StatusError):
        applied(live, config_map({"k": "w"}), "other")
    out = applied(live, config_map({"k": "w"}), "kubectl")
    assert out["data"] == {"k": "w"}
    assert (
        out["metadata"]["annotations"][annotation]
        == '{"apiVersion":"v1","data":{"k":"w"},"kind":"ConfigMap","metadata":{"name":"a"}}\n'
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"data": {}}, "invalid object type: /, Kind="),
        ({"apiVersion": "apps/v1", "kind": "ConfigMap"}, "invalid object type: apps/v1, Kind=ConfigMap"),
        (config_map(managedFields=[{}]), "metadata.managedFields must be nil"),
        ({**config_map(), "x": 1}, "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .x: field not declared in schema"),
        (config_map(finalizers=["x/2", "x/2"]),
         'failed to create typed patch object (/a; /v1, Kind=ConfigMap): .metadata.finalizers: duplicate entries for key [="x/2"]'),
    ],
)  # fmt: skip
def test_configurations_that_do_not_fit_are_bad_requests(config: Obj, message: str) -> None:
    with pytest.raises(StatusError) as refused:
        applied(None, config)
    assert (refused.value.code, refused.value.message) == (400, message)


def test_ownership_crosses_the_scale_subresource() -> None:
    obj: Obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1, "paused": True}}
    track_update(obj, None, DEPLOYMENT, "m1", api_version="apps/v1", now=0)
    old: Obj = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    to_scale(obj, old)
    new: Obj = {**old, "metadata": {"name": "d"}, "spec": {"replicas": 4}}
    track_update(new, old, SCALE, "hpa", api_version="autoscaling/v1", now=1, subresource="scale")
    to_object(obj, new, api_version="apps/v1")
    assert owners(obj) == {("m1", "Update"): {"f:spec": {"f:paused": {}}}, ("hpa", "Update"): {"f:spec": {"f:replicas": {}}}}
    entry = next(e for e in obj["metadata"]["managedFields"] if e["manager"] == "hpa")
    assert (entry["apiVersion"], entry["subresource"], "time" in entry) == ("apps/v1", "scale", False)


# --- properties of sets -----------------------------------------------------------------------------------------------------------

_paths = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple), max_size=6).map(set)


def of(paths: set[tuple[str, ...]]) -> fs.Fields:
    return fs.ordered(fs.from_paths(sorted(paths)))


def back(fields: fs.Fields) -> set[tuple[str, ...]]:
    return {tuple(e[2:] for e in p) for p in fs.paths(fields)}


@given(_paths, _paths)
def test_sets_of_fields_are_sets(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    assert back(of(a)) == a
    assert back(fs.union(of(a), of(b))) == a | b
    assert back(fs.difference(of(a), of(b))) == a - b
    assert back(fs.intersection(of(a), of(b))) == a & b
    assert fs.covers(of(a), of(b)) == (a >= b)
    assert back(fs.without(of(a), of(b))) == {p for p in a if not any(p[: len(q)] == q for q in b)}
    assert fs.checked(of(a)) == of(a)


@given(_paths, _paths)
def test_equal_sets_have_one_form_and_stay_in_order(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> None:
    for found, want in ((fs.union(of(a), of(b)), a | b), (fs.difference(of(a), of(b)), a - b)):
        assert str(found) == str(of(want))


# --- properties of apply ----------------------------------------------------------------------------------------------------------

_item = Schema("object", required=frozenset({"name"}), fields={"name": Schema("string"), "v": Schema("integer")})
THING = Schema(
    "object",
    name="x.Thing",
    fields={
        "apiVersion": Schema("string"),
        "kind": Schema("string"),
        "metadata": Schema("object", fields={"name": Schema("string"), "managedFields": Schema("list", items=Schema("any"))}),
        "map": Schema("map", items=Schema("string")),
        "items": Schema("list", items=_item, list_type="map", list_keys=("name",)),
        "set": Schema("list", items=Schema("string"), list_type="set"),
        "atom": Schema("list", items=Schema("string")),
        "deep": Schema("object", fields={"map": Schema("map", items=Schema("integer")), "x": Schema("integer")}),
    },
)
_bodies = st.fixed_dictionaries(
    {},
    optional={
        "map": st.dictionaries(st.sampled_from("kl"), st.sampled_from("12"), min_size=1),
        "items": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"v": st.integers(0, 2)}),
            min_size=1, max_size=3, unique_by=lambda i: i["name"],
        ),
        "set": st.lists(st.sampled_from("xyz"), min_size=1, max_size=3, unique=True),
        "atom": st.lists(st.sampled_from("xyz"), min_size=1, max_size=2),
        "deep": st.fixed_dictionaries({"map": st.dictionaries(st.sampled_from("kl"), st.integers(0, 2), min_size=1)}, optional={"x": st.integers(0, 2)}),
    },
)  # fmt: skip


def thing(body: Obj) -> Obj:
    return {"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "t"}, **copy.deepcopy(body)}


def put(live: Obj | None, body: Obj, manager: str, force: bool = True) -> Obj:
    return apply(live, thing(body), THING, manager, api_version="x/v1", kind="Thing", now=1, force=force)


def set_of(body: Obj) -> Obj:
    return put(None, body, "m")["metadata"].get("managedFields", [{"fieldsV1": {}}])[0]["fieldsV1"]


@given(_bodies, _bodies, _bodies)
def test_applying_twice_is_applying_once(first: Obj, other: Obj, config: Obj) -> None:
    live = put(put(None, first, "a"), other, "b")
    once = put(live, config, "a")
    assert put(once, config, "a", force=False) == once


@given(_bodies, _bodies, _bodies)
def test_what_is_applied_is_owned_and_there(first: Obj, other: Obj, config: Obj) -> None:
    live = put(put(None, first, "a"), other, "b")
    before = copy.deepcopy(live)
    out = put(live, config, "a")
    assert owners(out).get(("a", "Apply"), {}) == set_of(config)
    assert fs.covers(
        fs.union(set_of({k: v for k, v in out.items() if k not in ("metadata", "apiVersion", "kind")}), {}), set_of(config)
    )
    assert live == before


@given(_bodies, _bodies)
def test_applying_nothing_leaves_only_what_others_own(first: Obj, other: Obj) -> None:
    live = put(put(None, first, "a"), other, "b")
    out = put(live, {}, "a")
    assert set(owners(out)) <= {("b", "Apply")}
    rest = {k: v for k, v in out.items() if k not in ("metadata", "apiVersion", "kind")}
    assert fs.covers(owners(out).get(("b", "Apply"), {}), set_of(rest))


@given(_bodies, _bodies)
def test_two_managers_share_only_what_both_want(first: Obj, other: Obj) -> None:
    out = put(put(None, first, "a"), other, "b")
    mine, theirs = owners(out).get(("a", "Apply"), {}), owners(out).get(("b", "Apply"), {})
    assert fs.covers(set_of(first), mine)
    assert theirs == set_of(other)
    assert fs.covers(fs.intersection(set_of(first), set_of(other)), fs.intersection(mine, theirs))


@given(_bodies, _bodies)
def test_an_update_owns_what_it_changed_and_nobody_owns_what_is_gone(first: Obj, second: Obj) -> None:
    assume(first)  # an object in which nobody owns anything is not tracked
    old, new = thing(first), thing(second)
    track_update(old, None, THING, "a", api_version="x/v1", now=0)
    track_update(new, old, THING, "b", api_version="x/v1", now=1)
    whole = thing(second)
    track_update(whole, None, THING, "c", api_version="x/v1", now=0)
    everything = owners(whole).get(("c", "Update"), {})
    mine, theirs = owners(new).get(("a", "Update"), {}), owners(new).get(("b", "Update"), {})
    assert fs.union(mine, theirs) == everything
    assert fs.intersection(mine, theirs) == {}
