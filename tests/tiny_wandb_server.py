"""Just enough of W&B for a client to list runs, scan histories and fetch an artifact: `with serving(runs) as address`.

runs: [{"id", "name", "tags", "config", "summary", "history": [{"_step": 0, …}]}], and where a run has sent a checkpoint
"artifact": a file, the only one of <id>-ckpt.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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


def _artifact(runs: list[dict], query: str, said: dict, address: str) -> dict:
    name = (said.get("name") or said.get("collection") or said["id"]).split(":")[0]
    file = next((run.get("artifact") for run in runs if f"{run['id']}-ckpt" == name), None)
    if file is None:
        return {"project": {"artifactCollectionMembership": None}}
    if "currentManifest" in query:
        return {"artifact": {"currentManifest": {"id": "1", "file": {"directUrl": f"{address}/manifest{file}"}}}}
    if "files" in query:
        edges = [{"cursor": "1", "node": {"id": "1", "name": file.name, "directUrl": f"{address}/file{file}"}}]
        files = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"artifactCollection": {
            "__typename": "ArtifactSequence", "artifactMembership": {"files": files}}}}
    project = {"id": "1", "internalId": "1", "name": "prism", "entity": {"name": "lab"}}
    home = {"__typename": "ArtifactSequence", "name": name, "project": project}
    when = "2026-01-02T03:04:05"
    return {"project": {"artifactCollectionMembership": {
        "__typename": "ArtifactCollectionMembership", "id": "1", "versionIndex": 0, "createdAt": when, "aliases": [],
        "artifactCollection": home, "artifact": {
            "__typename": "Artifact", "id": name, "artifactSequence": home, "versionIndex": 0, "state": "COMMITTED",
            "artifactType": {"name": "model"}, "description": None, "metadata": "{}", "ttlDurationSeconds": 0,
            "ttlIsInherited": True, "tags": [], "historyStep": None, "size": file.stat().st_size, "digest": "1",
            "commitHash": None, "fileCount": 1, "createdAt": when, "updatedAt": when, "aliases": []}}}}


def _manifest(file: Path) -> bytes:
    content = file.read_bytes()
    digest = base64.b64encode(hashlib.md5(content).digest()).decode()
    return json.dumps({"version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {},
                       "contents": {file.name: {"digest": digest, "size": len(content)}}}).encode()


def answer(runs: list[dict], query: str, said: dict, address: str) -> dict:
    if "artifact" in query.lower():
        return _artifact(runs, query, said, address)
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
            address = f"http://{self.headers['host']}"
            said = {"data": answer(runs, asked["query"], asked.get("variables") or {}, address)} if asked else {}
            self.give(json.dumps(said).encode())

        def do_GET(self):
            _, what, path = self.path.split("/", 2)
            asks.append(what)
            self.give(_manifest(Path(f"/{path}")) if what == "manifest" else Path(f"/{path}").read_bytes())

        def give(self, data):
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
