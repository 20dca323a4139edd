"""MovieLens: ``ratings.csv`` and, where it lies beside, ``movies.csv``.

The format is GroupLens' (Harper and Konstan 2015, "The MovieLens Datasets"): ratings are
``userId,movieId,rating,timestamp``, movies are ``movieId,title,genres`` with genres joined by ``|`` and
the year at the end of the title. A rating of any height counts as an interaction: that the film was
watched is what the recommender predicts.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from executors.recommender.data import DataError, Interactions, collect

RATING_COLUMNS = ("userId", "movieId", "timestamp")
MOVIE_COLUMNS = ("movieId", "title", "genres")
_YEAR = re.compile(r"\((\d{4})\)\s*$")
_NO_GENRES = "(no genres listed)"


def load_movielens(folder: Path) -> Interactions:
    """Read a MovieLens folder; items are the rated films, attributes their genres and decade.

    Raises DataError naming file and line where a file, a column or a value is missing or malformed.
    """
    ratings = folder / "ratings.csv"
    rows = np.array(list(_ratings(ratings)), dtype=np.int64).reshape(-1, 3)
    if not len(rows):
        raise DataError(f"{ratings}: no rating under the header; it must hold at least one user's")
    catalogue = np.unique(rows[:, 1])
    movies = folder / "movies.csv"
    attributes = (
        _attributes(movies, catalogue)
        if movies.exists()
        else np.zeros((len(catalogue), 1), dtype=np.float32)
    )
    return collect(rows[:, 0], rows[:, 1], rows[:, 2], catalogue, attributes, str(ratings))


def _ratings(path: Path) -> Iterator[tuple[int, int, int]]:
    for line, (user, movie, timestamp) in _rows(path, RATING_COLUMNS):
        try:
            yield int(user), int(movie), int(timestamp)
        except ValueError:
            raise DataError(
                f"{path}, line {line}: userId, movieId and timestamp must be whole numbers, "
                f"not {user!r}, {movie!r}, {timestamp!r}"
            ) from None


def _attributes(path: Path, catalogue: NDArray[np.int64]) -> NDArray[np.float32]:
    """(films, attributes): a column a genre or decade, in alphabetical order."""
    labels: dict[int, list[str]] = {}
    for line, (movie, title, genres) in _rows(path, MOVIE_COLUMNS):
        try:
            number = int(movie)
        except ValueError:
            raise DataError(
                f"{path}, line {line}: movieId must be a whole number, not {movie!r}"
            ) from None
        year = _YEAR.search(title)
        labels[number] = [name for name in genres.split("|") if name and name != _NO_GENRES]
        if year:
            labels[number].append(f"{year[1][:3]}0s")
    names = sorted({name for movie in catalogue for name in labels.get(int(movie), ())})
    column = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(catalogue), max(1, len(names))), dtype=np.float32)
    for place, movie in enumerate(catalogue):
        for name in labels.get(int(movie), ()):
            found[place, column[name]] = 1.0
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the named columns of each row."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(
                    f"{path}, line 1: no column {missing[0]!r}; the header must name "
                    f"{', '.join(columns)} and reads {','.join(header) or '(nothing)'}"
                )
            places = [header.index(name) for name in columns]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(row)} values under a header of {len(header)}"
                    )
                yield reader.line_num, [row[place] for place in places]
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; give the folder that holds MovieLens' ratings.csv"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
