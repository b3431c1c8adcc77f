"""Jobs: rows are the truth. Each runs once, in order where it must, and survives whoever ran it."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from radiology.errors import Busy, Conflict, InvalidValue, OutOfResources, RadiologyError, Unreachable
from radiology.models import Job, JobPriority, JobState
from radiology.services import jobs, upkeep
from radiology.services.jobs import cancel, claim, enqueue, extend_lease, retry, run, run_due
from tests.parallel import at_once

pytestmark = pytest.mark.database

Runs = list[tuple[str, Any]]


@pytest.fixture
def runs() -> Iterator[Runs]:
    """What handlers of the kinds `note` and `fail` were called with; `fail` raises what its arguments name."""
    noted: Runs = []
    errors: dict[str, Exception] = {
        "unreachable": Unreachable("CT1 does not answer."),
        "full": OutOfResources("No space."),
        "conflict": Conflict("It contradicts."),
        "bug": ZeroDivisionError("SECRET^NAME"),
    }

    def note(job: Job) -> None:
        noted.append((job.kind, job.arguments.get("n", job.pk)))

    def fail(job: Job) -> None:
        note(job)
        raise errors[job.arguments["error"]]

    before = dict(jobs.HANDLERS)
    jobs.handles("note")(note)
    jobs.handles("fail")(fail)
    yield noted
    jobs.HANDLERS.clear()
    jobs.HANDLERS.update(before)


def later(seconds: float) -> Any:
    return timezone.now() + timedelta(seconds=seconds)


def make_due(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(next_attempt_at=timezone.now())


@pytest.mark.django_db
class TestRunning:
    def test_a_job_runs_once_and_is_done(self, runs: Runs) -> None:
        job = enqueue(kind="note", arguments={"n": 1})
        assert run_due() == 1
        assert run_due() == 0
        assert runs == [("note", 1)]
        job.refresh_from_db()
        assert (job.state, job.attempts, job.lease_until) == (JobState.DONE, 1, None)
        assert job.finished_at is not None

    def test_a_job_that_is_postponed_waits_and_loses_no_attempt(self, runs: Runs) -> None:
        until = later(60)

        def postpone(job: Job) -> None:
            raise jobs.Postponed(until, "It is not there yet.")

        jobs.handles("note")(postpone)
        job = enqueue(kind="note", max_attempts=1)
        for _ in range(3):
            make_due(job)
            assert run_due() == 1
            job.refresh_from_db()
            assert (job.state, job.attempts, job.next_attempt_at) == (JobState.PENDING, 0, until)
            assert job.lease_until is None and job.error == "It is not there yet."

    def test_a_job_of_a_transaction_that_fails_never_was(self, runs: Runs) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            enqueue(kind="note")
            raise ZeroDivisionError
        assert run_due() == 0

    def test_the_same_key_is_the_same_job(self, runs: Runs) -> None:
        first = enqueue(kind="note", idempotency_key="order-7", arguments={"n": 1})
        again = enqueue(kind="note", idempotency_key="order-7", arguments={"n": 2})
        assert again.pk == first.pk
        run_due()
        assert enqueue(kind="note", idempotency_key="order-7").state == JobState.DONE
        assert run_due() == 0
        assert runs == [("note", 1)]

    def test_a_job_waits_for_its_time(self, runs: Runs) -> None:
        enqueue(kind="note", not_before=later(60))
        assert claim() is None
        assert claim(now=later(61)) is not None

    def test_the_oldest_due_job_comes_first(self, runs: Runs) -> None:
        for n, seconds in enumerate((30, 10, 20)):
            enqueue(kind="note", arguments={"n": n}, not_before=later(-seconds))
        run_due()
        assert [n for _, n in runs] == [0, 2, 1]

    def test_what_has_priority_comes_first_however_long_the_rest_has_waited(self, runs: Runs) -> None:
        for n, priority in enumerate((JobPriority.BULK, JobPriority.NORMAL, JobPriority.FIRST)):
            enqueue(kind="note", arguments={"n": n}, priority=priority, not_before=later(n - 60))
        enqueue(kind="note", arguments={"n": 3}, priority=JobPriority.FIRST, not_before=later(60))
        run_due()
        assert [n for _, n in runs] == [2, 1, 0]

    def test_bulk_jobs_leave_threads_to_others(self, runs: Runs) -> None:
        bulk = [enqueue(kind="note", priority=JobPriority.BULK) for _ in range(4)]
        running = [claim(), claim()]
        assert [job and job.pk for job in running] == [job.pk for job in bulk[:2]]
        assert claim() is None, "two at a time"
        other = enqueue(kind="note")
        claimed = claim()
        assert claimed is not None and claimed.pk == other.pk
        assert running[0] is not None
        run(job=running[0])
        following = claim()
        assert following is not None and following.pk == bulk[2].pk

    def test_a_peer_without_a_place_costs_no_attempt(self, runs: Runs) -> None:
        def ask(job: Job) -> None:
            raise Busy("PACS2 has no place.")

        jobs.handles("note")(ask)
        job = enqueue(kind="note", max_attempts=1)
        for _ in range(3):
            make_due(job)
            assert run_due() == 1
            job.refresh_from_db()
            assert (job.state, job.attempts, job.error) == (JobState.PENDING, 0, "PACS2 has no place.")
        assert job.next_attempt_at > timezone.now()

    def test_a_round_is_bounded(self, runs: Runs) -> None:
        for _ in range(5):
            enqueue(kind="note")
        assert [run_due(limit=2), run_due(limit=2), run_due(limit=2)] == [2, 2, 1]

    def test_progress_is_seen_while_it_runs(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None
        extend_lease(job=job, progress=3, total=10)
        row = Job.objects.get(pk=job.pk)
        assert (row.progress, row.progress_total) == (3, 10)
        assert row.lease_until == job.lease_until


@pytest.mark.django_db
class TestPausing:
    def test_one_that_waits_does_not_start_until_it_is_resumed_and_holds_nothing_up(self, runs: Runs) -> None:
        first, second = (enqueue(kind="note", arguments={"n": n}, ordering_key="one") for n in (1, 2))
        assert jobs.pause(job=first) and jobs.pause(job=first)
        assert run_due() == 1 and runs == [("note", 2)]
        assert not jobs.pause(job=second) and not jobs.resume(job=second)
        assert jobs.resume(job=first) and not jobs.resume(job=first)
        assert run_due() == 1 and runs == [("note", 2), ("note", 1)]

    def test_one_that_runs_stops_where_its_handler_may_and_loses_no_attempt(self, runs: Runs) -> None:
        reached: list[str] = []

        def stops(job: Job) -> None:
            reached.append("begun")
            if len(reached) == 1:
                jobs.pause(job=job)
                assert jobs.keep(job=job) is False
                assert Job.objects.get().is_stopping and claim() is None
            extend_lease(job=job)
            reached.append("over")

        jobs.handles("note")(stops)
        job = enqueue(kind="note", max_attempts=1)
        assert run_due() == 1
        job.refresh_from_db()
        assert (job.state, job.attempts, job.lease_until) == (JobState.PAUSED, 0, None) and not job.is_stopping
        assert run_due() == 0
        jobs.resume(job=job)
        assert run_due() == 1 and reached == ["begun", "begun", "over"]
        assert Job.objects.get().state == JobState.DONE

    @pytest.mark.parametrize(("error", "state"), [("unreachable", JobState.PAUSED), ("conflict", JobState.DEAD)])
    def test_what_goes_wrong_meanwhile_waits_or_ends_it(self, runs: Runs, error: str, state: str) -> None:
        job = enqueue(kind="fail", arguments={"error": error})
        claimed = claim()
        assert claimed is not None and jobs.pause(job=job)
        run(job=claimed)
        assert Job.objects.get().state == state and claim(now=later(4000)) is None

    def test_one_that_ends_before_it_noticed_is_done(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None and jobs.pause(job=job)
        run(job=job)
        assert Job.objects.get().state == JobState.DONE

    def test_resumed_before_it_stopped_it_goes_on_or_is_begun_again_but_never_twice_at_once(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None and jobs.pause(job=job) and jobs.resume(job=job)
        assert claim() is None
        extend_lease(job=job)  # it never noticed
        jobs.pause(job=job)
        with pytest.raises(jobs.Paused):
            extend_lease(job=job)
        jobs.resume(job=job)
        assert claim() is None
        jobs._let_go(job)
        assert claim() is not None

    def test_one_whose_worker_died_is_taken_over_once_it_is_resumed(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None and jobs.pause(job=job)
        assert claim(now=later(200)) is None
        jobs.resume(job=job)
        assert claim(now=later(200)) is not None

    def test_a_paused_one_is_cancelled(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None and jobs.pause(job=job)
        cancel(job=job)
        with pytest.raises(RadiologyError):
            extend_lease(job=job)
        assert Job.objects.get().state == JobState.CANCELLED and not jobs.resume(job=job) and not jobs.pause(job=job)


@pytest.mark.django_db
class TestFailing:
    @pytest.mark.parametrize("error", ["unreachable", "full", "bug"])
    def test_what_may_pass_is_tried_again_later_and_later(self, runs: Runs, error: str) -> None:
        job = enqueue(kind="fail", arguments={"error": error})
        delays = []
        for _ in range(4):
            run_due()
            job.refresh_from_db()
            assert job.state == JobState.PENDING
            delays.append(round((job.next_attempt_at - timezone.now()).total_seconds()))
            make_due(job)
        assert delays == [10, 20, 40, 80]
        assert len(runs) == 4

    def test_the_delay_has_an_end(self, runs: Runs) -> None:
        job = enqueue(kind="fail", arguments={"error": "unreachable"}, max_attempts=30000)
        Job.objects.filter(pk=job.pk).update(attempts=29000)
        run_due()
        job.refresh_from_db()
        assert timedelta(minutes=59) < job.next_attempt_at - timezone.now() <= jobs.LONGEST_DELAY

    @pytest.mark.parametrize("error", ["conflict"])
    def test_what_cannot_pass_is_dead_at_once(self, runs: Runs, error: str) -> None:
        job = enqueue(kind="fail", arguments={"error": error})
        run_due()
        job.refresh_from_db()
        assert (job.state, job.error) == (JobState.DEAD, "It contradicts.")

    def test_after_the_last_attempt_it_is_dead(self, runs: Runs) -> None:
        job = enqueue(kind="fail", arguments={"error": "unreachable"}, max_attempts=2)
        run_due()
        make_due(job)
        run_due()
        job.refresh_from_db()
        assert (job.state, job.error, len(runs)) == (JobState.DEAD, "CT1 does not answer.", 2)
        make_due(job)
        assert run_due() == 0

    def test_the_text_of_a_bug_is_not_kept_it_may_quote_a_patient(self, runs: Runs) -> None:
        job = enqueue(kind="fail", arguments={"error": "bug"})
        run_due()
        job.refresh_from_db()
        assert job.error == "ZeroDivisionError"

    def test_a_kind_that_nobody_handles_is_dead_and_says_so(self, runs: Runs) -> None:
        job = enqueue(kind="future.kind")
        run_due()
        job.refresh_from_db()
        assert job.state == JobState.DEAD
        assert "future.kind" in job.error

    def test_others_are_not_delayed_by_a_failing_one(self, runs: Runs) -> None:
        enqueue(kind="fail", arguments={"error": "unreachable", "n": 0}, not_before=later(-5))
        enqueue(kind="note", arguments={"n": 1})
        assert run_due() == 2
        assert [n for _, n in runs] == [0, 1]

    def test_only_named_errors_of_the_moment_are_retried(self) -> None:
        assert issubclass(Unreachable, RadiologyError)
        assert issubclass(InvalidValue, RadiologyError)


@pytest.mark.django_db
class TestPeople:
    def test_retry_puts_a_dead_job_back_from_the_start(self, runs: Runs) -> None:
        job = enqueue(kind="fail", arguments={"error": "conflict"})
        run_due()
        retry(job=job)
        job.refresh_from_db()
        assert (job.state, job.attempts, job.error, job.finished_at) == (JobState.PENDING, 0, "", None)
        assert run_due() == 1

    @pytest.mark.parametrize("state", [JobState.DONE, JobState.RUNNING, JobState.PENDING])
    def test_retry_leaves_others_alone(self, state: JobState) -> None:
        job = Job.objects.create(kind="note", state=state, attempts=3)
        retry(job=job)
        job.refresh_from_db()
        assert (job.state, job.attempts) == (state, 3)

    def test_a_cancelled_job_does_not_run(self, runs: Runs) -> None:
        job = enqueue(kind="note")
        cancel(job=job)
        assert run_due() == 0
        job.refresh_from_db()
        assert job.state == JobState.CANCELLED

    def test_a_running_job_learns_of_its_end_at_its_next_sign_of_life(self, runs: Runs) -> None:
        enqueue(kind="note")
        job = claim()
        assert job is not None
        cancel(job=job)
        with pytest.raises(RadiologyError, match="taken over or cancelled"):
            extend_lease(job=job)
        run(job=job)
        assert Job.objects.get(pk=job.pk).state == JobState.CANCELLED

    def test_a_job_cancelled_and_retried_is_not_finished_by_its_first_worker(self, runs: Runs) -> None:
        row = enqueue(kind="fail", arguments={"error": "conflict"})
        first = claim()
        assert first is not None
        cancel(job=first)
        retry(job=first)
        second = claim(now=later(1))
        assert second is not None
        assert second.attempts == first.attempts == 1
        run(job=first)
        assert Job.objects.get(pk=row.pk).state == JobState.RUNNING
        run(job=second)
        assert Job.objects.get(pk=row.pk).state == JobState.DEAD


@pytest.mark.django_db
class TestWorkersThatDie:
    def test_the_lease_gives_the_job_back(self, runs: Runs) -> None:
        enqueue(kind="note")
        lost = claim()
        assert lost is not None
        assert claim() is None
        assert claim(now=later(119)) is None
        taken = claim(now=later(121))
        assert taken is not None
        assert (taken.pk, taken.attempts) == (lost.pk, 2)
        run(job=lost)
        assert Job.objects.get(pk=lost.pk).state == JobState.RUNNING, "who lost it does not finish it"
        run(job=taken)
        assert Job.objects.get(pk=lost.pk).state == JobState.DONE

    def test_a_sign_of_life_keeps_it(self, runs: Runs) -> None:
        enqueue(kind="note", not_before=later(-200))
        job = claim(now=later(-100))
        assert job is not None
        extend_lease(job=job)
        assert claim(now=later(100)) is None

    def test_a_job_that_takes_its_workers_down_ends_in_the_dead_letters(self, runs: Runs) -> None:
        job = enqueue(kind="note", max_attempts=3)
        moment = 0
        while claim(now=later(moment)) is not None:
            moment += 125
        job.refresh_from_db()
        assert (job.state, job.attempts) == (JobState.DEAD, 3)
        assert "3 times" in job.error


@pytest.mark.django_db
class TestOrder:
    def test_jobs_with_one_key_run_one_after_the_other(self, runs: Runs) -> None:
        for n in range(3):
            enqueue(kind="note", ordering_key="patient-1", arguments={"n": n}, not_before=later(-n))
        other = enqueue(kind="note", ordering_key="patient-2", arguments={"n": 9}, not_before=later(-99))
        first = claim()
        assert first is not None
        assert first.pk == other.pk
        second = claim()
        assert second is not None
        assert second.arguments == {"n": 0}, "the oldest, although a younger one was due before"
        assert claim() is None
        run(job=second)
        run_due()
        assert [n for _, n in runs] == [0, 1, 2]

    def test_a_failing_one_holds_those_behind_it(self, runs: Runs) -> None:
        enqueue(kind="fail", ordering_key="k", arguments={"error": "unreachable", "n": 0})
        enqueue(kind="note", ordering_key="k", arguments={"n": 1})
        assert run_due() == 1
        assert run_due() == 0

    def test_a_dead_one_lets_them_through(self, runs: Runs) -> None:
        enqueue(kind="fail", ordering_key="k", arguments={"error": "conflict", "n": 0})
        enqueue(kind="note", ordering_key="k", arguments={"n": 1})
        assert run_due() == 2

    def test_an_older_job_that_was_committed_late_waits_for_the_running_one(self, runs: Runs) -> None:
        younger = Job.objects.create(id=5_000_001, kind="note", ordering_key="k")
        running = claim()
        assert running is not None
        assert running.pk == younger.pk
        Job.objects.create(id=5_000_000, kind="note", ordering_key="k")
        assert claim() is None
        run(job=running)
        late = claim()
        assert late is not None
        assert late.pk == 5_000_000

    def test_a_dead_worker_and_a_late_older_job_do_not_block_each_other(self, runs: Runs) -> None:
        Job.objects.create(id=5_000_001, kind="note", ordering_key="k")
        assert claim() is not None
        Job.objects.create(id=5_000_000, kind="note", ordering_key="k")
        after = claim(now=later(121))
        assert after is not None
        assert after.pk == 5_000_000

    def test_claiming_reads_few_rows_of_a_long_queue(self, runs: Runs) -> None:
        Job.objects.bulk_create(
            [Job(kind="note", next_attempt_at=later(-9999 + n)) for n in range(5000)]
            + [Job(kind="note", state=JobState.DONE) for _ in range(5000)]
        )
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE radiology_job")
            moment = timezone.now()
            plans = []
            for statement, values in (
                (jobs._DUE, [JobPriority.NORMAL, moment, moment]),
                (jobs._LEASE_RAN_OUT, [moment, moment]),
            ):
                cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", values)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        assert not any("Seq Scan on radiology_job job" in plan for plan in plans), plans
        assert "Sort" not in plans[0], "the next one comes from the index, the queue behind it is not read"


@pytest.mark.usefixtures("committed_db")
class TestManyWorkers:
    def test_each_job_runs_once_whoever_is_fastest(self, runs: Runs) -> None:
        wanted = 60
        for n in range(wanted):
            enqueue(kind="note", arguments={"n": n})
        done = at_once(lambda _: run_due(), threads=8)
        assert sum(done) == wanted
        assert sorted(n for _, n in runs) == list(range(wanted))
        assert not Job.objects.exclude(state=JobState.DONE, attempts=1).exists()

    def test_a_claimed_row_is_skipped_not_waited_for(self, runs: Runs) -> None:
        first, second = enqueue(kind="note", arguments={"n": 1}), enqueue(kind="note", arguments={"n": 2})
        with transaction.atomic():
            held = Job.objects.select_for_update().get(pk=first.pk)
            [claimed] = at_once(lambda _: claim(), threads=1)
            assert claimed is not None
            assert claimed.pk == second.pk != held.pk

    def test_one_key_never_runs_twice_at_a_time(self, runs: Runs) -> None:
        running: list[int] = []
        most: list[int] = []
        lock = threading.Lock()

        def slow(job: Job) -> None:
            with lock:
                running.append(job.pk)
                most.append(len(running))
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.02)")
            with lock:
                running.remove(job.pk)
            runs.append(("slow", job.pk))

        jobs.handles("slow")(slow)
        made = [enqueue(kind="slow", ordering_key="one").pk for _ in range(12)]

        def work(_: int) -> None:
            while Job.objects.filter(state__in=[JobState.PENDING, JobState.RUNNING]).exists():
                run_due()

        at_once(work, threads=6)
        assert max(most) == 1
        assert [pk for _, pk in runs] == made

    def test_a_job_whose_transaction_gives_way_to_another_is_done_again_and_loses_no_attempt(self, runs: Runs) -> None:
        rows = [Job.objects.create(kind="row", state=JobState.DONE).pk for _ in range(2)]
        both_hold_one = threading.Barrier(2)
        begun: list[int] = []

        def cross(job: Job) -> None:
            first, second = rows if job.arguments["n"] else rows[::-1]
            begun.append(job.pk)
            with transaction.atomic():
                Job.objects.select_for_update().get(pk=first)
                if len(begun) <= 2:
                    both_hold_one.wait(30)
                Job.objects.select_for_update().get(pk=second)

        jobs.handles("cross")(cross)
        made = [enqueue(kind="cross", arguments={"n": n}, max_attempts=1) for n in range(2)]
        at_once(lambda _: run_due(limit=1), threads=2)
        waiting = Job.objects.get(state=JobState.PENDING)
        assert (waiting.attempts, waiting.error) == (0, jobs.GAVE_WAY)
        assert waiting.next_attempt_at > waiting.created_at + jobs.ROLLED_BACK_DELAY
        make_due(waiting)
        run_due()
        assert len(begun) == 3
        for job in made:
            job.refresh_from_db()
            assert (job.state, job.attempts, job.error) == (JobState.DONE, 1, "")

    def test_the_same_key_from_many_sides_is_one_job(self, runs: Runs) -> None:
        found = at_once(lambda _: enqueue(kind="note", idempotency_key="once").pk, threads=12)
        assert len(set(found)) == 1
        assert Job.objects.count() == 1


@pytest.mark.django_db
def test_finished_jobs_are_forgotten_after_a_month_and_failed_ones_kept() -> None:
    old, recent = later(-31 * 86400), later(-29 * 86400)
    for state in JobState:
        for finished in (old, recent):
            Job.objects.create(kind="note", state=state, finished_at=finished)
    upkeep.forget_done_jobs()
    kept = {(job.state, job.finished_at) for job in Job.objects.all()}
    assert len(kept) == 2 * len(JobState) - 2
    assert (JobState.DEAD, old) in kept
    assert not {(JobState.DONE, old), (JobState.CANCELLED, old)} & kept
