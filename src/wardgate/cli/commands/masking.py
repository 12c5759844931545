"""`wardgate project masking …`: what a project's records do not show."""

from __future__ import annotations

from collections import Counter

import click

from ...api.masking import MaskedPath, MaskingPreview, MaskingPreviewRequest, MaskingRule, MaskingRuleCreate
from .. import options
from ..exits import Exit, ExitError
from ..forms import build, moment, path
from ..output import count, line, print_json, print_list, print_table, when
from ..settings import Settings

_PATH_HELP = "A field: customers.card.number, shop/*.ssn, **.password."
_PATTERN_HELP = "Texts of this form, wherever they stand (RE2 syntax)."


def _rule(function: options.Command) -> options.Command:
    """`--path` or `--pattern`."""
    function = click.option("--pattern", metavar="REGEX", help=_PATTERN_HELP)(function)
    return click.option("--path", "path_", metavar="PATH", help=_PATH_HELP)(function)


def _one(path_: str | None, pattern: str | None) -> dict[str, str]:
    given = {name: value for name, value in (("path", path_), ("pattern", pattern)) if value is not None}
    if len(given) != 1:
        raise ExitError("rule_missing", "Give the rule: --path or --pattern.", Exit.USAGE)
    return given


@click.command(name="list")
@click.argument("project_id", metavar="PRJ")
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, as_json: bool) -> None:
    """List the rules by which PRJ's records are masked."""
    with settings.api() as client:
        rules = list(client.pages(path("projects", project_id, "masking"), MaskingRule))
    print_list(
        rules,
        as_json,
        ("NAME", "KIND", "RULE", "SINCE", "DESCRIPTION"),
        lambda rule: (
            rule.name,
            "path" if rule.path is not None else "pattern",
            rule.path or rule.pattern or "",
            when(rule.created_at),
            rule.description,
        ),
        empty="No rule: commands are recorded whole, but for what MongoDB's own commands say of passwords.",
    )


@click.command()
@click.argument("project_id", metavar="PRJ")
@click.argument("name")
@_rule
@click.option("--description", default="", help="Why.")
@options.json_output
@options.settings
def add(
    settings: Settings,
    project_id: str,
    name: str,
    path_: str | None,
    pattern: str | None,
    description: str,
    as_json: bool,
) -> None:
    """Mask, by a rule called NAME, in everything that is recorded in PRJ from now on: in live sessions within ten
    seconds. What is recorded already stays as it is. Try it out first: `wardgate project masking test`."""
    body = build(MaskingRuleCreate, name=name, description=description, **_one(path_, pattern))
    with settings.api() as client:
        rule = client.post(path("projects", project_id, "masking"), MaskingRule, body)
    if as_json:
        print_json(rule)
    else:
        line(f"Masking rule {rule.name} holds: {rule.path or rule.pattern}")


@click.command()
@click.argument("project_id", metavar="PRJ")
@click.argument("name")
@options.settings
def remove(settings: Settings, project_id: str, name: str) -> None:
    """Mask by the rule NAME no longer. What was masked stays masked: its values were never recorded."""
    with settings.api() as client:
        client.call("DELETE", path("projects", project_id, "masking", name))
    line(f"Masking rule {name} is removed.")


@click.command()
@click.argument("project_id", metavar="PRJ")
@_rule
@click.option("--since", metavar="TIME", help="Commands from then on: 2026-11-23T08:00:00Z, or how long ago: 7d.")
@click.option("--until", metavar="TIME", help="Commands before then.")
@click.option("--session", "session_id", metavar="SES", help="Commands of this session.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Stop after so many commands."
)
@options.json_output
@options.settings
def test(
    settings: Settings,
    project_id: str,
    path_: str | None,
    pattern: str | None,
    since: str | None,
    until: str | None,
    session_id: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show which paths a rule would have masked in PRJ's records, the newest first, and in how many commands. Nothing
    is changed, and no value is shown."""
    given = {"since": moment(since), "until": moment(until), "session_id": session_id, **_one(path_, pattern)}
    body = build(MaskingPreviewRequest, **{name: value for name, value in given.items() if value is not None})
    found = _look(settings, path("projects", project_id, "masking", "preview"), body, limit)
    if as_json:
        print_json(found)
        return
    line(f"{count(found.commands, 'command')} looked at, something masked in {found.masked}.")
    if found.withheld:
        line(f"{count(found.withheld, 'command')} could not be understood: their content would be withheld.")
    if found.unreadable:
        line(f"{count(found.unreadable, 'command')} withheld already or unreadable.")
    print_table(
        ("COMMANDS", "NAMESPACE", "COMMAND", "PATH"),
        [
            (str(each.commands), ".".join(filter(None, (each.database, each.collection))), each.command, each.path)
            for each in found.paths
        ],
        empty="Nothing would have been masked.",
    )
    if found.next is not None:
        line("There are older commands: raise --limit, or give --until.")


def _look(settings: Settings, place: str, body: MaskingPreviewRequest, limit: int) -> MaskingPreview:
    """Looks one after the other, until there is nothing more or `limit` is reached; as one."""
    paths: Counter[tuple[str, str | None, str, str]] = Counter()
    total = MaskingPreview(commands=0, masked=0, withheld=0, unreadable=0, paths=[])
    after: dict[str, str] = {}
    with settings.api(timeout_s=120.0) as client:
        while True:
            found = client.post(place, MaskingPreview, body, params=after)
            for each in found.paths:
                paths[each.database, each.collection, each.command, each.path] += each.commands
            total.commands += found.commands
            total.masked += found.masked
            total.withheld += found.withheld
            total.unreadable += found.unreadable
            total.oldest, total.next = found.oldest or total.oldest, found.next
            if found.next is None or total.commands >= limit:
                break
            after = {"after": found.next}
    total.paths = [
        MaskedPath(database=database, collection=collection, command=command, path=masked, commands=number)
        for (database, collection, command, masked), number in paths.most_common()
    ]
    return total
