"""What was compressed looks in the viewer as it did before."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page

from pacs.models import Instance, Location, LosslessSyntax, Series
from radiology.models import User
from tests.browser.test_viewer import wait_for_images
from tests.browser.volume import ct_volume
from tests.pacs.compressing import rule, work

SHOWN = "() => document.querySelector('.cornerstone-canvas').toDataURL()"


def shown(page: Page, study: str) -> str:
    """The first image, once it changes no more."""
    page.goto(f"/viewer?StudyInstanceUIDs={study}")
    wait_for_images(page, canvases=1)
    before, now = "", str(page.evaluate(SHOWN))
    while now != before:
        page.wait_for_timeout(500)
        before, now = now, str(page.evaluate(SHOWN))
    return now


@pytest.mark.parametrize("syntax", LosslessSyntax, ids=lambda syntax: syntax.name)
def test_compressed_images_look_the_same(
    syntax: LosslessSyntax,
    signed_in: Page,
    person: User,
    send: Callable[[Path], None],
    tmp_path: Path,
    complaints: list[str],
) -> None:
    twins = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        twins.append(ct_volume(folder, slices=3, BitsStored=12, HighBit=11))
        send(folder)
    native = shown(signed_in, twins[0])
    then = timezone.now() - timedelta(days=1)
    Instance.objects.update(created_at=then)
    Series.objects.update(updated_at=then)
    rule(transfer_syntax_uid=syntax, older_than_days=0)
    work()
    assert {each.transfer_syntax_uid for each in Location.objects.all()} == {syntax}
    # The browser keeps the frames of the first, which are the same frames still; those of the second it never saw.
    with signed_in.expect_response(lambda response: "/frames/" in response.url) as answered:
        assert shown(signed_in, twins[1]) == native
    assert f"transfer-syntax={syntax}\r\n".encode() in answered.value.body()[:400]
    assert complaints == []
