import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver import entries
from pilothouse.apiserver.entries import Decoded, Entry

HEAD = entries.head_of("ConfigMap", "v1")


def stored(**data: str) -> bytes:
    return entries.encode({"metadata": {"name": "a"}, "data": data}, "ConfigMap", "v1")


@given(st.dictionaries(st.text(), st.text(), max_size=3), st.integers(1, 2**62), st.integers(1, 2**62))
def test_the_resource_version_is_spliced_in_and_can_be_changed(data: dict[str, str], first: int, second: int) -> None:
    value = stored(**data)
    encoded = entries.splice(value, HEAD, first)
    assert orjson.loads(encoded) == {
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "resourceVersion": str(first)}, "data": data,
    }  # fmt: skip
    assert entries.redate(encoded, HEAD, second) == entries.splice(value, HEAD, second)


def test_a_value_that_somebody_else_wrote_is_brought_into_order() -> None:
    foreign = b'{"metadata":{"name":"a"},"data":{"k":"v"},"apiVersion":"v1","kind":"ConfigMap"}'
    assert entries.splice(foreign, HEAD, 7) == entries.splice(stored(k="v"), HEAD, 7)


def test_only_a_bounded_number_of_decoded_objects_is_kept() -> None:
    decoded = Decoded(limit=300)
    made = [Entry(f"/registry/configmaps/d/{n}", n, entries.splice(stored(k="x" * 50), HEAD, n), decoded) for n in range(1, 9)]
    objects = [e.obj for e in made]
    assert made[-1].obj is objects[-1]
    assert made[0].obj is not objects[0]
    assert made[0].obj == objects[0]


def test_frozen_objects_refuse_changes_at_any_depth() -> None:
    frozen = entries.freeze({"a": {"b": [1]}})
    for change in (lambda: frozen.update(x=1), lambda: frozen["a"].pop("b"), lambda: frozen["a"]["b"].append(2)):
        with pytest.raises(TypeError, match="shared"):
            change()
    assert orjson.dumps(frozen) == b'{"a":{"b":[1]}}'
