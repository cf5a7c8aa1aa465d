"""The weights an encoder starts with: fetched once by a job of their own, or taken from a file."""

import dataclasses
import hashlib
import http.server
import runpy
import threading
from pathlib import Path

import pytest
from jobs import Named
from multiloss.data.sources import addresses, download
from multiloss.networks import backbones, encoder_weights

CONTENT = b"\x89HDF\r\n\x1a\n" + b"weights" * 100
BACKBONE = "efficientnetb0"


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    """The address of a server that has one file, `weights.h5`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            answers = {"/weights.h5": CONTENT, "/login?token=hunter2": b"<html>hunter2</html>"}
            content = answers.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def fetch(root, tmp_path, setting: str, section: str = "segmentation") -> Path:
    output = tmp_path / f"{section}/encoder{encoder_weights.ending(setting)}"
    job = Named(
        params=Named(backbone=BACKBONE, encoder_weights=addresses.identity(setting)),
        input=[],
        output=Named(weights=str(output)),
        log=[str(tmp_path / "log")],
        rule="encoder_weights",
        wildcards=Named(section=section, weights=output.name),
        config={section: {"encoder_weights": setting}},
    )
    runpy.run_path(
        str(root / "workflow/scripts/encoder_weights.py"), init_globals={"snakemake": job}
    )
    return output


def publish(monkeypatch: pytest.MonkeyPatch, url: str, sha256: str | None) -> None:
    """Pretend that this is where the backbone's ImageNet weights are."""
    known = {BACKBONE: dataclasses.replace(backbones.get(BACKBONE), imagenet=(url, sha256))}
    monkeypatch.setattr(backbones, "known", lambda: known)


def test_published_weights_are_fetched_and_verified(root, tmp_path, server, monkeypatch):
    digest = hashlib.sha256(CONTENT).hexdigest()
    publish(monkeypatch, f"{server}/weights.h5", digest)
    output = fetch(root, tmp_path, "imagenet")
    assert output.read_bytes() == CONTENT
    assert [path.name for path in output.parent.iterdir()] == ["encoder.h5"]


@pytest.mark.parametrize("section", ["segmentation", "classification"])
def test_address_of_weights(root, tmp_path, server, section):
    assert fetch(root, tmp_path, f"{server}/weights.h5", section).read_bytes() == CONTENT


def test_wrong_weights_are_refused(root, tmp_path, server, monkeypatch, capsys):
    publish(monkeypatch, f"{server}/weights.h5", "0" * 64)
    with pytest.raises(SystemExit):
        fetch(root, tmp_path, "imagenet")
    assert "has sha256" in capsys.readouterr().err
    assert not (tmp_path / "segmentation/encoder.h5").exists()


def test_web_page_instead_of_weights_is_refused_and_not_kept(root, tmp_path, server, capsys):
    with pytest.raises(SystemExit):
        fetch(root, tmp_path, f"{server}/login?token=hunter2")
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{server}/login gives no file of weights" in line and "hunter2" not in line
    assert not list((tmp_path / "segmentation").iterdir())


def test_unreachable_weights_are_an_error_that_names_the_remedy(
    root, tmp_path, server, monkeypatch, capsys
):
    with pytest.raises(SystemExit):
        address = server.replace("//", "//user:hunter2@")
        fetch(root, tmp_path, f"{address}/elsewhere.h5?token=hunter2")
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "answers 404" in line
    assert server in line and "hunter2" not in line
    assert line.endswith(
        "set segmentation.encoder_weights to 'none' or to the path of a weights file"
    )
    # No server at all; the pauses between the tries are not waited for.
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    publish(monkeypatch, "http://127.0.0.1:1/w.h5", None)
    with pytest.raises(SystemExit):
        fetch(root, tmp_path, "imagenet")
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot be fetched" in line and "'none'" in line


def test_which_weights_are_fetched_and_which_are_here(root):
    assert encoder_weights.address(BACKBONE, "none") is None
    assert encoder_weights.address(BACKBONE, "weights/b0.h5") is None
    url, digest = encoder_weights.address(BACKBONE, "imagenet")
    assert url.startswith("https://") and len(digest) == 64
    assert encoder_weights.local_weights("none") is None
    assert encoder_weights.local_weights("imagenet") is None
    assert encoder_weights.local_weights("segmenter") is None
    assert encoder_weights.local_weights("weights/b0.h5") == root / "weights/b0.h5"
    assert encoder_weights.local_weights("/weights/b0.h5") == Path("/weights/b0.h5")
    assert encoder_weights.ending("https://host/b0.weights.h5") == ".weights.h5"
    assert encoder_weights.ending("https://host/b0.weights.h5?sig=a.h5") == ".weights.h5"
    assert encoder_weights.ending("imagenet") == ".h5"


def test_known_address_is_that_of_the_package_itself():
    from efficientnet import model

    name = "efficientnet-b0"
    url, digest = backbones.get(BACKBONE).imagenet
    assert url.startswith(model.BASE_WEIGHTS_PATH + name) and url.endswith("_notop.h5")
    assert digest == model.WEIGHTS_HASHES[name][1]
