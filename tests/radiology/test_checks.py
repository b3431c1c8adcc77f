"""`manage.py check` says what is wrong with the folders, and what to do."""

from pathlib import Path
from typing import Any

import pytest

from pacs.checks import volumes
from pacs.models import Volume
from radiology.checks import data_folder


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


class TestDataFolder:
    def test_a_folder_that_can_be_made_is_fine(self, settings: Any, tmp_path: Path) -> None:
        settings.SINAR_DATA = tmp_path / "new" / "folder"
        assert data_folder() == []

    def test_a_file_in_its_place_is_not(self, settings: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        settings.SINAR_DATA = tmp_path / "file" / "data"
        [message] = data_folder()
        assert message.id == "radiology.E001"
        assert "SINAR_DATA" in str(message.hint)


@pytest.mark.django_db
class TestVolumes:
    def test_the_first_volume_is_fine(self) -> None:
        assert volumes(databases=["default"]) == []

    def test_they_are_looked_at_only_when_the_database_is(self) -> None:
        Volume.objects.update(is_active=False)
        assert volumes(databases=None) == []

    def test_no_volume_that_takes_objects(self) -> None:
        Volume.objects.update(is_active=False)
        assert ids(volumes(databases=["default"])) == ["pacs.E001"]

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        Volume.objects.create(name="nas", path=str(tmp_path / "file" / "archive"))
        [message] = volumes(databases=["default"])
        assert message.id == "pacs.E002"
        assert "nas" in message.msg

    def test_less_space_than_the_reserve(self, tmp_path: Path) -> None:
        Volume.objects.create(name="full", path=str(tmp_path), reserve=2**60)
        assert ids(volumes(databases=["default"])) == ["pacs.W001"]
