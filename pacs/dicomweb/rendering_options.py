"""How a picture is to look: the query parameters of rendered resources (PS3.18 8.3.5)."""

import math
from typing import Any

from pacs.services.annotation import PLACES
from pacs.services.render import QUALITY
from radiology.errors import InvalidValue

WINDOW_FUNCTIONS = {"linear", "linear-exact", "sigmoid"}
LARGEST_VIEWPORT = 8192
ICC_PROFILES = {"no", "yes", "srgb"}


def rendering_options(request: Any) -> dict[str, Any]:
    """window, viewport, quality and iccprofile of the query. Raises InvalidValue, which names the parameter."""
    options: dict[str, Any] = {"quality": quality(request.GET.get("quality", ""), "quality")}
    if window := request.GET.get("window", ""):
        options["window"] = _window(window)
    if size := viewport(request.GET.get("viewport", "")):
        options["viewport"] = size
    if profile := request.GET.get("iccprofile", ""):
        if profile not in ICC_PROFILES:
            raise InvalidValue("iccprofile is no, yes or srgb.", field="iccprofile")
        options["iccprofile"] = profile
    return options


def annotations(request: Any) -> tuple[list[str], list[str]]:
    """The keywords of `annotation` that are understood, and those that are not, which are warned about."""
    asked = [word.strip() for text in request.GET.getlist("annotation") for word in text.split(",") if word.strip()]
    if len(asked) > 10:
        raise InvalidValue("annotation is patient, technique or both.", field="annotation")
    return sorted({word for word in asked if word in PLACES}), [word for word in asked if word not in PLACES]


def quality(text: str, field: str) -> int:
    """A quality of 1 to 100; the usual one where nothing is asked for."""
    if not text:
        return QUALITY
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
        raise InvalidValue(f"{field} is a whole number from 1 to 100.", field=field)
    return int(text)


def _window(text: str) -> tuple[float, float, str]:
    parts = text.split(",")
    if not 2 <= len(parts) <= 3:
        raise InvalidValue("window is center,width,function.", field="window")
    centre, width, function = [*parts, "linear"][:3]
    try:
        numbers = float(centre), float(width)
    except ValueError as error:
        raise InvalidValue("window is center,width,function.", field="window") from error
    sound = all(map(math.isfinite, numbers)) and numbers[1] > 0
    if not sound or function.lower() not in WINDOW_FUNCTIONS:
        raise InvalidValue("window is center,width,function: linear, linear-exact or sigmoid.", field="window")
    return numbers[0], numbers[1], function


def viewport(text: str) -> tuple[float, ...] | None:
    """width and height, or those and a part of the image: x, y, width, height, of which a negative one flips."""
    if not text:
        return None
    try:
        numbers = [float(part or 0) for part in text.split(",")]
    except ValueError as error:
        raise InvalidValue("viewport is width,height and a region x,y,width,height.", field="viewport") from error
    sound = len(numbers) in {2, 6} and all(math.isfinite(number) for number in numbers)
    if not sound or not all(1 <= number <= LARGEST_VIEWPORT for number in numbers[:2]):
        raise InvalidValue("viewport is width,height and a region x,y,width,height.", field="viewport")
    if any(number < 0 for number in numbers[2:4]):
        raise InvalidValue("The region of viewport begins inside of the image.", field="viewport")
    return tuple(numbers)
