"""Signing a device in without typing a password into it: somebody lets it in from a browser."""

from .service import DeviceService

__all__ = ["DeviceService"]
