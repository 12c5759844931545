"""Conduct: one client connection through the gateway as a pure state machine (docs/architecture.md, section 4)."""
