"""Sealing what must not be read in the database, the CA, and the keys of the audit trail."""

from .authority import CertificateAuthority
from .keys import AuditKeys
from .master import MasterKey
from .providers import KeyProvider
from .vault import Vault

__all__ = ["AuditKeys", "CertificateAuthority", "KeyProvider", "MasterKey", "Vault"]
