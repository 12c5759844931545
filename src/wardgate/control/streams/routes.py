"""Streams over HTTP: the organisation's below `/streams`, a project's below `/projects/{project_id}/streams`."""

# Without postponed annotations: the two sets of routes differ in what their annotations name.

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from ...api.models import Page
from ...api.streams import Stream, StreamCreate, StreamSecret, StreamTest, StreamUpdate
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .service import StreamService

Where = Callable[..., str | None]


def build(streams: StreamService) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["streams"])
    read, update = Permission.ORGANISATION_STREAM_READ, Permission.ORGANISATION_STREAM_UPDATE
    _add(router, streams, "/streams", _organisation, read, update)
    read, update = Permission.PROJECT_STREAM_READ, Permission.PROJECT_STREAM_UPDATE
    _add(router, streams, "/projects/{project_id}/streams", _project, read, update)
    return router


def _organisation() -> None:
    return None


def _project(project_id: str) -> str:
    return project_id


def _add(
    router: APIRouter, streams: StreamService, prefix: str, where: Where, read: Permission, update: Permission
) -> None:
    Place = Annotated[str | None, Depends(where)]  # noqa: N806 - a type
    Changer = Annotated[Actor, Depends(requires(update))]  # noqa: N806 - a type
    reading = [Depends(requires(read))]
    suffix = "project_stream" if "{" in prefix else "stream"

    @router.post(prefix, status_code=201, name=f"create_{suffix}")
    async def create(place: Place, body: StreamCreate, actor: Changer) -> StreamSecret:
        """Make a stream; a webhook's signing key is shown this once."""
        return await streams.create(actor, place, body)

    @router.get(prefix, name=f"list_{suffix}s", dependencies=reading)
    async def list_(place: Place, page: Annotated[Paging, Depends(paging)]) -> Page[Stream]:
        """The streams of this place, each with how it goes."""
        return await streams.list_(place, page)

    @router.get(f"{prefix}/{{name}}", name=f"get_{suffix}", dependencies=reading)
    async def get(place: Place, name: str) -> Stream:
        """One stream."""
        return await streams.get(place, name)

    @router.patch(f"{prefix}/{{name}}", name=f"update_{suffix}")
    async def update_(place: Place, name: str, body: StreamUpdate, actor: Changer) -> Stream:
        """Change a stream; it goes on from where it is."""
        return await streams.update(actor, place, name, body)

    @router.delete(f"{prefix}/{{name}}", name=f"delete_{suffix}", status_code=204)
    async def delete(place: Place, name: str, actor: Changer) -> None:
        """Forget a stream."""
        await streams.remove(actor, place, name)

    @router.post(f"{prefix}/{{name}}/secret", name=f"make_{suffix}_secret")
    async def make_secret(place: Place, name: str, actor: Changer) -> StreamSecret:
        """Make a new signing key, shown this once; the old one is used no more."""
        return await streams.make_secret(actor, place, name)

    @router.post(f"{prefix}/{{name}}/test", name=f"test_{suffix}")
    async def test(place: Place, name: str, actor: Changer) -> StreamTest:
        """Send a test line now."""
        return await streams.test(actor, place, name)
