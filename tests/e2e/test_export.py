"""export: a bundle that is verified without the control plane, and a script that mongosh plays again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from pymongo import MongoClient

from wardgate.testing import servers
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Stack

from .conftest import OpenAccess


def test_a_bundle_and_a_script(
    stack: Stack, access: OpenAccess, mongod_standalone: MongoDeployment, tmp_path: Path
) -> None:
    opened = access("single")
    with MongoClient[dict[str, object]](opened.uri) as client:
        orders = client["replayed"]["orders"]
        orders.insert_many({"_id": number, "x\u2028`${1}": "*/\n//"} for number in range(3))
        orders.update_one({"_id": 1}, {"$set": {"paid": True}})
        orders.delete_one({"_id": 2})
        list(orders.find({}, batch_size=1))
    opened.close()
    wardgate, session = stack.wardgate, opened.session_id
    keys, bundle, script = tmp_path / "keys.pem", tmp_path / "s.tar", tmp_path / "s.js"
    keys.write_text(wardgate.run("pam", "session", "keys").out)
    # The end of the record may still be on its way: the online answer waits for it, and is the same as the offline one.
    online = wardgate.run("pam", "session", "verify", session, "--json").json()
    assert online["state"] == "verified"
    wardgate.run("pam", "session", "export", session, "--format", "bundle", "--output", bundle)
    assert bundle.stat().st_mode & 0o777 == 0o600
    nowhere = {"WARDGATE_DOMAIN": "http://127.0.0.1:9", "WARDGATE_CONFIG_DIR": str(tmp_path / "nobody")}
    offline = wardgate.run("pam", "session", "verify", "--bundle", bundle, "--key", keys, "--json", env=nowhere).json()
    assert {name: offline[name] for name in ("state", "records", "epochs", "head", "signature")} == {
        name: online[name] for name in ("state", "records", "epochs", "head", "signature")
    }
    spoilt = bytearray(bundle.read_bytes())
    spoilt[spoilt.rindex(b"WGF1") + 60] ^= 1
    bundle.write_bytes(spoilt)
    answer = wardgate.run(
        "pam", "session", "verify", "--bundle", bundle, "--key", keys, "--json", check=False, env=nowhere
    )
    assert (answer.status, answer.json()["how"]) == (1, "altered")

    wardgate.run("pam", "session", "export", session, "--format", "mongosh", "--output", script)
    lines = wardgate.run("pam", "session", "export", session, "--format", "jsonl").json_lines()
    assert [line["command"] for line in lines if line["kind"] == "command"][:3] == ["insert", "update", "delete"]
    again = access("single")
    with MongoClient[dict[str, object]](again.uri) as client:
        orders = client["replayed"]["orders"]
        before = list(orders.find())
        orders.drop()
        mongosh = servers.require(servers.MONGOSH)
        subprocess.run([mongosh, "--quiet", again.uri, "--file", script], check=True, capture_output=True, timeout=60)
        assert list(orders.find()) == before
        assert json.dumps(before[0]["_id"]) == "0"
