# Copyright 2026 The concept-encoder authors. Licensed under the Apache License, Version 2.0.
"""
A small Hub on loopback: model repositories in memory, spoken to by an unchanged `huggingface_hub` client.

It answers what pushing and loading models needs, with the Hub's status codes and headers, records every request, and
refuses all else with 501. Files of weights go the way of LFS; there is no Xet (clients set `HF_HUB_DISABLE_XET`).
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from huggingface_hub import ModelCard


LFS_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.png")


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool = False

    @property
    def oid(self) -> str:
        """What a client compares with: SHA-256 of LFS files, git's blob hash of others."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def entry(self, path: str) -> dict:
        found = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid[:40]}
        lfs = {"oid": self.oid, "sha256": self.oid, "size": len(self.content), "pointerSize": 134}
        return {**found, "lfs": lfs} if self.lfs else found


@dataclass
class Repo:
    """`commits` are pairs of a title and all files after it, `pull_requests` those that were proposed."""

    private: bool
    pull_requests: list[tuple[str, dict[str, File]]] = field(default_factory=list)
    commits: list[tuple[str, dict[str, File]]] = field(default_factory=lambda: [("initial commit", {})])

    def sha(self, number: int = -1) -> str:
        return hashlib.sha1(f"{id(self)} {number % len(self.commits)}".encode()).hexdigest()

    @property
    def files(self) -> dict[str, File]:
        return self.commits[-1][1]

    def at(self, revision: str) -> tuple[str, dict[str, File]]:
        """Commit hash and files of `main` or of a commit hash."""
        for number, (_, files) in enumerate(self.commits):
            if revision == self.sha(number):
                return revision, files
        if revision != "main":
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.sha(), self.files


class Refusal(Exception):
    """An answer with an error status; `code` is the Hub's `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str | None = None, **body):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


@dataclass
class Request:
    """One request as it came, with the status of its answer; `payload` is its JSON, a list of JSON lines, a form."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None
    payload: object = None
    status: int = 0
    commit: str | None = None


ROUTES = []


def route(method: str, pattern: str):
    """Register a method of `Hub` for paths; `{repo}` is `owner/name`, `{rev}` one segment, `{path}` the rest."""
    parts = {"{repo}": r"(?P<repo>[^/]+/[^/]+)", "{rev}": r"(?P<rev>[^/]+)", "{path}": r"(?P<path>.+)"}
    for name, expression in parts.items():
        pattern = pattern.replace(name, expression)

    def register(function):
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class Hub:
    """
    The server, in threads of this process, between `with Hub() as hub:` and its end.

    `tokens` are the access tokens that it knows, with their users; `repos` and `requests` tell what happened,
    `refused` what was asked and is not implemented.
    """

    tokens = {"hf_writer": "ksopyla", "hf_stranger": "stranger"}

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.lock = threading.RLock()

    def __enter__(self):
        handler = type("Handler", (HubHandler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        port = self.server.server_address[1]
        # Large files lie with another host, which must not get the token.
        self.endpoint, self.storage = f"http://127.0.0.1:{port}", f"http://localhost:{port}/lfs-storage"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    @property
    def refused(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests if request.status == 501]

    def environment(self, home, token: str | None = "hf_writer") -> dict[str, str]:
        """Environment variables of a client process with an empty cache in the folder `home`."""
        found = {
            "HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_MODULES_CACHE": f"{home}/modules", "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip
        return found if token is None else {**found, "HF_TOKEN": token}

    # Who may do what.

    def find(self, name: str, user: str | None, writes: bool = False) -> Repo:
        repo = self.repos.get(name)
        owner = name.split("/")[0]
        if repo is None or (repo.private and owner != user):
            # The Hub does not tell a stranger whether a private repository exists.
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        if writes and owner != user:
            raise Refusal(403 if user else 401, f"You may not write to {name}.")
        return repo

    # Repositories.

    @route("GET", "/api/whoami-v2")
    def whoami(self, request, user):
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        return {"type": "user", "name": user, "fullname": user, "orgs": [], "auth": {"type": "access_token"}}

    @route("POST", "/api/repos/create")
    def create(self, request, user):
        payload = request.payload
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if payload.get("type", "model") != "model":
            raise Refusal(501, "only model repositories are implemented")
        name = f"{payload.get('organization') or user}/{payload['name']}"
        if not name.startswith(f"{user}/"):
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {name.split('/')[0]}")
        url = f"{self.endpoint}/{name}"
        if name in self.repos:
            raise Refusal(409, "You already created this model repo", url=url)
        self.repos[name] = Repo(private=self.asked_private(payload, default=False))
        return {"url": url, "name": name, "id": hashlib.md5(name.encode()).hexdigest()[:24]}

    def asked_private(self, payload: dict, default: bool) -> bool:
        """Newer clients send a visibility, older ones a flag."""
        return payload.get("visibility", "private" if payload.get("private", default) else "public") == "private"

    @route("DELETE", "/api/repos/delete")
    def delete(self, request, user):
        name = f"{request.payload.get('organization') or user}/{request.payload['name']}"
        self.find(name, user, writes=True)
        del self.repos[name]
        return {}

    @route("PUT", "/api/models/{repo}/settings")
    def settings(self, request, user, repo):
        found = self.find(repo, user, writes=True)
        found.private = self.asked_private(request.payload, default=found.private)
        return {"private": found.private}

    @route("GET", "/api/models/{repo}(?:/revision/{rev})?")
    def info(self, request, user, repo, rev):
        if any(name.startswith("expand") for name in request.query):
            raise Refusal(501, "expand is not implemented")
        found = self.find(repo, user)
        sha, files = found.at(rev or "main")
        siblings = [{"rfilename": path} for path in files]
        if request.query.get("blobs"):
            siblings = [{**file.entry(path), "rfilename": path, "blobId": file.oid} for path, file in files.items()]
        card = ModelCard(files["README.md"].content.decode()).data.to_dict() if "README.md" in files else {}
        return {
            "_id": hashlib.md5(repo.encode()).hexdigest()[:24], "id": repo, "modelId": repo,
            "author": repo.split("/")[0], "sha": sha, "lastModified": "2026-01-01T00:00:00.000Z", "downloads": 0,
            "private": found.private, "gated": False, "disabled": False, "tags": card.get("tags", []),
            "cardData": card, "siblings": siblings,
        }  # fmt: skip

    @route("GET", "/api/models/{repo}/tree/{rev}(?:/{path})?")
    def tree(self, request, user, repo, rev, path):
        _, files = self.find(repo, user).at(rev)
        inside = {name: file for name, file in files.items() if path is None or name.startswith(f"{path}/")}
        if path is not None and not inside:
            raise Refusal(404, f"{path} does not exist on {rev}", "EntryNotFound")
        if request.query.get("recursive", "").lower() != "true" and any("/" in name for name in inside):
            raise Refusal(501, "trees of one level are not implemented")
        return [file.entry(name) for name, file in inside.items()]

    @route("POST", "/api/models/{repo}/paths-info/{rev}")
    def paths_info(self, request, user, repo, rev):
        _, files = self.find(repo, user).at(rev)
        return [files[path].entry(path) for path in request.payload["paths"] if path in files]

    # Writing.

    @route("POST", "/api/validate-yaml")
    def validate(self, request, user):
        if errors := card_errors(request.payload["content"]):
            raise Refusal(400, errors[0], errors=[{"message": error} for error in errors], warnings=[])
        return {"errors": [], "warnings": []}

    @route("POST", "/api/models/{repo}/preupload/{rev}")
    def preupload(self, request, user, repo, rev):
        _, files = self.find(repo, user, writes=True).at(rev)
        answers = []
        for path, sample in ((entry["path"], base64.b64decode(entry["sample"])) for entry in request.payload["files"]):
            lfs = b"\0" in sample or any(fnmatch(path, pattern) for pattern in LFS_PATTERNS)
            answers.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False})
            answers[-1]["oid"] = files[path].oid if path in files else None
        return {"files": answers}

    @route("POST", "/{repo}.git/info/lfs/objects/batch")
    def lfs_batch(self, request, user, repo):
        self.find(repo, user, writes=True)
        verify = {"href": f"{self.endpoint}/{repo}.git/info/lfs/verify"}
        objects = [{"oid": entry["oid"], "size": entry["size"]} for entry in request.payload["objects"]]
        for entry in objects:
            if entry["oid"] not in self.blobs:
                entry["actions"] = {"upload": {"href": f"{self.storage}/{entry['oid']}"}, "verify": verify}
        return {"transfer": "basic", "objects": objects}

    @route("PUT", "/lfs-storage/{path}")
    def lfs_upload(self, request, user, path):
        if hashlib.sha256(request.payload).hexdigest() != path:
            raise Refusal(400, "The content has another SHA-256 than was announced")
        self.blobs[path], request.payload = request.payload, None
        return {}

    @route("POST", "/{repo}.git/info/lfs/verify")
    def lfs_verify(self, request, user, repo):
        self.find(repo, user, writes=True)
        if len(self.blobs.get(request.payload["oid"], b"")) != request.payload["size"]:
            raise Refusal(400, "The object was not uploaded")
        return {}

    @route("POST", "/api/models/{repo}/commit/{rev}")
    def commit(self, request, user, repo, rev):
        found = self.find(repo, user, writes=True)
        sha, files = found.at(rev)
        files, (header, *operations) = dict(files), request.payload
        if header["value"].get("parentCommit") not in (None, sha):
            raise Refusal(412, "A commit has happened since")
        for operation in operations:
            kind, value, path = operation["key"], operation["value"], operation["value"]["path"]
            if kind == "file":
                files[path] = File(base64.b64decode(value.pop("content")))
            elif kind == "lfsFile":
                if value["oid"] not in self.blobs:
                    raise Refusal(400, f"The content of {path} was not uploaded")
                files[path] = File(self.blobs[value["oid"]], lfs=True)
            elif kind == "deletedFile":
                if files.pop(path, None) is None:
                    raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
            else:
                raise Refusal(501, f"commit operation {kind} is not implemented")
        proposed = bool(request.query.get("create_pr"))
        (found.pull_requests if proposed else found.commits).append((header["value"]["summary"], files))
        answer = {"commitOid": found.sha(), "commitUrl": f"{self.endpoint}/{repo}/commit/{found.sha()}"}
        place = {"pullRequestUrl": f"{self.endpoint}/{repo}/discussions/{len(found.pull_requests)}"}
        return {"success": True, **answer, **(place if proposed else {})}

    # Reading.

    @route("GET", "/{repo}/resolve/{rev}/{path}")
    def resolve(self, request, user, repo, rev, path):
        sha, files = self.find(repo, user).at(rev)
        request.commit = sha  # told with errors too: clients remember which files a commit has not
        if path not in files:
            raise Refusal(404, f"Entry not found: {path}", "EntryNotFound")
        return files[path]

    @route("GET", "/lfs-storage/{path}")
    def lfs_download(self, request, user, path):
        if path not in self.blobs:
            raise Refusal(404, "No such object")
        return File(self.blobs[path])


def card_errors(content: str) -> list[str]:
    """What is wrong with the metadata of a card, by huggingface_hub's rules and those that the Hub adds."""
    try:
        data = ModelCard(content).data.to_dict()
    except Exception as error:  # of YAML, or of the model-index
        return [f"{type(error).__name__}: {error}"]
    ids = filter(None, [data.get("base_model"), *(data.get("datasets") or ())])
    found = [f"{name!r} is no id of the Hub" for name in ids if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)]
    found += [f"the tag {tag!r} is no string" for tag in data.get("tags") or () if not isinstance(tag, str)]
    results = data.get("model-index", [{"results": []}])[0]["results"]
    values = [metric["value"] for result in results for metric in result["metrics"]]
    return found + [
        f"{value!r} is no value of a metric" for value in values if not isinstance(value, int | float | str)
    ]


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else header and body of an answer wait for each other

    def log_message(self, *arguments): ...

    def payload(self) -> object:
        content, kind = self.rfile.read(int(self.headers.get("Content-Length", 0))), self.headers["Content-Type"] or ""
        if "Transfer-Encoding" in self.headers:
            raise Refusal(501, "bodies in chunks are not implemented")
        if "ndjson" in kind:
            return [json.loads(line) for line in content.splitlines()]
        if "form" in kind:
            return parse_qs(content.decode())
        return json.loads(content) if "json" in kind else content

    def answer(self):
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        request = Request(self.command, unquote(parts.path), query, bearer)
        headers, request.status = {}, 200
        with self.hub.lock:
            self.hub.requests.append(request)
            try:
                request.payload = self.payload()
                found = self.call(request)
            except Exception as error:
                refusal = error if isinstance(error, Refusal) else Refusal(501, f"the server failed: {error!r}")
                request.status, found = refusal.status, {"error": refusal.message, **refusal.body}
                headers |= {"X-Error-Message": refusal.message, "X-Error-Code": refusal.code or ""}
        if isinstance(found, File):
            content = self.file_answer(request, found, headers)
        else:
            content, headers["Content-Type"] = json.dumps(found).encode(), "application/json"
        if request.commit:
            headers["X-Repo-Commit"] = request.commit
        self.send_response(request.status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def call(self, request: Request):
        if request.token is not None and request.token not in self.hub.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        for method, pattern, function in ROUTES:
            match = pattern.fullmatch(request.path)
            if match and method == request.method.replace("HEAD", "GET"):
                return function(self.hub, request, self.hub.tokens.get(request.token), **match.groupdict())
        raise Refusal(501, f"{request.method} {request.path} is not implemented by tests/hub_server.py")

    def file_answer(self, request: Request, file: File, headers: dict) -> bytes:
        """Content of a file, its address in the storage where it is an LFS file, or the range asked for."""
        headers |= {"ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        if file.lfs:
            request.status = 302
            headers |= {"Location": f"{self.hub.storage}/{file.oid}", "X-Linked-Size": str(len(file.content))}
            headers["X-Linked-ETag"] = headers["ETag"]
            return b""
        content = file.content
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            request.status = 206 if first <= last else 416
            headers["Content-Range"] = f"bytes {f'{first}-{last}' if first <= last else '*'}/{len(content)}"
            content = content[first : last + 1]
        return content

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer
