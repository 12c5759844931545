"""What was measured on what: a figure without these is gossip."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wardgate.testing import servers

ROOT = Path(__file__).resolve().parents[1]


def facts(folder: Path) -> dict[str, Any]:
    """The machine, the programs, the commit and the disk under `folder`."""
    haproxy = servers.find(servers.HAPROXY)
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": _first_line(["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]),
        "changed": bool(_output(["git", "-C", str(ROOT), "status", "--porcelain", "--", "src"])),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "openssl": ssl.OPENSSL_VERSION,
        "mongod": _first_line([str(servers.require(servers.MONGOD)), "--version"]),
        "haproxy": _first_line([str(haproxy), "-v"]) if haproxy else None,
        "disk": _file_system(folder),
    }


def _file_system(folder: Path) -> str:
    """Device, type: the longest mount point that the folder is under."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, place, kind = line.split()[:3]
        if folder.resolve().is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, f"{device} ({kind})")
    return best[1]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _first_line(argv: list[str]) -> str:
    return (_output(argv).splitlines() or ["unknown"])[0]
