"""A project's masking rules, and what one would have masked."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, Field, model_validator

from .models import Name, Request

_PATH = "[database/]collection.field…; segments may be * (any one) or ** (any number)."
_PATTERN = "A regular expression in RE2's syntax, looked for in strings and names of fields."


class MaskingRule(BaseModel):
    """One rule. It has a path or a pattern."""

    name: str
    path: str | None = Field(default=None, description=_PATH)
    pattern: str | None = Field(default=None, description=_PATTERN)
    description: str = ""
    created_at: datetime


class _OneExpression(Request):
    """What has a path or a pattern, and not both."""

    path: str | None = Field(default=None, min_length=1, max_length=512, description=_PATH)
    pattern: str | None = Field(default=None, min_length=1, max_length=512, description=_PATTERN)

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.path is None) == (self.pattern is None):
            raise ValueError("give a path or a pattern, and not both")
        return self


class MaskingRuleCreate(_OneExpression):
    """A new rule; it holds for what is recorded from then on."""

    name: Name
    description: str = Field(default="", max_length=200)


class MaskingPreviewRequest(_OneExpression):
    """A rule to try out on records that you may read."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    session_id: str | None = Field(default=None, max_length=64)


class MaskedPath(BaseModel):
    """A path that the rule would have masked, and in how many commands. It never shows a value."""

    database: str
    collection: str | None
    command: str
    path: str = Field(description="`*`: the whole content would have been withheld.")
    commands: int


class MaskingPreview(BaseModel):
    """What a rule would have masked in one bounded look at past records, the newest first."""

    commands: int = Field(description="Commands that were looked at.")
    masked: int = Field(description="Commands of which something would have been masked.")
    withheld: int = Field(description="Of these, commands whose whole content would have been withheld.")
    unreadable: int = Field(description="Commands whose bodies are withheld already, or can't be read.")
    paths: list[MaskedPath] = Field(description="The most frequent ones.")
    oldest: datetime | None = Field(default=None, description="Of the commands that were looked at.")
    next: str | None = Field(default=None, description="To go on with older records: the parameter `after`.")
