"""Addresses: what they mean, and that nothing which is shown or stored has their secrets."""

import os
import socket
from pathlib import Path

import pytest
from multiloss.config import validate
from multiloss.data.sources import addresses
from multiloss.job.errors import UserError

SIGNED = "?X-Amz-Credential=AKIA&X-Amz-Date=20260101&X-Amz-Signature=hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"http://user:hunter2@host/l.zip{SIGNED}", "http://host/l.zip"),
        ("HTTPS://hunter2@Host:8080/a%20b%40c.zip#hunter2", "https://Host:8080/a%20b%40c.zip"),
        ("https://host/a@b/c.zip?id=hunter2", "https://host/a@b/c.zip"),
        ("https://u:p%2F%40hunter2@host/x.zip", "https://host/x.zip"),
        ("https://u:p@hunter2@host/x.zip", "https://host/x.zip"),
        ("https://u:p:hunter2'\"$!\\@[::1]:80/x.zip", "https://[::1]:80/x.zip"),
        ("https://host/x.zip;jsessionid=hunter2?token=hunter2", "https://host/x.zip"),
        ("  https://u:hunter2@host/x.zip", "https://host/x.zip"),
        ("s3://key:hunter2@bucket/x.zip?versionId=hunter2", "s3://bucket/x.zip"),
        # Where the password ends cannot be said: no part of it may be taken for the host.
        ("https://u:p/hunter2@host/x.zip", "https://..."),
        ("https://u:p#hunter2@host/x.zip", "https://..."),
        ("https://u:123?hunter2@host/x.zip", "https://..."),
        ("https://u:p@x/hunter2@host/x.zip", "https://..."),
        ("https:/u:hunter2@host/x.zip", "https://..."),
        ("https:u:hunter2@host/x.zip", "https://..."),
        ("https://[hunter2/x.zip", "https://..."),
        ("/data/user:p@x?y#z.zip", "/data/user:p@x?y#z.zip"),
        ("file:///data/a%20b.zip", "file:///data/a%20b.zip"),
        ("phantom", "phantom"),
    ],
)
def test_public_address(url, shown):
    assert addresses.public(url) == shown
    assert addresses.public(shown) == shown
    assert "hunter2" not in addresses.identity(url)
    if shown == "https://...":
        with pytest.raises(UserError, match="cannot be read.*%2F.*netrc") as caught:
            addresses.check(url)
        assert "hunter2" not in str(caught.value)
    elif addresses.is_remote(url):
        addresses.check(url)


@pytest.mark.parametrize(
    "query",
    [
        "token={}", "access_token={}", "sig={}", "X-Amz-Signature={}&X-Amz-Date={}", "Signature={}",
        "X-Goog-Signature={}&x-goog-expires={}", "Policy={}&Signature={}&Key-Pair-Id={}",
        "sv={}&st={}&se={}&sr=b&sp=r&sig={}", "AWSAccessKeyId={}&Expires={}&Signature={}",
        "GoogleAccessId={}&Expires={}&Signature={}", "api_key={}", "apikey={}", "auth={}", "jwt={}",
        "password={}", "md5={}&expires={}", "sessionid={}", "q-sign-algorithm={}&q-ak={}",
    ],
)  # fmt: skip
def test_a_new_token_is_no_new_source(query):
    old, new = (f"https://host/x.zip?id=7&{query.replace('{}', text)}" for text in ("abc", "xyz"))
    assert addresses.identity(old) == addresses.identity(new)
    assert addresses.identity(old) == addresses.identity("https://u:p@host/x.zip?id=7")
    bare = f"https://host/x.zip?{query.replace('{}', 'abc')}"
    assert addresses.identity(bare) == "https://host/x.zip"


@pytest.mark.parametrize("name", ["id", "file", "version", "author", "design", "path", "key", "v"])
def test_another_file_of_the_same_page_is_another_source(name):
    one, two = (addresses.identity(f"https://host/get?{name}={text}") for text in ("1", "2"))
    assert one != two and one.startswith("https://host/get?")
    # With a declared digest both can only be the same content.
    assert addresses.identity(f"https://host/get?{name}=1", "0" * 64) == "https://host/get"


@pytest.mark.parametrize(
    "url",
    [
        "u:hunter2@host/x.zip",
        "u:hunter2@host:80/x.zip?token=hunter2",
        "//u:hunter2@host/x.zip",
        "host/x.zip?token=hunter2",
        " host.org/s/x.zip?a=1&sig=hunter2",
    ],
)
def test_address_without_its_scheme_is_no_path_and_not_shown(url):
    with pytest.raises(UserError, match="lacks https://") as caught:
        addresses.check(url)
    assert "hunter2" not in str(caught.value)


def test_paths_with_odd_signs_are_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "CHECKOUT", tmp_path)
    for name in ("a:b@c", "a?b=c", "x/a?b=c", "what?"):
        (tmp_path / name).mkdir(parents=True)
        addresses.check(name)
    for missing in ("/data/u:p@x?y=z.zip", "./a:b@d", "who?", "a@b/c.zip"):
        addresses.check(missing)


def test_configuration_without_secrets():
    source = {"url": "https://u:p@h/x?t=1", "masks_url": None, "homepage": "https://h/?id=1"}
    weights = {"encoder_weights": "https://h/b0.h5?token=1"}
    config = {"data": {"sources": [source]}, "segmentation": weights, "seed": 1}
    shown = addresses.without_secrets(config)
    assert shown == {
        "data": {"sources": [source | {"url": "https://h/x"}]},
        "segmentation": {"encoder_weights": "https://h/b0.h5"},
        "seed": 1,
    }
    assert config["data"]["sources"][0]["url"].startswith("https://u:p")


def test_only_files_and_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(addresses, "CHECKOUT", tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.symlink("/dev/zero", "link")
        for url in ("pipe", "socket", "link", "/dev/zero", "file:///dev/null"):
            with pytest.raises(UserError, match=f"{Path(url).name} is a device, pipe or socket"):
                addresses.check(url)
    for url in (".", "missing", "x" * 300, "a\0b"):
        addresses.check(url)


@pytest.mark.parametrize("key", ["url", "masks_url", "encoder_weights"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("https://u:p/hunter2@host/x", "cannot be read"),
        ("ftp://u:hunter2@host/x", "ftp://host/x: use http"),
        ("u:hunter2@host/x", "lacks https"),
        ("/dev/zero", "is a device"),
        (["https://u:hunter2@host/x"], "does not fit 'type'"),
    ],
)
def test_configuration_names_the_key_and_shows_no_secret(root, key, value, words):
    import yaml

    config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    if key == "encoder_weights":
        config["segmentation"][key] = value
    else:
        source = {"name": "x", "role": "classification", "layout": "folders", "url": "images"}
        config["data"]["sources"].append(source | {key: value})
    with pytest.raises(UserError, match=f"{key}: .*{words}") as caught:
        validate(config)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


def test_list_on_this_machine_stands_for_its_folder(tmp_path):
    (tmp_path / "images.CSV").touch()
    assert addresses.of_table(str(tmp_path / "images.CSV")) == str(tmp_path)
    for url in ("https://host/images.csv", str(tmp_path), str(tmp_path / "other.csv")):
        assert addresses.of_table(url) == url
