"""A small Hugging Face Hub on loopback: enough for the real huggingface_hub client, without xet, kept in memory.

    with LoopbackHub() as hub:
        hub.env                        # environment for a child process; HF_HOME is the caller's to choose
        hub.use(monkeypatch, cache)    # or: points this process's client at it
        hub.add("tester/name", {"config.json": b"{}", "model.safetensors": b"..."}, private=True)
        hub.requests                   # what was asked: (method, path, authorization, host)

It can be made to misbehave, as a network does:

    hub.delay = 2.0        # seconds before every answer (slow); hub.delay_path narrows it to paths that match
    hub.lie = "wrong"      # large files arrive with the right size and other bytes
    hub.lie = "truncated"  # ... arrive cut short, announced so
    hub.lie = "html"       # ... arrive as a web page with status 200
    hub.lie = "portal"     # every request is answered by a web page with status 200 (a login page in a hotel)
    hub.fail = [(500, "/api/")]  # the next request whose path matches is answered with this status, once each
    hub.die(); hub.revive()      # nothing listens on the port any more; it listens again
    hub.die_at = "/__lfs/"       # dies when it is asked for a path that matches
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import fnmatch
import hashlib
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.onnx", "*.npz", "*.npy", "*.h5", "*.parquet")
LFS_THRESHOLD = 10 * 1024 * 1024
WEB_PAGE = b"<!DOCTYPE html><html><body>Please log in to use this network.</body></html>"


@dataclasses.dataclass(frozen=True)
class Blob:
    """A file in a commit. `oid` is the git sha1; `sha256` names the object of an LFS file."""

    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        body = self.content
        if self.lfs:
            body = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(body)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()

    def entry(self) -> dict:
        entry = {"oid": self.oid, "size": len(self.content)}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "sha256": self.sha256, "size": len(self.content), "pointerSize": 130}
        return entry


def is_large(path: str, size: int) -> bool:
    return size > LFS_THRESHOLD or any(fnmatch.fnmatch(path, pattern) for pattern in LFS_PATTERNS)


@dataclasses.dataclass
class Commit:
    oid: str
    title: str
    date: str
    files: dict[str, Blob]


@dataclasses.dataclass
class Repo:
    id: str
    private: bool = False
    commits: dict[str, Commit] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)

    def commit(self, files: dict[str, Blob], branch: str = "main", title: str = "commit") -> Commit:
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        seed = f"{self.id} {branch} {title} {date} {len(self.commits)}"
        commit = Commit(hashlib.sha1(seed.encode()).hexdigest(), title, date, files)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def resolve(self, revision: str) -> Commit:
        oid = self.branches.get(revision, revision)
        if oid not in self.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[oid]


class HubError(Exception):
    def __init__(self, status: int, code: str | None, message: str, headers=None, body=None):
        super().__init__(message)
        self.status, self.code, self.message, self.headers, self.body = (
            status,
            code,
            message,
            headers or {},
            body or {},
        )


class LoopbackHub:
    def __init__(self, token: str = "hf_test", user: str = "tester"):
        self.token, self.user = token, user
        self.repos: dict[str, Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None, str]] = []
        self.delay, self.delay_path = 0.0, ""
        self.lie: str | None = None
        self.fail: list[tuple[int, str]] = []
        self.die_at: str | None = None
        self.lock = threading.RLock()
        self.stopped = threading.Event()  # ends the waiting of slow answers
        self.connections: set[socket.socket] = set()
        self._listen(0)
        self.port = self.server.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # Large files come from another origin, as on the real Hub: the client must not send its token there.
        self.blob_host = f"localhost:{self.port}"

    def _listen(self, port: int):
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def die(self):
        """Stop listening and drop the connections that clients keep open."""
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed by the other side meanwhile

    def revive(self):
        self.stopped.clear()
        self._listen(self.port)

    def __enter__(self) -> LoopbackHub:
        return self

    def __exit__(self, *_):
        if not self.stopped.is_set():
            self.die()

    @property
    def env(self) -> dict[str, str]:
        """For a child process; add HF_HOME, and HF_TOKEN if it is to be logged in."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def use(self, monkeypatch, cache, token: str | None = None):
        """Point the client of this process at this Hub, with a cache and a login of its own, until the test ends."""
        import huggingface_hub.constants as constants
        from huggingface_hub.utils import close_session

        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache) + ".token")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        close_session()

    def add(self, repo_id: str, files: dict[str, bytes], branch: str = "main", private: bool = False) -> str:
        """Put files into a repository, made if needed, as a commit on top of the branch; the commit's sha."""
        repo = self.repos.setdefault(repo_id, Repo(repo_id, private))
        head = repo.resolve(repo.branches.get(branch) or "main").files if repo.commits else {}
        blobs = {path: Blob(content, is_large(path, len(content))) for path, content in files.items()}
        self.lfs |= {blob.sha256: blob.content for blob in blobs.values() if blob.lfs}
        return repo.commit(head | blobs, branch).oid

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return {path: blob.content for path, blob in self.repos[repo_id].resolve(revision).files.items()}


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    # ------------------------------------------------------------------ plumbing
    def setup(self):
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self):
        self.hub.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass  # the client hung up, or die() did

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass

    def log_message(self, *args):
        pass

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            out = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: bytes = b"", headers: dict | None = None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, data, status: int = 200, headers: dict | None = None):
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _dispatch(self):
        hub, url, body = self.hub, urlsplit(self.path), self._body()
        self.token = self.headers.get("Authorization")
        if hub.delay and re.search(hub.delay_path, self.path):
            hub.stopped.wait(hub.delay)
        if hub.die_at and re.search(hub.die_at, self.path):
            hub.die_at = None
            hub.die()
        if hub.stopped.is_set():
            self.close_connection = True
            return
        with hub.lock:
            hub.requests.append((self.command, self.path, self.token, self.headers.get("Host", "")))
            try:
                if hub.lie == "portal":
                    return self._send(200, WEB_PAGE, {"Content-Type": "text/html"})
                for i, (status, pattern) in enumerate(hub.fail):
                    if re.search(pattern, self.path):
                        del hub.fail[i]
                        raise HubError(status, None, "injected failure")
                if self.token not in (None, f"Bearer {hub.token}"):
                    raise HubError(401, None, "Invalid credentials in Authorization header")
                for method, regex, name in ROUTES:
                    match = re.fullmatch(regex, url.path)
                    if match and self.command in method.split("|"):
                        self.query = parse_qs(url.query)
                        return getattr(self, name)(body, **{k: unquote(v) for k, v in match.groupdict().items()})
                raise HubError(404, None, f"the loopback Hub has no route for {self.command} {url.path}")
            except HubError as e:
                headers = {"X-Error-Message": e.message, **e.headers}
                if e.code:
                    headers["X-Error-Code"] = e.code
                self._json({"error": e.message, **e.body}, e.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = _dispatch

    # ------------------------------------------------------------------ helpers
    def _login_required(self):
        if self.token is None:
            raise HubError(401, None, "Invalid username or password.")

    def _repo(self, id: str) -> Repo:
        repo = self.hub.repos.get(id)
        if repo is None or (repo.private and self.token is None):
            # The real Hub answers 401 to anonymous callers and 404 to others, both with this code.
            raise HubError(401 if self.token is None else 404, "RepoNotFound", "Repository not found")
        return repo

    def _own_repo(self, id: str) -> Repo:
        self._login_required()
        repo = self._repo(id)
        if id.split("/")[0] != self.hub.user:
            raise HubError(403, None, "you don't have the rights to write to this repository")
        return repo

    # ------------------------------------------------------------------ API
    def agent_harnesses(self, body):
        self._json({"standardEnvVars": [], "harnesses": {}})

    def whoami(self, body):
        self._login_required()
        self._json({"type": "user", "name": self.hub.user, "orgs": [], "auth": {"type": "access_token"}})

    def validate_yaml(self, body):
        self._json({"errors": [], "warnings": []})

    def create(self, body):
        self._login_required()
        request = json.loads(body)
        owner = request.get("organization") or self.hub.user
        if owner != self.hub.user:
            message = f'You don\'t have the rights to create a model under the namespace "{owner}"'
            raise HubError(403, None, message)
        id = f"{owner}/{request['name']}"
        if id in self.hub.repos:
            message = "You already created this model repo"
            raise HubError(409, None, message, body={"url": f"{self.hub.endpoint}/{id}"})
        private = request.get("visibility") == "private" or bool(request.get("private"))
        self.hub.add(id, {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, private=private)
        self._json({"url": f"{self.hub.endpoint}/{id}", "name": id, "id": "0" * 24})

    def info(self, body, id, rev="main"):
        repo = self._repo(id)
        commit = repo.resolve(rev)
        siblings = []
        for path, blob in sorted(commit.files.items()):
            entry = blob.entry() if "blobs" in self.query else {}
            siblings.append({"rfilename": path, "blobId": entry.pop("oid", None), **entry})
        dates = {"lastModified": commit.date, "createdAt": commit.date}
        info = {"_id": "0" * 24, "id": id, "modelId": id, "sha": commit.oid, "private": repo.private, "tags": []}
        self._json({**info, **dates, "gated": False, "disabled": False, "siblings": siblings})

    def branch(self, body, id, name):
        repo = self._own_repo(id)
        if name in repo.branches:
            raise HubError(409, None, f"Reference already exists: refs/heads/{name}")
        repo.branches[name] = repo.resolve(json.loads(body or b"{}").get("startingPoint") or "main").oid
        self._json({})

    def preupload(self, body, id, rev):
        head = self._own_repo(id).resolve(rev)
        out = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
            entry = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
            if blob := head.files.get(file["path"]):  # lets the client drop unchanged files
                entry["oid"] = blob.sha256 if blob.lfs else blob.oid
            out.append(entry)
        self._json({"files": out, "commitOid": head.oid})

    def lfs_batch(self, body, id):
        self._own_repo(id)
        objects = []
        for o in json.loads(body)["objects"]:
            entry = {"oid": o["oid"], "size": o["size"]}
            if o["oid"] not in self.hub.lfs:  # no "actions": already there, nothing to upload
                verify = f"{self.hub.endpoint}/{quote(id)}.git/info/lfs/objects/verify"
                upload = f"http://{self.hub.blob_host}/__lfs/{o['oid']}"
                actions = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
                entry |= {"authenticated": True, "actions": actions}
            objects.append(entry)
        headers = {"Content-Type": "application/vnd.git-lfs+json"}
        self._json({"transfer": "basic", "objects": objects}, headers=headers)

    def lfs_verify(self, body, id):
        request = json.loads(body)
        if len(self.hub.lfs.get(request["oid"], b"")) != request["size"]:
            raise HubError(404, None, "LFS object not uploaded")
        self._json({"success": True})

    def lfs_object(self, body, oid):
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != oid:
                raise HubError(400, None, "sha256 mismatch")
            self.hub.lfs[oid] = body
            return self._send(200, headers={"ETag": f'"{oid}"'})
        if oid not in self.hub.lfs:
            raise HubError(404, None, "no such object")
        content = self.hub.lfs[oid]
        if self.hub.lie == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 0xFF])
        elif self.hub.lie == "truncated":
            content = content[: len(content) // 2]
        elif self.hub.lie == "html":
            content = WEB_PAGE
        self._file(content, {"ETag": f'"{oid}"'})

    def commit(self, body, id, rev):
        repo = self._own_repo(id)
        files, header = dict(repo.resolve(rev).files), {}
        for line in body.splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise HubError(400, None, f"LFS pointer to a file that does not exist: {value['path']}")
                files[value["path"]] = Blob(self.hub.lfs[value["oid"]], True)
        commit = repo.commit(files, rev, header["summary"])
        url = f"{self.hub.endpoint}/{id}/commit/{commit.oid}"
        self._json({"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""})

    # ------------------------------------------------------------------ files
    def _file(self, content: bytes, headers: dict):
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(match[1]), int(match[2] or len(content) - 1)
            if start >= len(content):
                return self._send(416, headers={"Content-Range": f"bytes */{len(content)}"})
            part = content[start : end + 1]
            range_ = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            return self._send(206, part, {**headers, "Content-Range": range_})
        self._send(200, content, headers)

    def resolve(self, body, id, rev, path):
        commit = self._repo(id).resolve(rev)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            raise HubError(404, "EntryNotFound", "Entry not found", headers)
        blob = commit.files[path]
        if not blob.lfs:
            return self._file(blob.content, {**headers, "ETag": f'"{blob.oid}"'})
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
        self._send(302, headers={**headers, "Location": f"http://{self.hub.blob_host}/__lfs/{blob.sha256}"})


_ID, _REV = r"(?P<id>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
ROUTES = [
    ("GET", r"/api/agent-harnesses", "agent_harnesses"),
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("GET", rf"/api/models/{_ID}", "info"),
    ("GET", rf"/api/models/{_ID}/revision/{_REV}", "info"),
    ("POST", rf"/api/models/{_ID}/branch/(?P<name>[^/]+)", "branch"),
    ("POST", rf"/api/models/{_ID}/preupload/{_REV}", "preupload"),
    ("POST", rf"/api/models/{_ID}/commit/{_REV}", "commit"),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("POST", rf"/{_ID}\.git/info/lfs/objects/verify", "lfs_verify"),
    ("PUT|GET|HEAD", r"/__lfs/(?P<oid>[0-9a-f]{64})", "lfs_object"),
    ("GET|HEAD", rf"/{_ID}/resolve/{_REV}/(?P<path>.+)", "resolve"),
]
