"""What special endpoints need of the server besides the hub: who authenticates, who authorizes, what signs tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilothouse.apiserver.authn.union import Union
from pilothouse.apiserver.interface import Authorizer

if TYPE_CHECKING:
    from pilothouse.apiserver.authn.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Parts:
    authenticator: Union
    authorizers: Sequence[Authorizer]
    signing_key: Callable[[], SigningKey]
    issuer: str
    audiences: tuple[str, ...]
    #: Tokens of pods that ask for an hour are valid for a year, so that old clients go on working.
    extend_expiration: bool = True
