"""Records of every kind, for hypothesis."""

from __future__ import annotations

import bson
from hypothesis import strategies as st

from wardgate.audit import records
from wardgate.audit.records import Record

text = st.text(max_size=40)
maybe = st.none() | text
count = st.integers(min_value=0, max_value=1 << 62)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1)
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=10)
    | st.builds(bson.ObjectId)
    | st.builds(bson.Regex, st.just("a.*"), st.just("i")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5).filter(lambda k: "\0" not in k), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=8).filter(lambda k: "\0" not in k), _values, max_size=5).map(bson.encode)
sequences = st.lists(st.tuples(text, st.lists(bodies, max_size=3).map(b"".join)), max_size=2).map(tuple)
masked = st.lists(text, max_size=2).map(tuple)

intents = st.builds(
    records.CommandIntent,
    connection=count,
    request_id=st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1),
    database=text,
    collection=maybe,
    command=text,
    effect=st.sampled_from(["read", "write", "admin", "code", "auth"]),
    body=bodies,
    bytes_in=count,
    sequences=sequences,
    rule=maybe,
    client_app=maybe,
    masked=masked,
    continues=st.none() | count,
    streamed=st.none() | st.builds(records.Streamed, count, count),  # withheld: nothing belongs to it
)
outcomes = st.builds(
    records.CommandOutcome,
    intent_seq=count,
    ok=st.none() | st.floats(allow_nan=False),
    code=st.none() | count,
    documents=st.none() | count,
    bytes_out=count,
    duration_us=count,
    unacknowledged=st.booleans(),
    error=maybe,
    more=st.booleans(),
    modified=st.none() | count,
    upserted=st.none() | count,
    write_errors=count,
)
any_record: st.SearchStrategy[Record] = st.one_of(
    intents,
    outcomes,
    st.builds(records.SessionOpened, text, text, text, text, text, text),
    st.builds(records.SessionClosed, text, text, count, masked),
    st.builds(records.SessionNotice, text, text),
    st.builds(records.ConnectionOpened, count, text, maybe),
    st.builds(records.ConnectionHello, count, maybe, maybe, maybe),
    st.builds(records.ConnectionClosed, count, text, count, count, count, count, count, count),
    st.builds(
        records.Denied,
        connection=count,
        request_id=count,
        database=text,
        collection=maybe,
        command=text,
        effect=text,
        body=bodies,
        bytes_in=count,
        rule=text,
        code=count,
        sequences=sequences,
        error=maybe,
    ),
    st.builds(records.Malformed, count, text, st.binary(max_size=20), st.booleans()),
    st.builds(records.Upload, count, count, count),
    st.builds(records.UploadPart, count, count, st.binary(max_size=50)),
    st.builds(records.BodyChunk, count, count, st.binary(max_size=50)),
)
