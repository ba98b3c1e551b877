"""Which certificate is shown for which name: HAProxy's crt-list.

Names are given with each certificate, so that what is shown is decided by the sites and not by which certificate happens to bear a name.
The first of a list is shown to a client that names nothing, or nothing known; a list without a site for any name refuses these.
HAProxy's wildcards stand for one label; deeper names are shown the certificates that bear them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pilothouse.dataplane.haproxy.sections import Sections
from pilothouse.dataplane.haproxy.servers import check_authorities
from pilothouse.dataplane.haproxy.text import hostname
from pilothouse.dataplane.model import Certificate, Site

NOBODY = "nobody.invalid"


def crt_list(sites: Sequence[Site], sections: Sections) -> str:
    """The list's path."""
    claimed = {hostname(site.hostname) for site in sites}
    lines = []
    for site in sorted(sites, key=lambda site: site.hostname != ""):
        verified = _verified(site.client_authorities, sections)
        for place, certificate in enumerate(site.certificates):
            path = sections.file("crt", f"{certificate.chain.strip()}\n{certificate.key.strip()}\n")
            names = shown_for(hostname(site.hostname), certificate, place == 0, claimed)
            if names:
                lines.append(f"{path} {verified}{' '.join(names)}")
    return sections.file("crts", "".join(line + "\n" for line in lines))


def _verified(authorities: str, sections: Sections) -> str:
    """What a line says of clients that have to show a certificate. ValueError if these are no authorities."""
    if not authorities:
        return ""
    check_authorities(authorities)
    return f"[ca-file {sections.file('clients', authorities)} verify required] "


def shown_for(site: str, certificate: Certificate, first: bool, claimed: set[str]) -> list[str]:
    borne = names(certificate)
    if site == "":
        found = sorted(borne - claimed)
        return found or ([NOBODY] if first else [])
    if not site.startswith("*"):
        return [site]
    below = {name for name in borne if name.endswith(site[1:]) and name not in claimed}
    return sorted(below | {site} if first or site in borne else below)


@functools.lru_cache(maxsize=1024)
def names(certificate: Certificate) -> frozenset[str]:
    """The DNS names that it bears. ValueError if it is none, or the key is not its own."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain = x509.load_pem_x509_certificates(certificate.chain.encode())
    key = load_pem_private_key(certificate.key.encode(), None)
    if key.public_key() != chain[0].public_key():
        raise ValueError("a certificate's key is not its own")
    try:
        borne = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in borne.get_values_for_type(x509.DNSName))
