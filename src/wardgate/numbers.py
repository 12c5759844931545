"""Every deadline, cap and interval in one place, each with its unit and its reason.

Programs take a `Numbers` value and pass on what a room needs as constructor arguments; tests make their own with
`dataclasses.replace`. Nothing reads a number from anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Numbers:
    """Seconds unless the name says otherwise."""

    # Connecting: a person waits for these, an attacker holds a socket for them.
    tcp_connect: float = 5.0
    tls_handshake: float = 10.0
    client_hello: float = 5.0
    client_hello_bytes: int = 16 * KIB
    half_open_total: int = 256
    half_open_per_address: int = 32
    dial_back: float = 5.0
    dial_back_idle: int = 4
    # Control connections: a dead peer is noticed within `control_lost`.
    control_ping: float = 5.0
    control_lost: float = 15.0
    frame_bytes: int = 64 * KIB
    heartbeat: float = 10.0
    gateway_offline: float = 30.0
    lease_answer: float = 10.0
    lease_renew: float = 600.0
    starting_timeout: float = 60.0
    client_lost: float = 45.0
    client_hold: float = 30.0  # how long a client's connection waits for the way to the gateway: as long as drivers do
    session_end: float = 5.0
    certificate_backdate: float = 300.0
    certificate_grace: float = 60.0
    gateway_certificate: float = 7 * 86_400.0
    # MongoDB: hostile input too.
    server_login: float = 10.0
    scram_iterations_min: int = 4_096
    scram_iterations_max: int = 100_000
    bson_depth: int = 180
    message_bytes: int = 48_000_000  # maxMessageSizeBytes of every server since 3.6
    connections_per_session: int = 1_000
    # Server connections that are opened ahead of need
    spare_connections: int = 2  # for each member in use; drivers open theirs one by one
    spare_connections_session: int = 8  # for all members of a session
    spare_idle: float = 60.0  # without use; the strictest known firewall forgets idle connections after 240 s
    route_streams_per_token: int = 1_064  # a session's connections, its control stream and its warm spares
    # HTTP
    api_body_bytes: int = 1 * MIB
    shipping_body_bytes: int = 16 * MIB
    access_token: float = 3_600.0
    refresh_token: float = 30 * 86_400.0
    browser_idle: float = 3_600.0  # a browser that nobody uses is signed out
    browser_sign_in: float = 12 * 3_600.0  # and every browser after a working day
    fresh_sign_in: float = 900.0  # how lately somebody must have shown who they are to let another device in
    enrolment_token: float = 3_600.0
    service_token: float = 3_600.0
    invitation: float = 7 * 86_400.0
    password_link: float = 3_600.0
    assertion: float = 60.0
    clock_skew: float = 30.0
    connection_test: float = 30.0
    # Spool
    spool_bytes: int = 10 * GIB
    spool_free_bytes: int = 256 * MIB
    spool_session_bytes: int = 2 * GIB
    spool_segment_bytes: int = 64 * MIB


DEFAULT = Numbers()
