"""Stands in for `gnomon serve`: run as `python -m gnomon serve --home DIR` from a copy.

What it does is in GNOMON_STAND_IN: "serve", "die" with an error, or be "silent".
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def main() -> None:
    home = Path(sys.argv[sys.argv.index("--home") + 1])
    with (home / "starts").open("a") as file:
        file.write(f"{os.getpid()}\n")
    behaviour = os.environ["GNOMON_STAND_IN"]
    if behaviour == "die":
        for line in range(30):
            print(f"line {line}", flush=True)
        sys.exit("the database is broken")
    if behaviour == "silent":
        threading.Event().wait()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    url = f"http://127.0.0.1:{http.server_address[1]}"
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    facts = {
        "control_url": url,
        "front_url": url,
        "pid": os.getpid(),
        "pid_started": int(started),
        "version": "stand-in",
    }
    fresh = home / "server.new"
    fresh.write_text(json.dumps(facts))
    fresh.replace(home / "server.json")
    http.serve_forever()


main()
