"""`wardgate vault …`: the master keys, by their ids, and the change from one to the next."""

from __future__ import annotations

import click

from ...api.vault import VaultState
from .. import options
from ..output import line, print_json
from ..settings import Settings


@click.command()
@options.json_output
@options.settings
def show(settings: Settings, as_json: bool) -> None:
    """Show which master keys there are, what each has sealed, and which nodes have them."""
    with settings.api() as client:
        state = client.get("/vault", VaultState)
    _print(state, as_json)


@click.command()
@options.json_output
@options.settings
def rotate(settings: Settings, as_json: bool) -> None:
    """Seal everything with the newest master key, while everything runs.

    First put the new key behind the old one at every node, with wardgate server new-master-key. When this is done the
    old key is needed for old backups only: wardgate server drop-master-keys takes it away.
    """
    with settings.api() as client:
        state = client.post("/vault/rotate", VaultState)
    _print(state, as_json)


def _print(state: VaultState, as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    line(f"sealing:   {state.current}" + ("" if state.current == state.newest else f" (newest: {state.newest})"))
    line(f"rotation:  {'under way' if state.rotating else 'none'}")
    for key in state.keys:
        line(f"key:       {key.id}  seals {key.sealed}" + ("" if key.available else "  (this node does not have it)"))
    for node in state.nodes:
        line(f"node:      {node.host} since {node.started_at:%Y-%m-%d %H:%M:%S}Z  has {', '.join(node.keys)}")
