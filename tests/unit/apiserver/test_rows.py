"""Rows of Tables as they are kept: the same as rows made anew, with the ages of the moment."""

import orjson
import pytest

from pilothouse.api import tables, times
from pilothouse.api.errors import Obj
from pilothouse.api.kinds import strategy_for
from pilothouse.apiserver.entries import Decoded, Entry, encode, splice
from pilothouse.apiserver.registry import Registry, Served
from pilothouse.apiserver.rows import Rows

MADE = times.seconds("2026-01-01T00:00:00Z")
REGISTRY = Registry(tables.RESOURCES, strategy_for, tables.schema_for, Decoded())


def entry(served: Served, **rest: Obj) -> Entry:
    kind, version = served.resource.kind, served.resource.api_version
    metadata = {"name": "a%b", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"text": "<100%>"}}
    value = encode({"kind": kind, "apiVersion": version, "metadata": metadata, **rest}, kind, version)
    return Entry("/registry/x/n/a%b", 7, splice(value, served.head, 7), Decoded())


def shown(served: Served, of: Entry, seconds: float, include: str = "Metadata") -> Obj:
    found: Obj = orjson.loads(Rows(served, "meta.k8s.io/v1", include, MADE + seconds).row(of))
    return found


@pytest.mark.parametrize("include", ["Metadata", "Object", "None"])
def test_a_kept_row_says_what_a_new_one_says_and_grows_older(include: str) -> None:
    pods = REGISTRY.of("", "pods")
    restarted = {"restartCount": 2, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:10Z"}}}
    pod = entry(pods, spec={"containers": [{"name": "c"}]}, status={"phase": "Succeeded", "containerStatuses": [restarted]})
    for seconds, age, ago in ((60, "60s", "50s"), (3600 * 3, "3h", "179m")):
        row = shown(pods, pod, seconds, include)
        assert row["cells"] == pods.strategy.cells(pod.fresh(), MADE + seconds)
        assert row["cells"][3:5] == [f"2 ({ago} ago)", age]
        assert row["conditions"] == pods.strategy.row_conditions(pod.fresh())
    wanted = {
        "Metadata": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": pod.obj["metadata"]},
        "Object": pod.obj,
    }
    assert row["object"] == wanted.get(include)


_DONE = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:20Z"}}
_SIDECAR = {"name": "s", "restartPolicy": "Always", "image": "i", "env": [{"name": "A", "value": "b"}]}


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"containers": [{"name": "c"}], "nodeName": "n1", "readinessGates": [{"conditionType": "g"}]},
         {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "g", "status": "True", "message": "m"}]}),
        ({"containers": [{"name": "c"}], "initContainers": [_SIDECAR, {"name": "i"}]},
         {"phase": "Pending", "initContainerStatuses": [{"name": "s", "started": True, "ready": True, "restartCount": 3, "lastState": _DONE},
                                                        {"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        ({"containers": [{"name": "c"}], "schedulingGates": [{"name": "x"}]},
         {"phase": "Pending", "nominatedNodeName": "n2",
          "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
        ({"containers": [{"name": "c"}, {"name": "d"}]},
         {"phase": "Failed", "reason": "Evicted", "containerStatuses": [{"name": "c", "state": _DONE}, {"name": "d", "state": {}}]}),
        ({"containers": [{"name": "c"}]}, None),
    ],
)  # fmt: skip
def test_looking_at_a_part_of_a_pod_shows_the_same_cells(spec: Obj, status: Obj | None) -> None:
    pods = REGISTRY.of("", "pods")
    pod = entry(pods, spec=spec, **({} if status is None else {"status": status}))
    assert not pod.is_decoded
    row = shown(pods, pod, 60)
    assert not pod.is_decoded
    assert row["cells"] == pods.strategy.cells(pod.fresh(), MADE + 60)
    assert row.get("conditions", []) == pods.strategy.row_conditions(pod.fresh())
    assert row["object"]["metadata"] == pod.fresh()["metadata"]


def test_fields_of_other_types_than_the_kind_has_are_shown_as_they_are() -> None:
    pods = REGISTRY.of("", "pods")
    pod = entry(pods, spec={"containers": [], "nodeName": 7}, status={"phase": "Running"})
    assert shown(pods, pod, 60)["cells"][6] == 7


def test_text_that_looks_like_a_moment_stays_text() -> None:
    events = REGISTRY.of("", "events", "v1")
    event = entry(events, message="\0001.0\0 and \0x\0", lastTimestamp="2026-01-01T00:00:00Z")
    assert shown(events, event, 60)["cells"][:1] == ["60s"]
    assert shown(events, event, 90)["cells"][6] == "\0001.0\0 and \0x\0"
    assert shown(events, event, 90)["cells"][0] == "90s"


def test_metadata_of_another_writer_is_told_as_it_is() -> None:
    maps = REGISTRY.of("", "configmaps")
    value = maps.head + b'"name":"a","labels":{"x":"\\u003c"}, "namespace":"n"},"data":{"k":"v"}}'
    foreign = Entry("/registry/configmaps/n/a", 7, splice(value, maps.head, 7), Decoded())
    assert shown(maps, foreign, 0)["object"]["metadata"] == {
        "resourceVersion": "7",
        "name": "a",
        "labels": {"x": "<"},
        "namespace": "n",
    }


def test_entries_that_were_never_listed_as_tables_keep_no_row() -> None:
    pods = REGISTRY.of("", "pods")
    pod = entry(pods, spec={}, status={})
    assert pod.row is None
    shown(pods, pod, 0)
    assert pod.row is not None


@pytest.mark.parametrize("tricky", ["f:x}]},", "f:x}]}", 'v:{"a":[{}]}', 'v:"}],\\"uid\\":\\"1\\"},\\"data\\":"', "f:plain"])
@pytest.mark.parametrize("decoded", [False, True])
def test_names_of_owned_fields_may_look_like_the_end_of_the_metadata(tricky: str, decoded: bool) -> None:
    maps = REGISTRY.of("", "configmaps")
    owned = [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {tricky: {}}}]
    metadata = {"name": "a", "namespace": "n", "managedFields": owned, "uid": "u", "generation": 1}
    value = encode({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": "v"}}, "ConfigMap", "v1")
    of = Entry("/registry/configmaps/n/a", 7, splice(value, maps.head, 7), Decoded())
    if decoded:
        assert of.obj
    row = shown(maps, of, 0)
    assert row["object"]["metadata"] == {"resourceVersion": "7", **metadata}
    assert row["cells"][:2] == ["a", 1]
