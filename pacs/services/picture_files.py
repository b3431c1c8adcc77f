"""Pictures scaled into what they are to fit in, and written as JPEG, PNG or GIF."""

import io

from PIL import Image

# Where nothing smaller is asked for.
LARGEST_SIDE = 8192


def scaled(picture: Image.Image, width: float, height: float) -> Image.Image:
    """As large as fits into `width` and `height`, its proportions kept."""
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BILINEAR)


def written(picture: Image.Image, media_type: str, quality: int, profile: bytes | None = None) -> bytes:
    """The picture's file. `quality` is for JPEG."""
    target = io.BytesIO()
    if media_type == "image/png":
        picture.save(target, "PNG", compress_level=3, icc_profile=profile)
    elif media_type == "image/gif":
        picture.save(target, "GIF")
    else:
        picture.save(target, "JPEG", quality=quality, icc_profile=profile)
    return target.getvalue()
