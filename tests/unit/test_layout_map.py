"""Every file of worker/ says what it is in one line, and worker/README.md lists them all."""

from tests.support.layout_map import (
    WORKER,
    files_of,
    first_line,
    layout_map,
    parts_of_readme,
    wings,
)


def test_the_first_line_of_every_file_is_a_whole_sentence() -> None:
    titles = [folder / "__init__.py" for folder in wings() if folder != WORKER / "lua"]
    files = [path for folder in wings() for path in files_of(folder)]
    incomplete = {
        str(path.relative_to(WORKER)): first_line(path)
        for path in titles + files
        if not first_line(path).endswith(".")
    }
    assert incomplete == {}


def test_the_readme_of_worker_has_the_map_of_its_files() -> None:
    _, drawn, _ = parts_of_readme()
    assert drawn == layout_map(), (
        "the map in worker/README.md is out of date: "
        "`.venv/bin/python -m tests.support.layout_map` writes the current one"
    )
