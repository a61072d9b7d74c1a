"""Photos on disk and their split."""

from pathlib import Path

import numpy as np
import pytest

from converter.photos import PhotosError, read_photos, read_pixels, read_split


def test_a_drawn_split_leaves_no_photo_out_and_none_in_both(photos: Path) -> None:
    split = read_split(photos, val_share=0.25, seed=3)
    assert sorted(split.train + split.val) == read_photos(photos)
    assert split.counts() == dict.fromkeys(split.labels, 18)
    assert read_split(photos, val_share=0.25, seed=3) == split != read_split(photos, val_share=0.25, seed=4)


def test_lists_below_the_data_are_kept_to(own_photos: Path) -> None:
    (own_photos / "splits").mkdir()
    (own_photos / "splits" / "my_train.txt").write_text("disc/disc01.png\nframe/frame02.png\n")
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc05.png\n")
    split = read_split(own_photos)
    assert [photo.name for photo in split.train] == ["disc/disc01.png", "frame/frame02.png"]
    assert [photo.name for photo in split.val] == ["disc/disc05.png"]
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc01.png\n")
    with pytest.raises(PhotosError, match=r"my_val.txt: disc/disc01.png is in the training list too"):
        read_split(own_photos)
    (own_photos / "splits" / "my_val.txt").write_text("disc/disc99.png\n")
    with pytest.raises(PhotosError, match=r"my_val.txt: names disc/disc99.png, which is not below"):
        read_split(own_photos)


def test_pixels_come_as_rgb_and_what_is_no_picture_is_named(photos: Path, tmp_path: Path) -> None:
    import cv2

    assert cv2.imwrite(str(tmp_path / "red.png"), np.full((2, 3, 3), (0, 0, 255), np.uint8))
    assert read_pixels(tmp_path / "red.png").tolist() == [[[255, 0, 0]] * 3] * 2
    (tmp_path / "empty.jpg").touch()
    for name in ("empty.jpg", "missing.jpg"):
        with pytest.raises(PhotosError, match=name):
            read_pixels(tmp_path / name)


def test_a_folder_without_photos_or_with_one_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="found no photo"):
        read_split(tmp_path)
    with pytest.raises(PhotosError, match="found none"):
        read_split(tmp_path / "nowhere")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.jpg").touch()
    with pytest.raises(PhotosError, match=r"at least two labels, found only"):
        read_split(tmp_path)
