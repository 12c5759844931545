"""Where the CLI finds its domain, its login and its folder (docs/cli.md).

The domain is `--domain`, else `WARDGATE_DOMAIN`, else the only login in the file; the login is `WARDGATE_TOKEN`,
else the stored one of that domain.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .exits import Exit, ExitError

if TYPE_CHECKING:
    from ..api.client import ApiClient
    from .logins import LoginFile


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options and the environment say; values are looked up when they are needed."""

    domain_option: str | None = None
    ca_file_option: Path | None = None

    @property
    def folder(self) -> Path:
        """`WARDGATE_CONFIG_DIR`, or the platform's place for settings."""
        chosen = os.environ.get("WARDGATE_CONFIG_DIR")
        if chosen:
            return Path(chosen)
        import platformdirs

        return Path(platformdirs.user_config_dir("wardgate"))

    @property
    def ca_file(self) -> Path | None:
        """`--ca-file` or `WARDGATE_CA_FILE`."""
        if self.ca_file_option is not None:
            return self.ca_file_option
        chosen = os.environ.get("WARDGATE_CA_FILE")
        return Path(chosen) if chosen else None

    def logins(self) -> LoginFile:
        """The login file."""
        from .logins import LoginFile

        return LoginFile(self.folder)

    def domain(self) -> str:
        """The control plane's address in canonical form."""
        from ..api.domain import canonical

        chosen = self.domain_option or os.environ.get("WARDGATE_DOMAIN")
        if chosen:
            return canonical(chosen)
        known = self.logins().domains()
        if len(known) == 1:
            return canonical(known[0])
        if known:
            raise ExitError(
                "domain_needed",
                f"You are logged in to several domains: choose with --domain or WARDGATE_DOMAIN: {', '.join(known)}.",
                Exit.USAGE,
            )
        raise ExitError(
            "domain_needed",
            "Which control plane? Give its address with --domain or WARDGATE_DOMAIN, or log in with `wardgate login`.",
            Exit.USAGE,
        )

    def is_logged_in(self) -> bool:
        """Whether there is a login to try."""
        return bool(os.environ.get("WARDGATE_TOKEN")) or self.logins().get(self.domain()) is not None

    def api(self, *, timeout_s: float = 45.0) -> ApiClient:
        """A client with this person's login; ExitError `not_logged_in` where there is none.

        An answer may take `timeout_s` seconds: a connection test at the gateway takes up to 30.
        """
        from ..api.client import ApiClient
        from .logins import FileLogin, environment_login

        domain = self.domain()
        token = os.environ.get("WARDGATE_TOKEN")
        if token:
            return ApiClient(
                domain, environment_login(token, domain, self.ca_file), ca_file=self.ca_file, timeout_s=timeout_s
            )
        if self.logins().get(domain) is None:
            raise not_logged_in(domain)
        login = FileLogin(self.logins(), domain, self.ca_file)
        return ApiClient(domain, login, ca_file=self.ca_file, timeout_s=timeout_s)


def not_logged_in(domain: str) -> ExitError:
    """The one sentence for it."""
    return ExitError(
        "not_logged_in",
        f"You are not logged in to {domain}: run `wardgate login --domain {domain}`.",
        Exit.NOT_LOGGED_IN,
    )
