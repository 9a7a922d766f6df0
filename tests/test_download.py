"""Downloads from a server on this machine that can break off, refuse and send pages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bids_sr.download import _WebOnly, download
from bids_sr.exceptions import InputDataError, WeightsError

CONTENT = bytes(range(256)) * 9000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server sends, how often it breaks off, and what it was asked for."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    kind: str = "application/octet-stream"
    breaks: int = 0
    statuses: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            byte_range = self.headers.get("Range")
            state.ranges.append(byte_range)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            same = state.etag is not None and self.headers.get("If-Range") == state.etag
            first = int(byte_range[6:-1]) if byte_range and same else 0
            if first >= len(state.content) and first:
                self.send_error(416)
                return
            body = state.content[first:]
            self.send_response(206 if first else 200)
            self.send_header("Content-Type", state.kind)
            self.send_header("Content-Length", str(len(body)))
            if first:
                last = len(state.content) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            if state.breaks:
                state.breaks -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}/file.pth"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


def bring(server: Server, folder: Path, **more: object) -> Path:
    return download(server.url, folder / "new" / "file.pth", pause=0, **more)  # type: ignore[arg-type]


def test_file_comes_whole_and_alone(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    path = bring(server, tmp_path, sha256=DIGEST, report=lambda *have: reports.append(have))
    assert path.read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    left = {entry.name for entry in path.parent.iterdir() if not entry.name.endswith(".lock")}
    assert left == {"file.pth"}
    bring(server, tmp_path)
    assert len(server.ranges) == 1  # it is there: nothing is asked again


def test_interrupted_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    assert bring(server, tmp_path).read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.breaks = 1
    with pytest.raises(WeightsError, match="in 1 tries"):
        bring(server, tmp_path, attempts=1)
    assert not (tmp_path / "new" / "file.pth").exists()
    assert bring(server, tmp_path, sha256=DIGEST).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"


def test_a_changed_file_is_never_mixed(server: Server, tmp_path: Path) -> None:
    server.breaks = 1
    with pytest.raises(WeightsError):
        bring(server, tmp_path, attempts=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert bring(server, tmp_path).read_bytes() == CONTENT[::-1]


def test_without_a_mark_of_its_version_a_file_begins_anew(server: Server, tmp_path: Path) -> None:
    server.etag, server.breaks = None, 1
    assert bring(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".file.pth.part").write_bytes(CONTENT + b"more")
    (tmp_path / "new" / ".file.pth.part.etag").write_text('"one"')
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_wrong_digest_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"Found SHA-256 {DIGEST}.*expected 0000"):
        bring(server, tmp_path, sha256="0" * 64)
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".lock"]


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 500]
    assert bring(server, tmp_path).read_bytes() == CONTENT


def test_absent_file_is_told_at_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(WeightsError, match="answer 404"):
        bring(server, tmp_path)
    assert len(server.ranges) == 1


def test_a_page_is_no_file(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match="web page at http"):
        bring(server, tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="in 2 tries"):
        download("http://127.0.0.1:9/x", tmp_path / "x", attempts=2, pause=0)


def test_only_the_web(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="begins with https"):
        download("file:///etc/hostname", tmp_path / "x")


@pytest.fixture
def says() -> Iterator[Callable[..., str]]:
    """Serve each connection the next of some answers, byte by byte as they are given."""
    listener = socket.create_server(("127.0.0.1", 0))
    answers: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])

    def start(*replies: bytes) -> str:
        answers[:] = replies
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file.pth"

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def answer(*lines: str, body: bytes = b"12345678", status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *lines, "Connection: close"))
    return f"{head}\r\n".encode("latin-1") + body


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer("Content-Length: many"), "says that it sends 'many' bytes"),
        (answer("Content-Length: -1"), "says that it sends '-1' bytes"),
        (answer("Content-Length: 8, 8"), "'8, 8' bytes"),
        (answer("Content-Length: \xb2"), "bytes"),
        (answer("Content-Length: " + 400 * "9"), "bytes"),
        (answer("Content-Length: 9"), "ended after|IncompleteRead"),
        (answer("Content-Length: 1000000001"), "at least 1000000001 bytes .*; expected at most"),
        (answer("Content-Length: 8", "Content-Encoding: gzip"), r"packed \(gzip\)"),
        (answer("Content-Length: 8", "Content-Type: text/html"), "web page"),
        (answer("Content-Range: bytes 5-9/10", status="206 Partial"), "at another place than 0"),
        (answer(status="206 Partial"), "at another place than 0"),
        (answer("Transfer-Encoding: chunked", body=b"zz\r\n"), "IncompleteRead"),
        (answer("Location: ftp://127.0.0.1/x", status="302 Found"), "leads to ftp://"),
        (answer("Location: file:///etc/hostname", status="302 Found"), "answer 302"),
        (answer("Location: data:,x", status="302 Found"), "answer 302"),
        (answer("Location: http://[::1", status="302 Found"), "Invalid IPv6 URL"),
        (answer("Location: http://127.0.0.1:x/", status="302 Found"), "nonnumeric port"),
        (answer("Location: http://" + 80 * "a" + "/", status="302 Found"), "no way to"),
        (answer(status="404 \x1b[31mred"), r"answer 404 \(\[31mred\)"),
        (answer(*(f"X-{number}: 1" for number in range(200))), "more than 100 headers"),
        (answer("X: " + 70000 * "x"), "more than 65536 bytes"),
        (answer(status="abc"), "no way to"),
        (b"", "no way to"),
        (b"\x00\xff" * 100, "no way to"),
    ],
)
def test_what_a_server_says_is_not_trusted(
    says: Callable[..., str], tmp_path: Path, reply: bytes, words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        download(says(reply), tmp_path / "file.pth", attempts=2, pause=0)
    assert not (tmp_path / "file.pth").exists()


@pytest.mark.parametrize(
    "tag", ["ETag: \xe9", "ETag: " + 5000 * "x", 'ETag: "a\x01b"', "ETag: W/x", "ETag:"]
)
def test_marks_that_cannot_be_sent_back_are_not_kept(
    says: Callable[..., str], tmp_path: Path, tag: str
) -> None:
    url = says(answer("Content-Length: 9", tag), answer("Content-Length: 8"))
    assert download(url, tmp_path / "file.pth", pause=0).read_bytes() == b"12345678"
    assert not list(tmp_path.glob("*.etag"))


@pytest.mark.parametrize("lines", [[], ["Content-Length: 8"], ["Content-Length: 2000"]])
def test_no_more_comes_than_the_limit(
    says: Callable[..., str], tmp_path: Path, lines: list[str]
) -> None:
    with pytest.raises(WeightsError, match=r"at least \d+ bytes at .*; expected at most 7"):
        download(says(answer(*lines, body=bytes(2000))), tmp_path / "file.pth", limit=7, pause=0)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_another_place_on_the_web_is_gone_to(says: Callable[..., str], tmp_path: Path) -> None:
    url = says(b"")
    says(answer(f"Location: {url}/moved", status="302 Found"), answer("Content-Length: 8"))
    assert download(url, tmp_path / "file.pth", pause=0).read_bytes() == b"12345678"


def test_nobody_is_led_from_a_secure_place_to_another() -> None:
    request = urllib.request.Request("https://127.0.0.1/x")
    with pytest.raises(WeightsError, match="leads to http://127"):
        _WebOnly().redirect_request(request, None, 302, "", {}, "http://127.0.0.1/y")


@pytest.mark.parametrize("slow", ["headers", "body", "chunks"])
def test_a_byte_now_and_then_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr("bids_sr.download._WATCHED", 0.3)
    begin = {
        "headers": b"HTTP/1.1 200 OK\r\nX: ",
        "body": answer("Content-Length: 1000000", body=b""),
        "chunks": answer("Transfer-Encoding: chunked", body=b""),
    }[slow]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(begin)
                for _ in range(600):
                    connection.sendall(b"0")
                    time.sleep(0.02)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with pytest.raises(WeightsError, match=r"sends too slowly \(\d+ bytes in 0 s\)"):
            download(url, tmp_path / "file.pth", pause=0)
        thread.join(20)


@pytest.mark.parametrize("name", [".file.pth.part", ".file.pth.part.lock", ".file.pth.part.etag"])
def test_a_named_pipe_in_the_way_is_not_waited_for(
    server: Server, tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputDataError, match=f"{name}: found a named pipe"):
        download(server.url, tmp_path / "file.pth")
