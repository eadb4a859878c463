"""A stand-in of the Hub over HTTP, for data sets: what huggingface_hub asks to create, commit, list and download."""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writer"
READER = "hf_reader"  # knows who asks, but may not write
SMALL = 100_000  # bytes


def is_large(path: str, size: int) -> bool:
    """Whether a file is kept as LFS."""
    return size > SMALL or path.endswith((".tar", ".parquet"))


@dataclass
class Repo:
    private: bool
    branches: dict[str, str]  # name: commit
    commits: dict[str, dict[str, str]]  # commit: path: SHA-256


@dataclass
class FakeHub:
    """`asked` are the requests, `received` the bytes of LFS files that came; `fail` says what goes wrong."""

    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    fail: dict[str, int | str] = field(default_factory=dict)  # of "METHOD path": status, or "cut" in the middle
    spare: int = 0  # so many requests that match pass before they fail
    watch: Callable[[], None] = lambda: None  # is called at each request
    url: str = ""
    storage: str = ""  # another host, as on the Hub

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[name]
        return {path: self.blobs[oid] for path, oid in repo.commits[repo.branches[revision]].items()}

    def replace(self, name: str, path: str, content: bytes) -> None:
        """Damage a file of the repository."""
        repo = self.repos[name]
        self.blobs[(oid := hashlib.sha256(content).hexdigest())] = content
        repo.commits[repo.branches["main"]][path] = oid

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, one)) for one in self.asked)

    def failing(self, request: str) -> int | str | None:
        for pattern, how in self.fail.items():
            if re.search(pattern, request):
                if self.spare == 0:
                    return how
                self.spare -= 1
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True  # an answer leaves at once, and in one piece
    hub: FakeHub

    def log_message(self, *_) -> None:
        pass

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        self.hub.asked.append(request)
        self.hub.watch()
        self.how = self.hub.failing(request)
        if isinstance(self.how, int):
            return self.answer(self.how, b"")
        for pattern, route in ROUTES.items():
            if found := re.fullmatch(pattern, request):
                return route(self, body, **found.groupdict())
        return self.answer(500, f"no route for {request}".encode())

    do_GET = do_POST = do_PUT = do_HEAD = handle_one  # noqa: N815

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if self.how == "cut" else content)
        if self.how == "cut":
            self.close_connection = True

    def json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str = "") -> None:
        self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code or "no")

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def repo(self, name: str) -> Repo | None:
        """The repository, where who asks may see it; else it is refused."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self.token != TOKEN):
            return self.refuse(404 if self.token else 401, "RepoNotFound")
        return repo

    def commit_of(self, repo: Repo, revision: str) -> str | None:
        oid = repo.branches.get(revision, revision)
        return oid if oid in repo.commits else self.refuse(404, "RevisionNotFound")

    def may_write(self) -> bool:
        if self.token != TOKEN:
            self.refuse(403 if self.token == READER else 401)
        return self.token == TOKEN

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        if self.may_write():
            if name in self.hub.repos:
                return self.json({"url": f"{self.hub.url}/datasets/{name}"}, 409)
            first = hashlib.sha1(name.encode()).hexdigest()
            self.hub.repos[name] = Repo(asked.get("visibility") == "private", {"main": first}, {first: {}})
            self.json({"url": f"{self.hub.url}/datasets/{name}"})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        if self.may_write() and (repo := self.repo(name)):
            is_there = branch in repo.branches
            repo.branches.setdefault(branch, repo.branches["main"])
            self.json({}, 409 if is_there else 200)

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        if (repo := self.repo(name)) and (oid := self.commit_of(repo, revision or "main")):
            about = {"id": name, "sha": oid, "private": repo.private, "downloads": 0, "likes": 0, "tags": []}
            self.json(about)

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self.may_write() and self.repo(name):
            self.json({"files": [
                {"path": file["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if is_large(file["path"], file["size"]) else "regular"}
                for file in json.loads(body)["files"]
            ]})  # fmt: skip

    def batch(self, body: bytes, name: str) -> None:
        if self.may_write():
            self.json({"transfer": "basic", "objects": [
                one if one["oid"] in self.hub.blobs
                else one | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]})  # fmt: skip

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self.refuse(400)
        self.hub.blobs[oid] = body
        self.hub.received.append(len(body))
        self.answer(200, b"")

    def commit(self, body: bytes, name: str, revision: str) -> None:
        if not self.may_write() or not (repo := self.repo(name)):
            return None
        header, *operations = [json.loads(line) for line in body.splitlines()]
        parent = repo.branches[revision]
        if header["value"].get("parentCommit", parent) != parent:
            return self.refuse(412)
        files = dict(repo.commits[parent])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                content = base64.b64decode(value["content"])
                value["oid"] = hashlib.sha256(content).hexdigest()
                self.hub.blobs[value["oid"]] = content
            files[value["path"]] = value["oid"]
        oid = hashlib.sha1(parent.encode() + body).hexdigest()
        repo.commits[oid], repo.branches[revision] = files, oid
        self.json({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{oid}", "commitOid": oid})

    def tree(self, body: bytes, name: str, revision: str, below: str | None = None) -> None:
        if (repo := self.repo(name)) and (oid := self.commit_of(repo, revision)):
            files = {
                path: blob for path, blob in repo.commits[oid].items() if path.startswith(f"{below}/" if below else "")
            }
            if below and not files:
                return self.refuse(404, "EntryNotFound")
            self.json([
                {"type": "file", "path": path, "size": len(self.hub.blobs[blob]), "oid": blob}
                for path, blob in sorted(files.items())
            ])  # fmt: skip

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if (repo := self.repo(name)) and (oid := self.commit_of(repo, revision)):
            blob = repo.commits[oid].get(path)
            if blob is None:
                return self.refuse(404, "EntryNotFound")
            content, about = self.hub.blobs[blob], {"X_Repo_Commit": oid, "ETag": f'"{blob}"'}
            if is_large(path, len(content)):
                linked = {"X_Linked_Etag": f'"{blob}"', "X_Linked_Size": str(len(content))}
                return self.answer(302, b"", Location=f"{self.hub.storage}/lfs/{blob}", **about, **linked)
            self.answer(200, content, **about)

    def download(self, body: bytes, oid: str) -> None:
        content, first = self.hub.blobs[oid], 0
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first = int(found[1])
            about = {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            return self.answer(206, content[first:], **about)
        self.answer(200, content)


_NAME, _SET = r"(?P<name>[^/]+/[^/]+?)", "/api/datasets"
ROUTES = {
    "POST /api/repos/create": _Handler.create,
    rf"GET {_SET}/{_NAME}(?:/revision/(?P<revision>.+))?": _Handler.info,
    rf"POST {_SET}/{_NAME}/branch/(?P<branch>.+)": _Handler.branch,
    rf"POST {_SET}/{_NAME}/preupload/(?P<revision>.+)": _Handler.preupload,
    rf"POST {_SET}/{_NAME}/commit/(?P<revision>.+)": _Handler.commit,
    rf"GET {_SET}/{_NAME}/tree/(?P<revision>[^/]+)(?:/(?P<below>.+))?": _Handler.tree,
    rf"POST /datasets/{_NAME}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(?P<oid>.+)": _Handler.upload,
    r"(?:GET|HEAD) /lfs/(?P<oid>.+)": _Handler.download,
    rf"(?:GET|HEAD) /datasets/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)": _Handler.resolve,
}  # fmt: skip


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_) -> None:
        """A client that was killed is no news."""


def served() -> tuple[FakeHub, http.server.ThreadingHTTPServer]:
    """A hub that answers at its `url` until the server is shut down."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return hub, server
