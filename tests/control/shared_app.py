"""One application for all installations of a worker: building it takes longer than most tests.

What it is composed of stands for the services of whichever installation the running test has: a method that was taken
from a `Late` is looked up again when it is called, and everything else is what the installation has at that moment.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from fastapi import FastAPI

from wardgate.control.services import Services
from wardgate.control.web import create_app


class Late:
    """Stands for what `find` finds when it is asked."""

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_find", find)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._find(), name)
        if not inspect.ismethod(value):
            return value
        return lambda *given, **named: getattr(self._find(), name)(*given, **named)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._find(), name, value)


class LateServices:
    """Stands for `Services`: each of them is a `Late`."""

    def __init__(self) -> None:
        self._current: Services | None = None

    def __getattr__(self, name: str) -> Late:
        return Late(lambda: getattr(self._current, name))


_services = LateServices()
_app: FastAPI | None = None
_state: dict[str, Any] = {}


def app_of(services: Services) -> FastAPI:
    """The application, which serves `services` from now on."""
    global _app
    _services._current = services
    if _app is None:
        _app = create_app(cast("Services", _services))
        _state.update(vars(_app.state)["_state"])
    services.records.stopping = services.stopping.is_set
    for name, value in _state.items():  # a test may have put something else there
        setattr(_app.state, name, value)
    return _app
