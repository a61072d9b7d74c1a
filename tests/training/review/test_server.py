"""The page's server answers its own page on this machine, and nobody else."""

import concurrent.futures
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.review import Review, ReviewError, ReviewServer


@pytest.fixture
def here(server: ReviewServer, page: Callable[[str], Any]) -> Any:
    return page(server.url)


def test_the_page_and_what_it_needs_come_from_this_server_alone(here: Any) -> None:
    for path, kind in [("", "text/html"), ("review.css", "text/css"), ("review.js", "text/javascript")]:
        response = here.request("GET", path)
        text = response.read().decode()
        assert response.status == 200
        assert response.headers.get_content_type() == kind
        assert "//" not in text.replace("// ", "")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_the_state_tells_frames_labels_and_what_stands(here: Any) -> None:
    state = here.get("state")
    assert state["labels"] == ["glass", "metal", "paper"]
    assert [frame["guess"] for frame in state["frames"]] == [None, "metal", "paper", "glass", "glass"]
    assert state["frames"][1]["probabilities"] == {"glass": 0.30, "metal": 0.40, "paper": 0.30}
    assert state["frames"][1]["stands"] is None
    assert state["rows"] == 0


def test_a_picture_comes_as_it_is_on_disk(here: Any, kept: Path) -> None:
    first = here.get("state")["frames"][0]
    response = here.request("GET", f"picture/{first['id']}")
    assert response.headers.get_content_type() == "image/jpeg"
    assert response.read() == (kept / first["name"]).read_bytes()


def test_a_decision_and_its_undo_return_the_new_state_and_totals(here: Any, tmp_path: Path) -> None:
    frame = here.get("state")["frames"][1]
    status, answer = here.post("decide", {"picture": frame["id"], "label": "纸板", "rows": 0})
    assert (status, answer["rows"], answer["stands"]) == (200, 1, {"what": "corrected", "label": "纸板"})
    assert answer["labels"] == ["glass", "metal", "paper", "纸板"]
    assert answer["counts"] == {"confirmed": 0, "corrected": 1, "labelled": 0, "discarded": 0}
    assert len(list((tmp_path / "out" / "纸板").iterdir())) == 1
    assert here.get("state")["frames"][1]["stands"] == {"what": "corrected", "label": "纸板"}
    status, answer = here.post("undo", {"rows": 1})
    assert (status, answer["rows"], answer["stands"], answer["picture"]) == (200, 2, None, frame["id"])
    assert not (tmp_path / "out" / "纸板").exists()


def test_of_two_windows_deciding_at_once_one_must_reload(server: ReviewServer, page: Callable[[str], Any]) -> None:
    windows = [page(server.url) for _ in range(2)]
    frames = windows[0].get("state")["frames"]
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda n: windows[n].post("decide", {"picture": frames[n]["id"], "label": "glass", "rows": 0}), range(2)))
    assert sorted(status for status, _ in answers) == [200, 409]
    assert windows[0].get("state")["counts"]["labelled"] + windows[0].get("state")["counts"]["corrected"] == 1


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:80", "", "127.0.0.1.attacker.example", "localhost.", "[::1].x"])
def test_a_request_by_another_host_name_is_refused(host: str, here: Any) -> None:
    response = here.request("GET", "state", headers={"Host": host})
    assert response.status == 403
    assert b"frames" not in response.read()


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1"])
def test_a_forwarded_port_on_this_machine_may_be_another(host: str, here: Any) -> None:
    assert here.request("GET", "state", headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["http://attacker.example", "null", "https://127.0.0.1"])
def test_another_page_cannot_decide(origin: str, here: Any, review: Review) -> None:
    frame = review.frames[0].id
    response = here.request("POST", "decide", {"picture": frame, "label": "glass", "rows": 0}, {"Origin": origin})
    assert response.status == 403
    assert review.state().rows == 0


def test_a_form_cannot_decide(here: Any, review: Review) -> None:
    body = json.dumps({"picture": review.frames[0].id, "label": "glass", "rows": 0}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert here.request("POST", "decide", body, {"Content-Type": kind}).status == 400
    assert review.state().rows == 0


@pytest.mark.parametrize("prefix", ["/", "/state", "//state", "/wrong/state", "/wrong/", "/%2e%2e/state"])
def test_without_the_token_nothing_is_told(prefix: str, here: Any) -> None:
    here.connection.request("GET", prefix)
    response = here.connection.getresponse()
    assert response.status == 403
    assert b"frames" not in response.read()


@pytest.mark.parametrize(
    "path",
    [
        "picture/../review.jsonl",
        "picture/20261120T0915-a.jpg",
        "picture//etc/passwd",
        "picture/",
        "../../etc/passwd",
        "server.py",
        "picture/%2e%2e",
    ],
)
def test_no_path_leads_to_a_file(path: str, here: Any) -> None:
    response = here.request("GET", path)
    assert response.status == 404
    assert json.loads(response.read())["message"]


def test_a_picture_that_went_meanwhile_is_not_found(here: Any, review: Review) -> None:
    review.frames[0].picture.unlink()
    assert here.request("GET", f"picture/{review.frames[0].id}").status == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("decide", b"{", 400),
        ("decide", {"picture": "x", "rows": 0}, 400),
        ("decide", {"picture": "x", "label": 3, "rows": 0}, 400),
        ("decide", {"picture": "x", "label": "glass", "rows": 0}, 422),
        ("decide", {"picture": "x", "label": "glass", "rows": 7}, 409),
        ("decide", b"[" * 5000, 413),
        ("undo", {"rows": 0}, 422),
        ("undo", {"rows": 0, "all": True}, 400),
        ("state", {}, 404),
        ("elsewhere", {}, 404),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(path: str, body: Any, status: int, here: Any, review: Review) -> None:
    found, answer = here.post(path, body)
    assert found == status
    assert answer["message"]
    assert review.state().rows == 0


def test_a_label_that_cannot_be_a_folder_is_refused_in_words(here: Any, review: Review) -> None:
    status, answer = here.post("decide", {"picture": review.frames[0].id, "label": "../up", "rows": 0})
    assert status == 422
    assert "no /" in answer["message"]


def test_a_disk_without_room_is_told_and_nothing_counts_as_decided(here: Any, review: Review, tmp_path: Path) -> None:
    (tmp_path / "out" / "glass").write_text("in the way")
    status, answer = here.post("decide", {"picture": review.frames[0].id, "label": "glass", "rows": 0})
    assert status == 507
    assert "glass" in answer["message"]
    assert here.get("state")["rows"] == 0


def test_other_methods_and_preflights_get_no_permission(here: Any) -> None:
    for method in ("OPTIONS", "PUT", "DELETE"):
        response = here.request(method, "decide", headers={"Origin": "http://attacker.example"})
        assert response.status == 501
        assert response.headers["Access-Control-Allow-Origin"] is None
        response.read()
        here.connection.close()


def test_it_listens_on_the_loopback_address_alone(server: ReviewServer, here: Any) -> None:
    assert here.address.hostname == "127.0.0.1"
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1", "127.0.1.1"}
    refused = []
    for address in (*addresses, "127.0.0.2"):
        with socket.socket() as elsewhere:
            elsewhere.settimeout(5)
            refused.append(elsewhere.connect_ex((address, here.address.port)))
    assert all(refused)


def test_a_client_that_disconnects_mid_request_disturbs_nobody(here: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection((here.address.hostname, here.address.port), timeout=5) as rude:
        rude.sendall(b"POST " + here.address.path.encode() + b"undo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        rude.sendall(b"Content-Length: 100\r\n\r\n{")
    assert here.get("state")["rows"] == 0
    assert capfd.readouterr().err == ""


def test_done_is_answered_with_the_closing_line_and_ends_the_wait(here: Any, server: ReviewServer, review: Review) -> None:
    assert not server.done.is_set()
    status, answer = here.post("done", {})
    assert (status, answer["summary"]) == (200, review.summary())
    assert server.done.wait(5)


def test_every_review_has_an_address_of_its_own(review: Review, server: ReviewServer) -> None:
    other = ReviewServer(review)
    other.close()
    assert other.url.split("/")[3] != server.url.split("/")[3]
    assert len(server.url.split("/")[3]) >= 20


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_cannot_be_is_refused(port: int, review: Review) -> None:
    with pytest.raises(ReviewError, match=f"--port {port}"):
        ReviewServer(review, port)


def test_a_port_that_is_taken_is_refused_by_its_number(review: Review, server: ReviewServer, here: Any) -> None:
    with pytest.raises(ReviewError, match=f"--port {here.address.port}: Address already in use"):
        ReviewServer(review, here.address.port)
