"""Links by mail with which somebody sets a password: who was invited, and who has forgotten theirs."""

from .service import MailLinks

__all__ = ["MailLinks"]
