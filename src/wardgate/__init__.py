"""wardgate: just-in-time, passwordless and fully recorded access to MongoDB.

The rooms and their floors are described in docs/architecture.md; nothing is imported here, so that every
program loads only what it needs.
"""

__version__ = "0.1.0"
