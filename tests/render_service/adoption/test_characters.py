"""What can be made a character of is known before anything is sent."""

from typing import Any

import pytest

from decision.request.request import SourceFile
from render_service.adoption.characters import check_film
from render_service.runtime.errors import BadInput

FILM = SourceFile(
    name="mossy.mp4", sha256="0" * 64, media_type="video/mp4", bytes=9, size="720x1280", seconds=2
)


@pytest.mark.parametrize("changes", [{}, {"seconds": 4}, {"size": "1920x1080"}])
def test_a_film_of_the_right_shape_is_taken(changes: dict[str, Any]) -> None:
    check_film(FILM.model_copy(update=changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 1}, "needs 2 to 4 seconds, found 1; cut it"),
        ({"seconds": 5}, "needs 2 to 4 seconds, found 5; cut it"),
        ({"size": "1080x1080"}, "from 720p to 1080p, found 1080x1080; scale or crop it"),
        ({"size": "3840x2160"}, "from 720p to 1080p, found 3840x2160; scale or crop it"),
        ({"media_type": "video/webm"}, "needs an MP4 file, found video/webm; convert it"),
    ],
)
def test_another_is_refused_with_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_film(FILM.model_copy(update=changes))
