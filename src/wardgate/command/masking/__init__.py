"""A project's own masking rules: what they are, and commands as they may be recorded under them."""

from .paths import RuleError
from .rules import Masking, Redactor, Rule, SectionMasker, digest_of

__all__ = ["Masking", "Redactor", "Rule", "RuleError", "SectionMasker", "digest_of"]
