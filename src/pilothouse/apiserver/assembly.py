"""From flags to a server: the parts of authentication, authorization, admission and bootstrap put together as `Options`.

`Settings` has the flags that an API server of Kubernetes has; `server_options` makes what `ApiServer` is built from. Files that
are needed and not named are made in the certificate directory.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.api import tables
from pilothouse.apiserver import feature_gates, runtime_config
from pilothouse.apiserver import pki as pki_files
from pilothouse.apiserver.adminaccess import admin_access_hooks
from pilothouse.apiserver.admission import chain
from pilothouse.apiserver.admission import config as admission_config
from pilothouse.apiserver.admission.escalation import Escalation
from pilothouse.apiserver.admission.param_access import ParamAccess
from pilothouse.apiserver.admission.requester import Requester
from pilothouse.apiserver.allocators import Addresses, NodePortRange, service_hooks
from pilothouse.apiserver.allocators.repair import GRACE_SECONDS, Repair
from pilothouse.apiserver.allocators.repair import SECONDS as REPAIR_SECONDS
from pilothouse.apiserver.authn import oidc
from pilothouse.apiserver.authn.serviceaccount import ServiceAccountTokens
from pilothouse.apiserver.authn.tokenfile import TokenFile
from pilothouse.apiserver.authn.union import Union
from pilothouse.apiserver.authz import modes
from pilothouse.apiserver.bootstrap import (
    BootstrapOptions,
    bootstrap,
    keep_flow_control,
    keep_namespaces,
    keep_service,
    renew_identity,
)
from pilothouse.apiserver.bootstrap.objects import first_address
from pilothouse.apiserver.interface import AdmissionPlugin, Authorizer, Hub
from pilothouse.apiserver.pki import Pki
from pilothouse.apiserver.questions import SchedulerQuestions
from pilothouse.apiserver.server import ApiServer, Options
from pilothouse.apiserver.special import Parts, handlers
from pilothouse.clock import Clock, SystemClock
from pilothouse.store.interface import Store

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.keys import SigningKey, VerifyingKey

#: How often a server says that it is there: often where there are several, else as often as its lease (an hour) needs.
_SHARED_RENEW_SECONDS, _RENEW_SECONDS = 10.0, 1200.0
_NAMESPACES_SECONDS, _SERVICE_SECONDS = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """An API server's flags, by their Kubernetes names with underscores. Paths that are None: the file in `cert_dir`."""

    #: None: whoever makes the server chooses (`ApiHub`: inside the data directory).
    cert_dir: Path | None = None
    port: int = 6443
    bind_address: str = "127.0.0.1"
    advertise_address: str = ""
    tls_cert_file: Path | None = None
    tls_private_key_file: Path | None = None
    client_ca_file: Path | None = None
    token_auth_file: Path | None = None
    anonymous_auth: bool = True
    authorization_modes: tuple[str, ...] = ("Node", "RBAC")
    enable_admission_plugins: tuple[str, ...] = ()
    disable_admission_plugins: tuple[str, ...] = ()
    admission_control_config_file: Path | None = None
    service_ranges: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: NodePortRange = field(default_factory=NodePortRange)
    service_account_issuers: tuple[str, ...] = ("https://kubernetes.default.svc",)
    service_account_key_files: tuple[Path, ...] = ()
    service_account_signing_key_file: Path | None = None
    api_audiences: tuple[str, ...] = ()
    extend_token_expiration: bool = True
    hosts: tuple[str, ...] = ()
    shared_store: bool = False
    listen: bool = True
    runtime_config: tuple[str, ...] = ()
    feature_gates: tuple[str, ...] = ()

    @property
    def audiences(self) -> tuple[str, ...]:
        """What a token must be for, to be accepted here."""
        return self.api_audiences or self.service_account_issuers[:1]


def check(settings: Settings) -> None:
    """ValueError, in one line, for settings that cannot work."""
    chain.check_names(settings.enable_admission_plugins, settings.disable_admission_plugins)
    for mode in settings.authorization_modes:
        modes.parse_modes(mode)
    for cidr in settings.service_ranges:
        ipaddress.ip_network(cidr)
    feature_gates.check(settings.feature_gates)
    runtime_config.served(tables.RESOURCES, settings.runtime_config)


def make_pki(settings: Settings, now: float) -> Pki:
    """The certificates and keys of this server, made where they are missing. ValueError without a `cert_dir`."""
    if settings.cert_dir is None:
        raise ValueError("no directory for certificates was chosen")
    hosts = [*settings.hosts, settings.bind_address, settings.advertise_address]
    hosts += [first_address(cidr) for cidr in settings.service_ranges]
    return pki_files.ensure(settings.cert_dir, now, [h for h in hosts if h and h not in ("0.0.0.0", "::")])


def server_options(store: Store, settings: Settings, clock: Clock | None = None, pki: Pki | None = None) -> Options:
    """Everything that `ApiServer` needs; `pki` is what `make_pki` made, where the caller has it. ValueError for settings that cannot work, OSError for files that cannot be read."""
    check(settings)
    clock = clock or SystemClock()
    return _Assembly(store, settings, clock, pki or make_pki(settings, clock.now())).options()


class _Assembly:
    """One server's parts while they are being put together: some need each other."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, pki: Pki) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.pki = pki
        self._options: BootstrapOptions | None = None
        self._signing: SigningKey | None = None
        self._verifying: Sequence[VerifyingKey] | None = None
        self.authenticator: Union | None = None
        self.authorizers: tuple[Authorizer, ...] = ()
        if settings.service_account_key_files or settings.service_account_signing_key_file is not None:
            self.signing(), self.verifying()  # files of others: what is wrong with them is told now

    def signing(self) -> SigningKey:
        """What new tokens are signed with."""
        if self._signing is None:
            from pilothouse.apiserver.authn.keys import load_signing_key

            self._signing = load_signing_key(self.settings.service_account_signing_key_file or self.pki.service_account_key)
        return self._signing

    def verifying(self) -> Sequence[VerifyingKey]:
        """What tokens may be signed with."""
        if self._verifying is None:
            from pilothouse.apiserver.authn.keys import load_verifying_keys

            own = self.settings.service_account_signing_key_file or self.pki.service_account_key
            files = self.settings.service_account_key_files or (own,)
            self._verifying = [key for path in files for key in load_verifying_keys(path)]
        return self._verifying

    def options(self) -> Options:
        settings = self.settings
        return Options(
            store=self.store,
            clock=self.clock,
            bind_address=settings.bind_address,
            port=settings.port,
            advertise_address=settings.advertise_address,
            tls=self._tls() if settings.listen else None,
            listen=settings.listen,
            anonymous_auth=settings.anonymous_auth,
            shared_store=settings.shared_store,
            resources=runtime_config.served(tables.RESOURCES, settings.runtime_config),
            authenticators=self._authenticators,
            authorizers=self._authorizers,
            admission=self._admission,
            hooks=lambda hub: {**service_hooks(hub, settings.service_ranges, settings.node_ports), **admin_access_hooks(hub)},
            special=self._special,
            documents=self._documents,
            bootstrap=(self._bootstrap,),
            periodic=(
                (_SHARED_RENEW_SECONDS if settings.shared_store else _RENEW_SECONDS, renew_identity),
                (_NAMESPACES_SECONDS, keep_namespaces),
                (_NAMESPACES_SECONDS, keep_flow_control),
                (_SERVICE_SECONDS, lambda server: keep_service(server, self._bootstrap_options(server))),
                (REPAIR_SECONDS, lambda server: self._repair(server)()),
            ),
        )

    def _tls(self) -> ssl.SSLContext:
        settings = self.settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate = settings.tls_cert_file or self.pki.certificate("apiserver")
        context.load_cert_chain(certificate, settings.tls_private_key_file or self.pki.key("apiserver"))
        context.load_verify_locations(settings.client_ca_file or self.pki.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _authenticators(self, hub: Hub) -> Sequence[Union]:
        settings = self.settings
        tokens = TokenFile.load(settings.token_auth_file) if settings.token_auth_file is not None else None
        accounts = ServiceAccountTokens(hub, settings.service_account_issuers, settings.audiences, self.verifying)
        self.authenticator = Union(settings.audiences, tokens, accounts, anonymous=False)
        return (self.authenticator,)

    def _authorizers(self, hub: Hub) -> Sequence[Authorizer]:
        self.authorizers = (*modes.build(hub, self.settings.authorization_modes), SchedulerQuestions())
        return self.authorizers

    def _admission(self, hub: Hub) -> Sequence[AdmissionPlugin]:
        settings = self.settings
        configs = admission_config.load(settings.admission_control_config_file) if settings.admission_control_config_file else {}
        plugins: list[AdmissionPlugin] = [ParamAccess(hub)]
        plugins += chain.build(hub, settings.enable_admission_plugins, settings.disable_admission_plugins, configs)
        plugins.append(Requester(hub))
        rbac = modes.find_rbac(self.authorizers)
        if rbac is not None:
            plugins.append(Escalation(hub, rbac))
        return plugins

    def _special(self, hub: Hub) -> Mapping:
        assert self.authenticator is not None and isinstance(hub, ApiServer)
        parts = Parts(
            authenticator=self.authenticator,
            authorizers=self.authorizers,
            signing_key=self.signing,
            issuer=self.settings.service_account_issuers[0],
            audiences=self.settings.audiences,
            extend_expiration=self.settings.extend_token_expiration,
        )
        return handlers(hub, parts)

    async def _bootstrap(self, server: ApiServer) -> None:
        await bootstrap(server, self._bootstrap_options(server))
        await self._repair(server)(GRACE_SECONDS if self.settings.shared_store else 0.0)

    def _bootstrap_options(self, server: ApiServer) -> BootstrapOptions:
        if self._options is None:
            self._options = self._make_bootstrap_options(server)
        return self._options

    def _make_bootstrap_options(self, server: ApiServer) -> BootstrapOptions:
        settings = self.settings
        address = settings.advertise_address or settings.bind_address
        return BootstrapOptions(
            service_ranges=settings.service_ranges,
            addresses=("127.0.0.1",) if address in ("0.0.0.0", "::", "") else (address,),
            port=server.port or settings.port or 6443,
            client_ca=(settings.client_ca_file or self.pki.ca).read_text(),
            front_proxy_ca=self.pki.certificate("front-proxy-ca").read_text(),
            rbac="RBAC" in settings.authorization_modes,
        )

    def _repair(self, server: ApiServer) -> Repair:
        return Repair(server, Addresses(server, self.settings.service_ranges))

    def _documents(self, server: ApiServer) -> Mapping[str, tuple[str, dict[str, Any]]]:
        """The two documents of OpenID discovery."""
        issuer = self.settings.service_account_issuers[0]
        jwks_uri = f"https://{server.address}{oidc.JWKS_PATH}"
        return {
            oidc.CONFIGURATION_PATH: ("application/json", oidc.configuration(issuer, jwks_uri, self.verifying())),
            oidc.JWKS_PATH: (oidc.JWKS_MEDIA_TYPE, oidc.key_set(self.verifying())),
        }
