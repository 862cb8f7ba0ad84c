"""What the end of a study deletes."""

from _leftovers import remove_study_leftovers


def test_parts_of_features_that_are_joined_are_deleted_and_others_kept(tmp_path):
    features = tmp_path / "features" / "tiny" / "all"
    for part in ("0-of-3", "1-of-3", "0-of-2"):
        (features / "parts" / part).mkdir(parents=True)
        (features / "parts" / part / ".lock").touch()
    for name in ("tokens.npy", "tokens.json", ".tokens.npy", "pooled.npy"):
        (features / "parts" / "0-of-3" / name).touch()
    (features / "tokens.json").touch()
    # A file manager's own, which must not end a finished study with an error.
    (features / "parts" / ".DS_Store").touch()
    remove_study_leftovers(tmp_path, [])
    left = sorted(path.relative_to(features).as_posix() for path in features.rglob("*") if path.is_file())
    assert left == ["parts/.DS_Store", "parts/0-of-3/.lock", "parts/0-of-3/pooled.npy", "tokens.json"]
    (features / "pooled.json").touch()
    remove_study_leftovers(tmp_path, [])
    assert [path.name for path in (features / "parts").iterdir()] == [".DS_Store"]
