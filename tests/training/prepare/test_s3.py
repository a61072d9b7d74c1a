"""A source on S3, served on this machine."""

import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from converter.data.photos import read_split
from tests.training.prepare.pictures import rows
from training.prepare.options import PrepareError

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

BUCKET = "waste"


@pytest.fixture
def bucket(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A client of a local S3 whose bucket holds the pictures of `source` below `photos/`, and a zip of them."""
    for name, value in (("ACCESS_KEY_ID", "user"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "eu-central-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    local = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    local.start()
    host, port = local.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    try:
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
            for file in sorted(source.rglob("*.png")):
                name = file.relative_to(source).as_posix()
                client.put_object(Bucket=BUCKET, Key=f"photos/{name}", Body=file.read_bytes())
                archive.write(file, name)
        client.upload_file(str(tmp_path / "photos.zip"), BUCKET, "photos.zip")
        yield client
    finally:
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"), timeout=10).close()
        local.stop()


def test_a_folder_on_s3_is_brought_and_prepared(bucket, prepare, source: Path, out: Path, tmp_path: Path) -> None:
    assert prepare(f"s3://{BUCKET}/photos", "--out", out) == 0
    assert prepare(source, "--out", tmp_path / "local") == 0
    assert (out / "manifest.csv").read_bytes() == (tmp_path / "local" / "manifest.csv").read_bytes()
    for path in rows(out):
        assert (out / "images" / path).read_bytes() == (source / path).read_bytes()
    assert all(photo.path.is_file() for photo in read_split(out).train)


def test_only_what_is_missing_or_changed_on_s3_is_brought_again(bucket, prepare, source: Path, out: Path) -> None:
    assert prepare(f"s3://{BUCKET}/photos", "--out", out) == 0
    times = {path: (out / "images" / path).stat().st_mtime_ns for path in rows(out)}
    gone, changed, removed = "glass/shot_001.png", "glass/shot_002.png", "glass/shot_003.png"
    (out / "images" / gone).unlink()
    other = (source / "métal" / "shot_000.png").read_bytes()
    bucket.put_object(Bucket=BUCKET, Key=f"photos/{changed}", Body=other)
    bucket.delete_object(Bucket=BUCKET, Key=f"photos/{removed}")
    assert prepare(f"s3://{BUCKET}/photos", "--out", out) == 0
    assert (out / "images" / gone).read_bytes() == (source / gone).read_bytes()
    assert (out / "images" / changed).read_bytes() == other
    assert set(rows(out)) == times.keys() - {removed}
    assert "conflict" in rows(out)[changed]["flags"]
    for path in times.keys() - {gone, changed, removed}:
        assert (out / "images" / path).stat().st_mtime_ns == times[path]


def test_a_zip_on_s3_is_brought_and_prepared(bucket, prepare, source: Path, out: Path) -> None:
    assert prepare(f"s3://{BUCKET}/photos.zip", "--out", out) == 0
    assert {path: (out / "images" / path).read_bytes() for path in rows(out)} == {
        file.relative_to(source).as_posix(): file.read_bytes() for file in source.rglob("*.png")
    }


@pytest.mark.parametrize("url", [f"s3://{BUCKET}/nothing", "s3://nobody/photos", "s3://nobody", "s3://nobody/photos.zip"])
def test_a_missing_s3_folder_is_named_and_another_url_still_works(bucket, prepare, out: Path, url: str) -> None:
    with pytest.raises(PrepareError, match=rf"^{url}: nothing there; check the name of the bucket") as refused:
        prepare(url, "--out", out)
    assert "\n" not in str(refused.value)
    assert prepare(f"s3://{BUCKET}/photos", "--out", out) == 0


def test_a_url_without_its_library_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch, prepare, out: Path) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(PrepareError, match=r"^gs://nobody/photos: needs pip install 'sortbin\[gcs\]'$"):
        prepare("gs://nobody/photos", "--out", out)
