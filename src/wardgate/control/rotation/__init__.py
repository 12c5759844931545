"""Replacing the master key while everything runs."""

from .service import RotationService

__all__ = ["RotationService"]
