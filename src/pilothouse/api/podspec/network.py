"""Names and addresses of a pod: DNS settings, host names, host aliases (API reference: PodDNSConfig, HostAlias)."""

from __future__ import annotations

import re

from pilothouse.api import names
from pilothouse.api.checks import check_ip
from pilothouse.api.errors import Obj, forbidden, invalid, required, too_long
from pilothouse.api.podspec.checks import Errors, name_errors

_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_is_search = re.compile(rf"{_LABEL}(\.{_LABEL})*").fullmatch
_SEARCH_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'example.com', regex used for validation is '{_LABEL}(\\.{_LABEL})*')"
)  # fmt: skip


def check_dns(spec: Obj, path: str, out: Errors) -> None:
    """spec.dnsConfig; a pod with the policy None needs name servers of its own."""
    config = spec.get("dnsConfig")
    where = f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            out.append(required(where, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            told = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            out.append(required(f"{where}.nameservers", told))
            return
    if config:
        _check_nameservers(config.get("nameservers") or [], f"{where}.nameservers", out)
        _check_searches(config.get("searches") or [], f"{where}.searches", out)
        for n, option in enumerate(config.get("options") or ()):
            if not option.get("name"):
                out.append(required(f"{where}.options[{n}]", "must not be empty"))


def _check_nameservers(servers: list[str], path: str, out: Errors) -> None:
    if len(servers) > _MAX_NAMESERVERS:
        out.append(invalid(path, servers, f"must not have more than {_MAX_NAMESERVERS} nameservers"))
    for n, server in enumerate(servers):
        out += check_ip(f"{path}[{n}]", server)


def _check_searches(searches: list[str], path: str, out: Errors) -> None:
    if len(searches) > _MAX_SEARCHES:
        out.append(invalid(path, searches, f"must not have more than {_MAX_SEARCHES} search paths"))
    if sum(map(len, searches)) + len(searches) - 1 > _MAX_SEARCH_CHARACTERS:
        told = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        out.append(invalid(path, searches, told))
    for n, search in enumerate(searches):
        if search == ".":
            continue
        bare = search.removesuffix(".")
        if names.size(bare) > 253:
            out.append(invalid(f"{path}[{n}]", search, "must be no more than 253 characters"))
        if not _is_search(bare):
            out.append(invalid(f"{path}[{n}]", search, _SEARCH_MESSAGE))


def check_host_aliases(aliases: list[Obj], path: str, out: Errors) -> None:
    """Lines for the pod's hosts file."""
    for n, alias in enumerate(aliases):
        out += check_ip(f"{path}[{n}].ip", alias.get("ip") or "")
        for m, name in enumerate(alias.get("hostnames") or ()):
            name_errors(name, names.dns1123_subdomain, f"{path}[{n}].hostnames[{m}]", out)


def check_hostname_override(spec: Obj, path: str, out: Errors) -> None:
    """spec.hostnameOverride: stands alone (KEP-4762)."""
    name, where = spec["hostnameOverride"], f"{path}.hostnameOverride"
    if spec.get("hostNetwork"):
        out.append(forbidden(where, "may not be specified when hostNetwork is true"))
    if spec.get("setHostnameAsFQDN"):
        out.append(forbidden(where, "may not be specified when setHostnameAsFQDN is true"))
    if names.size(name) > 64:
        out.append(too_long(where, 64))
    name_errors(name, names.dns1123_subdomain, where, out)
