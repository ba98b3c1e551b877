"""The server's part of an object's metadata: names, uid, timestamps, and what updates may not touch."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.errors import Obj, StatusError, bad_request
from pilothouse.apiserver.registry import Served
from pilothouse.clock import Clock, new_uid, random_suffix, rfc3339

#: generateName is cut so that five random letters fit into a label's 63.
GENERATED_BASE = 58
_FIRST_WARNING = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %s"


def metadata_of(obj: Obj) -> Obj:
    """The object's metadata, there in any case."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = obj["metadata"] = {}
    return metadata


def check_namespace(served: Served, metadata: Obj, namespace: str) -> None:
    """Fill in the request's namespace; 400 if the object names another one."""
    found = metadata.get("namespace", "")
    if not served.resource.namespaced:
        if found and not served.custom:
            raise bad_request("namespace must not be provided by the client")
        metadata.pop("namespace", None)
    elif not found:
        metadata["namespace"] = namespace
    elif found != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def check_name(metadata: Obj, name: str) -> None:
    """400 if an update's object has no name, or another one than the URL."""
    found = metadata.get("name", "")
    if not found:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if found != name:
        raise bad_request(f"the name of the object ({found}) does not match the name on the URL ({name})")


def wipe(metadata: Obj) -> None:
    """Drop what only the server says of an object, before anybody comes to own it."""
    for key in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"):
        metadata.pop(key, None)


def begin_life(metadata: Obj, clock: Clock) -> None:
    """What every new object gets, and what it cannot have yet."""
    wipe(metadata)
    metadata["uid"] = new_uid(clock)
    metadata["creationTimestamp"] = rfc3339(clock.now())


def generate_name(metadata: Obj, clock: Clock) -> bool:
    """Make a name from generateName where there is no name. True if one was made."""
    base = metadata.get("generateName")
    if not base or metadata.get("name"):
        return False
    metadata["name"] = base[:GENERATED_BASE] + random_suffix(clock)
    return True


def carry_over(metadata: Obj, old: Obj) -> None:
    """What an update keeps of the old object, whatever the client sent."""
    metadata.pop("selfLink", None)
    if not metadata.get("uid"):
        metadata["uid"] = old.get("uid", "")
    for key in ("creationTimestamp", "deletionTimestamp"):
        if old.get(key):
            metadata[key] = old[key]
    if not old.get("creationTimestamp"):
        metadata.pop("creationTimestamp", None)
    if "deletionGracePeriodSeconds" in old and "deletionGracePeriodSeconds" not in metadata:
        metadata["deletionGracePeriodSeconds"] = old["deletionGracePeriodSeconds"]


def restore_generation(metadata: Obj, old: Obj) -> None:
    """Clients do not choose generations."""
    if "generation" in old:
        metadata["generation"] = old["generation"]
    else:
        metadata.pop("generation", None)


def dedup_owners(metadata: Obj, warn: Callable[[str], None]) -> None:
    """Drop repeated owner references, with a warning."""
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) < 2:
        return
    seen: list[Obj] = []
    repeated: list[str] = []
    for owner in owners:
        if owner in seen:
            uid = owner.get("uid", "")
            if uid not in repeated:
                repeated.append(uid)
        else:
            seen.append(owner)
    if repeated:
        metadata["ownerReferences"] = seen
        warn(_FIRST_WARNING % ", ".join(repeated))


def wrong_uid(served: Served, name: str, key: str, revision: int, wanted: str, found: str) -> StatusError:
    """409: an update that is meant for another object of the same name."""
    from pilothouse.api.errors import conflict

    why = (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: {revision}, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    )
    return conflict(served.resource.group, served.resource.plural, name, why)
