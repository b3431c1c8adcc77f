import numpy as np
import pytest

from pacs.demo.angiography import angiogram
from pacs.demo.fields import CENTRE_Y, Plane
from pacs.demo.head import CONTRASTS, Head
from pacs.demo.images import CTProtocol, projected, radiograph
from pacs.demo.phantom import FOV, NODULE, TOP, Thorax
from pacs.demo.studies import NODULE_A_YEAR_BEFORE
from pacs.demo.ultrasound import sector_frames

SIZE = 256
PIXEL = FOV / SIZE


@pytest.fixture(scope="module")
def thorax() -> Thorax:
    return Thorax()


def slice_at(thorax: Thorax, z: float) -> np.ndarray:
    return next(thorax.slices([z], SIZE))


def around(image: np.ndarray, x: float, y: float, reach: int = 1) -> float:
    """The mean of the pixels around a point in patient coordinates."""
    column, row = round(x / PIXEL + (SIZE - 1) / 2), round((y - CENTRE_Y) / PIXEL + (SIZE - 1) / 2)
    return float(image[row - reach : row + reach + 1, column - reach : column + reach + 1].mean())


@pytest.mark.parametrize(
    ("what", "point", "lowest", "highest"),
    [
        ("air beside the patient", (-170, -120, 0), -1024, -980),
        ("trachea", (-4, 4, 60), -1024, -950),
        ("right lung", (-100, 34, -70), -1000, -600),
        ("left lung", (85, 30, -80), -1000, -600),
        ("descending aorta", (24, 42, -80), 210, 260),
        ("left ventricle's blood", (36, -19, -82), 200, 260),
        ("left ventricle's wall", (66, -14, -84), 80, 150),
        ("a vertebral body's marrow", (0, 52, -57), 120, 320),
        ("spinal cord", (0, 76, -57), 20, 90),
        ("sternum", (0, -96, -70), 120, 700),
        ("liver", (-80, -10, -160), 80, 130),
        ("spleen", (88, 42, -175), 95, 150),
        ("gas in the stomach", (64, -42, -160), -1024, -900),
        ("fluid in the stomach", (64, 10, -160), 0, 60),
        ("fat under the skin", (-152, 8, -120), -130, -70),
    ],
)
def test_tissues_have_their_hounsfield_units(
    thorax: Thorax, what: str, point: tuple[float, float, float], lowest: float, highest: float
) -> None:
    x, y, z = point
    assert lowest <= around(slice_at(thorax, z), x, y) <= highest, what


def test_the_nodule_is_solid_surrounded_by_lung_and_smaller_a_year_before(thorax: Thorax) -> None:
    x, y, z = NODULE.centre

    def solid(subject: Thorax) -> int:
        image = slice_at(subject, z)
        column, row = round(x / PIXEL + (SIZE - 1) / 2), round((y - CENTRE_Y) / PIXEL + (SIZE - 1) / 2)
        return int((image[row - 6 : row + 7, column - 6 : column + 7] > -300).sum())

    now = solid(thorax)
    assert around(slice_at(thorax, z), x, y) > -60
    assert around(slice_at(thorax, z), x, y + 3 * NODULE.radius) < -600
    assert now * PIXEL**2 == pytest.approx(np.pi * NODULE.radius**2, rel=0.5)
    assert 0 < solid(Thorax(nodule=NODULE_A_YEAR_BEFORE)) < now / 2
    assert solid(Thorax(nodule=None)) == 0


def test_both_lungs_are_full_size_and_the_right_one_is_larger(thorax: Thorax) -> None:
    spacing = 10.0
    volumes = [0.0, 0.0]
    for image in thorax.slices(np.arange(TOP, -185.0, -spacing), 128):  # below begins the gas in the bowel
        lung = (image > -960) & (image < -500)
        lung[90:] = False  # the table
        for side, half in enumerate((lung[:, :64], lung[:, 64:])):
            volumes[side] += half.sum() * (FOV / 128) ** 2 * spacing / 1e6
    right, left = volumes
    assert 1.4 < right < 3.6
    assert 0.75 < left / right < 1.0


def test_there_is_bone_on_each_side_at_each_level_and_none_in_the_lungs(thorax: Thorax) -> None:
    for z in (40.0, 0.0, -40.0, -80.0, -120.0):
        bone = slice_at(thorax, z) > 350
        half = SIZE // 2
        assert bone[:, : half - 20].sum() > 40
        assert bone[:, half + 20 :].sum() > 40
        assert bone[half - 15 : half + 10, 60:85].sum() == 0


def test_slices_do_not_depend_on_their_neighbours_and_repeat_exactly(thorax: Thorax) -> None:
    several = list(thorax.slices([10.0, -30.0], 128))
    assert np.array_equal(several[1], next(Thorax().slices([-30.0], 128)))
    assert several[0].dtype == np.int16


def test_noise_is_that_of_a_scanner(thorax: Thorax) -> None:
    liver = slice_at(thorax, -160.0)[110:130, 50:70]
    assert 4 < liver.std() < 20


def test_a_radiograph_shows_lungs_dark_and_spine_bright(thorax: Thorax) -> None:
    protocol = CTProtocol(Thorax(noise=0.0), slices=45, spacing=8.0, size=128)
    seen = projected(protocol)
    image = radiograph(seen.frontal, spacing=seen.spacing, pixel=seen.pixel, seed=1).astype(float)
    assert image.max() <= 4095
    rows, columns = image.shape
    assert rows == pytest.approx(columns, abs=30)
    middle = image[int(rows * 0.40) : int(rows * 0.55)]
    lungs = [middle[:, int(columns * part) - 10 : int(columns * part) + 10].mean() for part in (0.25, 0.75)]
    spine = middle[:, columns // 2 - 15 : columns // 2 + 15].mean()
    assert max(lungs) < 0.6 * spine
    assert image[:, :5].mean() < 0.2 * spine


def test_a_year_before_only_the_nodule_was_different(thorax: Thorax) -> None:
    before = Thorax(nodule=NODULE_A_YEAR_BEFORE)
    plane = Plane(SIZE, FOV)
    changed = np.abs(thorax.slice(plane, NODULE.centre[2]) - before.slice(plane, NODULE.centre[2])) > 1
    distance = np.hypot(plane.x - NODULE.centre[0], plane.y - NODULE.centre[1])
    assert changed.any()
    assert distance[changed].max() < NODULE.radius + 5


def test_the_head_has_the_contrasts_of_its_sequences() -> None:
    lesion = (24.0, -16.0, 32.0, 5.0)
    head = Head(lesions=(lesion,))
    size = 215  # a pixel a millimetre
    seen = {contrast: next(head.slices([32.0], size, contrast)) for contrast in CONTRASTS}

    def at(contrast: str, x: float, y: float) -> float:
        column, row = round(x + (size - 1) / 2), round(y + (size - 1) / 2)
        return float(seen[contrast][row - 1 : row + 2, column - 1 : column + 2].mean())

    ventricle, white, spot = (13.0, 12.0), (26.0, 2.0), lesion[:2]
    assert at("T2", *ventricle) > 1.8 * at("T2", *white)
    assert at("FLAIR", *ventricle) < 0.5 * at("FLAIR", *white)
    assert at("FLAIR", *spot) > 1.8 * at("FLAIR", *white)
    assert at("T1", *white) > at("T1", *spot) > at("T1", *ventricle)
    assert at("CT", *ventricle) < at("CT", *white) < 60 < 700 < seen["CT"].max()


def test_contrast_medium_runs_into_the_vessels_and_out_again() -> None:
    run = angiogram(60, size=128).astype(float)
    dark = (run < 90).mean(axis=(1, 2))
    assert dark[0] < 0.5 * dark.max()
    assert dark[-1] < 0.6 * dark.max()
    assert 10 < dark.argmax() < 45


def test_an_abdomen_moves_with_the_breath_within_its_sector() -> None:
    frames = np.stack(list(sector_frames(8, seed=1, scale=4)))
    assert (frames[:, 0, :] == 0).all()  # above the sector
    moved = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2))
    assert (moved > 1).all()
