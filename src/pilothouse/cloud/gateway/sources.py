"""What the Gateway controller reads, indexed so that a change leads to the Gateways that it concerns and to no others.

A change of a route leads to its parents; of a Service to the routes that send to it; of a Secret to the listeners that show it; of a
ReferenceGrant to whoever reaches into its namespace; of a namespace's labels to the Gateways that select by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pilothouse.client.reconcile.kinds import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICES, Kind
from pilothouse.client.reconcile.kit import Cache
from pilothouse.client.reconcile.objects import annotations_of, key, labels_of, split_key
from pilothouse.cloud.gateway.attachment import parent_of
from pilothouse.cloud.gateway.kinds import (
    BACKEND_TLS_POLICIES,
    CONTROLLER,
    GATEWAY_CLASSES,
    GATEWAYS,
    LISTENER_SETS,
    REFERENCE_GRANTS,
    ROUTES,
)
from pilothouse.cloud.gateway.references import is_kind, namespace_of

Obj = dict[str, Any]

#: Those without which there are no Gateways, and those that may be missing.
REQUIRED = (GATEWAY_CLASSES, GATEWAYS, REFERENCE_GRANTS)
OPTIONAL = (*ROUTES.values(), BACKEND_TLS_POLICIES, LISTENER_SETS)


class Sources:
    """Caches and questions to them; also the `Lookup` of decisions. `tell` gets the key of each Gateway that something has changed for."""

    def __init__(self, cache: Callable[[Kind], Cache], tell: Callable[[str], None]) -> None:
        self._cache = cache
        self._tell = tell
        self.caches: dict[Kind, Cache] = {k: cache(k) for k in (*REQUIRED, SERVICES, SECRETS, CONFIG_MAPS, NAMESPACES)}

    def start(self, optional: Iterable[Kind]) -> None:
        """Begin to tell. Caches are followed in the order in which they refer to each other, so that little is told twice."""
        gateways = self.caches[GATEWAYS]
        gateways.add_index("class", lambda g: (g["spec"]["gatewayClassName"],))
        gateways.add_index("secret", _secrets_of_gateway)
        gateways.add_index("config map", _authorities)
        gateways.add_index("reaches", lambda g: _foreign([*_secrets_of_gateway(g), *_authorities(g)], g))
        gateways.add_index("selects", _selects)
        for kind in optional:
            self.add(kind)
        self.caches[GATEWAY_CLASSES].add_handler(self._class_changed)
        gateways.add_handler(self._on_change(lambda g: (key(g),)))
        self.caches[SERVICES].add_handler(self._service_changed)
        self.caches[SECRETS].add_handler(self._secret_changed)
        self.caches[CONFIG_MAPS].add_handler(self._config_map_changed)
        self.caches[REFERENCE_GRANTS].add_handler(self._on_change(self._reaching))
        self.caches[NAMESPACES].add_handler(self._namespace_changed)

    def add(self, kind: Kind) -> Cache:
        """Follow a kind that is not always there."""
        cache = self.caches[kind] = self._cache(kind)
        if kind == LISTENER_SETS:
            cache.add_index("parent", lambda s: [f"{n}/{m}" for _, n, m in _some(parent_of(s["spec"]["parentRef"], _ns(s)))])
            cache.add_index("secret", lambda s: _secrets(s, s["spec"]["listeners"]))
            cache.add_index("reaches", lambda s: _foreign(_secrets(s, s["spec"]["listeners"]), s))
            cache.add_index("selects", _selects)
            cache.add_handler(self._on_change(self._of_set))
        elif kind == BACKEND_TLS_POLICIES:
            cache.add_index(
                "service", lambda p: [f"{_ns(p)}/{r['name']}" for r in p["spec"]["targetRefs"] if is_kind(r, "", "Service")]
            )
            cache.add_index("config map", _config_maps)
            cache.add_handler(self._on_change(self._of_policy))
        else:
            cache.add_index("parent", lambda r: ["/".join(p) for p in parents_of(r)])
            cache.add_index("service", services_of)
            cache.add_index("reaches", lambda r: _foreign(services_of(r), r))
            cache.add_handler(self._on_change(self.gateways_of))
        return cache

    # --- questions ---------------------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        return self.caches[kind].get(namespace, name) if kind in self.caches else None

    def grants(self, namespace: str) -> Iterable[Obj]:
        return self.caches[REFERENCE_GRANTS].list(namespace)

    def policies(self, namespace: str, service: str) -> Iterable[Obj]:
        return self._indexed(BACKEND_TLS_POLICIES, "service", f"{namespace}/{service}")

    def _indexed(self, kind: Kind, index: str, value: str) -> Iterable[Obj]:
        return self.caches[kind].indexed(index, value) if kind in self.caches else ()

    def is_ours(self, gateway: Obj) -> bool:
        """Whether its class names this controller, and is accepted."""
        found = self.caches[GATEWAY_CLASSES].get("", gateway["spec"]["gatewayClassName"])
        return found is not None and found["spec"]["controllerName"] == CONTROLLER and not found["spec"].get("parametersRef")

    def sets_of(self, gateway: str) -> list[Obj]:
        return list(self._indexed(LISTENER_SETS, "parent", gateway))

    def routes_of(self, gateway: str, sets: Iterable[Obj]) -> dict[str, list[Obj]]:
        """The routes that name a Gateway or one of its sets, by kind; a member for each kind that is served."""
        parents = [f"Gateway/{gateway}", *(f"ListenerSet/{key(s)}" for s in sets)]
        out: dict[str, list[Obj]] = {}
        for name, kind in ROUTES.items():
            if kind in self.caches:
                found = {key(r): r for parent in parents for r in self.caches[kind].indexed("parent", parent)}
                out[name] = list(found.values())
        return out

    def gateways_of(self, route: Obj) -> list[str]:
        """The keys of the Gateways that a route names, itself or by a ListenerSet."""
        found: list[str] = []
        for kind, namespace, name in parents_of(route):
            if kind == "Gateway":
                found.append(f"{namespace}/{name}")
            elif (owner := self.get(LISTENER_SETS, namespace, name)) is not None:
                found += self._of_set(owner)
        return list(dict.fromkeys(found))

    # --- from changes to Gateways --------------------------------------------------------------------------------------------------------

    def _on_change(self, concerned: Callable[[Obj], Iterable[str]]) -> Callable[[Obj | None, Obj | None], None]:
        """A handler for objects whose status is nobody's business."""

        def handle(old: Obj | None, new: Obj | None) -> None:
            if old is None or new is None or asks_otherwise(old, new):
                for gateway in {g for each in (old, new) if each is not None for g in concerned(each)}:
                    self._tell(gateway)

        return handle

    def _of_set(self, listener_set: Obj) -> list[str]:
        return [
            f"{n}/{m}"
            for kind, n, m in _some(parent_of(listener_set["spec"]["parentRef"], _ns(listener_set)))
            if kind == "Gateway"
        ]

    def _of_policy(self, policy: Obj) -> list[str]:
        names = [f"{_ns(policy)}/{ref['name']}" for ref in policy["spec"]["targetRefs"]]
        return [gateway for name in names for gateway in self._of_service(name)]

    def _of_service(self, service: str) -> Iterator[str]:
        for kind in ROUTES.values():
            for route in self._indexed(kind, "service", service):
                yield from self.gateways_of(route)

    def _reaching(self, grant: Obj) -> Iterator[str]:
        namespace = _ns(grant)
        for kind in ROUTES.values():
            for route in self._indexed(kind, "reaches", namespace):
                yield from self.gateways_of(route)
        yield from (key(g) for g in self.caches[GATEWAYS].indexed("reaches", namespace))
        for each in self._indexed(LISTENER_SETS, "reaches", namespace):
            yield from self._of_set(each)

    def _tell_all(self, gateways: Iterable[str]) -> None:
        for gateway in dict.fromkeys(gateways):
            self._tell(gateway)

    def _class_changed(self, old: Obj | None, new: Obj | None) -> None:
        each = new or old or {}
        if old is None or new is None or old["spec"] != new["spec"]:
            self._tell_all(key(g) for g in self.caches[GATEWAYS].indexed("class", each["metadata"]["name"]))

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is None or new is None or any(old["spec"].get(f) != new["spec"].get(f) for f in ("ports", "type")):
            self._tell_all(self._of_service(key(new or old or {})))

    def _secret_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and old.get("data") == new.get("data"):
            return
        name = key(new or old or {})
        self._tell_all(key(g) for g in self.caches[GATEWAYS].indexed("secret", name))
        self._tell_all(g for s in self._indexed(LISTENER_SETS, "secret", name) for g in self._of_set(s))

    def _config_map_changed(self, old: Obj | None, new: Obj | None) -> None:
        name = key(new or old or {})
        policies = self._indexed(BACKEND_TLS_POLICIES, "config map", name)
        self._tell_all(key(g) for g in self.caches[GATEWAYS].indexed("config map", name))
        self._tell_all(gateway for policy in policies for gateway in self._of_policy(policy))

    def _namespace_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and labels_of(old) == labels_of(new):
            return
        self._tell_all(key(g) for g in self.caches[GATEWAYS].indexed("selects", "yes"))
        self._tell_all(g for s in self._indexed(LISTENER_SETS, "selects", "yes") for g in self._of_set(s))


def _ns(obj: Obj) -> str:
    return str(obj["metadata"]["namespace"])


def _some(found: tuple[str, str, str] | None) -> list[tuple[str, str, str]]:
    return [] if found is None else [found]


def parents_of(route: Obj) -> list[tuple[str, str, str]]:
    """The Gateways and ListenerSets that a route names: kind, namespace, name."""
    return [parent for ref in route["spec"].get("parentRefs") or () for parent in _some(parent_of(ref, _ns(route)))]


def services_of(route: Obj) -> list[str]:
    """The keys of the Services that a route sends to, or mirrors to."""
    refs: list[Obj] = []
    for rule in route["spec"].get("rules") or ():
        backends = rule.get("backendRefs") or ()
        refs += backends
        filters = [*(rule.get("filters") or ()), *(f for ref in backends for f in ref.get("filters") or ())]
        refs += [f["requestMirror"]["backendRef"] for f in filters if f.get("requestMirror")]
    return [f"{namespace_of(r, _ns(route))}/{r['name']}" for r in refs if is_kind(r, "", "Service", "Service")]


def _secrets(owner: Obj, listeners: Iterable[Obj]) -> list[str]:
    refs = [ref for each in listeners for ref in (each.get("tls") or {}).get("certificateRefs") or ()]
    return [f"{namespace_of(r, _ns(owner))}/{r['name']}" for r in refs if is_kind(r, "", "Secret", "Secret")]


def _secrets_of_gateway(gateway: Obj) -> list[str]:
    shown = ((gateway["spec"].get("tls") or {}).get("backend") or {}).get("clientCertificateRef")
    own = [f"{namespace_of(shown, _ns(gateway))}/{shown['name']}"] if shown else []
    return own + _secrets(gateway, gateway["spec"]["listeners"])


def _authorities(gateway: Obj) -> list[str]:
    """The ConfigMaps with the authorities of a Gateway's clients."""
    frontend: Obj = (gateway["spec"].get("tls") or {}).get("frontend") or {}
    settings = [frontend.get("default") or {}, *(each["tls"] for each in frontend.get("perPort") or ())]
    refs = [ref for each in settings for ref in (each.get("validation") or {}).get("caCertificateRefs") or ()]
    return [f"{namespace_of(r, _ns(gateway))}/{r['name']}" for r in refs if is_kind(r, "", "ConfigMap")]


def _foreign(keys: Iterable[str], owner: Obj) -> set[str]:
    return {split_key(each)[0] for each in keys} - {_ns(owner)}


def _config_maps(policy: Obj) -> list[str]:
    refs = policy["spec"]["validation"].get("caCertificateRefs") or ()
    return [f"{_ns(policy)}/{r['name']}" for r in refs if is_kind(r, "", "ConfigMap")]


def _selects(owner: Obj) -> list[str]:
    allowed = [each.get("allowedRoutes") or {} for each in owner["spec"]["listeners"]]
    allowed.append(owner["spec"].get("allowedListeners") or {})
    return ["yes"] if any((each.get("namespaces") or {}).get("from") == "Selector" for each in allowed) else []


def asks_otherwise(old: Obj, new: Obj) -> bool:
    """Whether more than the status has changed."""
    before, after = old["metadata"], new["metadata"]
    if any(before.get(f) != after.get(f) for f in ("uid", "generation", "deletionTimestamp", "finalizers")):
        return True
    return annotations_of(old) != annotations_of(new) or labels_of(old) != labels_of(new)
