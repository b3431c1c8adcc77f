"""Questions for study tokens, as they come on the connections of the HL7 port.

The questions of all connections that wait are answered together, in one transaction: so a thousand in a second cost
a few queries, and each is in the audit before it is answered.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections

from integrations.tokens.questions import Question, answer_all

TOGETHER = 250
# What comes within this time of the first question is answered together with it.
GATHER_SECONDS = 0.002


class TokenDesk:
    """Answers questions, in the order in which they came, with one thread and one database connection."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hl7-tokens")
        self._waiting: list[tuple[Question, asyncio.Future[bytes | None]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, key: str, address: str) -> bytes | None:
        """The answer, as it goes out; None when that address may not ask. Raises what the database raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append((Question(key, address), future))
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        return await future

    def close(self) -> None:
        self._pool.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            try:
                answers = await loop.run_in_executor(self._pool, _answers, [question for question, _ in batch])
            except Exception as error:
                _settle([(future, error) for _, future in batch])
            else:
                _settle([(future, answer) for (_, future), answer in zip(batch, answers, strict=True)])
        self._worker = None


def _answers(questions: list[Question]) -> list[bytes | None]:
    close_old_connections()
    return answer_all(questions)


def _settle(outcomes: "list[tuple[asyncio.Future[bytes | None], bytes | Exception | None]]") -> None:
    for future, outcome in outcomes:
        if future.done():  # its connection was cut meanwhile
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
