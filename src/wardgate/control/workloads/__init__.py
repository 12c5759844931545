"""Services: programs that act for themselves, with roles like people, and without a person behind them."""

from .exchange import TokenExchange
from .rights import Authentication, Rights
from .service import WorkloadService

__all__ = ["Authentication", "Rights", "TokenExchange", "WorkloadService"]
