"""The viewer in a real browser, opened from disk: what its canvases show, and what it keeps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bids_sr.reports.ratings import read_ratings
from bids_sr.reports.records import read_all
from bids_sr.reports.viewer import update_viewer

from .devtools import BROWSER, Page, browser
from .viewer_phantom import BALL, BRIGHT, FLAIR, HEAD, HOSTILE, SPACING, build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the PATH"),
]
Picture = npt.NDArray[np.int64]
Open = Callable[..., Page]
# Left, top, width and height of a plane in the window.
BOX = """(side, plane) => {
  const [left, top, width, height] = viewer.canvases[side].screenSlices.find(
    (slice) => slice.axCorSag === plane).leftTopWidthHeight;
  const pane = document.querySelector("#pane-" + side + " canvas").getBoundingClientRect();
  return [left + pane.left, top + pane.top, width, height];
}"""
LINES = """[".steps", ".line"].map((name) => document.querySelector("#profile " + name)
  .getAttribute("points").split(" ").map((point) => Number(point.split(",")[1])))"""
AXIAL, CORONAL, SAGITTAL = range(3)


@pytest.fixture(scope="module")
def open_viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Return a function that opens the viewer of a phantom; its arguments are those of `build`."""
    pages: dict[str, Path] = {}

    def show(width: int = 1300, *, before: str = "", **phantom: object) -> Page:
        key = str(phantom)
        if key not in pages:
            root = tmp_path_factory.mktemp("run")
            bids, out = build(root, **phantom)  # type: ignore[arg-type]
            pages[key] = out / update_viewer(out, "01", bids, write=True)
        page.requests.clear()
        page.messages.clear()
        page.open(pages[key], width, before=before)
        page.run("try { localStorage.clear() } catch (error) { 'refused' }")
        page.run("viewer.ready")
        page.run("document.getElementById('cross').click()")  # nothing over the pixels
        page.run("document.head.append(document.createElement('style'))")
        page.run("document.head.lastChild.textContent = '#glass b, .name { display: none; }'")
        return page

    with browser() as page:
        yield show


def tile(page: Page, plane: int, side: str = "after") -> Picture:
    """Take a picture of one plane: its grey or colours, rows from the top."""
    left, top, width, height = page.run(f"({BOX})('{side}', {plane})")
    clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return np.asarray(picture, dtype=np.int64)


def ball_in(picture: Picture) -> tuple[float, float]:
    """Return where the ball is: shares of the width and of the height from the top left."""
    rows, columns = np.nonzero(picture[..., 1] > 0.75 * 255)
    assert rows.size > 20
    height, width = picture.shape[:2]
    return float(np.median(columns)) / width, float(np.median(rows)) / height


def go(page: Page, place: tuple[float, float, float]) -> None:
    page.run(f"viewer.go({list(place)})")


@pytest.mark.parametrize(
    ("axes", "degrees", "slice_axis"),
    [("RAS", 0.0, 2), ("LPS", 17.0, 2), ("PIR", 0.0, 2), ("ASL", -9.0, 0)],
)
def test_every_plane_shows_the_ball_on_its_side(
    open_viewer: Open, axes: str, degrees: float, slice_axis: int
) -> None:
    page = open_viewer(axes=axes, degrees=degrees, slice_axis=slice_axis)
    go(page, BALL)
    for side in ("before", "after"):
        page.run(f"viewer.show('{side}')")
        (x, _), (across, up) = ball_in(tile(page, AXIAL, side)), ball_in(tile(page, CORONAL, side))
        along, high = ball_in(tile(page, SAGITTAL, side))
        assert x > 0.6  # right of the body: right of the picture
        assert across == pytest.approx(x, abs=0.04)
        assert up == pytest.approx(high, abs=0.08)
        assert up < 0.45
        assert along < 0.45  # at the back: left of the sagittal plane
    page.run("document.getElementById('sides').click()")
    assert ball_in(tile(page, AXIAL))[0] == pytest.approx(1 - x, abs=0.02)
    assert ball_in(tile(page, CORONAL))[0] < 0.4
    assert ball_in(tile(page, SAGITTAL))[0] == pytest.approx(along, abs=0.02)
    assert page.messages == []


def test_positions_and_values_are_those_of_the_scanner(open_viewer: Open) -> None:
    page = open_viewer(axes="LPS", degrees=17.0)
    read = (
        "['place', 'before-value', 'after-value'].map(i => document.getElementById(i).innerText)"
    )
    go(page, BALL)
    place, before, after = page.run(read)
    assert place == "28.0, −22.0, 17.0 mm"
    assert float(before.replace(",", "")) == pytest.approx(BRIGHT, rel=0.02)
    assert float(after.replace(",", "")) == pytest.approx(BRIGHT, rel=0.02)
    go(page, (-BALL[0], BALL[1], BALL[2]))
    place, before, after = page.run(read)
    assert place.startswith("−28.0")
    assert float(before) == pytest.approx(HEAD, rel=0.03)
    assert float(after) == pytest.approx(HEAD, rel=0.03)


def test_scrolling_with_the_wheel_leaves_the_ball(open_viewer: Open) -> None:
    page = open_viewer()
    go(page, BALL)
    before = {plane: tile(page, plane) for plane in (AXIAL, CORONAL)}
    left, top, width, height = page.run(f"({BOX})('after', {AXIAL})")
    for _ in range(10):  # 2 mm each
        page.mouse("mouseWheel", left + width / 2, top + height / 2, deltaX=0, deltaY=-100)
    assert page.run("document.getElementById('place').innerText") == "28.0, −22.0, 37.0 mm"
    axial = tile(page, AXIAL)
    assert ball_in(before[AXIAL])[0] > 0.6
    assert (axial[..., 1] > 0.75 * 255).sum() == 0
    assert np.abs(axial - before[AXIAL]).max() > 100
    assert np.array_equal(tile(page, CORONAL), before[CORONAL])
    page.key("ArrowDown")
    page.key("PageDown")
    assert page.run("document.getElementById('place').innerText") == "28.0, −22.0, 27.0 mm"


def test_a_click_moves_the_crosshair_to_what_is_there(open_viewer: Open) -> None:
    page = open_viewer(axes="LPS", degrees=17.0)
    go(page, (0.0, BALL[1], BALL[2]))
    across, up = ball_in(tile(page, CORONAL))
    left, top, width, height = page.run(f"({BOX})('after', {CORONAL})")
    page.click(left + width * across, top + height * up)
    placed = page.run("document.getElementById('place').innerText").removesuffix(" mm")
    place = [float(text.replace("−", "-")) for text in placed.split(", ")]
    assert np.linalg.norm(np.array(place) - BALL) < 5


def test_acquired_voxels_are_as_thick_as_slices_until_they_are_interpolated(
    open_viewer: Open,
) -> None:
    page = open_viewer()
    go(page, BALL)
    page.run("viewer.show('before')")

    def changes() -> int:
        picture = tile(page, CORONAL, "before")[..., 1]
        column = picture[:, round(ball_in(tile(page, CORONAL, "before"))[0] * picture.shape[1])]
        return int((np.diff(column) != 0).sum())

    assert 4 <= changes() <= 112 / SPACING  # one step from slice to slice at most
    page.run("document.getElementById('smooth').click()")
    assert changes() > 2 * 112 / SPACING


def test_blink_and_swipe_show_before_and_after(open_viewer: Open) -> None:
    page = open_viewer()
    go(page, BALL)
    after = tile(page, SAGITTAL)
    page.key(" ")
    before = tile(page, SAGITTAL)
    assert np.abs(after - before).max() > 100
    page.key("2")
    page.run("viewer.view.swipe = 0.5; viewer.redraw()")
    swiped, middle = tile(page, SAGITTAL), after.shape[1] // 2
    assert np.array_equal(swiped[20:, 20 : middle - 8], before[20:, 20 : middle - 8])
    assert np.array_equal(swiped[20:, middle + 8 : -20], after[20:, middle + 8 : -20])
    page.key("3")
    assert np.abs(tile(page, SAGITTAL, "before") - tile(page, SAGITTAL, "after")).max() > 100
    page.key("1")
    page.key(" ")
    assert np.array_equal(tile(page, SAGITTAL), after)


def test_overlays_are_drawn_with_their_colours_and_names(open_viewer: Open) -> None:
    page = open_viewer()
    go(page, BALL)
    plain = tile(page, AXIAL)
    page.run("viewer.view.opacity = 1; viewer.overlay(2)")
    assert page.run("document.getElementById('overlay-value').innerText") == "ball"
    assert "ball" in page.run("document.getElementById('legend').innerText")
    x, y = ball_in(plain)
    place = round(y * plain.shape[0]), round(x * plain.shape[1])
    assert np.abs(tile(page, AXIAL)[place] - (0xF9, 0x73, 0x16)).max() <= 6
    page.run("viewer.overlay(0)")
    red, green, blue = tile(page, AXIAL)[place]
    assert red >= green > blue + 50
    assert page.run("document.getElementById('overlay-value').innerText") == "11"
    page.key("o")
    assert np.array_equal(tile(page, AXIAL), plain)


def test_window_zoom_and_reset(open_viewer: Open) -> None:
    page = open_viewer()
    go(page, BALL)
    plain = tile(page, AXIAL)
    page.run("viewer.window(0, 300)")
    assert (tile(page, AXIAL)[..., 1] > 200).sum() > 3 * (plain[..., 1] > 200).sum()
    page.key("0")
    go(page, BALL)
    page.key("+")
    page.key("+")
    zoomed = tile(page, AXIAL)
    ratio = (zoomed[..., 1] > 191).sum() / (plain[..., 1] > 191).sum()
    assert ratio == pytest.approx(1.25**4, rel=0.1)
    assert np.allclose(ball_in(zoomed), ball_in(plain), atol=0.02)
    page.key("0")
    go(page, BALL)
    assert np.array_equal(tile(page, AXIAL), plain)


def test_the_profile_crosses_the_ball(open_viewer: Open) -> None:
    page = open_viewer()
    go(page, BALL)
    steps, line = page.run(LINES)
    assert len({round(y, 1) for y in steps}) <= 112 / SPACING
    assert len({round(y, 1) for y in line}) > 2 * 112 / SPACING
    assert min(line) < 20  # the ball: at the top of the plot


def test_nothing_is_asked_of_a_network_and_hostile_texts_do_not_run(open_viewer: Open) -> None:
    page = open_viewer(words=HOSTILE)
    page.run("viewer.overlay(2)")
    assert {address.split(":")[0] for address in page.requests} <= {"file", "data", "blob"}
    assert page.run("document.documentElement.dataset.ran === undefined")
    assert "</script>" in page.run("document.getElementById('legend').innerText")
    assert page.run("document.querySelectorAll('#legend img').length") == 0
    assert page.messages == []


@pytest.mark.parametrize("width", [900, 1300])
def test_the_page_fits_the_window(open_viewer: Open, width: int) -> None:
    page = open_viewer(width)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("viewer.canvases.after.screenSlices.length") == 3
    assert not page.run("document.getElementById('problem').innerText")


def test_a_rating_is_kept_exported_and_read_by_the_group(
    open_viewer: Open, tmp_path: Path
) -> None:
    page = open_viewer()
    page.run(
        "document.querySelector('[value=\"look again\"]').click();"
        "document.getElementById('note').value = 'dark\\tband\\nat the top';"
        "document.getElementById('rater').value = 'AB';"
        "document.getElementById('rating').dispatchEvent(new Event('input'))"
    )
    assert page.run("document.getElementById('kept').innerText").startswith("1 of 1 rated; kept")
    table = page.run("viewer.table()")
    (row,) = csv.DictReader(io.StringIO(table), delimiter="\t")
    assert (row["image"], row["rating"], row["rater"]) == (FLAIR, "look again", "AB")
    assert row["note"] == "dark band at the top"
    assert page.run("Object.keys(localStorage).filter(k => k.includes('FLAIR')).length") == 1
    _, out = build(tmp_path)
    (out / "ratings").mkdir()
    (out / "ratings" / "sub-01_ratings.tsv").write_text(table)
    ratings = read_ratings(out, read_all(out))
    assert ratings.words(FLAIR) == "look again (AB)"
    assert ratings.problems == ()


def test_without_a_place_to_keep_ratings_they_can_still_be_exported(open_viewer: Open) -> None:
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw Error('no'); } });"
    page = open_viewer(before=refuse)
    page.run("document.querySelector('[value=accept]').click()")
    assert "1 of 1 rated; not kept" in page.run("document.getElementById('kept').innerText")
    assert "accept" in page.run("viewer.table()")
    assert page.messages == []


def test_a_browser_without_webgl_is_told(open_viewer: Open) -> None:
    page = open_viewer(before="HTMLCanvasElement.prototype.getContext = () => null;")
    words = page.run("document.getElementById('problem').innerText")
    assert "cannot be shown" in words
    assert "WebGL 2" in words
