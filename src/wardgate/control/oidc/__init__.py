"""Tokens that others sign: OpenID Connect, for people who sign in elsewhere and for programs that bring a token."""

from .issuers import Issuers
from .tokens import Claims, Expected, TokenRefusedError, issuer_of

__all__ = ["Claims", "Expected", "Issuers", "TokenRefusedError", "issuer_of"]
