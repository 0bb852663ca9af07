"""The golden command: on golden outputs, and on cases worked out in plain NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import golden_cases
from plain_insid3 import Arrays, insid3, matched, projector, unit

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden" / "insid3"
sys.path.insert(0, str(ROOT / "tests" / "parity"))
import run_golden  # noqa: E402


def test_golden_outputs() -> None:
    if not GOLDEN.is_dir():
        pytest.skip("the golden outputs (../shared/golden) are not beside this checkout")
    rows = run_golden.run(GOLDEN)
    assert {row.output for row in rows} == set(run_golden.LIMITS)
    assert [row for row in rows if not row.ok] == []


# --- the bundled pictures on the embedded backbone ----------------------------------------------

# Another processor rounds features otherwise, which may move a patch near a limit.
ELSEWHERE = {"prototype": 1e-3, "mask": 0.02}
PATCHES = 10  # of 1024


def write_bundled(folder: Path, outputs: Callable[[str, Arrays, np.ndarray], Arrays]) -> None:
    zero, cases = golden_cases.make_cases(golden_cases.make_encoder())
    np.savez(folder / "zero_image.npz", features=zero)
    for name, case in cases.items():
        np.savez(folder / f"case_{name}.npz", **case, **outputs(name, case, zero))


def test_bundled_pictures_give_the_golden_outputs(tmp_path: Path) -> None:
    golden = load(golden_cases.FILE)

    def outputs(name: str, case: Arrays, zero: np.ndarray) -> Arrays:
        keys = [key for key in golden if key.startswith(f"{name}.")]
        return {key.split(".")[1]: golden[key] for key in keys}

    write_bundled(tmp_path, outputs)
    rows = run_golden.run(tmp_path)
    assert len(rows) == 4 * 6
    assert [row for row in rows if row.difference > ELSEWHERE.get(row.output, PATCHES)] == []


def test_bundled_pictures_give_what_plain_numpy_gives(tmp_path: Path) -> None:
    def outputs(name: str, case: Arrays, zero: np.ndarray) -> Arrays:
        return insid3(case, projector(zero, golden_cases.RANK))

    write_bundled(tmp_path, outputs)
    rows = [row for row in run_golden.run(tmp_path) if not row.note.startswith("a float tie")]
    assert len(rows) >= 4 * 5
    # Resizing gives exact halves at some edges, which float32 rounds to either side.
    assert [r for r in rows if not r.ok and (r.output != "mask" or r.difference > 0.005)] == []


# --- a folder of made-up cases ------------------------------------------------------------------


class World:
    """Things that look alike in every image, plus an offset that only depends on the place."""

    def __init__(self, dim: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.things = unit(self.rng.normal(size=(5, dim)))
        self.axes = unit(self.rng.normal(size=(4, dim)))

    def features(self, layout: np.ndarray) -> np.ndarray:
        """(D,h,w) float16 of (h,w) numbers of things."""
        y, x = np.mgrid[-1 : 1 : layout.shape[0] * 1j, -1 : 1 : layout.shape[1] * 1j]
        waves = np.stack([y, x, np.cos(3 * y), np.cos(3 * x)], axis=2) @ self.axes
        noise = self.rng.normal(size=waves.shape) * 0.1
        content = np.where(layout[..., None] < 0, 0, self.things[layout])
        return np.moveaxis((content + waves + noise) * 9, 2, 0).astype(np.float16)

    def layout(self, grid: tuple[int, int], things: tuple[int, ...]) -> np.ndarray:
        """The first thing behind a box of each other one."""
        layout = np.full(grid, things[0])
        for thing in things[1:]:
            top, left = (self.rng.integers(0, side - 4) for side in grid)
            layout[top : top + 4, left : left + 4] = thing
        return layout


def write_folder(folder: Path, dim: int, seed: int) -> None:
    world = World(dim, seed)
    zero = world.features(np.full((7, 11), -1))  # a grid of its own
    np.savez(folder / "zero_image.npz", features=zero)
    P = projector(zero, 4)
    np.savez(folder / "positional_basis_r4.npz", projector=P.astype(np.float32))
    settings = [  # grid, things in the target, K, out_size, rank, tau, alpha, patch
        ((9, 9), (0, 2, 1, 3), 1, (101, 135), 4, 0.6, 0.2, 16),
        ((12, 12), (0, 1, 3), 3, (75, 57), 7, 0.7, 0.1, 14),
        ((8, 13), (4, 3, 1), 2, (131, 211), 4, 0.8, 0.2, 16),
        ((9, 9), (0,), 1, (101, 135), 4, 0.6, 0.2, 16),  # nothing to find
        ((10, 10), (2, 1), 1, (333, 200), 2, 0.5, 0.3, 16),  # a reference mask of one pixel
    ]
    for number, (grid, things, K, out_size, rank, tau, alpha, patch) in enumerate(settings):
        layouts = [world.layout(grid, (0, 1)) for _ in range(K)]
        masks = np.stack(
            [np.kron(layout == 1, np.ones((patch, patch), bool)) for layout in layouts]
        )
        if number == 4:
            y, x = np.argwhere(masks[0])[10]
            masks[:] = False
            masks[0, y, x] = True
        case = {
            "ref_features": np.stack([world.features(layout) for layout in layouts]),
            "tgt_features": world.features(world.layout(grid, things)),
            "ref_masks": masks,
            "out_size": np.array(out_size),
            "params": np.array([rank, tau, alpha, grid[0] * patch]),
        }
        np.savez(folder / f"case_{number:02d}.npz", **case, **insid3(case, projector(zero, rank)))
    match = {
        "ref_features": world.features(world.layout((9, 12), (0, 1, 2, 3))),
        "tgt_features": world.features(world.layout((14, 8), (0, 1, 2, 3))),
        "ref_size": np.array((90, 121)),
        "tgt_size": np.array((300, 180)),
        "keypoints": world.rng.uniform(0, (121, 90), (8, 2)).astype(np.float32),
        "rank": np.int64(4),
    }
    found = {"matched_debiased": matched(match, P), "matched_original": matched(match, 0 * P)}
    np.savez(folder / "keypoints_00.npz", **match, **found)


def load(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(params=[(24, 0), (40, 5)], ids=["D=24", "D=40"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_folder(tmp_path, *request.param)
    return tmp_path


def test_plain_numpy_gives_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [load(path) for path in sorted(folder.glob("case_*.npz"))]
    found = [case["seed"] >= 0 for case in cases]
    assert found == [True, True, True, False, True]  # the case without a candidate is case_03
    for case in cases:
        assert case["grid_mask"].any() == (case["seed"] >= 0)
        assert not case["grid_mask"].all()
    assert max(case["labels"].max() for case in cases) > 3
    joined = [(case["grid_mask"] & (case["labels"] != case["seed"])).any() for case in cases[:3]]
    assert any(joined)  # by a cluster that is not the seed
    moved = load(folder / "keypoints_00.npz")
    assert np.abs(moved["matched_debiased"] - moved["matched_original"]).max() > 1

    assert run_golden.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    # projector, 4 · 6 outputs, 5 where there is no partition, 2 kinds of keypoints
    assert lines[-1] == "32 of 32 ok"
    assert len({line.index(" ok") for line in lines[1:-1]}) == 1  # aligned


def flip(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[0] = not changed.flat[0]
    return changed


def new_label(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[0] = array.max() + 1
    return changed


def another(array: np.ndarray) -> np.ndarray:
    return array - 1 if array > 0 else array + 1


@pytest.mark.parametrize(
    ("name", "key", "change", "note"),
    [
        ("case_00", "prototype", lambda a: a + 0.001, ""),
        ("case_00", "prototype", lambda a: a[:-1], ""),
        ("case_00", "prototype", lambda a: a * np.nan, ""),
        ("case_01", "candidates", flip, "no float tie: margin"),
        ("case_00", "labels", new_label, "no float tie: margin"),
        ("case_02", "labels", lambda a: a * 0, "no float tie: margin"),
        ("case_01", "seed", another, "no float tie: margin"),
        ("case_00", "seed", lambda a: a * 0 - 1, "none expected"),
        ("case_03", "seed", lambda a: a * 0, "we have none"),
        ("case_02", "grid_mask", np.logical_not, "no float tie: margin"),
        ("case_03", "grid_mask", flip, "no reason in sight"),
        ("case_00", "mask", np.invert, ""),
        ("case_03", "mask", lambda a: a + 1, ""),
        ("keypoints_00", "matched_debiased", lambda a: a + 0.1, ""),
        ("keypoints_00", "matched_original", lambda a: a - 0.1, ""),
        ("positional_basis_r4", "projector", lambda a: a * 1.01, ""),
    ],
)
def test_tampered_outputs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    key: str,
    change: Callable[[np.ndarray], np.ndarray],
    note: str,
) -> None:
    write_folder(tmp_path, 24, 0)
    arrays = load(tmp_path / f"{name}.npz")
    np.savez(tmp_path / f"{name}.npz", **arrays | {key: change(arrays[key])})
    assert run_golden.main([str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    bad = [line for line in lines if "DIFFERS" in line]
    assert all(line.startswith(name) for line in bad)
    (named,) = [line for line in bad if line.split()[1] == key]
    assert named.partition("DIFFERS")[2].removeprefix(": ").startswith(note)
    assert note or named.endswith("DIFFERS")
    assert len(bad) == 1 or key in ("labels", "seed")


def test_packed_and_plain_masks_are_the_same(folder: Path) -> None:
    case = load(folder / "case_00.npz")
    H, W = case["out_size"]
    case["mask"] = np.unpackbits(case["mask"])[: H * W].reshape(H, W).astype(bool)
    np.savez(folder / "case_00.npz", **case)
    assert all(row.ok for row in run_golden.run(folder))


def test_what_cannot_be_read_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_golden.main([]) == 2
    assert run_golden.main([str(tmp_path / "none")]) == 2
    assert "usage" in capsys.readouterr().err
    assert run_golden.main([str(tmp_path)]) == 1
    assert "no case found" in capsys.readouterr().err
    write_folder(tmp_path, 24, 0)
    case = load(tmp_path / "case_00.npz")
    del case["candidates"]
    np.savez(tmp_path / "case_00.npz", **case)
    (tmp_path / "case_01.npz").write_bytes(b"PK no archive")
    (tmp_path / "case_02.npz").write_bytes(b"")
    case = load(tmp_path / "case_04.npz")
    np.savez(tmp_path / "case_04.npz", **case | {"params": np.array([24, 0.6, 0.2, 160])})
    rows = run_golden.run(tmp_path)
    bad = [row.case for row in rows if not row.ok]
    assert bad == ["case_00", "case_01", "case_02", "case_04"]
    notes = " ".join(row.note for row in rows)
    assert "KeyError: 'candidates" in notes
    assert "svd_components=24" in notes  # a rank of D
    (tmp_path / "zero_image.npz").unlink()
    assert run_golden.main([str(tmp_path)]) == 1
    assert "0 of 7 ok" in capsys.readouterr().out


# --- float ties ---------------------------------------------------------------------------------


def tied_case(tmp_path: Path) -> Arrays:
    """Three target tokens at -30°, 0° and 30° and a cut in between; all references are alike."""
    angles = np.radians([-30, 0, 30])
    fan = np.zeros((4, 1, 4))
    fan[0, 0, :3], fan[1, 0, :3] = np.cos(angles), np.sin(angles)
    fan[2, 0, 3] = 1
    reference = np.zeros((1, 4, 1, 4))
    reference[0, 0, 0, :2] = 1  # the same feature inside and outside the mask
    reference[0, 3, 0, 2:] = 1
    mask = np.zeros((1, 8, 32), bool)
    mask[0, :, :8] = True
    np.savez(tmp_path / "zero_image.npz", features=np.eye(4)[:, :, None])
    case = {
        "ref_features": reference,
        "tgt_features": fan,
        "ref_masks": mask,
        "out_size": np.array((8, 32)),
        "params": np.array([0, 0.8, 0.2, 8]),
    }
    return case | insid3(case, np.zeros((4, 4)))


def test_ties_are_called_ties(tmp_path: Path) -> None:
    case = tied_case(tmp_path)
    np.savez(tmp_path / "case_00.npz", **case)
    labels = case["labels"].ravel()
    assert len(set(labels)) == 3
    assert labels[1] in (labels[0], labels[2])

    other = case["labels"].copy()
    other[0, 1] = labels[2] if labels[1] == labels[0] else labels[0]
    np.savez(
        tmp_path / "case_00.npz",
        **case | {"labels": other, "candidates": case["candidates"] ^ [[1, 1, 1, 0]]},
    )
    rows = {row.output: row for row in run_golden.run(tmp_path)}
    for output in ("candidates", "labels"):
        assert rows[output].difference == 3
        assert rows[output].note.startswith("a float tie: margin"), rows[output]
        assert not rows[output].ok
