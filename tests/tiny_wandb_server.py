"""Just enough of W&B's GraphQL for a client to list runs and scan their histories: `with serving(runs) as address`.

runs: [{"id", "name", "tags", "config", "summary", "history": [{"_step": 0, …}]}].
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def _node(run: dict) -> dict:
    config = {key: {"value": value} for key, value in run["config"].items()}
    return {"id": run["id"], "internalId": run["id"], "name": run["id"], "displayName": run["name"],
            "tags": run["tags"], "state": "finished", "config": json.dumps(config), "historyKeys": {
                "keys": {}, "lastStep": run["history"][-1]["_step"]}, "summaryMetrics": json.dumps(run["summary"]),
            "systemMetrics": "{}", "createdAt": "2026-01-02T03:04:05", "heartbeatAt": "2026-01-02T03:04:06",
            "historyLineCount": len(run["history"]), "user": {"name": "lab", "username": "lab"}, "projectId": "1",
            "project": {"id": "1", "internalId": "1", "name": "prism", "entityName": "lab"}, "readOnly": False,
            "group": None, "jobType": None, "commit": None, "sweepName": None, "notes": "", "description": "",
            "wandbConfig": "{}"}


def answer(runs: list[dict], query: str, said: dict) -> dict:
    if "viewer" in query:
        return {"viewer": {"id": "1", "entity": "lab", "username": "lab", "name": "lab", "email": "", "admin": False,
                           "flags": "{}", "deletedAt": None, "apiKeys": {"edges": []}, "teams": {"edges": []}}}
    project = {"id": "1", "internalId": "1", "name": "prism", "entityName": "lab", "readOnly": False}
    if "runs(" in query:
        edges = [{"node": _node(run), "cursor": str(k)} for k, run in enumerate(runs)]
        return {"project": {**project, "runCount": len(runs), "runs": {
            "edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}
    if "run(" in query:
        run = next(run for run in runs if run["id"] in said.values())
        low, high = int(said.get("minStep") or 0), int(said.get("maxStep") or 1e9)
        rows = [row for row in run["history"] if low <= row["_step"] < high]
        return {"project": {**project, "run": {
            **_node(run), "history": [json.dumps(row) for row in rows],
            "parquetHistory": {"liveData": rows, "parquetUrls": []}}}}
    return {}


@contextmanager
def serving(runs: list[dict]):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = json.loads(body) if self.path == "/graphql" else None
            asks.append(asked["query"] if asked else self.path)
            said = {"data": answer(runs, asked["query"], asked.get("variables") or {})} if asked else {}
            data = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    asks: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asks
    finally:
        server.shutdown()
        server.server_close()
