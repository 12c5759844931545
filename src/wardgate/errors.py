"""The one error a person may be shown.

Every failure that is not a bug of ours ends as a `WardgateError`: a stable code for programs and one sentence for
people that says what happened, where, and what to do next. Anything else that escapes is a bug and is reported as one.
"""

from __future__ import annotations


class WardgateError(Exception):
    """A failure with a stable `code` and a sentence that can be shown as it stands.

    `message` never holds a secret: whoever raises it builds it from names and addresses only.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message
