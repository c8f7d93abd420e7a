"""A W&B server as far as runs need one: it keeps the lines and files that are uploaded, and knows its runs again."""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class Server(ThreadingHTTPServer):
    """What was uploaded: ``lines`` of history and the like by run and name, ``files`` by name, ``runs`` by their id."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lines: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self.files: dict[str, bytes] = {}
        self.runs: dict[str, dict[str, Any]] = {}

    def history(self, run: str) -> list[tuple[int, dict[str, Any]]]:
        """The rows of a run by step, without what W&B itself adds."""
        rows = [json.loads(line) for line in self.lines[run]["wandb-history.jsonl"]]
        return [(row["_step"], {name: row[name] for name in row if not name.startswith("_")}) for row in rows]

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a process that knows no other server and no other account."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        own = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_ERROR_REPORTING": "false"}
        return kept | own | {"HOME": str(home)}

    def handle_error(self, *args: Any) -> None:
        """Nothing: a client that ends leaves its connections."""


class Handler(BaseHTTPRequestHandler):
    """Answers what wandb 0.31 asks."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.answer({})

    def do_PUT(self) -> None:
        self.server.files[self.path.removeprefix("/upload/")] = self.body()
        self.answer({})

    def do_POST(self) -> None:
        body = json.loads(self.body() or b"{}")
        if self.path == "/graphql":
            self.answer({"data": self.query(body["operationName"], body.get("variables") or {})})
            return
        run = self.path.split("/")[-2]
        for name, part in (body.get("files") or {}).items():
            lines = self.server.lines[run][name]
            lines[part["offset"] :] = part["content"]
        self.answer({})

    def query(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        entity = {"id": "entity", "name": "me"}
        project = {"id": "project", "name": variables.get("project"), "entity": entity}
        if name == "Viewer":
            viewer = {"id": "user", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer}
        if name == "UpsertBucket":
            run = self.server.runs.setdefault(variables["name"], {"id": "run", "name": variables["name"]})
            run |= {key: variables[key] for key in ("displayName", "config", "groupName", "tags") if variables.get(key)}
            known = variables["name"] in self.server.lines
            return {"upsertBucket": {"bucket": run | {"project": project}, "inserted": not known}}
        if name == "RunResumeStatus":
            return {"model": project | {"bucket": self.known(variables["name"])}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.server.url}/upload/{file}"} for file in variables["files"]]
            return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}
        return {}

    def known(self, run: str) -> dict[str, Any] | None:
        """What a server says of a run to a client that resumes it."""
        if run not in self.server.lines:
            return None
        lines = self.server.lines[run]
        counts = {f"{kind}LineCount": len(lines[f"wandb-{kind}.jsonl"]) for kind in ("history", "events")}
        tails = {f"{kind}Tail": json.dumps(lines[f"wandb-{kind}.jsonl"][-1:]) for kind in ("history", "events")}
        summary = {"summaryMetrics": (lines["wandb-summary.json"] or ["{}"])[-1], "wandbConfig": '{"t": {}}'}
        return self.server.runs[run] | counts | tails | summary | {"logLineCount": len(lines["output.log"])}

    def body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def wandb_server() -> Iterator[Server]:
    """A server of its own, for as long as the block lasts."""
    server = Server()
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
