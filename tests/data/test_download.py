"""Fetching of sources, against a server that does everything wrong that servers do."""

import base64
import hashlib
import http.server
import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from jobs import Named
from multiloss.config import generator_options
from multiloss.data import layouts
from multiloss.data.sources import addresses, download
from multiloss.job.errors import UserError

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves `content` at any path; `faults` are used up, one a request, before it behaves."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"one"'
        self.ranges = True
        self.tell_length = True
        self.chunked = False
        self.password = ""
        self.faults: list[str] = []
        self.requests: list[dict[str, str]] = []
        self.released = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                server.requests.append({key.lower(): text for key, text in self.headers.items()})
                fault = server.faults.pop(0) if server.faults else ""
                self.close_connection = True
                status, _, extra = fault.partition(" ")
                given = base64.b64encode(f"user:{server.password}".encode()).decode()
                if server.password and self.headers.get("Authorization") != f"Basic {given}":
                    status = "401"
                if status.isdigit():
                    self.send_response(int(status), self.path)  # as servers repeat what was asked
                    if extra:
                        name = "Retry-After" if extra.isdigit() else "Location"
                        self.send_header(name, extra)
                    self.send_header("Connection", "close")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                server.answer(self, fault)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        # Clients that break off are the point of these tests.
        self.http.handle_error = lambda request, address: None
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/set/data.zip"

    def answer(self, handler, fault: str) -> None:
        content, start = self.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        unchanged = handler.headers.get("If-Range", self.etag) == self.etag or fault == "careless"
        if wanted and self.ranges and unchanged:
            start = int(wanted[1])
            if start >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if fault == "odd":
            handler.flush_headers()
            handler.wfile.write(b"an odd header\r\n")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        elif self.tell_length:
            handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        body = content[start:]
        if self.chunked:
            handler.wfile.write(b"%x\r\n" % len(body))
        if fault == "truncate":
            handler.wfile.write(body[: len(body) // 2])
            return
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        if fault == "stall":
            time.sleep(1.5)
            return
        if fault == "hold":
            self.released.wait(60)
            return
        if fault == "slow":
            for piece in range(len(body) // 2, len(body), 16384):
                handler.wfile.write(body[piece : piece + 16384])
                handler.wfile.flush()
                time.sleep(0.05)
            return
        handler.wfile.write(body[len(body) // 2 :])
        if self.chunked:
            handler.wfile.write(b"\r\n0\r\n\r\n")


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "downloads" / "set.archive"


def fetch(server, target, **options):
    settings = {"name": "set", "back_off": 0.01, "stall_timeout": 0.5, "attempts": 4} | options
    return download.fetch(server.url, target, **settings)


def left_over(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_whole_file_in_one_request(server, target):
    fetched = fetch(server, target, sha256=DIGEST)
    assert fetched == download.Fetched(target, DIGEST, len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 1 and "range" not in server.requests[0]
    assert not target.with_suffix(".part").exists()


def test_second_call_uses_what_is_there(server, target):
    fetch(server, target)
    fetch(server, target)
    assert len(server.requests) == 1


def test_truncated_bodies_are_continued_by_range_requests(server, target):
    server.faults = ["truncate", "truncate"]
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)
    assert [request.get("range") for request in server.requests] == [
        None,
        "bytes=256000-",
        "bytes=384000-",
    ]
    assert server.requests[1]["if-range"] == '"one"'


def test_truncation_as_often_as_there_is_progress(server, target):
    server.faults = ["truncate"] * 8
    assert fetch(server, target, sha256=DIGEST, attempts=2).size == len(CONTENT)


def test_stall_ends_after_the_timeout_and_is_continued(server, target):
    server.faults = ["stall"]
    start = time.monotonic()
    fetch(server, target, sha256=DIGEST)
    assert time.monotonic() - start < 1.4
    assert server.requests[1]["range"] == "bytes=256000-"


def test_busy_server_is_asked_again(server, target):
    server.faults = ["503", "500", "429"]
    fetch(server, target, sha256=DIGEST)
    assert len(server.requests) == 4


def test_pauses_double_and_obey_the_server(server, target, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.faults = ["503", "503", "503 7"]
    fetch(server, target, back_off=1.0)
    assert pauses == [1.0, 2.0, 7.0]


def test_attempts_end_and_keep_the_part(server, target):
    server.faults = ["truncate"] + ["503"] * 9
    with pytest.raises(UserError, match=r"source 'set'.*answers 503.*tried 3 times.*0\.3 MB"):
        fetch(server, target, attempts=3)
    assert target.with_suffix(".part").stat().st_size == 256_000
    server.faults = []
    fetch(server, target, sha256=DIGEST)
    assert server.requests[-1]["range"] == "bytes=256000-"


@pytest.mark.parametrize("status", ["404", "403", "401"])
def test_refusals_are_not_repeated(server, target, status):
    server.faults = [status]
    with pytest.raises(UserError, match=f"answers {status}"):
        fetch(server, target)
    assert len(server.requests) == 1 and not target.exists()


def test_server_without_ranges_starts_from_the_beginning(server, target):
    server.ranges = False
    server.faults = ["truncate"]
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT


def test_server_without_ranges_that_always_breaks_off_is_given_up(server, target):
    server.ranges = False
    server.faults = ["truncate"] * 20
    with pytest.raises(UserError, match="tried 3 times"):
        fetch(server, target, attempts=3)
    assert len(server.requests) == 3


def test_content_that_changes_between_two_calls_is_taken_whole(server, target):
    server.faults = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch(server, target)
    server.content, server.etag = CONTENT[::-1], '"two"'
    fetched = fetch(server, target)
    assert target.read_bytes() == CONTENT[::-1]
    assert fetched.sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_changed_content_is_seen_though_the_server_ignores_if_range(server, target):
    server.faults = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch(server, target)
    server.content, server.etag = CONTENT[::-1], '"two"'
    server.faults = ["careless"]
    fetch(server, target)
    assert target.read_bytes() == CONTENT[::-1]


def test_changed_length_is_seen_without_etag(server, target):
    server.etag = ""
    server.faults = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch(server, target)
    server.content = CONTENT + b"more"
    fetch(server, target)
    assert target.read_bytes() == CONTENT + b"more"


def test_part_that_is_already_whole(server, target):
    fetch(server, target)
    target.rename(target.with_suffix(".part"))
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)
    assert len(server.requests) == 2  # answered 416


def test_part_longer_than_the_content_is_thrown_away(server, target):
    fetch(server, target)
    target.unlink()
    target.with_suffix(".part").write_bytes(CONTENT + b"rest of something else")
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT


def test_part_of_another_address_is_not_continued(server, target):
    server.faults = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch(server, target)
    other = server.url.replace("data.zip", "other.zip")
    download.fetch(other, target, name="set")
    assert "range" not in server.requests[-1]


def test_spoiled_part_is_found_by_the_digest_and_fetched_anew(server, target):
    server.faults = ["truncate", "404"]
    with pytest.raises(UserError):
        fetch(server, target)
    part = target.with_suffix(".part")
    part.write_bytes(b"\0" * part.stat().st_size)
    fetch(server, target, sha256=DIGEST)
    assert target.read_bytes() == CONTENT
    assert "range" not in server.requests[-1]


def test_wrong_bytes_are_named_and_removed(server, target):
    wanted = "0" * 64
    with pytest.raises(UserError) as caught:
        fetch(server, target, sha256=wanted)
    message = str(caught.value)
    assert "'set'" in message and DIGEST in message and wanted in message and "sha256" in message
    assert left_over(target) == []


def test_changed_source_is_refused_and_says_how_to_accept_it(server, target):
    first = fetch(server, target)
    download.record_digest(target, server.url, first.sha256)
    download.forget(target)
    server.content, server.etag = CONTENT[::-1], '"two"'
    recorded = download.recorded_digest(target, server.url)
    assert recorded == DIGEST
    with pytest.raises(UserError, match=r"has changed.*set\.sha256"):
        fetch(server, target, recorded=recorded)
    assert left_over(target) == ["set.sha256"]
    # A digest that the config declares decides over the recorded one.
    declared = hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert fetch(server, target, sha256=declared, recorded=recorded).sha256 == declared


def test_recorded_digest_is_in_the_form_of_sha256sum_and_of_one_address(tmp_path):
    target = tmp_path / "a.b.archive"
    download.record_digest(target, "http://somewhere/x y.zip", DIGEST)
    assert (tmp_path / "a.b.sha256").read_text() == f"{DIGEST}  http://somewhere/x y.zip\n"
    assert download.recorded_digest(target, "http://somewhere/x y.zip") == DIGEST
    assert download.recorded_digest(target, "http://elsewhere/x y.zip") is None
    assert download.recorded_digest(tmp_path / "other.archive", "http://somewhere") is None


def test_body_of_unknown_length(server, target):
    server.tell_length = False
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)


def test_short_body_of_unknown_length_is_fetched_again_where_a_digest_tells(server, target):
    server.tell_length = False
    server.faults = ["truncate"]
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)


def test_broken_chunked_body_is_continued(server, target):
    server.chunked = True
    server.faults = ["truncate"]
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)
    assert server.requests[1]["range"] == "bytes=256000-"


def test_no_server(target):
    with pytest.raises(UserError, match="refused|does not answer"):
        download.fetch("http://127.0.0.1:9/x.zip", target, name="set", attempts=2, back_off=0.01)


def test_progress_has_an_estimate(server, target, monkeypatch, caplog):
    monkeypatch.setattr(download, "SECONDS_BETWEEN_LINES", 0.1)
    server.faults = ["slow"]
    with caplog.at_level("INFO", logger="multiloss"):
        fetch(server, target)
    assert re.search(r"set: 0\.\d of 0\.5 MB, \d+\.\d\d MB/s, 0:0\d left", caplog.text)


def test_killed_in_flight_and_continued(server, target):
    server.faults = ["hold"]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from multiloss.data.sources import download;"
        "download.fetch(sys.argv[2], Path(sys.argv[3]))"
    )
    package = Path(download.__file__).parents[3]
    child = subprocess.Popen([sys.executable, "-c", code, package, server.url, target])
    part = target.with_suffix(".part")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 200_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    server.released.set()
    assert not target.exists() and 0 < part.stat().st_size < len(CONTENT)
    kept = part.stat().st_size
    fetch(server, target, sha256=DIGEST)
    assert server.requests[-1]["range"] == f"bytes={kept}-"


def test_full_disk_is_an_error_that_leaves_a_part_to_continue(server, target):
    # A limit on the size of files stands in for the full disk: the same failing write.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fetch(server, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not target.exists()
    kept = target.with_suffix(".part").stat().st_size
    fetch(server, target, sha256=DIGEST)
    assert server.requests[-1]["range"] == f"bytes={kept}-"


def test_file_addresses_and_paths_are_used_in_place(tmp_path, target, monkeypatch):
    monkeypatch.setattr(addresses, "CHECKOUT", tmp_path)
    source = tmp_path / "mit Leerzeichen ä.zip"
    source.write_bytes(CONTENT)
    for url in (source.as_uri(), str(source), source.name, f"./{source.name}"):
        fetched = download.fetch(url, target, DIGEST.upper())
        assert fetched == download.Fetched(source, DIGEST, len(CONTENT))
    assert not target.parent.exists()


def test_folder_has_no_digest(tmp_path, target):
    fetched = download.fetch(str(tmp_path), target)
    assert fetched.path == tmp_path and fetched.sha256 is None
    with pytest.raises(UserError, match=r"source 'set'.*is a folder, which has no sha256"):
        download.fetch(str(tmp_path), target, DIGEST, name="set")


def test_wrong_local_file_stays(tmp_path, target):
    source = tmp_path / "x.zip"
    source.write_bytes(b"other")
    with pytest.raises(UserError, match="declares"):
        download.fetch(str(source), target, DIGEST)
    assert source.exists()


@pytest.fixture
def no_netrc(tmp_path, monkeypatch) -> Path:
    """Where requests looks for passwords; nothing is there yet."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


SECRETS = ("hunter", "tokenvalue")


def secret(url: str, token: str = "tokenvalue") -> str:
    """The address with a password, which has odd characters, and a signature."""
    return url.replace("//", "//user:hunter%40%2F2@") + f"?X-Amz-Signature={token}&X-Amz-Date=1"


def shows_no_secret(*texts: str) -> None:
    for text in texts:
        assert not [word for word in SECRETS if word in text], text


def test_password_in_the_address_or_in_netrc(server, target, no_netrc):
    server.password = "hunter@/2"
    with pytest.raises(UserError, match=r"answers 401 Unauthorized: .*password.*docs/data\.md"):
        fetch(server, target)
    assert download.fetch(secret(server.url), target, DIGEST).size == len(CONTENT)
    download.forget(target)
    no_netrc.write_text("machine 127.0.0.1 login user password hunter@/2\n")
    assert fetch(server, target, sha256=DIGEST).size == len(CONTENT)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("404", "answers 404 Not Found: check the url"),
        ("403", "answers 403 Forbidden: check the url and the user name and password or token"),
        ("503", "answers 503.*tried 2 times"),
        ("truncate", "has sha256"),
        ("odd", "has sha256"),
        ("302 file:///etc/passwd?tokenvalue", "leads to an address that is not http"),
        ("302 http://[tokenvalue/", "cannot be asked for|cannot be fetched"),
        ("302 http://user:hunter2@127.0.0.1:9/?tokenvalue", "refused"),
        ("302 /round?tokenvalue", "leads from one address to the next without end"),
    ],
)
def test_no_message_shows_a_secret(server, target, no_netrc, caplog, fault, words):
    server.faults = [fault] * (60 if "round" in fault else 2)
    with (
        caplog.at_level("INFO"),
        pytest.raises(
            UserError, match=r"source 'set': http://127\.0\.0\.1:\d+/set/data\.zip"
        ) as error,
    ):
        download.fetch(
            secret(server.url), target, "0" * 64, name="set", attempts=2, back_off=0.01,
            stall_timeout=0.3,
        )  # fmt: skip
    assert re.search(words, str(error.value))
    shows_no_secret(str(error.value), caplog.text)
    for path in target.parent.rglob("*"):
        shows_no_secret(path.name, path.read_bytes().decode("latin-1"))


def test_part_is_continued_with_a_new_token(server, target, no_netrc):
    server.faults = ["truncate", "403"]
    with pytest.raises(UserError):
        download.fetch(secret(server.url), target, name="set", back_off=0.01)
    shows_no_secret(target.with_suffix(".part.json").read_text())
    download.fetch(secret(server.url, "renewed"), target, DIGEST, name="set")
    assert server.requests[-1]["range"] == "bytes=256000-"
    # Another file of the same page is another content.
    download.forget(target)
    server.faults = ["truncate", "403"]
    with pytest.raises(UserError):
        download.fetch(server.url + "?id=1", target, name="set", back_off=0.01)
    download.fetch(server.url + "?id=2", target, DIGEST, name="set")
    assert "range" not in server.requests[-1]


def test_recorded_digest_is_found_with_a_new_token(tmp_path):
    target = tmp_path / "own.archive"
    url = "http://host/x.zip"
    download.record_digest(target, secret(url), DIGEST)
    assert (tmp_path / "own.sha256").read_text() == f"{DIGEST}  {url}\n"
    for same in (url, secret(url, "renewed"), secret(url)):
        assert download.recorded_digest(target, same) == DIGEST
    assert download.recorded_digest(target, secret("http://host/y.zip")) is None
    # Earlier versions wrote the address as it is.
    (tmp_path / "own.sha256").write_text(f"{DIGEST}  {secret(url)}\n")
    assert download.recorded_digest(target, secret(url, "renewed")) == DIGEST
    download.record_digest(target, url + "?id=1", DIGEST)
    assert download.recorded_digest(target, url + "?id=1&token=1") == DIGEST
    assert download.recorded_digest(target, url + "?id=2") is None


def test_device_is_refused_and_not_read(tmp_path, target):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(UserError, match=f"source 'set': {path} is a device, pipe or socket"):
            download.fetch(str(path), target, name="set")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("missing.zip", "does not exist: correct its url"),
        ("ftp://host/x.zip", "use http"),
        ("s3://bucket/x.zip", "use http"),
        ("file://host/x.zip", "three slashes"),
    ],
)
def test_bad_addresses(target, url, words):
    with pytest.raises(UserError, match=words):
        download.fetch(url, target, name="set")


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


@pytest.fixture
def run_script(root, tmp_path, monkeypatch):
    """Runs the rule's script on a source, in an empty folder; returns the record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(addresses, "CHECKOUT", tmp_path)

    def run(**source) -> dict:
        source = {"name": "own", "role": "classification", "layout": "kermany"} | source
        snakemake = SimpleNamespace(
            rule="download",
            wildcards=[source["name"]],
            log=["download.log"],
            input=[],
            params=SimpleNamespace(source=source, seed=1),
            output=Named(
                folder=f"data/sources/{source['name']}",
                record=f"data/downloads/{source['name']}.json",
            ),
            config={"data": {"sources": [source]}},
        )
        script = root / "workflow" / "scripts" / "download.py"
        runpy.run_path(str(script), {"snakemake": snakemake})
        return json.loads(Path(snakemake.output.record).read_text(encoding="utf-8"))

    return run


def test_script_with_an_address(server, run_script, tmp_path):
    archive = zipped(tmp_path / "x.zip", "set/train/a.png", "__MACOSX/b")
    server.content = archive.read_bytes()
    server.faults = ["truncate", "503"]
    record = run_script(url=server.url)
    assert record["verified"] == "recorded" and record["url"] == server.url
    assert record["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert record["size"] == len(server.content)
    assert record["license"] == "CC BY 4.0" and "Kermany" in record["citation"]  # the layout's
    files = sorted(path.as_posix() for path in Path("data").rglob("*") if path.is_file())
    assert files == [
        "data/downloads/own.json",
        "data/downloads/own.sha256",
        "data/sources/own/set/train/a.png",
    ]
    # From then on that content is expected.
    server.content = zipped(tmp_path / "x.zip", "set/train/other.png").read_bytes()
    server.etag = '"two"'
    with pytest.raises(SystemExit):
        run_script(url=server.url)
    assert "has changed" in Path("download.log").read_text()
    declared = hashlib.sha256(server.content).hexdigest()
    assert run_script(url=server.url, sha256=declared)["verified"] == "known"
    assert Path("data/sources/own/set/train/other.png").exists()


def test_script_stores_no_secret(server, run_script, tmp_path, no_netrc, capsys):
    server.password = "hunter@/2"
    server.content = zipped(tmp_path / "x.zip", "set/train/a.png").read_bytes()
    record = run_script(url=secret(server.url))
    assert record["url"] == server.url and record["verified"] == "recorded"
    # The next token leads to the same content, and would lead to another one unnoticed.
    server.content = zipped(tmp_path / "x.zip", "set/train/b.png").read_bytes()
    server.etag = '"two"'
    with pytest.raises(SystemExit):
        run_script(url=secret(server.url, "tokenvalue-renewed"))
    assert "has changed" in Path("download.log").read_text()
    server.content = b"<html>log in</html>"
    with pytest.raises(SystemExit):
        run_script(url=secret(server.url), name="other")
    assert "a web page" in Path("download.log").read_text()
    shows_no_secret(*capsys.readouterr())
    for path in [Path("download.log"), *Path("data").rglob("*")]:
        shows_no_secret(path.name, path.read_text() if path.is_file() else "")


def test_snakemake_stores_no_secret_and_fetches_once(server, tmp_path, no_netrc, root):
    """Nothing below the study's folder has it, and a new token plans no job."""
    server.password = "hunter@/2"
    archive = zipped(tmp_path / "x.zip", "set/train/a.png").read_bytes()
    study = yaml.safe_load((root / "tests/studies/smallest.yaml").read_text(encoding="utf-8"))
    source = {"name": "cxr", "role": "classification", "layout": "folders"}
    (tmp_path / "run").mkdir()

    files = {"segmentation/encoder.h5": b"\x89HDF\r\n\x1a\n", "data/downloads/cxr.json": archive}

    def snakemake(url: str, *options: str, targets: Iterable[str] = files) -> str:
        study["data"]["sources"][0] = source | {"url": url}
        study["segmentation"]["encoder_weights"] = url
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
        command = [sys.executable, "-m", "snakemake", "--cores", "1", *options]
        command += [f"results/smallest/{target}" for target in targets]
        command += ["--snakefile", root / "Snakefile", "--directory", tmp_path / "run"]
        command += ["--configfile", tmp_path / "study.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        shows_no_secret(done.stdout, done.stderr)
        return done.stdout + done.stderr

    for target, server.content in files.items():
        told = snakemake(secret(server.url), targets=[target])
        assert "1 job to do" in told and "Finished in" in told
    assert len(server.requests) == 2
    stored = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert any(".snakemake" in path.parts for path in stored)
    for path in stored:
        shows_no_secret(path.name, path.read_bytes().decode("latin-1"))
    assert "Nothing to be done" in snakemake(secret(server.url, "tokenvalue2"))
    another = server.url.replace("data.zip", "other.zip")
    assert "Params have changed" in snakemake(another, "--dry-run")


def test_script_with_an_address_that_gives_no_archive(server, run_script, tmp_path):
    server.content = b"<html>log in</html>"
    with pytest.raises(SystemExit):
        run_script(url=server.url)
    assert "neither a zip nor a tar" in Path("download.log").read_text()
    assert not list(Path("data/downloads").iterdir()) and not Path("data/sources/own").exists()
    # Once the site answers rightly, the next run goes through.
    server.content = zipped(tmp_path / "x.zip", "set/train/a.png").read_bytes()
    run_script(url=server.url)


def test_script_with_a_path_and_masks_apart(run_script, tmp_path):
    zipped(tmp_path / "images.zip", "CXR_png/a.png")
    zipped(tmp_path / "masks.zip", "mask/a_mask.png")
    record = run_script(
        url="images.zip", masks_url="masks.zip", layout="shenzhen", role="lungs_train"
    )
    assert record["masks_sha256"] == download.digest_of(tmp_path / "masks.zip")
    assert record["masks_verified"] == record["verified"] == "recorded"
    assert Path("data/sources/own/part2/mask/a_mask.png").exists()
    assert (tmp_path / "images.zip").exists()
    zipped(tmp_path / "masks.zip", "mask/b_mask.png")
    with pytest.raises(SystemExit):
        run_script(url="images.zip", masks_url="masks.zip", layout="shenzhen", role="lungs_train")
    assert "own+masks.sha256" in Path("download.log").read_text()


def test_script_with_a_folder(run_script, tmp_path):
    (tmp_path / "set" / "x").mkdir(parents=True)
    (tmp_path / "set" / "x" / "a.png").touch()
    for _ in range(2):
        record = run_script(url="set", layout="folders")
    assert (record["verified"], record["sha256"]) == ("folder", None)
    assert Path("data/sources/own/linked").readlink() == tmp_path / "set"
    assert (tmp_path / "set" / "x" / "a.png").exists()


def test_script_with_a_table(run_script, tmp_path):
    (tmp_path / "my set").mkdir()
    (tmp_path / "my set" / "all.CSV").write_text("path,label,patient\nx/a.png,ill,1\n")
    (tmp_path / "my set" / "other.csv").write_text("")
    for url in ("my set/all.CSV", (tmp_path / "my set" / "all.CSV").as_uri()):
        run_script(url=url, layout="table")
        source = {"name": "own", "layout": "table", "role": "classification", "url": url}
        (record,) = layouts.records(Path("data/sources/own"), source).records
        assert record.path == Path("data/sources/own/linked/x/a.png")


def test_script_in_the_folder_of_its_images(run_script, tmp_path):
    with pytest.raises(SystemExit):
        run_script(url=str(tmp_path), layout="folders")
    assert "the results would lie inside its folder" in Path("download.log").read_text()
    # A table lists its images, so that nothing else there is taken for one.
    (tmp_path / "all.csv").write_text("path,label,patient\n")
    run_script(url="all.csv", layout="table")


def test_script_fetches_nothing_for_a_role_that_the_layout_lacks(server, run_script):
    with pytest.raises(SystemExit):
        run_script(url=server.url, role="lungs_test")
    assert "layout 'kermany' has nothing for role 'lungs_test'" in Path("download.log").read_text()
    assert not server.requests


def test_script_with_an_archive_and_a_folder(run_script, tmp_path):
    zipped(tmp_path / "images.zip", "CXR_png/a.png")
    (tmp_path / "mask").mkdir()
    with pytest.raises(SystemExit):
        run_script(url="images.zip", masks_url="mask", layout="shenzhen", role="lungs_train")
    assert "both be archives or both be folders" in Path("download.log").read_text()


def test_script_generates_phantoms_the_same_each_time(run_script):
    options = generator_options({"images": 4, "size": [128, 160]})
    records = [
        run_script(url="phantom", layout="phantom", role="lungs_train", phantom=options)
        for _ in range(2)
    ]
    assert records[0] == records[1] and records[0]["verified"] == "generated"
    found = layouts.records(
        Path("data/sources/own"), {"name": "own", "layout": "phantom", "role": "lungs_train"}
    )
    assert len(found.records) == 4 and not found.rejections


def test_provenance_by_hand(tmp_path):
    (tmp_path / "a.archive").touch()
    source = {"name": "cxr", "role": "lungs_train", "layout": "shenzhen", "sha256": DIGEST}
    archive = download.Fetched(tmp_path / "a.archive", DIGEST, 5)
    parts = {
        "": ("https://u:hunter2@host/a.zip?token=hunter2", DIGEST, archive),
        "masks_": (str(tmp_path), None, download.Fetched(tmp_path, None, 0)),
    }
    assert download.provenance(source, {"license": "CC0"}, parts) == {
        "name": "cxr",
        "role": "lungs_train",
        "layout": "shenzhen",
        "license": "CC0",
        "url": "https://host/a.zip",
        "sha256": DIGEST,
        "size": 5,
        "verified": "known",
        "masks_url": str(tmp_path),
        "masks_sha256": None,
        "masks_size": 0,
        "masks_verified": "folder",
    }
    for layout, verified in (("shenzhen", "recorded"), ("phantom", "generated")):
        record = download.provenance(source | {"layout": layout}, {}, {"": ("x", None, archive)})
        assert record["verified"] == verified
