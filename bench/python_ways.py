# SPDX-License-Identifier: GPL-2.0-only
"""Counts TCP connections by state in the usual ways in Python.

usage: python_ways.py psutil-list|psutil-generator|procfs|procfs-1m

Prints lines of a state's name or number and its count.
"""

import io
import socket
import sys
from collections import Counter

FILES = ("/proc/net/tcp", "/proc/net/tcp6")


def psutil_list():
    """The documented way: a list of every connection of the machine."""
    import psutil

    return Counter(connection.status for connection in psutil.net_connections("tcp"))


def psutil_generator():
    """psutil's parser of a line, one connection at a time. It does not find the process of a connection, for which
    psutil reads the descriptors of every process."""
    from psutil import _pslinux

    connections = getattr(_pslinux, "NetConnections", None) or _pslinux.Connections
    counts = Counter()
    for file, family in zip(FILES, (socket.AF_INET, socket.AF_INET6)):
        for connection in connections.process_inet(file, family, socket.SOCK_STREAM, {}):
            counts[connection[5]] += 1
    return counts


def procfs(buffer):
    """Only the state column."""
    counts = Counter()
    for file in FILES:
        with open(file, "rb", buffering=buffer) as lines:
            next(lines)
            for line in lines:
                counts[line.split(None, 4)[3]] += 1
    return Counter({str(int(code, 16)): count for code, count in counts.items()})


WAYS = {
    "psutil-list": psutil_list,
    "psutil-generator": psutil_generator,
    "procfs": lambda: procfs(io.DEFAULT_BUFFER_SIZE),
    "procfs-1m": lambda: procfs(1 << 20),
}

if len(sys.argv) != 2 or sys.argv[1] not in WAYS:
    sys.exit(__doc__)
for state, count in WAYS[sys.argv[1]]().items():
    print(state, count)
