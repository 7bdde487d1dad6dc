"""A small real HTTP server that speaks gnomon's contracts, with everything in memory.

Its models are arithmetic: an output is the sum of a row times the number in the model's file.
What it was sent is in `requests`; `answers` overrules what a route says.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gnomon.core.pipeline import Definition
from gnomon.core.plan import Plan, plan
from gnomon.core.steps import ModelRef
from tests.sdk.contract_front import ContractFront
from tests.sdk.contract_shadow import ContractShadow
from tests.sdk.wire import FRONT, TOKEN, Answer, Seen, log_stream, problem


def _validity(row: dict[str, Any]) -> set[bool]:
    """Whether each row of a logged request is valid."""
    found = [False] * row["rows"]
    for tensor in row["anomalies"]:
        found = [was or bool(now) for was, now in zip(found, tensor["data"], strict=True)]
    return {not anomaly for anomaly in found}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class ContractServer(ContractShadow, ContractFront):
    """The server. Use it as a context; `url` is its address."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Seen] = []
        self.answers: dict[tuple[str, str], Callable[[Seen], Answer]] = {}
        self.settles_after_looks = 0
        self.failing: dict[str, str] = {}  # model name -> why it does not start
        self.workspaces: list[dict[str, Any]] = []
        self._lock = threading.RLock()
        self._next_id = 0
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> ContractServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, seen: Seen) -> Answer:
        self.requests.append(seen)
        for (method, start), say in self.answers.items():
            if seen.method == method and seen.path.startswith(start):
                return say(seen)
        if seen.path == "/v1/health":
            return Answer(200, {"status": "ok", "version": "0.1.0"})
        if seen.headers.get("Authorization") != f"Bearer {TOKEN}":
            return problem(401, "unauthenticated", "This server does not know the token.")
        with self._lock:
            if seen.path.startswith(FRONT):
                return self.infer(seen)
            return self._control(seen, [unquote(part) for part in seen.path.split("/")[2:]])

    def _control(self, seen: Seen, parts: list[str]) -> Answer:
        match (seen.method, *parts):
            case ("GET", "server"):
                return Answer(200, self._server())
            case ("GET", "stats"):
                views = [p["deployment"] for p in self.pipelines if p["deployment"]]
                return Answer(200, self.stats(*views))
            case ("GET", "workspaces"):
                return Answer(200, {"workspaces": [self._space(w) for w in self.workspaces]})
            case ("POST", "workspaces"):
                return self._make_workspace(seen.json()["name"])
            case ("GET", "workspaces", "default"):
                found = [w for w in self.workspaces if w["name"] == "default-workspace"]
                return Answer(200, found[0]) if found else self._make_workspace("default-workspace")
            case ("GET", "workspaces", space):
                found = [w for w in self.workspaces if w["id"] == int(space)]
                if not found:
                    return problem(404, "not_found", f"There is no workspace {space}.")
                return Answer(200, self._space(found[0]))
            case ("GET", "workspaces", space, "models"):
                return Answer(200, {"models": self._models(int(space))})
            case ("POST", "workspaces", space, "models", name, "versions"):
                return self._upload(int(space), name, seen)
            case ("GET", "workspaces", space, "models", name, "versions", wanted):
                found = [v for v in self._of(int(space), name) if wanted in ("latest", v["uuid"])]
                return Answer(200, found[0]) if found else problem(404, "not_found", f"No {name}.")
            case ("PATCH", "workspaces", _, "model-versions", wanted):
                [found] = [v for v in self.versions if v["uuid"] == wanted]
                found.update(seen.json())
                return Answer(200, found)
            case ("POST", "workspaces", space, "pipelines"):
                return self._build(int(space), seen.json()["name"])
            case ("GET", "workspaces", space, "pipelines"):
                found = [p for p in self.pipelines[::-1] if p["workspace_id"] == int(space)]
                name = seen.query.get("name")
                return Answer(
                    200, {"pipelines": [p for p in found if name is None or p["name"] == name]}
                )
            case (method, "workspaces", space, "pipelines", name, *rest):
                [pipeline] = [
                    p
                    for p in self.pipelines
                    if (p["workspace_id"], p["name"]) == (int(space), name)
                ]
                return self._pipeline(method, pipeline, rest, seen)
        return problem(404, "not_found", f"No route {seen.path}.")

    def _pipeline(
        self, method: str, pipeline: dict[str, Any], rest: list[str], seen: Seen
    ) -> Answer:
        match (method, *rest):
            case ("GET",):
                return Answer(200, pipeline)
            case ("GET", "versions"):
                uuids = list(enumerate(pipeline["versions"][::-1], 1))
                return Answer(
                    200, {"versions": [_version(pipeline, *each) for each in uuids[::-1]]}
                )
            case ("PUT", "deployment"):
                return Answer(202, self._deploy(pipeline, seen.json()["definition"]))
            case ("GET", "deployment"):
                return Answer(200, self._settle(pipeline["deployment"]))
            case ("GET", "deployment", "stats"):
                return Answer(200, self.stats(pipeline["deployment"]))
            case ("PATCH", "deployment", "shadow"):
                return self.change(pipeline["deployment"], seen.json())
            case ("GET", "deployment", "shadow", "changes"):
                return Answer(200, {"changes": self.changes[::-1]})
            case ("DELETE", "deployment"):
                view = pipeline["deployment"]
                if view is None or view["state"] == "stopped":
                    return Answer(200, view)
                view.update(desired="stopped", state="stopping", settled=False)
                view["revision"] += 1
                view["looks"] = self.settles_after_looks
                return Answer(202, view)
            case ("GET", "logs"):
                # A cursor is a place in the log: the next page begins there, or stands before it.
                rows, valid = self.log.get(pipeline["id"], []), seen.query.get("valid")
                oldest_first = seen.query.get("order") == "oldest"
                place = int(seen.query.get("cursor", 0 if oldest_first else len(rows)))
                places = range(place, len(rows)) if oldest_first else range(place - 1, -1, -1)
                meant = [
                    at for at in places if valid is None or (valid == "true") in _validity(rows[at])
                ]
                shown = meant[: int(seen.query["limit"])]
                more = len(meant) > len(shown)
                if shown:
                    place = shown[-1] + oldest_first
                headers = {
                    "X-Gnomon-More": "true" if more else "false",
                    "X-Gnomon-Cursor": str(place),
                }
                return Answer(200, log_stream([rows[at] for at in shown]), headers)
            case ("GET", "logs", "tables"):
                return Answer(200, {"tables": ["/log/1/1/1", "/log/1/1/2"]})
        return problem(404, "not_found", f"No route {seen.path}.")

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _server(self) -> dict[str, Any]:
        process = {"name": "front-0", "pid": 7, "state": "running", "restarts": 0, "log": "/l"}
        return {
            "version": "0.1.0",
            "control_url": self.url,
            "front_url": self.url,
            "home": "/home",
            "pid": 6,
            "processes": [process],
            "deployments": [p["deployment"] for p in self.pipelines if p["deployment"]],
        }

    def _make_workspace(self, name: str) -> Answer:
        if any(w["name"].lower() == name.lower() for w in self.workspaces):
            return problem(409, "conflict", f"There is a workspace {name!r} already.", name=name)
        made = {
            "id": self._id(),
            "name": name,
            "created_at": now(),
            "created_by": "owner",
            "archived": False,
            "users": ["owner"],
            "models": [],
            "pipelines": [],
        }
        self.workspaces.append(made)
        return Answer(201, made)

    def _workspace(self, space: int) -> dict[str, Any]:
        [found] = [view for view in self.workspaces if view["id"] == space]
        return found

    def _space(self, view: dict[str, Any]) -> dict[str, Any]:
        return {
            **view,
            "models": sorted({v["model_id"] for v in self._of(view["id"])}),
            "pipelines": [p["id"] for p in self.pipelines if p["workspace_id"] == view["id"]],
        }

    def _of(self, space: int, name: str | None = None) -> list[dict[str, Any]]:
        """The versions in a workspace, newest first."""
        return [
            v
            for v in self.versions[::-1]
            if v["workspace_id"] == space and (name is None or v["name"] == name)
        ]

    def _models(self, space: int) -> list[dict[str, Any]]:
        names = dict.fromkeys(v["name"] for v in self._of(space))
        return [
            {
                "id": found[0]["model_id"],
                "name": name,
                "created_at": found[-1]["created_at"],
                "updated_at": found[0]["created_at"],
                "versions": found,
            }
            for name in names
            for found in [self._of(space, name)]
        ]

    def _upload(self, space: int, name: str, seen: Seen) -> Answer:
        try:
            float(seen.body)
        except ValueError:
            return problem(422, "model_rejected", "The file is not ONNX.", reason="not_onnx")
        earlier = self._of(space, name)
        version = {
            "id": self._id(),
            "uuid": str(uuid.uuid4()),
            "model_id": earlier[0]["model_id"] if earlier else self._id(),
            "workspace_id": space,
            "workspace": self._workspace(space)["name"],
            "name": name,
            "ordinal": len(earlier) + 1,
            "sha256": hashlib.sha256(seen.body).hexdigest(),
            "size_bytes": len(seen.body),
            "file_name": seen.query["file_name"],
            "signature": {
                "inputs": [{"name": "dense_input", "dtype": "float32", "shape": [None, 3]}],
                "outputs": [{"name": "dense_1", "dtype": "float32", "shape": [None, 1]}],
            },
            "runtime": "onnx",
            "tensor_fields": None,
            "tags": [],
            "created_at": now(),
            "created_by": 1,
            "author": "owner",
            "factor": seen.body.decode(),  # as text: it may be NaN, which JSON has no word for
        }
        self.versions.append(version)
        return Answer(201, version)

    def _build(self, space: int, name: str) -> Answer:
        for pipeline in self.pipelines:
            if (pipeline["workspace_id"], pipeline["name"]) == (space, name):
                pipeline["versions"].insert(0, str(uuid.uuid4()))
                return Answer(200, pipeline)
        made = {
            "id": self._id(),
            "workspace_id": space,
            "workspace": self._workspace(space)["name"],
            "name": name,
            "created_at": now(),
            "updated_at": now(),
            "created_by": "owner",
            "tags": [],
            "versions": [str(uuid.uuid4())],
            "definition": {"steps": []},
            "deployment": None,
        }
        self.pipelines.append(made)
        return Answer(201, made)

    def _deploy(self, pipeline: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
        pipeline["versions"].insert(0, str(uuid.uuid4()))
        pipeline["definition"] = definition
        pipeline["updated_at"] = now()
        defined = Definition.from_json(definition)
        planned = plan(defined.steps)
        models = [
            {
                "step": step,
                "label": label,
                "role": role,
                "name": ref.name,
                "version": ref.uuid,
                "sha": ref.sha256,
                "state": "failed" if ref.name in self.failing else "ready",
                "reason": self.failing.get(ref.name),
                "restarts": 0,
                "pid": 100 + index,
                "hosts": [
                    {
                        "name": f"host-{index}",
                        "state": "failed" if ref.name in self.failing else "ready",
                        "reason": self.failing.get(ref.name),
                        "restarts": 0,
                        "pid": 100 + index,
                    }
                ],
                "sample": rate,
                "on": True,
            }
            for index, (step, label, role, ref, rate) in enumerate(_watching(planned))
        ]
        before = pipeline["deployment"] or {
            "id": self._id(),
            "revision": 0,
            "pipeline_version": None,
        }
        deployment_id = before["id"]
        view = {
            "id": deployment_id,
            "pipeline_id": pipeline["id"],
            "pipeline": pipeline["name"],
            "workspace_id": pipeline["workspace_id"],
            "revision": before["revision"] + 1,
            "desired": "running",
            "state": "starting",
            "settled": False,
            "reason": None,
            "pipeline_version": before["pipeline_version"],
            "wanted_version": pipeline["versions"][0],
            "url": f"{self.url}{FRONT}{pipeline['name']}-{deployment_id}/{pipeline['name']}",
            "models": models,
            "shadow": {
                "mode": planned.mode,
                "shadow_wait_ms": planned.shadow_wait_ms,
                "in_force": True,
                "changed_at": None,
                "changed_by": None,
            },
            "log": asdict(defined.log),
            "before": before.get("models"),
            "updated_at": now(),
            "looks": self.settles_after_looks,
        }
        pipeline["deployment"] = view
        return view

    def _settle(self, view: dict[str, Any]) -> dict[str, Any]:
        if view["looks"]:
            view["looks"] -= 1
            threading.Event().wait(0.05)  # the server's long poll, shortened
            return view
        view["settled"] = True
        if view["desired"] == "stopped":
            view.update(state="stopped", pipeline_version=None)
        elif view["models"][0]["state"] == "failed":
            champion = view["models"][0]
            view.update(state="failed", reason=f"Model {champion['label']}: {champion['reason']}")
            if view["pipeline_version"]:  # what is left are the models of the version before
                view["models"] = view["before"]
        else:
            view.update(state="running", pipeline_version=view["wanted_version"])
        return view


def _watching(planned: Plan) -> Iterator[tuple[int, str, str, ModelRef, float]]:
    """The models of all stages: step, label, role, reference and sample."""
    for stage in planned.stages:
        for ref in stage.champions:
            yield stage.step, ref.name, "champion", ref, 1.0
        for label, *watching in zip(stage.labels, stage.challengers, stage.sample, strict=True):
            yield stage.step, label, "challenger", *watching


def _version(pipeline: dict[str, Any], number: int, uuid: str) -> dict[str, Any]:
    """A pipeline version, of which only the newest has the pipeline's definition."""
    is_newest = number == len(pipeline["versions"])
    return {
        "id": number,
        "uuid": uuid,
        "number": number,
        "pipeline_id": pipeline["id"],
        "pipeline": pipeline["name"],
        "workspace_id": pipeline["workspace_id"],
        "workspace": pipeline["workspace"],
        "definition": pipeline["definition"] if is_newest else {"steps": []},
        "tensor_fields": {},
        "restores": None,
        "deployed": is_newest and pipeline["deployment"] is not None,
        "tags": [],
        "created_at": pipeline["updated_at"],
        "created_by": 1,
        "author": "owner",
        "updated_at": pipeline["updated_at"],
    }


class _Handler(BaseHTTPRequestHandler):
    owner: ContractServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def _serve(self) -> None:
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        seen = Seen(
            self.command,
            split.path,
            {key: values[0] for key, values in parse_qs(split.query).items()},
            dict(self.headers),
            self.rfile.read(length),
        )
        answer = self.owner.answer(seen)
        if answer.status == 0:  # hang up without a word
            self.close_connection = True
            return
        body = answer.body()
        self.send_response(answer.status)
        for name, value in {"X-Gnomon-Request-Id": "request-1", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Say nothing."""
