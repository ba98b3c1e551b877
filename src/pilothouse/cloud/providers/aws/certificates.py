"""Certificates of Gateways at ACM: brought there when a listener needs one, deleted when none does any more.

Reference: ACM's API, version 2015-12-08. A certificate is known by a digest of its chain, which it bears as a tag; a renewed one is another
one beside the old one until the listeners have moved over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pilothouse.cloud.providers.aws.calls import AwsError, Calls, tag_list, tag_map
from pilothouse.cloud.providers.aws.model import Owner, digest
from pilothouse.dataplane.model import Certificate

CONTENT_TAG = "pilothouse.dev/certificate"
#: Certificates of these kinds are listed; without naming them ACM tells of RSA up to 2048 bits only.
_KEYS = ["RSA_1024", "RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1", "EC_secp521r1"]
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Certificates:
    """Of all Gateways. Tags of a certificate are asked for once: nobody but us changes those that count."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._tags: dict[str, dict[str, str]] = {}

    async def owned(self, owner: Owner) -> dict[str, str]:
        """ARNs by the digest of what they are."""
        listed = await self._calls.pages(
            "acm", "list_certificates", "CertificateSummaryList", Includes={"keyTypes": _KEYS}, MaxItems=1000
        )
        arns = [c["CertificateArn"] for c in listed if c.get("Type", "IMPORTED") == "IMPORTED"]
        self._tags = {a: t for a, t in self._tags.items() if a in arns}
        for arn in arns:
            if arn not in self._tags:
                answer = await self._calls.call("acm", "list_tags_for_certificate", CertificateArn=arn)
                self._tags[arn] = tag_map(answer.get("Tags"))
        mine = [a for a in arns if owner.owns(self._tags[a])]
        return {self._tags[a].get(CONTENT_TAG, a): a for a in mine}

    async def ensure(self, owner: Owner, wanted: Iterable[Certificate], known: Mapping[str, str]) -> dict[Certificate, str]:
        """ARNs of these."""
        found: dict[Certificate, str] = {}
        for certificate in wanted:
            content = digest_of(certificate)
            found[certificate] = known.get(content) or await self._bring(owner, certificate, content)
        return found

    async def _bring(self, owner: Owner, certificate: Certificate, content: str) -> str:
        leaf, *rest = _PEM.findall(certificate.chain) or [certificate.chain]
        answer = await self._calls.call(
            "acm",
            "import_certificate",
            Certificate=leaf.encode(),
            PrivateKey=certificate.key.encode(),
            CertificateChain="\n".join(rest).encode() if rest else None,
            Tags=tag_list({**owner.tags, CONTENT_TAG: content}),
        )
        arn = answer["CertificateArn"]
        self._tags[arn] = {**owner.tags, CONTENT_TAG: content}
        return arn

    async def delete(self, arn: str) -> None:
        """RetryAfter while a listener uses it."""
        try:
            await self._calls.call("acm", "delete_certificate", CertificateArn=arn)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
        self._tags.pop(arn, None)


def digest_of(certificate: Certificate) -> str:
    return digest(certificate.chain, length=32)
