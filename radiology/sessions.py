"""Sessions in the database, as Django keeps them; what is asked for with every request is written once."""

from functools import cache
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from radiology.services.rows import Sought


class SessionStore(db.SessionStore):
    """Django's own, but for how a session is found."""

    def _get_session_from_db(self) -> Any:
        found = _sessions()(self.session_key, timezone.now())
        if not found:
            self._session_key = None
            return None
        return found[0]


@cache
def _sessions() -> Sought[Session]:
    return Sought(Session, "session_key = %s AND expire_date > %s")
