"""The page as a person uses it: real keys, clicks and taps in Chromium, and the files that come of them."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.review.chromium import Browser
from training.review import Review, ReviewServer


@pytest.fixture
def out(tmp_path: Path) -> Callable[[], dict[str, str]]:
    """Where each item's picture lies now: item -> label."""
    return lambda: {file.name.split("-")[1]: file.parent.name for file in (tmp_path / "out").glob("*/*.jpg")}


def showing(browser: Browser, review: Review, index: int) -> None:
    """Wait until a frame of the order of review is on the screen, its picture and not only its name."""
    wanted = review.frames[index].id
    picture = f"document.querySelector('#stage img[src=\"picture/{wanted}\"]')"
    browser.wait_for(f"document.body.dataset.shown === '{wanted}' && {picture}?.naturalWidth === 80")


def message(browser: Browser) -> str:
    return browser.value("document.querySelector('#message').textContent")


def test_keys_confirm_correct_name_discard_and_undo(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    showing(browser, review, 0)
    assert browser.value("document.querySelector('#confirm').disabled") is True
    browser.press("Enter")
    browser.wait_for("document.querySelector('#message').textContent.includes('no guess to confirm')")
    assert out() == {}

    browser.press("n")
    browser.wait_for("document.activeElement.id === 'name'")
    browser.type("干净的纸")
    browser.press("Enter")
    showing(browser, review, 1)
    browser.press("Enter")
    showing(browser, review, 2)
    browser.press("1")
    showing(browser, review, 3)
    browser.press("x")
    showing(browser, review, 4)
    browser.press(" ")
    browser.wait_for("document.querySelector('#message').textContent.includes('the last one')")
    assert out() == {"e": "干净的纸", "d": "metal", "c": "glass", "a": "glass"}
    assert browser.value("document.querySelector('#count').textContent") == "5 of 5 decided"

    browser.press("u")
    browser.wait_for("document.querySelector('#count').textContent.startsWith('4 of')")
    browser.press("u")
    showing(browser, review, 3)
    assert out() == {"e": "干净的纸", "d": "metal", "c": "glass"}
    browser.press("4", "Digit4")
    showing(browser, review, 4)
    assert out() == {"e": "干净的纸", "d": "metal", "c": "glass", "b": "干净的纸"}

    counts = review.state().counts
    assert (counts.confirmed, counts.corrected, counts.labelled, counts.discarded) == (1, 2, 1, 0)


def test_arrows_look_back_and_a_second_decision_replaces_the_first(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    browser.press("3")
    showing(browser, review, 1)
    browser.press("ArrowLeft")
    showing(browser, review, 0)
    assert browser.value("document.querySelector('#stands').textContent") == "labelled: paper"
    assert browser.value("document.querySelector('#labels .given span').textContent") == "paper"
    browser.press("2")
    showing(browser, review, 1)
    assert out() == {"e": "metal"}
    browser.press("ArrowRight")
    showing(browser, review, 2)
    browser.press("ArrowRight")
    showing(browser, review, 3)


def test_bars_show_the_posterior_beside_the_labels_and_their_keys(browser: Browser, server: ReviewServer, review: Review) -> None:
    browser.open(server.url)
    browser.press("ArrowRight")
    showing(browser, review, 1)
    rows = browser.value(
        "[...document.querySelectorAll('#labels button')].map((button) => [...['kbd', 'span', 'output'].map("
        "(part) => button.querySelector(part).textContent), parseFloat(getComputedStyle(button).backgroundSize)])"
    )
    assert rows == [["1", "glass", "30 %", 30], ["2", "metal", "40 %", 40], ["3", "paper", "30 %", 30]]
    assert browser.value("document.querySelector('#guess').textContent") == "The bin guessed metal (40 %)"
    assert browser.value("document.querySelector('#confirm').textContent.includes('Confirm metal')") is True


def test_a_key_held_down_decides_one_frame_alone(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    browser.press("1")
    showing(browser, review, 1)
    browser.repeat("1", times=5)
    browser.press("2")
    showing(browser, review, 2)
    assert out() == {"e": "glass", "d": "metal"}


def test_a_key_counts_only_once_the_picture_is_on_the_screen(
    browser: Browser, server: ReviewServer, review: Review, out, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, picture = threading.Event(), review.picture

    def slow_disk(which: str) -> object:
        assert through.wait(30.0)
        return picture(which)

    browser.open(server.url)
    showing(browser, review, 0)
    monkeypatch.setattr(review, "picture", slow_disk)
    for _ in range(4):
        browser.press("ArrowRight")
    browser.wait_for("document.querySelector('#about').textContent.startsWith('5/5')")
    browser.press("1")
    browser.press("x")
    browser.press("Enter")
    assert review.state().rows == 0
    through.set()
    showing(browser, review, 4)
    assert review.state().rows == 0
    browser.press("1")
    showing(browser, review, 0)
    assert out() == {"a": "glass"}


def test_on_another_layout_the_place_of_a_key_counts(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    browser.press("é", "Digit2")
    showing(browser, review, 1)
    browser.press("ч", "KeyX")
    showing(browser, review, 2)
    browser.press("z", "KeyZ", modifiers=2)
    showing(browser, review, 1)
    browser.press("1", "Digit1", modifiers=1)
    assert out() == {"e": "metal"}


def test_a_click_leaves_no_focused_button_for_the_space_key(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    browser.click("document.querySelectorAll('#labels button')[0]")
    showing(browser, review, 1)
    browser.click("document.querySelector('#forth')")
    showing(browser, review, 2)
    browser.click("document.querySelector('#back')")
    showing(browser, review, 1)
    assert browser.value("document.activeElement === document.body") is True
    browser.press(" ")
    showing(browser, review, 2)
    assert out() == {"e": "glass", "d": "metal"}


def test_everything_can_be_reached_with_a_finger_on_a_phone(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url, width=390, height=780, touch=True)
    assert browser.value("document.documentElement.scrollWidth") == 390
    small = browser.value(
        "[...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.getBoundingClientRect().height < 44).map((b) => b.id)"
    )
    assert small == []
    browser.tap("document.querySelector('#forth')")
    showing(browser, review, 1)
    browser.tap("document.querySelector('#confirm')")
    showing(browser, review, 2)
    browser.tap("document.querySelectorAll('#labels button')[1]")
    showing(browser, review, 3)
    browser.tap("document.querySelector('#discard')")
    showing(browser, review, 4)
    browser.tap("document.querySelector('#undo')")
    showing(browser, review, 3)
    assert out() == {"d": "metal", "c": "metal"}


def test_a_label_that_cannot_be_is_refused_and_the_frame_stays(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    browser.press("n")
    browser.wait_for("document.activeElement.id === 'name'")
    browser.type("../up")
    browser.press("Enter")
    browser.wait_for("document.querySelector('#message.wrong')")
    assert "no /" in message(browser)
    showing(browser, review, 0)
    assert out() == {}
    browser.press("n")
    browser.wait_for("document.activeElement.id === 'name'")
    assert browser.value("document.querySelector('#name').value") == ""
    browser.press("Escape")
    browser.wait_for("!document.querySelector('#naming').open")
    browser.press("1")
    showing(browser, review, 1)


def test_labels_and_names_are_shown_as_text_never_as_markup(
    browser: Browser, tmp_path: Path, frame: Callable[..., Path], note: Callable[..., dict]
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    frame(tmp_path / "evil", "<b>x", (1, 2, 3), note("x", {evil: 0.7, "glass": 0.3}, bin=evil, bundle=evil))
    review = Review(tmp_path / "evil", tmp_path / "result")
    server = ReviewServer(review)
    browser.open(server.url)
    assert evil in browser.value("document.querySelector('#labels').textContent")
    assert evil in browser.value("document.querySelector('#about').textContent")
    assert browser.value("document.querySelectorAll('main img').length") == 1
    server.close()
    review.close()


def test_an_outdated_second_window_is_updated_before_it_decides(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    review.decide(review.frames[1].id, "paper", 0)
    browser.press("1")
    browser.wait_for("document.querySelector('#message').textContent.includes('another window')")
    browser.wait_for("document.querySelector('#count').textContent.startsWith('1 of')")
    assert out() == {"d": "paper"}
    showing(browser, review, 0)
    browser.press("1")
    showing(browser, review, 2)
    assert out() == {"d": "paper", "e": "glass"}


def test_a_missing_picture_can_be_discarded_but_not_labelled(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    review.frames[0].picture.unlink()
    browser.open(server.url)
    browser.wait_for("document.querySelector('#stage').textContent.includes('cannot be shown')")
    browser.press("1")
    browser.wait_for("document.querySelector('#message.wrong')")
    assert review.state().rows == 0
    browser.press("x")
    showing(browser, review, 1)
    assert review.state().counts.discarded == 1


def test_what_could_not_be_used_is_said_on_the_page(browser: Browser, kept: Path, tmp_path: Path) -> None:
    (kept / "torn.jpg").write_bytes(b"\xff\xd8\xff\xda half of it")
    review = Review(kept, tmp_path / "result")
    server = ReviewServer(review)
    browser.open(server.url)
    browser.wait_for("document.querySelector('#message').textContent.includes('torn.jpg: breaks off')")
    assert browser.value("document.querySelector('#count').textContent") == "0 of 5 decided"
    server.close()
    review.close()


def test_question_mark_shows_the_keys_and_disables_them(browser: Browser, server: ReviewServer, review: Review) -> None:
    browser.open(server.url)
    browser.press("?", "Slash", modifiers=8)
    browser.wait_for("document.querySelector('#keys').open")
    browser.press("1")
    browser.press("Escape")
    browser.wait_for("!document.querySelector('#keys').open")
    assert review.state().rows == 0


def test_reloading_resumes_at_the_first_undecided_frame(browser: Browser, server: ReviewServer, review: Review) -> None:
    browser.open(server.url)
    browser.press("1")
    showing(browser, review, 1)
    browser.reload()
    showing(browser, review, 1)
    assert browser.value("document.querySelector('#count').textContent") == "1 of 5 decided"


def test_done_says_what_came_of_it(browser: Browser, server: ReviewServer, review: Review) -> None:
    browser.open(server.url)
    browser.press("1")
    showing(browser, review, 1)
    browser.click("document.querySelector('#done')")
    browser.wait_for("document.body.classList.contains('over')")
    assert review.summary() in browser.value("document.body.textContent")
    assert server.done.is_set()


def test_the_page_says_when_the_review_has_ended(browser: Browser, server: ReviewServer, review: Review, out) -> None:
    browser.open(server.url)
    server.close()
    browser.press("1")
    browser.wait_for("document.querySelector('#message.wrong')")
    assert "has ended" in message(browser)
    assert browser.value("document.querySelector('#count').textContent") == "0 of 5 decided"
    assert out() == {}


def test_a_note_from_a_device_is_all_that_the_caption_tells(browser: Browser, server: ReviewServer, review: Review, kept: Path) -> None:
    browser.open(server.url)
    assert browser.value("document.querySelector('#guess').textContent") == "The bin left no guess."
    browser.press("ArrowRight")
    showing(browser, review, 1)
    said = json.loads((kept / review.frames[1].name).with_suffix(".json").read_text(encoding="utf-8"))
    caption = browser.value("document.querySelector('#about').textContent")
    assert f"went to {said['bin']} ({said['reason']})" in caption
    assert f"judged by {said['bundle']}" in caption
