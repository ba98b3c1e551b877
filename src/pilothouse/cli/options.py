"""The flags that components have, with what `--help` says of each; several commands share some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the database, keys and certificates are kept.")]
TokenFileOption = Annotated[Path | None, typer.Option("--token-auth-file", help="CSV of static tokens: token,user,uid,groups.")]
Kubeconfig = Annotated[Path, typer.Option("--kubeconfig", help="Which cluster, and as whom.")]
OptionalKubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="Which cluster, and as whom.")]
LeaderElect = Annotated[bool, typer.Option("--leader-elect/--no-leader-elect", help="Work only while holding the Lease.")]
EtcdServers = Annotated[str, typer.Option("--etcd-servers", help="URLs of an etcd cluster, as the store.")]
StartupDelay = Annotated[float, typer.Option("--startup-delay", help="Seconds that starting a simulated container takes.")]
Serve = Annotated[
    bool, typer.Option("--serve/--no-serve", help="Whether simulated pods answer at their ports, on loopback addresses.")
]

# --- the cloud ------------------------------------------------------------------------------------------------------------------

CloudProvider = Annotated[
    str, typer.Option("--cloud-provider", help="Where load balancers and gateways are from: local (this machine), or none.")
]
CloudConfig = Annotated[Path | None, typer.Option("--cloud-config", help="The provider's configuration file.")]
LoadBalancerAddresses = Annotated[
    str, typer.Option("--load-balancer-addresses", help="The range of load balancers' addresses, such as 127.50.0.0/16.")
]

# --- the API server ---------------------------------------------------------------------------------------------------------------

ServerPort = Annotated[int, typer.Option("--secure-port", help="Port of the API; 0: any that is free.")]
ServerAddress = Annotated[str, typer.Option("--bind-address", help="Address that the API listens on; 0.0.0.0: all.")]
CertDir = Annotated[
    Path | None,
    typer.Option("--cert-dir", help="Where keys and certificates are made and kept; otherwise in the data directory."),
]
ServerCertificate = Annotated[
    Path | None, typer.Option("--tls-cert-file", help="PEM certificate, with intermediates, in the place of one made here.")
]
ServerKey = Annotated[Path | None, typer.Option("--tls-private-key-file", help="PEM key of --tls-cert-file.")]
ClientCa = Annotated[
    Path | None,
    typer.Option("--client-ca-file", help="PEM certificates of authorities whose clients are known by their common name."),
]
AuthorizationMode = Annotated[
    str, typer.Option("--authorization-mode", help="Who decides, in order: Node, RBAC, AlwaysAllow, AlwaysDeny.")
]
EnableAdmission = Annotated[
    str, typer.Option("--enable-admission-plugins", help="Admission plugins besides the default ones, by name.")
]
DisableAdmission = Annotated[str, typer.Option("--disable-admission-plugins", help="Default admission plugins to leave out.")]
AdmissionConfig = Annotated[
    Path | None, typer.Option("--admission-control-config-file", help="An AdmissionConfiguration: the settings of plugins.")
]
ServiceRange = Annotated[
    str, typer.Option("--service-cluster-ip-range", help="Ranges of services' addresses; two, of two families, for dual stack.")
]
NodePorts = Annotated[
    str, typer.Option("--service-node-port-range", help="Ports that services of type NodePort and LoadBalancer get.")
]
Issuer = Annotated[str, typer.Option("--service-account-issuer", help="Who service account tokens say that they are from.")]
AccountKeys = Annotated[
    list[Path] | None,
    typer.Option("--service-account-key-file", help="PEM keys that tokens are checked with; may be given several times."),
]
AccountSigningKey = Annotated[
    Path | None, typer.Option("--service-account-signing-key-file", help="PEM private key that tokens are signed with.")
]
EtcdCa = Annotated[Path | None, typer.Option("--etcd-cafile", help="PEM certificates of the authorities that etcd's is from.")]
EtcdCertificate = Annotated[Path | None, typer.Option("--etcd-certfile", help="PEM certificate to show to etcd.")]
EtcdKey = Annotated[Path | None, typer.Option("--etcd-keyfile", help="PEM key of --etcd-certfile.")]

# --- the controller managers --------------------------------------------------------------------------------------------------------

AccountCredentials = Annotated[
    bool, typer.Option("--use-service-account-credentials", help="Let each controller act as a service account of its own.")
]
RootCa = Annotated[
    Path | None, typer.Option("--root-ca-file", help="PEM certificates that every namespace gets, to know the API server by.")
]
AccountPrivateKey = Annotated[
    Path | None,
    typer.Option("--service-account-private-key-file", help="PEM private key that tokens in secrets are signed with."),
]
AllocateNodeCidrs = Annotated[bool, typer.Option("--allocate-node-cidrs", help="Give each node a range of pod addresses.")]
ClusterCidr = Annotated[str, typer.Option("--cluster-cidr", help="The ranges that these are taken from.")]
Controllers = Annotated[str, typer.Option("--controllers", help="`*`, names, or -names.")]
NodeMask6 = Annotated[int, typer.Option("--node-cidr-mask-size-ipv6", help="Bits of a node's IPv6 range.")]

# --- the ports of the controller manager and the scheduler, and nodes ----------------------------------------------------------------

ExternalCloud = Annotated[
    str, typer.Option("--cloud-provider", help="external: what a cloud has to do is left to a cloud-controller-manager.")
]
OwnAddress = Annotated[str, typer.Option("--bind-address", help="Address of --secure-port.")]
OwnCertificate = Annotated[Path | None, typer.Option("--tls-cert-file", help="PEM certificate of --secure-port.")]
OwnKey = Annotated[Path | None, typer.Option("--tls-private-key-file", help="PEM key of --tls-cert-file.")]
NodeCount = Annotated[int, typer.Option("--count", min=1, help="How many nodes.")]
NodePrefix = Annotated[str, typer.Option("--prefix", help="What their names begin with; a number follows.")]
