"""The wiring: every service of the control plane, built once, in the order of the features.

Law: dependencies are arguments; a service knows the others it was given and looks nothing up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from ..errors import WardgateError
from ..numbers import DEFAULT, Numbers
from ..secret import Secret
from .access import AccessService, GatewayAccess, Lifecycle, SessionDirectory, SessionPasswords, Sweep
from .approvals import ApprovalService
from .audit_log import AuditLog, Event
from .audit_log.log import SYSTEM
from .cluster import JobLeases, Nodes, Signals
from .cluster.nodes import BEAT_S
from .db import Database
from .devices import DeviceService
from .first_run import FirstRun
from .fleet import ConnectionTests, Enrolment, FleetService, LinkHub, MachineGuard
from .identity.actor import ORGANISATION
from .identity.groups import GroupService
from .identity.passwords import PasswordHasher
from .identity.permissions import Role
from .identity.service import IdentityService
from .identity.sign_ins import SignInService
from .identity.users import UserService
from .jobs import Background
from .journal import JournalService
from .mail import Mailer
from .mail_links import MailLinks
from .members import BindingService
from .mfa import Changes, MfaService, PasskeyEnrolment, Passkeys, PasskeySignInService, RelyingParty, Verification
from .mfa.sign_in import SignInFactor
from .oidc import Issuers
from .outbound import Outbound
from .projects import MaskingRules, ProjectService, RecordKeeping
from .records import Bucket, Layered, ObjectFolder, ObjectStore, RecordService, latest_head
from .resources import AccountService, ResourceCatalogue, ResourceService
from .rotation import RotationService
from .settings import Settings
from .sources import Sources
from .sso import ProviderService, SsoService
from .sso.people import People as SsoPeople
from .streams import Deliveries, StreamService
from .streams.opening import Opener
from .vault import AuditKeys, CertificateAuthority, KeyProvider, MasterKey, Vault
from .vault.authority import create_authorities, load_authorities
from .vault.keys import create_keys, load_keys
from .workloads import Authentication, Rights, TokenExchange, WorkloadService

_WAKE = "job.wake"  # a signal; its key is the job
_LINKS = 5.0
_VAULT_SWEEP = 30.0
_TOKEN_SWEEP = 3_600.0
_RIGHTS_SWEEP = 2.0  # what time alone takes away is noticed within it, and has ended within 5 s
_ACCESS_SWEEP = 5.0
_RETENTION_SWEEP = 600.0


@dataclass(slots=True)
class Services:
    """What `create_app` composes and `server run` keeps running."""

    settings: Settings
    numbers: Numbers
    sources: Sources
    database: Database
    vault: Vault
    ca: CertificateAuthority
    keys: AuditKeys
    audit_log: AuditLog
    sign_ins: SignInService
    identity: IdentityService
    first_run: FirstRun
    users: UserService
    groups: GroupService
    workloads: WorkloadService
    mail_links: MailLinks
    exchange: TokenExchange
    authentication: Authentication
    bindings: BindingService
    verification: Verification
    passkeys: Passkeys
    factor_changes: Changes
    passkey_enrolment: PasskeyEnrolment
    passkey_sign_in: PasskeySignInService
    mfa: MfaService
    devices: DeviceService
    providers: ProviderService
    sso: SsoService
    approvals: ApprovalService
    journal: JournalService
    rotation: RotationService
    projects: ProjectService
    keeping: RecordKeeping
    masking: MaskingRules
    signals: Signals
    nodes: Nodes
    leases: JobLeases
    hub: LinkHub
    machine_guard: MachineGuard
    enrolment: Enrolment
    fleet: FleetService
    tests: ConnectionTests
    resources: ResourceService
    accounts: AccountService
    access: AccessService
    gateway_access: GatewayAccess
    records: RecordService
    streams: StreamService
    deliveries: Deliveries
    background: tuple[Background, ...]
    # Set when the program stops: endless answers (the control link) watch it and end themselves.
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def leave(self) -> None:
        """Tell the other nodes that this one stops: what it did is theirs at once."""
        with suppress(DBAPIError, WardgateError):  # the database is away: it will be found out
            await self.leases.let_go()
            await self.nodes.leave()

    async def close(self) -> None:
        """Let everything go."""
        self.stopping.set()
        await self.mail_links.close()
        await self.database.close()


async def open_services(
    settings: Settings,
    database: Database,
    masters: Sequence[MasterKey] | KeyProvider,
    *,
    numbers: Numbers = DEFAULT,
    sources: Sources | None = None,
    hasher: PasswordHasher | None = None,
    mailer: Mailer | None = None,
    outbound: Outbound | None = None,
) -> Services:
    """Build every service over an installed, migrated `database`; WardgateError if `masters` don't open it."""
    sources = sources or Sources()
    outbound = outbound or Outbound.from_environment()
    vault = Vault(masters, sources)
    async with database.read() as session:
        await vault.check(session)
        ca = await load_authorities(session, vault, sources, numbers)
        keys = await load_keys(session, vault)
    audit_log = AuditLog(sources)
    sign_ins = SignInService(database, audit_log, sources, numbers)
    identity = IdentityService(database, audit_log, sources, sign_ins, hasher or PasswordHasher())
    projects = ProjectService(database, audit_log, sources)
    keeping = RecordKeeping(database, audit_log, projects)
    masking = MaskingRules(database, audit_log, sources, projects)
    users = UserService(database, audit_log, sources, identity)
    groups = GroupService(database, audit_log, sources, users)
    issuers = Issuers(outbound, sources)
    mail_links = MailLinks(database, audit_log, sources, numbers, identity, users, mailer, settings.public_url)
    workloads = WorkloadService(database, audit_log, sources, issuers, settings.public_url)
    exchange = TokenExchange(database, audit_log, sources, numbers, issuers)
    rights = Rights(identity, sign_ins, sources)
    bindings = BindingService(database, audit_log, sources, identity, users, groups, workloads, projects)
    site = settings.passkeys
    passkeys = Passkeys(audit_log, sources, None if site is None else RelyingParty(site))
    verification = Verification(database, audit_log, sources, vault, mailer, passkeys)
    factor = identity.second_factor = SignInFactor(database, verification)
    devices = DeviceService(database, audit_log, sources, sign_ins, factor, settings.pages)
    changes = Changes(database, identity, sign_ins, verification)
    mfa = MfaService(database, audit_log, sources, vault, identity, users, verification, passkeys, changes)
    providers = ProviderService(database, audit_log, sources, vault, issuers, groups, settings.pages)
    identity.password_rule = providers.must_allow_password
    vouched = SsoPeople(audit_log, sources, identity, groups)
    sso = SsoService(database, audit_log, sources, vault, issuers, outbound, vouched, settings.pages)
    signals = Signals(database, sources)
    nodes = Nodes(database, sources, signals.node, vault.master_ids)
    rotation = RotationService(database, audit_log, sources, vault, nodes)
    hub = LinkHub(signals)
    enrolment = Enrolment(database, audit_log, sources, numbers, vault, ca, settings.public_url)
    fleet = FleetService(database, audit_log, sources, numbers, vault, ca, projects, enrolment, hub, signals.node)
    tests = ConnectionTests(database, fleet, hub, signals, sources, numbers, vault)
    resources = ResourceService(database, audit_log, sources, projects, fleet, tests)
    accounts = AccountService(database, audit_log, sources, vault, resources, fleet, tests)
    catalogue = ResourceCatalogue(vault, fleet)
    lifecycle = Lifecycle(audit_log, sources, fleet)
    passwords = SessionPasswords(vault, sources)
    approvals = ApprovalService(database, audit_log, sources, catalogue)
    access = AccessService(
        database, audit_log, sources, numbers, ca, catalogue, fleet, lifecycle, passwords, verification, approvals
    )
    gateways = GatewayAccess(
        database,
        sources,
        numbers,
        keys,
        catalogue,
        rights,
        lifecycle,
        latest_head,
        passwords,
        approvals,
        keeping.durability,
        masking.rules,
    )
    fleet.on_revoked.append(gateways.revoked)
    sweep = Sweep(database, sources, numbers, catalogue, gateways, lifecycle)
    sweeping = Background("access", sweep, _RIGHTS_SWEEP)
    for watched in (users, groups, workloads, sign_ins, bindings, accounts, approvals, providers):
        watched.on_rights_lost.append(lambda: signals.send(_WAKE, sweeping.name))
    signals.on(_WAKE, lambda job, _body: sweeping.wake.set() if job == sweeping.name else None)
    guard = MachineGuard(database, sources, settings.public_url)
    objects = _objects(settings)
    records = RecordService(database, audit_log, sources, keys, SessionDirectory(), objects, keeping)
    opener = Opener(vault, database, outbound, sources, settings.public_url)
    deliveries = Deliveries(database, audit_log, sources, records.feed, opener)
    streams = StreamService(database, audit_log, sources, vault, projects, opener, deliveries)
    return Services(
        settings=settings,
        numbers=numbers,
        sources=sources,
        database=database,
        vault=vault,
        ca=ca,
        keys=keys,
        audit_log=audit_log,
        sign_ins=sign_ins,
        identity=identity,
        first_run=FirstRun(database, audit_log, sources, identity, settings.data_dir),
        users=users,
        groups=groups,
        workloads=workloads,
        mail_links=mail_links,
        exchange=exchange,
        authentication=Authentication(sign_ins, rights, database, sources),
        bindings=bindings,
        verification=verification,
        passkeys=passkeys,
        factor_changes=changes,
        passkey_enrolment=PasskeyEnrolment(database, audit_log, sources, passkeys, changes, verification),
        passkey_sign_in=PasskeySignInService(database, audit_log, sources, identity, sign_ins, passkeys),
        mfa=mfa,
        devices=devices,
        providers=providers,
        sso=sso,
        approvals=approvals,
        journal=JournalService(database, audit_log),
        rotation=rotation,
        projects=projects,
        keeping=keeping,
        masking=masking,
        signals=signals,
        nodes=nodes,
        leases=JobLeases(database, signals.node),
        hub=hub,
        machine_guard=guard,
        enrolment=enrolment,
        fleet=fleet,
        tests=tests,
        resources=resources,
        accounts=accounts,
        access=access,
        gateway_access=gateways,
        records=records,
        streams=streams,
        deliveries=deliveries,
        background=(
            Background("signals", signals.run, 1.0, each_node=True),
            Background("node", nodes.beat, BEAT_S, each_node=True),
            Background("links", fleet.keep_links, _LINKS, wake=hub.changed, each_node=True),
            Background("vault", rotation.go_on, _VAULT_SWEEP),
            Background("machines", guard.sweep, _TOKEN_SWEEP),
            Background("identity", sign_ins.sweep, _TOKEN_SWEEP),
            Background("devices", devices.sweep, _TOKEN_SWEEP),
            Background("sso", sso.sweep, _TOKEN_SWEEP),
            Background("mfa", mfa.sweep, _TOKEN_SWEEP),
            Background("services", exchange.sweep, _TOKEN_SWEEP),
            Background("mail links", mail_links.sweep, _TOKEN_SWEEP),
            sweeping,
            Background("records", records.sweep, _ACCESS_SWEEP),
            Background("retention", records.retire, _RETENTION_SWEEP),
            Background("streams", deliveries.run, _ACCESS_SWEEP),
        ),
    )


def _objects(settings: Settings) -> ObjectStore:
    folder = ObjectFolder(settings.data_dir / "records")
    return folder if settings.records_store is None else Layered(Bucket(settings.records_store), folder)


async def install(
    database: Database,
    master: MasterKey,
    *,
    organisation: str,
    admin_email: str | None,
    admin_password: Secret | None,
    sources: Sources | None = None,
    hasher: PasswordHasher | None = None,
) -> None:
    """Fill an empty, migrated `database`: the CA, the audit keys and the first administrator, all or nothing.

    Without an administrator, `first_run` makes one and says what the organisation is called."""
    sources = sources or Sources()
    vault, audit_log = Vault([master], sources), AuditLog(sources)
    sign_ins = SignInService(database, audit_log, sources, DEFAULT)
    identity = IdentityService(database, audit_log, sources, sign_ins, hasher or PasswordHasher())
    new = None
    if admin_email is not None and admin_password is not None:
        new = await identity.prepare_user(admin_email, admin_password)
    async with database.write() as session:
        root = await create_authorities(session, vault, sources)
        await create_keys(session, vault, sources, root)
        if new is None:
            return
        await audit_log.append(session, SYSTEM, Event.ORGANISATION_CREATED, details={"name": organisation})
        await identity.add_user(session, SYSTEM, new)
        await identity.grant_within(session, SYSTEM, new.id, Role.ADMIN, ORGANISATION)
